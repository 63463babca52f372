//! Four services as four processes, load for them, and the ledger that judges what they did.
//!
//! A test starts a [`Cluster`](cluster::Cluster) on private servers, sets a [`Desk`](desk::Desk) up through gRPC, puts
//! load on it ([`load`], [`traffic`]), kills what it wants to kill, waits until everything has settled, and has the
//! [`Ledger`](ledger::Ledger) check the whole run: no deadline lost, none early, each stage of each cycle once.
//!
//! Everything here panics with a reason when something is not as a test needs it.

pub mod certificates;
pub mod cluster;
pub mod desk;
pub mod ledger;
pub mod load;
pub mod mailing;
pub mod memory;
pub mod metrics;
pub mod outside;
pub mod owner;
mod ports;
pub mod process;
pub mod proxy;
pub mod redis_shape;
pub mod report;
pub mod resp;
pub mod shards;
pub mod solo;
pub mod timers;
pub mod traffic;
pub mod truth;
pub mod verify;

use std::time::Duration;

use tokio::time::Instant;

/// Waits until the condition holds; panics with what was waited for when it does not within the bound.
pub async fn eventually(what: &str, bound: Duration, mut holds: impl AsyncFnMut() -> bool) {
    let until = Instant::now() + bound;
    while !holds().await {
        assert!(Instant::now() < until, "waited {bound:?} in vain: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
