//! Inactivity policies and lengths of time between the protos and the domain. The database keeps the
//! encoded proto, so handlers and stores both use this.

use plazo_domain::{
    Alerts, Anchor, AutoClose, ClosingNote, InactivityPolicy, TimeUnit, TimeValue, TimeValueError,
    Violation, Warning,
};
use plazo_proto::common::v1 as common;
use plazo_proto::ticketing::v1 as proto;

use crate::validate::Checks;

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
    /// The policy. Not to be used when there are violations.
    pub policy: InactivityPolicy,
    /// What is wrong, with fields named as in a request that carries the policy in its field `policy`.
    pub violations: Vec<Violation>,
}

/// Reads the values of a policy. The rules between them are [`InactivityPolicy::check`]'s.
pub fn policy_from_proto(policy: &proto::InactivityPolicy) -> ReadPolicy {
    let mut checks = Checks::new();
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
            .and_then(|alerts| read_alerts(alerts, &mut checks)),
        auto_close: policy
            .auto_close
            .as_ref()
            .and_then(|close| read_auto_close(close, &mut checks)),
        warning: policy
            .warning
            .as_ref()
            .and_then(|warning| read_warning(warning, &mut checks)),
    };
    ReadPolicy {
        policy,
        violations: checks.into_violations(),
    }
}

/// The policy as it is read back and stored, with its version.
pub fn policy_to_proto(version: i64, policy: &InactivityPolicy) -> proto::InactivityPolicy {
    proto::InactivityPolicy {
        version,
        anchor: policy.anchor.code().into(),
        alerts: policy.alerts.map(|alerts| proto::AlertSettings {
            first_alert: Some(time_value_to_proto(alerts.first)),
            second_alert: Some(time_value_to_proto(alerts.second)),
        }),
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
            }),
        warning: policy
            .warning
            .as_ref()
            .map(|warning| proto::WarningSettings {
                warn_after: Some(time_value_to_proto(warning.after)),
                text: warning.text.clone(),
                image_url: warning.image_url.clone().unwrap_or_default(),
            }),
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

fn read_alerts(alerts: &proto::AlertSettings, checks: &mut Checks) -> Option<Alerts> {
    let first = checks.time_value("policy.alerts.first_alert", alerts.first_alert.as_ref());
    let second = checks.time_value("policy.alerts.second_alert", alerts.second_alert.as_ref());
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
    })
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
