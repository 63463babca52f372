//! Policies written shortly, and a desk with a timer that knows only what a real one is told.

use jiff::Timestamp;
use plazo_domain::{
    Advance, Alert, Alerts, Anchor, AutoClose, Clock, InactivityPolicy, TimeUnit, TimeValue,
    Warning, advance,
};

/// The instant `millis` after the ticket's opening.
pub(crate) fn at_ms(millis: i64) -> Timestamp {
    const OPENED_AT_MS: i64 = 1_700_000_000_000;
    Timestamp::from_millisecond(OPENED_AT_MS + millis).expect("in range")
}

/// The instant `seconds` after the ticket's opening.
pub(crate) fn at_s(seconds: i64) -> Timestamp {
    at_ms(seconds * 1_000)
}

pub(crate) fn seconds(value: i32) -> TimeValue {
    TimeValue::new(value, TimeUnit::Second).expect("a valid time")
}

/// The times of a policy in seconds.
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
            }),
            warning: self.warning.map(|after| Warning {
                after: seconds(after),
                text: "Are you there?".to_owned(),
                image_url: None,
            }),
        }
    }
}

/// A ticket's clock with its policies, and a reminder that is set anew only when the generation rises or
/// a look has answered: what the invariant of [`Clock`] promises to be enough.
pub(crate) struct Desk {
    pub(crate) clock: Clock,
    /// Version n is the policy with index n - 1. The last one is in force.
    policies: Vec<InactivityPolicy>,
    armed_generation: i64,
    reminder_at: Option<Timestamp>,
}

impl Desk {
    pub(crate) fn new(policy: InactivityPolicy) -> Self {
        let clock = Clock::new();
        Self {
            armed_generation: clock.generation(),
            reminder_at: None,
            clock,
            policies: vec![policy],
        }
    }

    pub(crate) fn set_policy(&mut self, policy: InactivityPolicy) {
        self.policies.push(policy);
    }

    pub(crate) fn agent_wrote(&mut self, now: Timestamp) -> Option<i32> {
        let policy = self.policies.last().expect("there is a first policy");
        let version = i64::try_from(self.policies.len()).expect("few policies");
        let started = self.clock.agent_wrote(now, version, policy);
        self.relay();
        started
    }

    pub(crate) fn customer_wrote(&mut self) -> Option<Alert> {
        let removed = self.clock.customer_wrote();
        self.relay();
        removed
    }

    pub(crate) fn closed(&mut self) -> Option<Alert> {
        let removed = self.clock.closed();
        self.relay();
        removed
    }

    pub(crate) fn warning_accepted(&mut self, cycle: i32, at: Timestamp, now: Timestamp) -> bool {
        let policy = self.policy_of_cycle();
        let is_news = self.clock.warning_accepted(cycle, at, now, &policy);
        self.relay();
        is_news
    }

    /// When the timer will look next.
    pub(crate) fn reminder_at(&self) -> Option<Timestamp> {
        self.reminder_at
    }

    /// Looks at the ticket if the timer has a reason to. Returns the number of the running cycle and
    /// what happened.
    pub(crate) fn look(&mut self, now: Timestamp) -> Option<(i32, Advance)> {
        self.reminder_at.filter(|at| *at <= now)?;
        let cycle = self.clock.last_cycle();
        let policy = self.policy_of_cycle();
        let advance = advance(&mut self.clock, &policy, now);
        self.reminder_at = self.clock.next_due_at();
        self.armed_generation = self.clock.generation();
        Some((cycle, advance))
    }

    fn policy_of_cycle(&self) -> InactivityPolicy {
        let Some(cycle) = self.clock.cycle() else {
            return InactivityPolicy::default();
        };
        let index = usize::try_from(cycle.policy_version - 1).expect("versions begin at 1");
        self.policies.get(index).expect("a known version").clone()
    }

    fn relay(&mut self) {
        if self.clock.generation() != self.armed_generation {
            self.armed_generation = self.clock.generation();
            self.reminder_at = self.clock.next_due_at();
        }
    }
}
