//! Failpoints for fault tests: they end the process as kill -9 would, at a point that a signal would rarely meet.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::config::FaultConfig;

/// The failpoints of one process. Without configuration they do nothing.
#[derive(Debug)]
pub(crate) struct Faults {
    config: FaultConfig,
    claims: AtomicU64,
    dispatches: AtomicU64,
}

impl Faults {
    pub(crate) fn new(config: &FaultConfig) -> Self {
        Self {
            config: config.clone(),
            claims: AtomicU64::new(0),
            dispatches: AtomicU64::new(0),
        }
    }

    /// A claim brought something, and nothing was dispatched yet.
    pub(crate) fn after_claim(&self) {
        abort_at(self.config.abort_after_claim, &self.claims, "after a claim");
    }

    /// A batch was dispatched, and its leases are not yet acked.
    pub(crate) fn before_ack(&self) {
        abort_at(
            self.config.abort_before_ack,
            &self.dispatches,
            "before an ack",
        );
    }
}

fn abort_at(at: Option<u64>, counter: &AtomicU64, place: &str) {
    if at == Some(counter.fetch_add(1, Ordering::Relaxed) + 1) {
        tracing::error!(place, "aborting, as a failpoint asks for");
        std::process::abort();
    }
}
