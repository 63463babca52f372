//! Persistence in PostgreSQL. Time is the database's `clock_timestamp()` throughout.

pub(crate) mod accounts;
pub(crate) mod callbacks;
pub(crate) mod deliveries;
pub(crate) mod erasing;
pub(crate) mod event_feed;
pub(crate) mod feed;
pub(crate) mod inbound;
pub(crate) mod messages;
pub(crate) mod purge;
pub(crate) mod queue;
pub(crate) mod replays;
pub(crate) mod reports;
pub(crate) mod schema;
pub(crate) mod subscriptions;
pub(crate) mod ticket_positions;

/// States as they are stored: the numbers of `ActiveMessageState`.
pub(crate) mod state {
    pub(crate) const ACCEPTED: i16 = 1;
    pub(crate) const SENT: i16 = 2;
    pub(crate) const DELIVERED: i16 = 3;
    pub(crate) const FAILED: i16 = 5;
    pub(crate) const CANCELLED: i16 = 6;
    pub(crate) const UNCERTAIN: i16 = 7;
}

/// The number of a protobuf enum as it is stored.
pub(crate) fn enum_number(value: impl Into<i32>) -> i16 {
    // The enums of our contracts have a few values each.
    i16::try_from(value.into()).unwrap_or(0)
}
