//! Policies written shortly, and a desk that does with the domain's functions what a service does, with a
//! timer that knows only what a real one is told.

use jiff::Timestamp;
use jiff::civil::Weekday;
use plazo_domain::{
    AgentPresence, Alerts, Anchor, AutoClose, Automation, AutomationPause, Calendar, CalendarSpec,
    Clock, Cycle, InForce, InactivityPolicy, OpenInterval, Policies, RunningHold, TicketState,
    TimeUnit, TimeValue, Warning, WarningReport, WeeklyInterval, advance, hold_until,
    supersedes_close,
};
use plazo_model as model;
use plazo_model::{Closer, Effect, Event, Input, Pause, Scope, Settings, Side, TICK_MS, Ticks};

use crate::seen::{
    instant, seen_alert, seen_cycle, tell_acted, tell_change, tell_ended, tell_paused,
    tell_removed, tell_started, tick_of,
};

/// The instant `millis` after the ticket's opening.
pub(crate) fn at_ms(millis: i64) -> Timestamp {
    Timestamp::from_millisecond(model::START_MS + millis).expect("in range")
}

/// The instant `seconds` after the ticket's opening.
pub(crate) fn at_s(seconds: i64) -> Timestamp {
    at_ms(seconds * 1_000)
}

pub(crate) fn seconds(value: impl TryInto<i32>) -> TimeValue {
    let value = value.try_into().ok().expect("few seconds");
    TimeValue::new(value, TimeUnit::Second).expect("a valid time")
}

/// The times of a policy in seconds; all options have their defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Times {
    pub(crate) anchor: Anchor,
    pub(crate) alerts: Option<(i32, i32)>,
    pub(crate) close: Option<i32>,
    pub(crate) warning: Option<i32>,
}

/// Alerts 10/20, warning 25, close 30, as in the examples of the product's description.
pub(crate) const EXAMPLE: Times = Times {
    anchor: Anchor::LastMessage,
    alerts: Some((10, 20)),
    close: Some(30),
    warning: Some(25),
};

impl Times {
    pub(crate) fn policy(&self) -> InactivityPolicy {
        InactivityPolicy {
            anchor: self.anchor,
            alerts: self.alerts.map(|(first, second)| Alerts {
                first: seconds(first),
                second: seconds(second),
            }),
            auto_close: self.close.map(|after| AutoClose {
                after: seconds(after),
                tags: Vec::new(),
                note: None,
                closing_text: None,
                only_after_first_agent_message: true,
                close_while_customer_waits: false,
                exclude_tags: Vec::new(),
                max_delivery_wait: None,
            }),
            warning: self.warning.map(warning_after),
            agent_alerts: None,
            calendar: None,
        }
    }
}

fn warning_after(after: impl TryInto<i32>) -> Warning {
    Warning {
        after: seconds(after),
        text: "Are you there?".to_owned(),
        image_url: None,
    }
}

/// The domain's form of a policy of a story.
pub(crate) fn real_policy(policy: &model::Policy, week: &[model::OpenMinutes]) -> InactivityPolicy {
    let alerts = |alerts: Option<(i64, i64)>| {
        alerts.map(|(first, second)| Alerts {
            first: seconds(first),
            second: seconds(second),
        })
    };
    let close = policy.close.as_ref();
    InactivityPolicy {
        anchor: match policy.anchor {
            model::Anchor::Last => Anchor::LastMessage,
            model::Anchor::First => Anchor::FirstMessage,
        },
        alerts: alerts(policy.alerts),
        auto_close: close.map(|close| AutoClose {
            after: seconds(close.after_s),
            tags: Vec::new(),
            note: None,
            closing_text: None,
            only_after_first_agent_message: close.only_after_first_agent_message,
            close_while_customer_waits: close.while_customer_waits,
            exclude_tags: close.exclude_tags.iter().map(u8::to_string).collect(),
            max_delivery_wait: close.max_delivery_wait_s.map(seconds),
        }),
        warning: close
            .and_then(|close| close.warn_after_s)
            .map(warning_after),
        agent_alerts: alerts(policy.agent_alerts),
        calendar: policy.in_business_time.then(|| calendar(week)),
    }
}

fn calendar(week: &[model::OpenMinutes]) -> Calendar {
    const MINUTES_IN_DAY: i64 = 1_440;
    let weekly = week.iter().map(|open| {
        let day = i8::try_from(open.from / MINUTES_IN_DAY).expect("a day of the week");
        let minute_of_day = |minute: i64| {
            u16::try_from(minute - i64::from(day) * MINUTES_IN_DAY).expect("a minute of that day")
        };
        WeeklyInterval {
            weekday: Weekday::from_monday_zero_offset(day).expect("a day of the week"),
            open: OpenInterval {
                start_minute: minute_of_day(open.from),
                end_minute: minute_of_day(open.until),
            },
        }
    });
    let spec = CalendarSpec {
        time_zone: "UTC".to_owned(),
        week: weekly.collect(),
        exceptions: Vec::new(),
    };
    Calendar::new(spec).expect("a valid calendar")
}

fn real_pause(pause: Pause) -> AutomationPause {
    match pause {
        Pause::ForSeconds(length) => AutomationPause::For(seconds(length)),
        Pause::UntilCompleted => AutomationPause::UntilCompleted,
    }
}

/// The policy with this version: version n has the index n - 1.
pub(crate) fn policy_by_version(
    versions: &[InactivityPolicy],
    version: i64,
) -> Option<&InactivityPolicy> {
    versions.get(usize::try_from(version - 1).expect("versions begin at 1"))
}

/// A close by inactivity.
#[derive(Debug, Clone, Copy)]
struct InactivityClose {
    at: Timestamp,
    state_before: TicketState,
    ended_pause: Automation,
}

/// A policy with its version.
type Version = (i64, InactivityPolicy);

/// A ticket with the desk around it. Its reminder is set anew only when the generation rises or a look has
/// answered: what the invariant of [`Clock`] promises to be enough.
pub(crate) struct Desk {
    pub(crate) clock: Clock,
    settings: Settings,
    bot: Version,
    queues: Vec<Option<Version>>,
    /// Version n has the index n - 1.
    versions: Vec<InactivityPolicy>,
    state: TicketState,
    is_unlinked: bool,
    presence: AgentPresence,
    is_away: bool,
    queue: Option<usize>,
    tags: Vec<String>,
    /// The last close by inactivity, until something opens the ticket.
    inactivity_close: Option<InactivityClose>,
    /// While it is on hold.
    held_since: Option<Timestamp>,
    armed_generation: i64,
    reminder_at: Option<Timestamp>,
}

impl Desk {
    pub(crate) fn new(settings: &Settings) -> Self {
        let mut versions = vec![real_policy(&settings.bot, &settings.week)];
        let bot = (1, versions[0].clone());
        let mut queues = Vec::new();
        for queue in &settings.queues {
            queues.push(queue.as_ref().map(|policy| {
                versions.push(real_policy(policy, &settings.week));
                (
                    last_version(&versions),
                    versions[versions.len() - 1].clone(),
                )
            }));
        }
        let clock = Clock::new();
        Self {
            armed_generation: clock.generation(),
            reminder_at: None,
            clock,
            settings: settings.clone(),
            bot,
            queues,
            versions,
            state: TicketState::when_opened(settings.opens_with_agent),
            is_unlinked: false,
            presence: if settings.opens_with_agent {
                AgentPresence::Present
            } else {
                AgentPresence::Gone
            },
            is_away: false,
            queue: None,
            tags: Vec::new(),
            inactivity_close: None,
            held_since: None,
        }
    }

    fn in_force(&self) -> Version {
        let of_queue = self.queue.and_then(|queue| self.queues[queue].clone());
        of_queue.unwrap_or_else(|| self.bot.clone())
    }

    fn policy_of(&self, cycle: Option<&Cycle>) -> Option<&InactivityPolicy> {
        policy_by_version(&self.versions, cycle?.policy_version)
    }

    fn with_in_force<T>(&mut self, change: impl FnOnce(&mut Clock, InForce<'_>) -> T) -> T {
        let (version, policy) = self.in_force();
        let in_force = InForce {
            version,
            policy: &policy,
            is_excluded: policy.excludes(&self.tags),
        };
        change(&mut self.clock, in_force)
    }

    /// What every change does in the end: the timer is told when the generation has risen.
    fn relay(&mut self) {
        if self.clock.state().hold_until.is_none() {
            self.held_since = None;
        }
        if self.clock.generation() != self.armed_generation {
            self.armed_generation = self.clock.generation();
            self.reminder_at = self.clock.next_due_at();
        }
    }

    fn stand_open(&mut self, state: TicketState, now: Timestamp, effects: &mut Vec<Effect>) {
        self.is_open_as(state);
        let pause = real_pause(self.settings.automation_pause);
        let change = self.clock.pause_automation(now, pause);
        if change.is_of_kind() {
            tell_paused(change, effects);
        }
    }

    fn is_open_as(&mut self, state: TicketState) {
        self.state = state;
        self.is_unlinked = false;
        self.inactivity_close = None;
    }

    fn hold(&mut self, length: TimeValue, now: Timestamp, effects: &mut Vec<Effect>) {
        let until = self.clock.state().hold_until;
        let running = self
            .held_since
            .zip(until)
            .map(|(began_at, until)| RunningHold { began_at, until });
        let longest = seconds(self.settings.max_hold_s);
        let until = hold_until(now, Some(length), longest, running).expect("short enough");
        self.held_since.get_or_insert(now);
        tell_removed(self.clock.hold(until), effects);
    }

    fn happens(&mut self, event: &Event, now: Timestamp, effects: &mut Vec<Effect>) {
        match event {
            Event::Agent => {
                self.stand_open(self.state.after_agent_message(), now, effects);
                let running = self.policy_of(self.clock.cycle()).cloned();
                let change = self.with_in_force(|clock, in_force| {
                    clock.agent_wrote(now, Some(in_force), running.as_ref())
                });
                tell_change(&change, now, effects);
            }
            Event::Customer { written_ago } => self.customer_wrote(*written_ago, now, effects),
            Event::System | Event::Note => {}
            Event::Hold { max_s } => self.hold(seconds(*max_s), now, effects),
            Event::Resume => {
                let started =
                    self.with_in_force(|clock, in_force| clock.resume(now, Some(in_force)));
                effects.push(Effect::HoldEnded { expired: None });
                tell_started(&started.expect("it is on hold"), effects);
            }
            Event::Transfer(queue) => {
                tell_ended(self.clock.transferred(), effects);
                self.state = TicketState::Waiting;
                self.presence = AgentPresence::Gone;
                self.queue = Some(*queue);
            }
            Event::Assign => {
                self.presence = AgentPresence::Present;
                self.stand_open(self.state.after_assign(), now, effects);
            }
            Event::SetOpen | Event::Reopen => self.stand_open(TicketState::Open, now, effects),
            Event::Close => self.close(Closer::Agent, effects),
            Event::Unlink => {
                if self.state.is_open() {
                    self.close(Closer::Unlinking, effects);
                }
                self.is_unlinked = true;
                self.inactivity_close = None;
            }
            Event::TagAdded(tag) => {
                self.tags.push(tag.to_string());
                self.tags_changed(now);
            }
            Event::TagRemoved(tag) => {
                self.tags.retain(|carried| *carried != tag.to_string());
                self.tags_changed(now);
            }
            Event::Settings {
                scope,
                policy,
                applies,
            } => self.settings_changed(*scope, policy.as_ref(), *applies, now, effects),
            Event::PauseAutomation(pause) => {
                let change = self.clock.pause_automation(now, real_pause(*pause));
                if change.is_any() {
                    tell_paused(change, effects);
                }
            }
            Event::ResumeAutomation => {
                if self.clock.resume_automation() {
                    effects.push(Effect::AutomationResumed);
                }
            }
            Event::Away(is_away) => self.is_away = *is_away,
        }
    }

    fn customer_wrote(
        &mut self,
        written_ago: Option<Ticks>,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let written_at = written_ago
            .map(|ago| now - jiff::SignedDuration::from_millis(ago * TICK_MS))
            .filter(|at| *at <= now && *at >= at_s(0));
        let grace = seconds(self.settings.late_reply_grace_s);
        let superseded = self.inactivity_close.filter(|close| {
            written_at.is_some_and(|at| supersedes_close(close.at, grace, at, now))
        });
        if let Some(close) = superseded {
            effects.push(Effect::Superseded);
            self.is_open_as(close.state_before);
            let pause = real_pause(self.settings.automation_pause);
            tell_paused(
                self.clock.restore_pause(close.ended_pause, now, pause),
                effects,
            );
        } else if !self.state.is_open() {
            let presence = match self.presence {
                AgentPresence::Present if self.is_away => AgentPresence::Away,
                presence => presence,
            };
            self.stand_open(self.state.after_customer_message(presence), now, effects);
        }
        let change =
            self.with_in_force(|clock, in_force| clock.customer_wrote(now, Some(in_force)));
        tell_change(&change, now, effects);
    }

    fn close(&mut self, closer: Closer, effects: &mut Vec<Effect>) {
        tell_ended(self.clock.closed(), effects);
        effects.push(Effect::Closed(closer));
        self.state = TicketState::Closed;
    }

    fn tags_changed(&mut self, now: Timestamp) {
        if let Some(policy) = self.policy_of(self.clock.cycle()).cloned() {
            let is_excluded = policy.excludes(&self.tags);
            self.clock.set_excluded(is_excluded, now, &policy);
        }
    }

    fn settings_changed(
        &mut self,
        scope: Scope,
        policy: Option<&model::Policy>,
        applies: bool,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let (before, _) = self.in_force();
        let saved = policy.map(|policy| {
            let policy = real_policy(policy, &self.settings.week);
            self.versions.push(policy.clone());
            (last_version(&self.versions), policy)
        });
        match (scope, saved) {
            (Scope::Bot, Some(saved)) => self.bot = saved,
            (Scope::Bot, None) => {}
            (Scope::Queue(queue), saved) => self.queues[queue] = saved,
        }
        if applies && self.in_force().0 != before {
            let versions = self.versions.clone();
            let change = self.with_in_force(|clock, in_force| {
                clock.apply_policy(
                    in_force,
                    |version| policy_by_version(&versions, version),
                    now,
                )
            });
            tell_started(&change.started, effects);
        }
    }
}

impl Side for Desk {
    fn apply(&mut self, input: &Input, tick: Ticks) -> Vec<Effect> {
        let mut effects = Vec::new();
        let now = instant(tick);
        match input {
            Input::Opened => {
                self.stand_open(self.state, now, &mut effects);
                let started =
                    self.with_in_force(|clock, in_force| clock.opened(now, Some(in_force)));
                tell_started(&started, &mut effects);
            }
            Input::Event(event) => self.happens(event, now, &mut effects),
            Input::Accepted { cycle, at } | Input::Settled { cycle, at } => {
                let report = match input {
                    Input::Accepted { .. } => WarningReport::Accepted,
                    _ => WarningReport::Settled,
                };
                if let Some(policy) = self.policy_of(self.clock.cycle()).cloned() {
                    let at = instant(*at);
                    self.clock
                        .warning_reported(*cycle, report, at, now, &policy);
                }
            }
        }
        self.relay();
        effects
    }

    fn look(&mut self, tick: Ticks) -> Vec<Effect> {
        let now = instant(tick);
        if self.reminder_at.is_none_or(|at| at > now) {
            return Vec::new();
        }
        let (version, in_force) = self.in_force();
        let policies = Policies {
            cycle: self.policy_of(self.clock.cycle()),
            agent_cycle: self.policy_of(self.clock.agent_cycle()),
            in_force: Some(InForce {
                version,
                policy: &in_force,
                is_excluded: in_force.excludes(&self.tags),
            }),
        };
        let mut clock = self.clock.clone();
        let done = advance(&mut clock, policies, now);
        self.clock = clock;
        self.reminder_at = self.clock.next_due_at();
        self.armed_generation = self.clock.generation();
        self.relay();

        let mut effects = Vec::new();
        for acted in &done.effects {
            tell_acted(acted, &mut effects);
        }
        if let Some(ended) = done.closed {
            tell_ended(ended, &mut effects);
            effects.push(Effect::Closed(Closer::Inactivity));
            self.inactivity_close = Some(InactivityClose {
                at: now,
                state_before: self.state,
                ended_pause: ended.pause,
            });
            self.state = TicketState::Closed;
        }
        effects
    }

    fn view(&self) -> model::View {
        let state = self.clock.state();
        model::View {
            state: match self.state {
                TicketState::Waiting => model::State::Waiting,
                TicketState::Open => model::State::Open,
                TicketState::Closed => model::State::Closed,
            },
            is_unlinked: self.is_unlinked,
            hold_since: self.held_since.map(tick_of),
            hold_until: state.hold_until.map(tick_of),
            alert: seen_alert(state.alert),
            agent_alert: seen_alert(state.agent_alert),
            cycle: state.cycle.as_ref().map(seen_cycle),
            agent_cycle: state.agent_cycle.as_ref().map(seen_cycle),
            automation: match state.automation {
                Automation::Running => model::Automation::Running,
                Automation::PausedUntil(at) => model::Automation::Until(tick_of(at)),
                Automation::PausedUntilCompleted => model::Automation::UntilCompleted,
            },
        }
    }
}

fn last_version(versions: &[InactivityPolicy]) -> i64 {
    i64::try_from(versions.len()).expect("few versions")
}
