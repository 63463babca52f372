//! The ticket of the model.

mod count;
mod cycles;
mod pause;

use crate::script::Input;
use crate::story::{Event, Policy, Settings, TICKS_IN_SECOND, Tag, Ticks};
use crate::view::{Alert, Automation, Closer, Cycle, Effect, Kind, Stage, State, View};
use count::Count;
use cycles::clear;

/// Who wrote last, with all messages that the other has not answered. A hold that ended counts as if they
/// had been written then.
#[derive(Debug, Clone)]
enum LastWord {
    Nobody,
    Opening(Ticks),
    Agent(Vec<Ticks>),
    Customer(Vec<Ticks>),
}

/// A close by inactivity, as long as nothing came after it.
#[derive(Debug, Clone, Copy)]
struct InactivityClose {
    at: Ticks,
    state_before: State,
    automation_before: Automation,
}

#[expect(
    clippy::struct_excessive_bools,
    reason = "they are the plain facts of a ticket"
)]
pub(crate) struct Model {
    settings: Settings,
    /// With their versions.
    bot: (i64, Policy),
    queues: Vec<Option<(i64, Policy)>>,
    last_version: i64,

    state: State,
    is_unlinked: bool,
    has_agent: bool,
    is_agent_away: bool,
    queue: Option<usize>,
    tags: Vec<Tag>,
    hold_since: Option<Ticks>,
    hold_until: Option<Ticks>,
    automation: Automation,
    inactivity_close: Option<InactivityClose>,

    last_word: LastWord,
    has_agent_ever_written: bool,
    cycles: i32,
    alert: Alert,
    agent_alert: Alert,
    count: Option<Count>,
    agent_count: Option<Count>,
}

impl Model {
    pub(crate) fn new(settings: &Settings) -> Self {
        let mut last_version = 1;
        let mut queues = Vec::new();
        for policy in &settings.queues {
            queues.push(policy.clone().map(|policy| {
                last_version += 1;
                (last_version, policy)
            }));
        }
        Self {
            settings: settings.clone(),
            bot: (1, settings.bot.clone()),
            queues,
            last_version,
            state: State::Waiting,
            is_unlinked: false,
            has_agent: false,
            is_agent_away: false,
            queue: None,
            tags: Vec::new(),
            hold_since: None,
            hold_until: None,
            automation: Automation::Running,
            inactivity_close: None,
            last_word: LastWord::Nobody,
            has_agent_ever_written: false,
            cycles: 0,
            alert: Alert::No,
            agent_alert: Alert::No,
            count: None,
            agent_count: None,
        }
    }

    pub(crate) fn view(&self) -> View {
        View {
            state: self.state,
            is_unlinked: self.is_unlinked,
            hold_since: self.hold_since,
            hold_until: self.hold_until,
            alert: self.alert,
            agent_alert: self.agent_alert,
            cycle: self.count.as_ref().map(|count| count.seen),
            agent_cycle: self.agent_count.as_ref().map(|count| count.seen),
            automation: self.automation,
        }
    }

    /// What follows at once; none when the rules do not allow the event now, or do not decide it.
    pub(crate) fn apply(&mut self, input: &Input, now: Ticks) -> Option<Vec<Effect>> {
        let mut effects = Vec::new();
        match input {
            Input::Opened => self.open(&mut effects),
            Input::Accepted { cycle, at } => {
                if let Some(count) = self.count.as_mut().filter(|it| it.seen.number == *cycle) {
                    count.accept(*at, now);
                }
            }
            Input::Settled { cycle, at } => {
                if let Some(count) = self.count.as_mut().filter(|it| it.seen.number == *cycle) {
                    count.settle(*at, now);
                }
            }
            Input::Event(event) => {
                if !self.allows(event, now) {
                    return None;
                }
                self.happens(event, now, &mut effects);
            }
        }
        Some(effects)
    }

    fn allows(&self, event: &Event, now: Ticks) -> bool {
        let is_open = self.state != State::Closed;
        // A hold that is over but that nobody has noticed: messages end it as of its end. What else comes
        // before anybody notices is decided by no rule.
        let is_unnoticed = self.hold_until.is_some_and(|until| until <= now);
        match event {
            Event::Agent | Event::Away(_) | Event::ResumeAutomation | Event::Assign => true,
            // A customer's message to an unlinked ticket opens another ticket.
            Event::Customer { .. } | Event::SetOpen => !self.is_unlinked,
            Event::System | Event::Note | Event::PauseAutomation(_) => is_open,
            Event::Settings { .. } => !is_unnoticed,
            Event::Hold { max_s } => {
                is_open && !is_unnoticed && self.may_be_held(now, now + max_s * TICKS_IN_SECOND)
            }
            Event::Transfer(_) | Event::Close => is_open && !is_unnoticed,
            Event::Unlink => !self.is_unlinked && !is_unnoticed,
            Event::Resume => self.hold_until.is_some() && !is_unnoticed,
            Event::Reopen => !is_open,
            Event::TagAdded(tag) => is_open && !self.tags.contains(tag),
            Event::TagRemoved(tag) => is_open && self.tags.contains(tag),
        }
    }

    fn happens(&mut self, event: &Event, now: Ticks, effects: &mut Vec<Effect>) {
        match event {
            Event::Agent => self.agent_writes(now, effects),
            Event::Customer { written_ago } => self.customer_writes(*written_ago, now, effects),
            Event::System | Event::Note => {}
            Event::Hold { max_s } => {
                self.disarm(effects);
                self.hold_since = self.hold_since.or(Some(now));
                self.hold_until = Some(now + max_s * TICKS_IN_SECOND);
            }
            Event::Resume => self.end_hold(now, None, effects),
            Event::Transfer(queue) => {
                self.disarm(effects);
                self.drop_hold(effects);
                self.last_word = LastWord::Nobody;
                self.state = State::Waiting;
                self.has_agent = false;
                self.queue = Some(*queue);
            }
            Event::Assign => {
                self.has_agent = true;
                self.stand_open(State::Open, now, effects);
            }
            Event::SetOpen | Event::Reopen => self.stand_open(State::Open, now, effects),
            Event::Close => self.close(Closer::Agent, effects),
            Event::Unlink => {
                if self.state != State::Closed {
                    self.close(Closer::Unlinking, effects);
                }
                self.is_unlinked = true;
                self.inactivity_close = None;
            }
            Event::TagAdded(tag) => self.tags.push(*tag),
            Event::TagRemoved(tag) => self.remove_tag(*tag, now),
            Event::Settings {
                scope,
                policy,
                applies,
            } => self.settings_change(*scope, policy.as_ref(), *applies, now, effects),
            Event::PauseAutomation(pause) => self.pause(*pause, now, effects),
            Event::ResumeAutomation => self.resume_automation(effects),
            Event::Away(is_away) => self.is_agent_away = *is_away,
        }
    }

    /// What becomes due by `now`.
    pub(crate) fn look(&mut self, now: Ticks) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.notice_hold(now, &mut effects);
        let due_close = self
            .count
            .as_ref()
            .and_then(|count| Some((count.seen, count.due_close(&self.tags, now)?)));
        if let Some((cycle, due)) = due_close {
            let (state_before, automation_before) = (self.state, self.automation);
            let could = self
                .count
                .as_ref()
                .map_or(due, |count| count.could_act(due));
            effects.push(fired(cycle, Stage::Close, due, could, Alert::No));
            self.close(Closer::Inactivity, &mut effects);
            self.inactivity_close = Some(InactivityClose {
                at: now,
                state_before,
                automation_before,
            });
        } else {
            self.look_below_close(now, &mut effects);
        }
        if let Automation::Until(until) = self.automation
            && until <= now
        {
            self.resume_automation(&mut effects);
        }
        effects
    }

    fn look_below_close(&mut self, now: Ticks, effects: &mut Vec<Effect>) {
        if let Some(count) = &mut self.agent_count {
            for (stage, due, alert) in count.look(&[], now) {
                self.agent_alert = self.agent_alert.max(alert);
                let could = count.could_act(due);
                effects.push(fired(count.seen, stage, due, could, self.agent_alert));
            }
        }
        if let Some(count) = &mut self.count {
            for (stage, due, alert) in count.look(&self.tags, now) {
                self.alert = self.alert.max(alert);
                let could = count.could_act(due);
                effects.push(fired(count.seen, stage, due, could, self.alert));
            }
        }
    }

    fn open(&mut self, effects: &mut Vec<Effect>) {
        self.has_agent = self.settings.opens_with_agent;
        let state = if self.has_agent {
            State::Open
        } else {
            State::Waiting
        };
        self.stand_open(state, 0, effects);
        self.last_word = LastWord::Opening(0);
        self.start_missing(effects);
    }

    /// However often a hold is changed, it lasts no longer than the longest one.
    fn may_be_held(&self, now: Ticks, until: Ticks) -> bool {
        let since = self.hold_since.unwrap_or(now);
        until <= since + self.settings.max_hold_s * TICKS_IN_SECOND
    }

    /// What was kept from acting by a tag alone is late from now on only.
    fn remove_tag(&mut self, tag: Tag, now: Ticks) {
        let before = self.tags.clone();
        self.tags.retain(|carried| *carried != tag);
        if let Some(count) = &mut self.count
            && count.is_excluded(&before)
            && !count.is_excluded(&self.tags)
            && !count.is_overdue(&before, now)
        {
            count.changed = Some(now);
        }
    }

    fn agent_writes(&mut self, now: Ticks, effects: &mut Vec<Effect>) {
        self.notice_hold(now, effects);
        self.stand_open(State::Open, now, effects);
        self.has_agent_ever_written = true;
        self.agent_count = None;
        clear(&mut self.agent_alert, Effect::AgentAlertCleared, effects);
        if let LastWord::Agent(messages) = &mut self.last_word {
            messages.push(now);
        } else {
            self.last_word = LastWord::Agent(vec![now]);
        }
        if self.hold_until.is_some() {
            return;
        }
        let keeps_counting = self
            .count
            .as_ref()
            .is_some_and(|count| count.seen.kind == Kind::CustomerSilent && count.is_from_first());
        if keeps_counting {
            return;
        }
        self.count = None;
        self.start(Kind::CustomerSilent, now, effects);
    }

    fn customer_writes(
        &mut self,
        written_ago: Option<Ticks>,
        now: Ticks,
        effects: &mut Vec<Effect>,
    ) {
        self.notice_hold(now, effects);
        if let Some(close) = self.inactivity_close.filter(|close| {
            let is_in_grace = now <= close.at + self.settings.late_reply_grace_s * TICKS_IN_SECOND;
            is_in_grace && was_written_before(close.at, written_ago, now)
        }) {
            effects.push(Effect::Superseded);
            self.close_never_was(close, now, effects);
        } else if self.state == State::Closed {
            let is_taken_back = self.has_agent && !self.is_agent_away;
            let state = if is_taken_back {
                State::Open
            } else {
                State::Waiting
            };
            self.stand_open(state, now, effects);
        }

        self.count = None;
        clear(&mut self.alert, Effect::Cleared, effects);
        let was_held = self.hold_until.is_some();
        self.drop_hold(effects);
        match &mut self.last_word {
            LastWord::Customer(messages) if !was_held => messages.push(now),
            _ => self.last_word = LastWord::Customer(vec![now]),
        }
        self.start(Kind::CustomerWaits, now, effects);
        let is_first =
            matches!(&self.last_word, LastWord::Customer(messages) if messages.len() == 1);
        if is_first {
            self.start(Kind::AgentSilent, now, effects);
        }
    }

    fn close(&mut self, closer: Closer, effects: &mut Vec<Effect>) {
        self.disarm(effects);
        self.drop_hold(effects);
        self.last_word = LastWord::Nobody;
        self.state = State::Closed;
        effects.push(Effect::Closed(closer));
        self.resume_automation(effects);
    }

    fn drop_hold(&mut self, effects: &mut Vec<Effect>) {
        self.hold_since = None;
        if self.hold_until.take().is_some() {
            effects.push(Effect::HoldEnded { expired: None });
        }
    }

    fn notice_hold(&mut self, now: Ticks, effects: &mut Vec<Effect>) {
        if let Some(until) = self.hold_until.filter(|until| *until <= now) {
            self.end_hold(until, Some(until), effects);
        }
    }

    /// What counted before counts from zero.
    fn end_hold(&mut self, at: Ticks, expired: Option<Ticks>, effects: &mut Vec<Effect>) {
        (self.hold_since, self.hold_until) = (None, None);
        effects.push(Effect::HoldEnded { expired });
        match &mut self.last_word {
            LastWord::Nobody => {}
            LastWord::Opening(opened) => *opened = at,
            LastWord::Agent(messages) | LastWord::Customer(messages) => *messages = vec![at],
        }
        self.start_missing(effects);
    }
}

fn fired(cycle: Cycle, stage: Stage, due: Ticks, could_act: Ticks, alert: Alert) -> Effect {
    Effect::Fired {
        cycle: cycle.number,
        kind: cycle.kind,
        policy_version: cycle.policy_version,
        stage,
        due,
        could_act,
        alert,
    }
}

/// By the channel's time, if it tells one that is plausible. One in whole seconds may stand for any
/// instant of its second, and counts for the customer.
fn was_written_before(closed: Ticks, written_ago: Option<Ticks>, arrived: Ticks) -> bool {
    let plausible = written_ago.filter(|ago| *ago >= 0 && arrived - ago >= 0);
    plausible.is_some_and(|ago| {
        let written = arrived - ago;
        let is_whole_second = written % TICKS_IN_SECOND == 0;
        written < closed || (is_whole_second && written == closed)
    })
}
