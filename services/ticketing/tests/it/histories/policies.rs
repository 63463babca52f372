//! Policies of stories as requests have them.

use plazo_model::{Anchor, OpenMinutes, Policy};
use plazo_proto::ticketing::v1::{
    AlertSettings, Anchor as ProtoAnchor, AutoCloseSettings, InactivityPolicy, OpenInterval,
    WarningSettings, WeeklyInterval,
};

use crate::support::seconds;

fn few_seconds(count: i64) -> Option<plazo_proto::common::v1::TimeValue> {
    seconds(i32::try_from(count).expect("few seconds"))
}

/// The request's form of a policy.
pub(super) fn policy_to_proto(policy: &Policy) -> InactivityPolicy {
    let alerts = |alerts: Option<(i64, i64)>| {
        alerts.map(|(first, second)| AlertSettings {
            first_alert: few_seconds(first),
            second_alert: few_seconds(second),
        })
    };
    let close = policy.close.as_ref();
    InactivityPolicy {
        anchor: match policy.anchor {
            Anchor::Last => ProtoAnchor::LastMessage,
            Anchor::First => ProtoAnchor::FirstMessage,
        }
        .into(),
        alerts: alerts(policy.alerts),
        auto_close: close.map(|close| AutoCloseSettings {
            close_after: few_seconds(close.after_s),
            only_after_first_agent_message: Some(close.only_after_first_agent_message),
            close_while_customer_waits: close.while_customer_waits,
            exclude_tags: close.exclude_tags.iter().map(u8::to_string).collect(),
            close_needs_delivery: close.max_delivery_wait_s.is_some(),
            max_delivery_wait: close.max_delivery_wait_s.and_then(few_seconds),
            ..AutoCloseSettings::default()
        }),
        warning: close
            .and_then(|close| close.warn_after_s)
            .map(|after| WarningSettings {
                warn_after: few_seconds(after),
                text: "Are you there?".to_owned(),
                image_url: String::new(),
            }),
        agent_alerts: alerts(policy.agent_alerts),
        business_time: policy.in_business_time,
        ..InactivityPolicy::default()
    }
}

/// The request's form of open minutes of the week.
pub(super) fn week_to_proto(week: &[OpenMinutes]) -> Vec<WeeklyInterval> {
    const MINUTES_IN_DAY: i64 = 1_440;
    let weekly = week.iter().map(|open| {
        let day = open.from / MINUTES_IN_DAY;
        let minute_of_day =
            |minute: i64| i32::try_from(minute - day * MINUTES_IN_DAY).expect("a minute");
        WeeklyInterval {
            // Monday is 1.
            weekday: i32::try_from(day + 1).expect("a day of the week"),
            open: Some(OpenInterval {
                start_minute: minute_of_day(open.from),
                end_minute: minute_of_day(open.until),
            }),
        }
    });
    weekly.collect()
}
