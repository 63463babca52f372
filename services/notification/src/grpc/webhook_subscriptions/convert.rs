//! From stored subscriptions and deliveries to those of the contract.

use std::collections::HashMap;
use std::time::Duration;

use plazo_proto::notification::v1::{
    WebhookAttempt, WebhookDelivery, WebhookReplay, WebhookSubscription, WebhookSubscriptionState,
};

use crate::message::to_proto_time;
use crate::store::deliveries::{StoredAttempt, StoredDelivery};
use crate::store::replays::ShownReplay;
use crate::store::subscriptions::Subscription;
use crate::subscriptions;

/// Without the last replay. `max_waiting` is how many events may wait.
pub(super) fn subscription(stored: Subscription, max_waiting: u32) -> WebhookSubscription {
    let has_backlog = stored.waiting > i64::from(max_waiting / 2);
    let (state, reason) = match (stored.paused_reason.as_str(), stored.is_behind) {
        ("", false) => (WebhookSubscriptionState::Active, ""),
        ("", true) if has_backlog => (WebhookSubscriptionState::Behind, "BACKLOG"),
        ("", true) => (WebhookSubscriptionState::Behind, "CATCHING_UP"),
        (reason, _) => (WebhookSubscriptionState::Paused, reason),
    };
    WebhookSubscription {
        subscription_id: stored.subscription_id,
        url: stored.webhook_url,
        include_customer_data: stored.include_customer_data,
        enabled: stored.paused_reason.is_empty(),
        state: state.into(),
        reason: reason.to_owned(),
        waiting_events: stored.waiting,
        consecutive_failures: stored.consecutive_failures,
        previous_secret_expire_time: stored
            .previous_secret_until
            .map(|at| to_proto_time(at.to_jiff())),
        create_time: Some(to_proto_time(stored.created_at)),
        etag: stored.version.to_string(),
        last_replay: None,
        name: stored.name,
        event_types: stored.event_types,
        bot_ids: stored.bot_ids,
    }
}

pub(super) fn replay(stored: ShownReplay) -> WebhookReplay {
    WebhookReplay {
        replay_id: stored.replay_id,
        state: stored.state.into(),
        queued_events: stored.queued,
        create_time: Some(to_proto_time(stored.created_at)),
        failure_reason: stored.failure_reason,
    }
}

pub(super) fn deliveries(
    page: Vec<StoredDelivery>,
    attempts: Vec<StoredAttempt>,
) -> Vec<WebhookDelivery> {
    let mut by_event: HashMap<i64, Vec<WebhookAttempt>> = HashMap::new();
    for one in attempts {
        by_event.entry(one.event_id).or_default().push(attempt(one));
    }
    page.into_iter()
        .map(|one| {
            let attempts = by_event.remove(&one.event_id).unwrap_or_default();
            delivery(one, attempts)
        })
        .collect()
}

fn delivery(stored: StoredDelivery, attempts: Vec<WebhookAttempt>) -> WebhookDelivery {
    let instant = |at: jiff_sqlx::Timestamp| to_proto_time(at.to_jiff());
    WebhookDelivery {
        delivery_id: stored.delivery_id,
        webhook_id: subscriptions::webhook_id(stored.event_id),
        event_type: stored.event_type,
        ticket_id: stored.ticket_id,
        ticket_seq: stored.ticket_seq,
        position: stored.feed_index,
        state: stored.state.into(),
        create_time: Some(to_proto_time(stored.created_at)),
        settle_time: stored.settled_at.map(instant),
        next_attempt_time: stored.next_attempt_at.map(instant),
        attempts,
    }
}

fn attempt(stored: StoredAttempt) -> WebhookAttempt {
    let duration = Duration::from_millis(stored.duration_ms.unsigned_abs().into());
    WebhookAttempt {
        attempt: stored.attempt,
        attempt_time: Some(to_proto_time(stored.attempt_at)),
        duration: prost_types::Duration::try_from(duration).ok(),
        http_status: stored.http_status.into(),
        outcome: stored.outcome,
    }
}
