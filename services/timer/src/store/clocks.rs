//! How far the clocks of several Redis servers are apart.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use crate::shard::Shard;

/// For each shard by how much its server's clock is ahead of the one that the claim loop reckons by, in microseconds. It
/// only decides when to ask: what is due is decided by each server itself.
#[derive(Debug)]
pub(super) struct NodeClocks {
    ahead_us: Vec<AtomicI64>,
}

impl NodeClocks {
    pub(super) fn new(shard_count: u16) -> Self {
        Self {
            ahead_us: (0..shard_count).map(|_| AtomicI64::new(0)).collect(),
        }
    }

    pub(super) fn ahead_us(&self, shard: Shard) -> i64 {
        self.ahead_us[shard.index()].load(Ordering::Relaxed)
    }

    /// Notes what two servers said of their clocks within a span, and returns the best estimate. A difference that the
    /// span explains changes nothing: on a busy machine it would be noise, and would make claims late.
    pub(super) fn note(&self, shard: Shard, seen_us: i64, within: Duration) -> i64 {
        let known_us = self.ahead_us(shard);
        let change_us = u128::from((seen_us - known_us).unsigned_abs());
        if change_us <= within.as_micros() {
            return known_us;
        }
        self.ahead_us[shard.index()].store(seen_us, Ordering::Relaxed);
        seen_us
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_round_trip_explains_is_no_difference() {
        let clocks = NodeClocks::new(2);
        let shard = Shard::new(1);
        let span = Duration::from_millis(20);
        assert_eq!(clocks.note(shard, 15_000, span), 0);
        assert_eq!(clocks.note(shard, -10_000_000, span), -10_000_000);
        assert_eq!(clocks.note(shard, -9_990_000, span), -10_000_000);
        assert_eq!(clocks.ahead_us(shard), -10_000_000);
        assert_eq!(clocks.ahead_us(Shard::new(0)), 0);
    }
}
