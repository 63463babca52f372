//! The values that things of the tenant are made with.

use plazo_proto::common::v1::{Author, AuthorKind, Channel, ChannelIdentity, TimeUnit, TimeValue};
use plazo_proto::history::v1 as history;
use plazo_proto::notification::v1 as notification;
use plazo_proto::ticketing::v1 as ticketing;
use uuid::Uuid;

use super::desk::TENANT;
use super::things::Things;

pub(super) fn calendar(name: &str) -> ticketing::Calendar {
    ticketing::Calendar {
        name: name.to_owned(),
        time_zone: "America/Sao_Paulo".to_owned(),
        week: vec![ticketing::WeeklyInterval {
            weekday: ticketing::Weekday::Monday.into(),
            open: Some(ticketing::OpenInterval {
                start_minute: 540,
                end_minute: 1_080,
            }),
        }],
        ..Default::default()
    }
}

/// Nobody listens there.
const ENDPOINT: &str = "http://127.0.0.1:9/";

pub(super) fn account(name: &str) -> notification::ChannelAccount {
    notification::ChannelAccount {
        name: name.to_owned(),
        channel: Channel::Webhook.into(),
        settings: Some(notification::channel_account::Settings::Webhook(
            notification::WebhookSettings {
                url: format!("{ENDPOINT}{name}"),
            },
        )),
        ..Default::default()
    }
}

pub(super) fn policy() -> ticketing::InactivityPolicy {
    let after = |value, unit: TimeUnit| TimeValue {
        value,
        unit: unit.into(),
    };
    ticketing::InactivityPolicy {
        alerts: Some(ticketing::AlertSettings {
            first_alert: Some(after(1, TimeUnit::Second)),
            second_alert: Some(after(1, TimeUnit::Day)),
        }),
        ..Default::default()
    }
}

pub(super) fn history_settings() -> history::HistorySettings {
    history::HistorySettings {
        show_delay: Some(prost_types::Duration::default()),
        retention_days: 30,
        ..Default::default()
    }
}

pub(super) fn contact(name: &str, address: &str) -> ticketing::Contact {
    ticketing::Contact {
        name: name.to_owned(),
        channel_identity: Some(identity(address)),
        ..Default::default()
    }
}

pub(super) fn identity(address: &str) -> ChannelIdentity {
    ChannelIdentity {
        channel: Channel::Log.into(),
        address: address.to_owned(),
    }
}

pub(super) fn note(text: &str) -> ticketing::ClosingNote {
    ticketing::ClosingNote {
        category: text.to_owned(),
        summary: text.to_owned(),
    }
}

pub(super) fn active_message(things: &Things, text: &str) -> notification::ActiveMessage {
    notification::ActiveMessage {
        tenant_id: TENANT,
        idempotency_key: Uuid::new_v4().to_string(),
        kind: notification::ActiveMessageKind::Outreach.into(),
        bot_id: things.bot_id,
        ticket_id: things.ticket_id,
        contact_id: things.contact_id,
        recipient: Some(identity(&things.address)),
        text: text.to_owned(),
        ..Default::default()
    }
}

pub(super) fn subscription(things: &Things, name: &str) -> notification::WebhookSubscription {
    notification::WebhookSubscription {
        name: name.to_owned(),
        url: format!("{ENDPOINT}{name}"),
        event_types: vec!["ticket.warning_reached".to_owned()],
        bot_ids: vec![things.bot_id],
        ..Default::default()
    }
}

/// What the agent writes, or says in another way.
pub(super) fn message(
    things: &Things,
    kind: ticketing::MessageKind,
    text: &str,
) -> ticketing::RecordMessageRequest {
    ticketing::RecordMessageRequest {
        ticket_id: things.ticket_id,
        author: Some(Author {
            kind: AuthorKind::Agent.into(),
            id: things.agent_id,
        }),
        kind: kind.into(),
        text: text.to_owned(),
        ..Default::default()
    }
}

pub(super) fn bot(name: &str, calendar_id: i64) -> ticketing::Bot {
    ticketing::Bot {
        name: name.to_owned(),
        calendar_id,
        ..Default::default()
    }
}

pub(super) fn queue(name: &str, bot_id: i64) -> ticketing::Queue {
    ticketing::Queue {
        bot_id,
        name: name.to_owned(),
        ..Default::default()
    }
}

pub(super) fn agent(name: &str, bot_id: i64) -> ticketing::Agent {
    ticketing::Agent {
        name: name.to_owned(),
        bot_ids: vec![bot_id],
        ..Default::default()
    }
}
