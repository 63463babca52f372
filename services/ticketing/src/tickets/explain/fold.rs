//! The fold over a ticket's events.

use std::collections::HashMap;

use jiff::Timestamp;
use plazo_domain::{Alert, Cycle, CycleKind, InactivityPolicy, Stage, StageSet};
use plazo_proto::common::v1::AuthorKind;
use plazo_proto::ticketing::v1::ticket_event::Payload;
use plazo_proto::ticketing::v1::{
    Automation, CycleEnd, CycleStart, ExplainedHold, HoldEnded, InactivityCycle, MessageKind,
    MessageRecorded, PolicyApplied, StageFired, TicketEvent,
};

use super::closes::TracedClose;
use super::cycles::{Fired, TracedCycle};
use super::{Story, words};
use crate::instants::{from_proto, to_proto};

/// The words of the whole story end with so many bytes; the oldest go first.
const MAX_TEXT_BYTES: usize = 512 * 1024;

/// What the events up to some point tell.
pub(super) struct Fold<'a> {
    pub(super) story: &'a Story<'a>,
    pub(super) cycles: Vec<TracedCycle>,
    pub(super) closes: Vec<TracedClose>,
    pub(super) holds: Vec<ExplainedHold>,
    /// Where in `cycles` the running one about the customer is.
    pub(super) running: Option<usize>,
    /// Where in `cycles` the running one of the agent's side is.
    pub(super) agents_side: Option<usize>,
    pub(super) tags: Vec<String>,
    pub(super) is_on_hold: bool,
    /// The alert about the customer that shows.
    pub(super) alert: Alert,
    /// What last happened that removes alerts.
    pub(super) cause: &'static str,
    /// Until when the bot's automation is paused, as far as events tell; None while it runs, or before any told.
    pub(super) pause: Option<Automation>,
    /// What happened at the instants that cycles may count from.
    origins: HashMap<Timestamp, &'static str>,
    lines: Vec<String>,
    pub(super) is_cut: bool,
}

impl<'a> Fold<'a> {
    /// Before the first event.
    pub(super) fn new(story: &'a Story<'a>) -> Self {
        let mut fold = Self {
            story,
            cycles: Vec::new(),
            closes: Vec::new(),
            holds: Vec::new(),
            running: None,
            agents_side: None,
            tags: first_tags(story),
            is_on_hold: false,
            alert: Alert::None,
            cause: "",
            pause: None,
            origins: HashMap::new(),
            lines: Vec::new(),
            is_cut: false,
        };
        if story.is_truncated {
            fold.begin_before();
        }
        fold
    }

    /// The running cycles that began before the first event that is known.
    fn begin_before(&mut self) {
        let first_started = self.story.events.iter().find_map(|event| {
            let starts = super::starts(event);
            starts.first().map(|start| start.cycle)
        });
        let ticket = self.story.ticket;
        let mut running: Vec<&InactivityCycle> = ticket
            .inactivity_cycle
            .iter()
            .chain(&ticket.agent_cycle)
            .filter(|cycle| first_started.is_none_or(|first| cycle.cycle < first))
            .collect();
        running.sort_by_key(|cycle| cycle.cycle);
        for cycle in running {
            let start = CycleStart {
                cycle: cycle.cycle,
                kind: cycle.kind,
                anchor_time: cycle.anchor_time,
                policy_version: cycle.policy_version,
            };
            let Some(index) = self.add(&start) else {
                continue;
            };
            let over = cycle.stages.iter().filter(|stage| stage.over);
            let over = over.filter_map(|stage| i16::try_from(stage.stage).ok());
            let fired_later = |stage: &Stage| {
                self.story.events.iter().any(|event| {
                    matches!(&event.payload, Some(Payload::StageFired(fired))
                        if fired.cycle == start.cycle && fired.stage == i32::from(stage.code()))
                })
            };
            self.cycles[index].cycle.done = over
                .filter_map(Stage::from_code)
                .filter(|stage| !fired_later(stage))
                .collect();
        }
    }

    /// All lines, the oldest first, as many of the last as fit.
    pub(super) fn text(&mut self) -> String {
        let mut bytes = 0;
        let fitting = self.lines.iter().rev().take_while(|line| {
            bytes += line.len() + 1;
            bytes <= MAX_TEXT_BYTES
        });
        let skipped = self.lines.len() - fitting.count();
        self.is_cut |= skipped > 0;
        let mut text = String::new();
        if self.is_cut || self.story.is_truncated {
            text.push_str("What happened before the first line is left out here: the ticket has a long history.\n");
        }
        for line in &self.lines[skipped..] {
            text.push_str(line);
            text.push('\n');
        }
        text
    }

    /// A statement, which also belongs to some of the cycles.
    pub(super) fn say(&mut self, at: Timestamp, cycles: &[usize], statement: &str) {
        let line = format!("{}  {statement}", words::instant(at));
        for &index in cycles {
            self.cycles[index].say(&line);
        }
        self.lines.push(line);
    }

    pub(super) fn policy(&self, version: i64) -> Option<&'a InactivityPolicy> {
        self.story.policies.get(&version).map(|policy| &**policy)
    }

    pub(super) fn policy_of(&self, index: usize) -> Option<&'a InactivityPolicy> {
        self.policy(self.cycles[index].cycle.policy_version)
    }

    pub(super) fn find(&self, number: i32) -> Option<usize> {
        // Numbers only grow.
        self.cycles
            .binary_search_by_key(&number, |traced| traced.cycle.number)
            .ok()
    }

    /// Takes the event at a place of the story.
    pub(super) fn take(&mut self, place: usize) {
        let event = &self.story.events[place];
        let Some(at) = event.event_time.as_ref().and_then(from_proto) else {
            return;
        };
        let by = words::author(event.author.as_ref());
        match &event.payload {
            Some(Payload::MessageRecorded(recorded)) => self.message(event, at, recorded),
            Some(Payload::StageFired(fired)) => self.stage(at, fired),
            Some(Payload::HoldEnded(ended)) => self.hold_ended(at, &by, ended),
            Some(Payload::PolicyApplied(applied)) => self.policy_applied(at, applied),
            Some(Payload::Opened(opened)) => {
                self.origins.insert(at, "the opening");
                self.opened(at, opened);
                self.begin(at, &opened.cycles);
            }
            Some(payload) => self.take_other(place, at, &by, payload),
            None => {}
        }
    }

    /// Cycles begin.
    fn begin(&mut self, at: Timestamp, starts: &[CycleStart]) {
        for start in starts {
            if let Some(index) = self.add(start) {
                let statement = self.beginning(index);
                self.say(at, &[index], &statement);
            }
        }
    }

    /// Adds a cycle that runs. None when its start can't be read.
    fn add(&mut self, start: &CycleStart) -> Option<usize> {
        let kind = CycleKind::from_code(i16::try_from(start.kind).ok()?)?;
        let anchor_at = start.anchor_time.as_ref().and_then(from_proto)?;
        let policy = self.policy(start.policy_version);
        let cycle = Cycle {
            number: start.cycle,
            kind,
            anchor_at,
            policy_version: start.policy_version,
            done: StageSet::EMPTY,
            is_excluded: kind != CycleKind::AgentSilent
                && policy.is_some_and(|policy| policy.excludes(&self.tags)),
            warning_accepted_at: None,
            warning_settled_at: None,
            changed_at: None,
            due_at: None,
        };
        let by_kind = match kind {
            CycleKind::CustomerSilent => "the agent's message",
            CycleKind::CustomerWaits | CycleKind::AgentSilent => "the customer's message",
        };
        let origin = self.origins.get(&anchor_at).copied().unwrap_or(by_kind);
        let index = self.cycles.len();
        self.cycles.push(TracedCycle::new(*start, cycle, origin));
        let place = match kind {
            CycleKind::AgentSilent => &mut self.agents_side,
            CycleKind::CustomerSilent | CycleKind::CustomerWaits => &mut self.running,
        };
        *place = Some(index);
        Some(index)
    }

    /// A running cycle ends.
    pub(super) fn end(&mut self, index: usize, end: CycleEnd, at: Timestamp, why: &str) {
        self.cycles[index].end = Some((end, at));
        for place in [&mut self.running, &mut self.agents_side] {
            place.take_if(|running| *running == index);
        }
        if end != CycleEnd::ClosedByInactivity {
            let statement = self.ending(index, why);
            self.say(at, &[index], &statement);
        }
    }

    /// Both cycles end.
    pub(super) fn end_all(&mut self, end: CycleEnd, at: Timestamp, why: &str) {
        for index in self.running.into_iter().chain(self.agents_side) {
            self.end(index, end, at, why);
        }
    }

    fn message(&mut self, event: &TicketEvent, at: Timestamp, recorded: &MessageRecorded) {
        let by = words::author(event.author.as_ref());
        let kind = event.author.map(|author| author.kind());
        let is_chat = recorded.message.as_ref().is_none_or(|message| {
            matches!(message.kind(), MessageKind::Chat | MessageKind::Unspecified)
        });
        match kind {
            Some(AuthorKind::Customer) if is_chat => self.customer_wrote(at, recorded),
            Some(AuthorKind::Agent) if is_chat => self.agent_wrote(at, &by, recorded),
            _ => {
                let what = match recorded
                    .message
                    .as_ref()
                    .map(plazo_proto::ticketing::v1::Message::kind)
                {
                    Some(MessageKind::Note) => format!("{by} left a note"),
                    Some(MessageKind::Comment) => format!("{by} left a comment"),
                    _ if kind == Some(AuthorKind::System) => "a message of the system".to_owned(),
                    _ => format!("{by} wrote"),
                };
                let running: Vec<usize> =
                    self.running.into_iter().chain(self.agents_side).collect();
                let statement = format!("{what}: that changes nothing about who waits");
                self.say(at, &running, &statement);
            }
        }
    }

    fn customer_wrote(&mut self, at: Timestamp, recorded: &MessageRecorded) {
        self.cause = "the customer answered";
        self.origins.insert(at, "the customer's message");
        self.say(at, &[], "the customer wrote");
        if let Some(index) = self.running {
            let goes_on = starts_side(&recorded.cycles, false);
            match self.cycles[index].cycle.kind {
                CycleKind::CustomerWaits if goes_on => {
                    self.end(index, CycleEnd::Restarted, at, "the customer wrote again");
                }
                _ => self.end(index, CycleEnd::Answered, at, "the customer answered"),
            }
        }
        if let Some(index) = self
            .agents_side
            .filter(|_| starts_side(&recorded.cycles, true))
        {
            self.end(index, CycleEnd::Restarted, at, "the customer wrote again");
        }
        self.begin(at, &recorded.cycles);
    }

    fn agent_wrote(&mut self, at: Timestamp, by: &str, recorded: &MessageRecorded) {
        self.cause = "an agent answered";
        self.origins.insert(at, "the agent's message");
        let counts_on = self.running.filter(|&index| {
            let policy = self.policy_of(index);
            self.cycles[index].cycle.kind == CycleKind::CustomerSilent
                && !starts_side(&recorded.cycles, false)
                && policy.is_some_and(|it| it.anchor == plazo_domain::Anchor::FirstMessage)
        });
        if let Some(index) = counts_on {
            let number = self.cycles[index].cycle.number;
            let statement = format!(
                "{by} wrote again: cycle {number} counts on, since the settings count from the first message that was not answered"
            );
            self.say(at, &[index], &statement);
        } else if self.is_on_hold {
            self.say(
                at,
                &[],
                &format!("{by} wrote: the ticket stays on hold, so nothing counts"),
            );
        } else {
            self.say(at, &[], &format!("{by} wrote"));
        }
        if let Some(index) = self.agents_side {
            self.end(index, CycleEnd::Answered, at, "the agent answered");
        }
        if let Some(index) = self.running.filter(|_| counts_on.is_none()) {
            let (end, why) = match self.cycles[index].cycle.kind {
                CycleKind::CustomerWaits => (CycleEnd::Answered, "the agent answered"),
                _ if starts_side(&recorded.cycles, false) => (
                    CycleEnd::Restarted,
                    "the agent wrote again, which begins a new one",
                ),
                _ => (
                    CycleEnd::PolicyApplied,
                    "the settings in force since have nothing to count",
                ),
            };
            self.end(index, end, at, why);
        }
        self.begin(at, &recorded.cycles);
    }

    fn stage(&mut self, at: Timestamp, told: &StageFired) {
        let stage = i16::try_from(told.stage).ok().and_then(Stage::from_code);
        let due_at = told.due_time.as_ref().and_then(from_proto);
        let (Some(stage), Some(due_at)) = (stage, due_at) else {
            return;
        };
        let alert = i16::try_from(told.alert).ok().and_then(Alert::from_code);
        let is_agents_side = told.kind == i32::from(CycleKind::AgentSilent.code());
        let could_act_at = told.could_act_time.as_ref().and_then(from_proto);
        let could_act_at = could_act_at.unwrap_or(due_at);
        let showed = self.alert;
        if !is_agents_side {
            self.alert = alert.unwrap_or(self.alert);
        }
        let Some(index) = self.find(told.cycle) else {
            let (name, late) = (words::stage(stage), words::lateness(could_act_at, at));
            let due = words::instant(due_at);
            let statement = format!("{name} of cycle {}, due at {due} ({late})", told.cycle);
            self.say(at, &[], &statement);
            return;
        };
        // What fires runs, whatever was thought of it.
        self.cycles[index].end = None;
        let place = if is_agents_side {
            &mut self.agents_side
        } else {
            &mut self.running
        };
        *place = Some(index);
        self.cycles[index].cycle.policy_version = told.policy_version;
        self.cycles[index].cycle.done.insert(stage);
        let fired = Fired {
            stage,
            due_at,
            could_act_at,
            at,
        };
        self.cycles[index].fired.push(fired);
        // A close is told with the reason, in the event after this one.
        if stage != Stage::Close {
            let statement = self.firing(index, fired, showed);
            self.say(at, &[index], &statement);
        }
    }

    fn hold_ended(&mut self, at: Timestamp, by: &str, ended: &HoldEnded) {
        self.is_on_hold = false;
        if let Some(hold) = self.holds.last_mut() {
            hold.end = ended.cause;
            hold.end_time = Some(to_proto(at));
        }
        let due_at = ended.due_time.as_ref().and_then(from_proto);
        let statement = super::other::hold_end(at, by, ended.cause(), due_at);
        self.say(at, &[], &statement);
        for start in &ended.cycles {
            if let Some(anchor_at) = start.anchor_time.as_ref().and_then(from_proto) {
                self.origins.insert(anchor_at, "the end of the hold");
            }
        }
        self.begin(at, &ended.cycles);
    }

    fn policy_applied(&mut self, at: Timestamp, applied: &PolicyApplied) {
        let version = applied.policy_version;
        self.say(
            at,
            &[],
            &format!("changed settings were applied to the open ticket: policy version {version} is in force"),
        );
        for index in self.running.into_iter().chain(self.agents_side) {
            let running = &self.cycles[index].cycle;
            if applied.ended_cycles.contains(&running.number) {
                let why = "the settings that were applied have nothing to count";
                self.end(index, CycleEnd::PolicyApplied, at, why);
            } else if running.policy_version < version {
                let is_excluded = running.kind != CycleKind::AgentSilent
                    && self
                        .policy(version)
                        .is_some_and(|it| it.excludes(&self.tags));
                let traced = &mut self.cycles[index];
                traced.cycle.policy_version = version;
                traced.cycle.is_excluded = is_excluded;
                traced.kept_until = Some((at, "the settings were applied only at"));
                let statement = self.recomputed(index);
                self.say(at, &[index], &statement);
            }
        }
        self.begin(at, &applied.cycles);
        for start in &applied.cycles {
            if let Some(index) = self.find(start.cycle) {
                let why = "the settings with which its cycle began were applied only at";
                self.cycles[index].kept_until = Some((at, why));
            }
        }
    }
}

/// Whether one of the cycles that began is of the agent's side, or of the customer's.
fn starts_side(starts: &[CycleStart], is_agents_side: bool) -> bool {
    let agents_side = i32::from(CycleKind::AgentSilent.code());
    starts
        .iter()
        .any(|start| (start.kind == agents_side) == is_agents_side)
}

/// The tags before the first event: none when it is the opening, else as the first event that tells of them implies.
fn first_tags(story: &Story<'_>) -> Vec<String> {
    for event in story.events {
        match &event.payload {
            Some(Payload::Opened(_)) => return Vec::new(),
            Some(Payload::TagsChanged(changed)) => {
                let mut tags = changed.tags.clone();
                tags.retain(|tag| !changed.added.contains(tag));
                tags.extend(changed.removed.iter().cloned());
                return tags;
            }
            Some(Payload::Closed(closed)) => return closed.tags.clone(),
            Some(Payload::Reopened(reopened)) => return reopened.tags.clone(),
            _ => {}
        }
    }
    story.ticket.tags.clone()
}
