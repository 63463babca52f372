//! Places where a fault test ends the process.

use std::sync::atomic::{AtomicU64, Ordering};

/// A place in the program that ends the process at its n-th passing, as kill -9 would.
#[derive(Debug, Default)]
pub(crate) struct FaultPoint {
    name: &'static str,
    /// Passings left; 0 is never.
    left: AtomicU64,
}

impl FaultPoint {
    /// A place that ends the process at the `nth` passing; 0 is never.
    pub(crate) fn new(name: &'static str, nth: u64) -> Self {
        Self {
            name,
            left: AtomicU64::new(nth),
        }
    }

    /// Passes the place.
    pub(crate) fn pass(&self) {
        let before = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(1)
            });
        if before == Ok(1) {
            tracing::error!(place = self.name, "aborting, as the configuration asks");
            std::process::abort();
        }
    }
}
