//! Inactivity policies and lengths of time between the protos and the domain. The database keeps the
//! encoded proto, so handlers and stores both use this.

mod calendar;

use plazo_domain::{
    Alerts, Anchor, AutoClose, ClosingNote, InactivityPolicy, TimeUnit, TimeValue, TimeValueError,
    Violation, Warning,
};
use plazo_proto::common::v1 as common;
use plazo_proto::ticketing::v1 as proto;

use crate::validate::Checks;

pub use calendar::calendar_from_proto;

/// A unit from its number; none for zero and for numbers that stand for nothing.
pub fn unit_from_proto(number: i32) -> Option<TimeUnit> {
    i16::try_from(number).ok().and_then(TimeUnit::from_code)
}

/// A length of time. The error is none when the unit is not known.
pub fn time_value_from_proto(
    value: &common::TimeValue,
) -> Result<TimeValue, Option<TimeValueError>> {
    let unit = unit_from_proto(value.unit).ok_or(None)?;
    TimeValue::new(value.value, unit).map_err(Some)
}

/// A length of time with the unit that was set.
pub fn time_value_to_proto(value: TimeValue) -> common::TimeValue {
    common::TimeValue {
        value: value.value(),
        unit: value.unit().code().into(),
    }
}

/// A policy from a request, with what is wrong with the single values. Where violations were found, the
/// policy has harmless values in their place, so that [`InactivityPolicy::check`] can still find what
/// else is wrong, and finds nothing that isn't.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadPolicy {
    /// The policy, without the calendar. Not to be used when there are violations.
    pub policy: InactivityPolicy,
    /// Whether it counts business time, by the bot's calendar.
    pub business_time: bool,
    /// What is wrong, with fields named as in a request that carries the policy in its field `policy`.
    pub violations: Vec<Violation>,
}

/// Reads the values of a policy. The rules between them are [`InactivityPolicy::check`]'s.
pub fn policy_from_proto(policy: &proto::InactivityPolicy) -> ReadPolicy {
    let mut checks = Checks::new();
    let business_time = policy.business_time;
    let anchor = match policy.anchor {
        0 => Anchor::default(),
        number => i16::try_from(number)
            .ok()
            .and_then(Anchor::from_code)
            .unwrap_or_else(|| {
                checks.refuse("policy.anchor", "must be one of the known values");
                Anchor::default()
            }),
    };
    let policy = InactivityPolicy {
        anchor,
        alerts: policy
            .alerts
            .as_ref()
            .and_then(|alerts| read_alerts("policy.alerts", alerts, &mut checks)),
        auto_close: policy
            .auto_close
            .as_ref()
            .and_then(|close| read_auto_close(close, &mut checks)),
        warning: policy
            .warning
            .as_ref()
            .and_then(|warning| read_warning(warning, &mut checks)),
        agent_alerts: policy
            .agent_alerts
            .as_ref()
            .and_then(|alerts| read_alerts("policy.agent_alerts", alerts, &mut checks)),
        calendar: None,
    };
    ReadPolicy {
        policy,
        business_time,
        violations: checks.into_violations(),
    }
}

/// A policy as it was stored, with the calendar that it counts by; none when this program can't have stored it.
pub fn policy_from_stored(stored: &proto::InactivityPolicy) -> Option<InactivityPolicy> {
    let read = policy_from_proto(stored);
    if !read.violations.is_empty() {
        return None;
    }
    let calendar = match &stored.calendar {
        Some(calendar) if read.business_time => Some(calendar_from_proto(calendar).ok()?),
        None if !read.business_time => None,
        _ => return None,
    };
    Some(InactivityPolicy {
        calendar,
        ..read.policy
    })
}

/// The policy as it is read back and stored, with its version. `calendar` is what it counts by, if it counts business
/// time.
pub fn policy_to_proto(
    version: i64,
    policy: &InactivityPolicy,
    calendar: Option<proto::Calendar>,
) -> proto::InactivityPolicy {
    proto::InactivityPolicy {
        version,
        anchor: policy.anchor.code().into(),
        alerts: policy.alerts.map(alerts_to_proto),
        auto_close: policy
            .auto_close
            .as_ref()
            .map(|close| proto::AutoCloseSettings {
                close_after: Some(time_value_to_proto(close.after)),
                tags: close.tags.clone(),
                note: close.note.as_ref().map(|note| proto::ClosingNote {
                    category: note.category.clone(),
                    summary: note.summary.clone(),
                }),
                closing_text: close.closing_text.clone().unwrap_or_default(),
                only_after_first_agent_message: Some(close.only_after_first_agent_message),
                close_while_customer_waits: close.close_while_customer_waits,
                exclude_tags: close.exclude_tags.clone(),
                close_needs_delivery: close.max_delivery_wait.is_some(),
                max_delivery_wait: close.max_delivery_wait.map(time_value_to_proto),
            }),
        warning: policy
            .warning
            .as_ref()
            .map(|warning| proto::WarningSettings {
                warn_after: Some(time_value_to_proto(warning.after)),
                text: warning.text.clone(),
                image_url: warning.image_url.clone().unwrap_or_default(),
            }),
        agent_alerts: policy.agent_alerts.map(alerts_to_proto),
        business_time: calendar.is_some(),
        calendar,
    }
}

fn alerts_to_proto(alerts: Alerts) -> proto::AlertSettings {
    proto::AlertSettings {
        first_alert: Some(time_value_to_proto(alerts.first)),
        second_alert: Some(time_value_to_proto(alerts.second)),
    }
}

/// No value is shorter: always there.
fn shortest() -> Option<TimeValue> {
    TimeValue::new(1, TimeUnit::Second).ok()
}

/// No value is longer: always there.
fn longest() -> Option<TimeValue> {
    TimeValue::new(400, TimeUnit::Day).ok()
}

fn read_alerts(field: &str, alerts: &proto::AlertSettings, checks: &mut Checks) -> Option<Alerts> {
    let first = checks.time_value(&format!("{field}.first_alert"), alerts.first_alert.as_ref());
    let second = checks.time_value(
        &format!("{field}.second_alert"),
        alerts.second_alert.as_ref(),
    );
    // Without the second there is nothing that the first could be compared with.
    Some(Alerts {
        first: first.or_else(shortest)?,
        second: second?,
    })
}

fn read_auto_close(close: &proto::AutoCloseSettings, checks: &mut Checks) -> Option<AutoClose> {
    let after = checks.time_value("policy.auto_close.close_after", close.close_after.as_ref());
    Some(AutoClose {
        after: after.or_else(longest)?,
        tags: close.tags.clone(),
        note: close.note.as_ref().map(|note| ClosingNote {
            category: note.category.clone(),
            summary: note.summary.clone(),
        }),
        closing_text: filled(&close.closing_text),
        only_after_first_agent_message: close.only_after_first_agent_message.unwrap_or(true),
        close_while_customer_waits: close.close_while_customer_waits,
        exclude_tags: close.exclude_tags.clone(),
        max_delivery_wait: read_delivery_wait(close, checks),
    })
}

/// For how long the delivery of the warning is waited for; none when it is not.
fn read_delivery_wait(close: &proto::AutoCloseSettings, checks: &mut Checks) -> Option<TimeValue> {
    let field = "policy.auto_close.max_delivery_wait";
    match &close.max_delivery_wait {
        Some(_) if !close.close_needs_delivery => {
            checks.refuse(field, "must not be set without close_needs_delivery");
            None
        }
        None if close.close_needs_delivery => default_delivery_wait(),
        None => None,
        wait => checks.time_value(field, wait.as_ref()),
    }
}

/// Always there.
fn default_delivery_wait() -> Option<TimeValue> {
    TimeValue::new(10, TimeUnit::Minute).ok()
}

fn read_warning(warning: &proto::WarningSettings, checks: &mut Checks) -> Option<Warning> {
    let after = checks.time_value("policy.warning.warn_after", warning.warn_after.as_ref());
    Some(Warning {
        after: after.or_else(shortest)?,
        text: warning.text.clone(),
        image_url: filled(&warning.image_url),
    })
}

fn filled(text: &str) -> Option<String> {
    if text.is_empty() {
        None
    } else {
        Some(text.to_owned())
    }
}
