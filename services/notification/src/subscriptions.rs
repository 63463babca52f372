//! Webhook subscriptions to ticket events.
//!
//! Three tasks share the work. The *live feed* follows ticketing's event stream with a position of its own, and queues
//! each event for the subscriptions that want it, in the transaction that moves the position. The *replays* read the
//! stream again from an earlier position for one subscription: for what somebody asked for, and for what a subscription
//! missed while it was paused or too much waited for it. The *sender* takes the first event of tickets that have some
//! waiting, so that each subscription gets the events of a ticket in order.
//!
//! The feed has one order, in which an event is named by the number of events before it. So a subscription that catches up
//! is level with the live feed when both have seen as many events, and goes over to it without a gap or a repetition.
//!
//! Locks are taken in one order: the live feed's row, subscriptions by id, a replay, deliveries, lanes.

pub(crate) mod event_body;
pub(crate) mod event_types;
mod fan_out;
mod in_flight;
mod live;
mod metrics;
mod replaying;
mod sender;

use std::sync::Arc;

use tokio::sync::Notify;

pub(crate) use event_body::without_customer_data;
pub(crate) use live::LiveFeed;
pub(crate) use metrics::EventMetrics;
pub(crate) use replaying::Replays;
pub(crate) use sender::EventSender;

/// Wakes the tasks that look for new rows.
#[derive(Debug, Clone, Default)]
pub(crate) struct EventWakers {
    /// There may be events to send.
    pub(crate) sender: Arc<Notify>,
    /// There may be a replay that can go on.
    pub(crate) replays: Arc<Notify>,
}

/// The `webhook-id` of an event: the same for all its attempts and replays.
pub(crate) fn webhook_id(event_id: i64) -> String {
    format!("evt_{event_id}")
}
