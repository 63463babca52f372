//! What happens when a customer falls silent, and which settings are refused.

use jiff::Timestamp;

use crate::calendar::Calendar;
use crate::code::stable_codes;
use crate::cycle::CycleKind;
use crate::instant::{ceil_to_millis, plus_millis};
use crate::template::{Placeholder, Template};
use crate::time_value::{TimeUnit, TimeValue};
use crate::violation::{
    ClosingNote, MAX_TEXT_CHARS, Violation, check_https_url, check_length, check_note, check_tags,
    check_text,
};

/// What the stages of a cycle count from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Anchor {
    /// The agent's last message: each further one starts a new cycle.
    #[default]
    LastMessage,
    /// The agent's first unanswered message: further ones change nothing.
    FirstMessage,
}

stable_codes!(Anchor {
    LastMessage = 1,
    FirstMessage = 2
});

/// The two alerts; they come in pairs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Alerts {
    /// The yellow alert. Shorter than `second`.
    pub first: TimeValue,
    /// The red alert. At most as long as the close, if there is one.
    pub second: TimeValue,
}

/// The automatic close of a ticket whose customer is silent. Needs the bot's exit route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AutoClose {
    /// When to close.
    pub after: TimeValue,
    /// Tags that the close adds; see [`check_tags`].
    pub tags: Vec<String>,
    /// The note that the close leaves.
    pub note: Option<ClosingNote>,
    /// What is sent to the customer after the close: 1 to 4,096 characters, with
    /// [`AutoClose::PLACEHOLDERS`].
    pub closing_text: Option<String>,
    /// Whether only tickets count in which an agent has written. If not, a ticket that no agent has
    /// written in yet counts from the customer's last message, or from its opening.
    pub only_after_first_agent_message: bool,
    /// Whether tickets count whose last word is the customer's, an agent having written before.
    pub close_while_customer_waits: bool,
    /// A ticket that carries one of these is never warned or closed; see [`check_tags`].
    pub exclude_tags: Vec<String>,
    /// The close counts from the delivery of its warning: for how long that is waited for after the
    /// acceptance, in wall-clock time. None: the close counts from the acceptance.
    pub max_delivery_wait: Option<TimeValue>,
}

impl AutoClose {
    /// What the closing text may insert.
    pub const PLACEHOLDERS: [Placeholder; 1] = [Placeholder::ContactName];
}

/// The warning to the customer before the close. Needs the automatic close.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// When to warn. Shorter than the close.
    pub after: TimeValue,
    /// The text: 1 to 4,096 characters, with [`Warning::PLACEHOLDERS`].
    pub text: String,
    /// An image to go with it: an absolute https URL of at most 2,048 characters.
    pub image_url: Option<String>,
}

impl Warning {
    /// What the warning's text may insert.
    pub const PLACEHOLDERS: [Placeholder; 2] = Placeholder::ALL;
}

/// What happens when a customer falls silent, or waits. All times of a cycle count from the same anchor.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct InactivityPolicy {
    /// What the stages count from.
    pub anchor: Anchor,
    /// The alerts; none for no alerts.
    pub alerts: Option<Alerts>,
    /// The automatic close; none for no close.
    pub auto_close: Option<AutoClose>,
    /// The warning; none for no warning.
    pub warning: Option<Warning>,
    /// The alerts of the agent's side, while a customer waits for an agent; none for no alerts.
    pub agent_alerts: Option<Alerts>,
    /// What business time is counted by; none for wall-clock time.
    pub calendar: Option<Calendar>,
}

impl InactivityPolicy {
    /// Whether there is anything to do in a cycle of this kind. `agent_has_written`: in the ticket, ever.
    pub fn counts(&self, kind: CycleKind, agent_has_written: bool) -> bool {
        match kind {
            CycleKind::CustomerSilent => {
                self.alerts.is_some() || self.auto_close.is_some() || self.warning.is_some()
            }
            CycleKind::CustomerWaits => self.auto_close.as_ref().is_some_and(|close| {
                if agent_has_written {
                    close.close_while_customer_waits
                } else {
                    !close.only_after_first_agent_message
                }
            }),
            CycleKind::AgentSilent => self.agent_alerts.is_some(),
        }
    }

    /// Whether a ticket with these tags is never warned or closed.
    pub fn excludes(&self, tags: &[String]) -> bool {
        self.auto_close
            .as_ref()
            .is_some_and(|close| tags.iter().any(|tag| close.exclude_tags.contains(tag)))
    }

    /// The instant at which so much time has passed since `from`, wall-clock or business time, rounded up
    /// to a whole millisecond.
    pub fn instant_after(&self, from: Timestamp, millis: i64) -> Timestamp {
        match &self.calendar {
            Some(calendar) => ceil_to_millis(calendar.add_open_time(from, millis)),
            None => plus_millis(from, millis),
        }
    }

    /// The configured time from the warning to the close in milliseconds, for a policy that has both.
    /// It is also what the warning says as the time left, since a late warning moves the close.
    pub fn warning_gap_ms(&self) -> Option<i64> {
        let close_ms = self.auto_close.as_ref()?.after.as_millis();
        let warning_ms = self.warning.as_ref()?.after.as_millis();
        Some((close_ms - warning_ms).max(0))
    }

    /// Checks all rules and returns every violation, with fields named as in a request that carries
    /// this policy in its field `policy`. `has_exit_route`: whether the bot has one.
    pub fn check(&self, has_exit_route: bool) -> Result<(), Vec<Violation>> {
        let mut violations = Vec::new();
        self.check_alerts(&mut violations);
        self.check_auto_close(has_exit_route, &mut violations);
        self.check_warning(&mut violations);
        self.check_agent_alerts(&mut violations);
        if self.calendar.is_some() {
            self.check_units(&mut violations);
        }
        if violations.is_empty() {
            Ok(())
        } else {
            Err(violations)
        }
    }

    fn check_alerts(&self, violations: &mut Vec<Violation>) {
        let Some(alerts) = self.alerts else {
            return;
        };
        if !alerts.first.is_shorter_than(alerts.second) {
            violations.push(Violation::new(
                "policy.alerts.first_alert",
                "must be shorter than second_alert",
            ));
        }
        let close_after = self.auto_close.as_ref().map(|close| close.after);
        if close_after.is_some_and(|close| close.is_shorter_than(alerts.second)) {
            violations.push(Violation::new(
                "policy.alerts.second_alert",
                "must not be longer than auto_close.close_after",
            ));
        }
    }

    fn check_auto_close(&self, has_exit_route: bool, violations: &mut Vec<Violation>) {
        let Some(auto_close) = &self.auto_close else {
            return;
        };
        if !has_exit_route {
            violations.push(Violation::new(
                "policy.auto_close",
                "needs the bot's exit route, which is not set",
            ));
        }
        violations.extend(check_tags("policy.auto_close.tags", &auto_close.tags));
        let field = "policy.auto_close.exclude_tags";
        violations.extend(check_tags(field, &auto_close.exclude_tags));
        for (index, tag) in auto_close.tags.iter().enumerate() {
            if auto_close.exclude_tags.contains(tag) {
                violations.push(Violation::new(
                    format!("policy.auto_close.tags[{index}]"),
                    "must not be one of exclude_tags",
                ));
            }
        }
        if auto_close.max_delivery_wait.is_some() && self.warning.is_none() {
            violations.push(Violation::new(
                "policy.auto_close.close_needs_delivery",
                "needs the warning, which is not set",
            ));
        }
        if let Some(note) = &auto_close.note {
            violations.extend(check_note("policy.auto_close.note", note));
        }
        if let Some(text) = &auto_close.closing_text {
            let field = "policy.auto_close.closing_text";
            check_template(field, text, &AutoClose::PLACEHOLDERS, violations);
        }
    }

    fn check_warning(&self, violations: &mut Vec<Violation>) {
        let Some(warning) = &self.warning else {
            return;
        };
        match &self.auto_close {
            None => violations.push(Violation::new(
                "policy.warning",
                "needs the automatic close, which is not set",
            )),
            Some(close) if !warning.after.is_shorter_than(close.after) => {
                violations.push(Violation::new(
                    "policy.warning.warn_after",
                    "must be shorter than auto_close.close_after",
                ));
            }
            Some(_) => {}
        }
        let field = "policy.warning.text";
        check_template(field, &warning.text, &Warning::PLACEHOLDERS, violations);
        if let Some(url) = &warning.image_url {
            check_https_url("policy.warning.image_url", url, violations);
        }
    }
}

impl InactivityPolicy {
    fn check_agent_alerts(&self, violations: &mut Vec<Violation>) {
        if let Some(alerts) = self.agent_alerts
            && !alerts.first.is_shorter_than(alerts.second)
        {
            violations.push(Violation::new(
                "policy.agent_alerts.first_alert",
                "must be shorter than second_alert",
            ));
        }
    }

    /// A business day has no one length.
    fn check_units(&self, violations: &mut Vec<Violation>) {
        let times = [
            (
                "policy.alerts.first_alert",
                self.alerts.map(|alerts| alerts.first),
            ),
            (
                "policy.alerts.second_alert",
                self.alerts.map(|alerts| alerts.second),
            ),
            (
                "policy.auto_close.close_after",
                self.auto_close.as_ref().map(|close| close.after),
            ),
            (
                "policy.warning.warn_after",
                self.warning.as_ref().map(|warning| warning.after),
            ),
            (
                "policy.agent_alerts.first_alert",
                self.agent_alerts.map(|alerts| alerts.first),
            ),
            (
                "policy.agent_alerts.second_alert",
                self.agent_alerts.map(|alerts| alerts.second),
            ),
        ];
        for (field, time) in times {
            if time.is_some_and(|time| time.unit() == TimeUnit::Day) {
                violations.push(Violation::new(
                    field,
                    "must not be in days where business time is counted: a business day has no one length",
                ));
            }
        }
    }
}

/// Checks a text that a customer will receive.
fn check_template(
    field: &str,
    text: &str,
    allowed: &[Placeholder],
    violations: &mut Vec<Violation>,
) {
    if text.trim().is_empty() {
        violations.push(Violation::new(field, "must not be blank"));
    }
    check_length(field, text, MAX_TEXT_CHARS, violations);
    check_text(field, text, violations);
    if let Err(error) = Template::parse(text, allowed) {
        violations.push(Violation::new(field, error.to_string()));
    }
}
