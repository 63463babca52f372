//! How many messages of each account are in flight.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Counts of messages in flight, by account.
#[derive(Debug, Clone)]
pub(super) struct Lanes {
    max_per_account: u32,
    in_flight: Arc<Mutex<HashMap<i64, u32>>>,
}

/// One message in flight; gives its place back when it is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    account_id: i64,
    in_flight: Arc<Mutex<HashMap<i64, u32>>>,
}

impl Lanes {
    pub(super) fn new(max_per_account: u32) -> Self {
        Self {
            max_per_account,
            in_flight: Arc::default(),
        }
    }

    /// How many more each account may have, of those that have some.
    pub(super) fn room(&self) -> Vec<(i64, i64)> {
        let in_flight = lock(&self.in_flight);
        let room = |count: u32| i64::from(self.max_per_account.saturating_sub(count));
        in_flight
            .iter()
            .map(|(account_id, count)| (*account_id, room(*count)))
            .collect()
    }

    /// Takes a place.
    pub(super) fn take(&self, account_id: i64) -> Slot {
        *lock(&self.in_flight).entry(account_id).or_default() += 1;
        Slot {
            account_id,
            in_flight: Arc::clone(&self.in_flight),
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut in_flight = lock(&self.in_flight);
        if let Some(count) = in_flight.get_mut(&self.account_id) {
            *count -= 1;
            if *count == 0 {
                in_flight.remove(&self.account_id);
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
        let lanes = Lanes::new(2);
        let first = lanes.take(7);
        let second = lanes.take(7);
        assert_eq!(lanes.room(), [(7, 0)]);
        drop(first);
        assert_eq!(lanes.room(), [(7, 1)]);
        drop(second);
        assert_eq!(lanes.room(), []);
    }
}
