//! Which events a subscription gets. Pure.

use plazo_proto::ticketing::v1::TicketEvent;
use plazo_service::Redacted;

use super::{event_body, event_types};
use crate::store::deliveries::NewDelivery;
use crate::store::subscriptions::Subscription;

/// The delivery of an event to a subscription; none when it doesn't want it. `feed_index` is how many events stand before
/// it in the feed.
pub(super) fn delivery(
    subscription: &Subscription,
    event: &TicketEvent,
    feed_index: i64,
) -> Option<NewDelivery> {
    let event_type = wanted_type(subscription, event)?;
    Some(NewDelivery {
        tenant_id: subscription.tenant_id,
        subscription_id: subscription.subscription_id,
        event_id: event.event_id,
        ticket_id: event.ticket_id,
        ticket_seq: event.ticket_seq,
        feed_index,
        event_type,
        body: Redacted(event_body::body(
            event,
            event_type,
            subscription.include_customer_data,
        )),
    })
}

fn wanted_type(subscription: &Subscription, event: &TicketEvent) -> Option<&'static str> {
    if event.tenant_id != subscription.tenant_id {
        return None;
    }
    if !subscription.bot_ids.is_empty() && !subscription.bot_ids.contains(&event.bot_id) {
        return None;
    }
    event_types::of(event)
        .filter(|event_type| event_types::is_wanted(&subscription.event_types, event_type))
}

/// Whether a subscription wants any of the events.
pub(super) fn wants_any(subscription: &Subscription, events: &[TicketEvent]) -> bool {
    events
        .iter()
        .any(|event| wanted_type(subscription, event).is_some())
}

/// The deliveries of a batch whose first event has the index `base`.
pub(super) fn deliveries(
    subscription: &Subscription,
    events: &[TicketEvent],
    base: i64,
) -> Vec<NewDelivery> {
    (base..)
        .zip(events)
        .filter_map(|(index, event)| delivery(subscription, event, index))
        .collect()
}
