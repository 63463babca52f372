//! How many events of each subscription are in flight.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Counts of events in flight, by subscription.
#[derive(Debug, Clone)]
pub(super) struct InFlight {
    max_per_subscription: u32,
    in_flight: Arc<Mutex<HashMap<i64, u32>>>,
}

/// One event in flight; gives its place back when it is dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    subscription_id: i64,
    in_flight: Arc<Mutex<HashMap<i64, u32>>>,
}

impl InFlight {
    pub(super) fn new(max_per_subscription: u32) -> Self {
        Self {
            max_per_subscription,
            in_flight: Arc::default(),
        }
    }

    /// How many more each subscription may have, of those that have some.
    pub(super) fn room(&self) -> Vec<(i64, i64)> {
        let in_flight = lock(&self.in_flight);
        let room = |count: u32| i64::from(self.max_per_subscription.saturating_sub(count));
        in_flight
            .iter()
            .map(|(subscription_id, count)| (*subscription_id, room(*count)))
            .collect()
    }

    /// Takes a place.
    pub(super) fn take(&self, subscription_id: i64) -> Slot {
        *lock(&self.in_flight).entry(subscription_id).or_default() += 1;
        Slot {
            subscription_id,
            in_flight: Arc::clone(&self.in_flight),
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut in_flight = lock(&self.in_flight);
        if let Some(count) = in_flight.get_mut(&self.subscription_id) {
            *count -= 1;
            if *count == 0 {
                in_flight.remove(&self.subscription_id);
            }
        }
    }
}

/// A panic while the lock is held leaves nothing half-changed.
fn lock(counts: &Mutex<HashMap<i64, u32>>) -> MutexGuard<'_, HashMap<i64, u32>> {
    counts.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_come_back() {
        let in_flight_now = InFlight::new(2);
        let first = in_flight_now.take(7);
        let second = in_flight_now.take(7);
        assert_eq!(in_flight_now.room(), [(7, 0)]);
        drop(first);
        assert_eq!(in_flight_now.room(), [(7, 1)]);
        drop(second);
        assert_eq!(in_flight_now.room(), []);
    }
}
