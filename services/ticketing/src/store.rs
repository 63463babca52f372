//! Rows and SQL. Nothing here knows of gRPC, and nothing outside knows SQL.
//!
//! The functions take a connection; who changes a ticket holds the lock of its row in `ticket_clocks`
//! ([`clocks::lock`], [`clocks::lock_free`]) until its transaction ends.

pub mod active_messages;
pub mod clocks;
pub mod contacts;
pub mod deadlines;
pub mod erasing;
pub mod erasures;
pub mod events;
pub mod inbound;
pub mod kept_events;
pub mod messages;
pub mod names;
pub mod parties;
pub mod settings;
pub mod snapshots;
pub mod tickets;
