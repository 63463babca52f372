//! How many messages of each account are in flight, and which accounts rest because their provider is in trouble.
//!
//! After some failures in a row an account's breaker opens: its messages stay in the queue for a while, then one of
//! them tries, and the others follow when it was answered. So a dead provider costs one attempt in a while, and none
//! of the others' places.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::config::ProvidersConfig;

/// When a breaker opens, and for how long.
#[derive(Debug, Clone, Copy)]
pub(super) struct BreakerRules {
    failures: u32,
    first: Duration,
    max: Duration,
}

impl BreakerRules {
    pub(super) fn new(config: &ProvidersConfig) -> Self {
        Self {
            failures: config.breaker_failures,
            first: Duration::from_millis(config.breaker_first_ms),
            max: Duration::from_millis(config.breaker_max_ms),
        }
    }
}

/// Messages in flight and breakers, by account.
#[derive(Debug, Clone)]
pub(super) struct Lanes {
    max_per_account: u32,
    rules: BreakerRules,
    by_account: Arc<Mutex<HashMap<i64, Lane>>>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Lane {
    in_flight: u32,
    /// Failures in a row.
    failures: u32,
    /// When the breaker may close again; none while it never opened since the last success.
    open_until: Option<Instant>,
    /// How long it was open last.
    last_wait: Duration,
}

/// One message in flight; gives its place back when it is dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    account_id: i64,
    rules: BreakerRules,
    by_account: Arc<Mutex<HashMap<i64, Lane>>>,
}

impl Lanes {
    pub(super) fn new(max_per_account: u32, rules: BreakerRules) -> Self {
        Self {
            max_per_account,
            rules,
            by_account: Arc::default(),
        }
    }

    /// How many more each account may have, of those that are in flight or in trouble.
    pub(super) fn room(&self, now: Instant) -> Vec<(i64, i64)> {
        let lanes = lock(&self.by_account);
        let room = |lane: &Lane| {
            let max = match lane.open_until {
                Some(until) if now < until => 0,
                // One tries.
                Some(_) => 1,
                None => self.max_per_account,
            };
            i64::from(max.saturating_sub(lane.in_flight))
        };
        lanes
            .iter()
            .map(|(account_id, lane)| (*account_id, room(lane)))
            .collect()
    }

    /// How many breakers are open.
    pub(super) fn open_breakers(&self) -> usize {
        let lanes = lock(&self.by_account);
        lanes
            .values()
            .filter(|lane| lane.open_until.is_some())
            .count()
    }

    /// Takes a place.
    pub(super) fn take(&self, account_id: i64) -> Slot {
        lock(&self.by_account)
            .entry(account_id)
            .or_default()
            .in_flight += 1;
        Slot {
            account_id,
            rules: self.rules,
            by_account: Arc::clone(&self.by_account),
        }
    }
}

impl Slot {
    /// The provider answered as one that works.
    pub(super) fn succeeded(&self) {
        if let Some(lane) = lock(&self.by_account).get_mut(&self.account_id) {
            *lane = Lane {
                in_flight: lane.in_flight,
                ..Lane::default()
            };
        }
    }

    /// The provider did not answer, or said that it is in trouble. Account 0 stands for no provider at all.
    pub(super) fn failed(&self, now: Instant) {
        if self.account_id == 0 {
            return;
        }
        if let Some(lane) = lock(&self.by_account).get_mut(&self.account_id) {
            lane.failures = lane.failures.saturating_add(1);
            // Those that were in flight when it opened make it no longer.
            let is_open = lane.open_until.is_some_and(|until| now < until);
            if lane.failures >= self.rules.failures && !is_open {
                let wait = (lane.last_wait * 2).clamp(self.rules.first, self.rules.max);
                lane.last_wait = wait;
                // Not all at the same time, when a provider fails many accounts at once.
                lane.open_until = Some(now + wait.mul_f64(0.8 + 0.2 * rand::random::<f64>()));
            }
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut lanes = lock(&self.by_account);
        if let Some(lane) = lanes.get_mut(&self.account_id) {
            lane.in_flight -= 1;
            if lane.in_flight == 0 && lane.failures == 0 {
                lanes.remove(&self.account_id);
            }
        }
    }
}

/// A panic while the lock is held leaves nothing half-changed.
fn lock(lanes: &Mutex<HashMap<i64, Lane>>) -> MutexGuard<'_, HashMap<i64, Lane>> {
    lanes.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: BreakerRules = BreakerRules {
        failures: 2,
        first: Duration::from_secs(10),
        max: Duration::from_secs(15),
    };

    #[test]
    fn places_come_back() {
        let (lanes, now) = (Lanes::new(2, RULES), Instant::now());
        let first = lanes.take(7);
        let second = lanes.take(7);
        assert_eq!(lanes.room(now), [(7, 0)]);
        drop(first);
        assert_eq!(lanes.room(now), [(7, 1)]);
        drop(second);
        assert_eq!(lanes.room(now), []);
    }

    #[test]
    fn an_account_in_trouble_rests_and_then_one_message_tries() {
        let (lanes, mut now) = (Lanes::new(4, RULES), Instant::now());
        lanes.take(7).failed(now);
        assert_eq!(lanes.room(now), [(7, 4)], "one failure is none");
        let (first, second) = (lanes.take(7), lanes.take(7));
        first.failed(now);
        second.failed(now);
        drop((first, second));
        assert_eq!((lanes.room(now), lanes.open_breakers()), (vec![(7, 0)], 1));
        now += Duration::from_secs(10);
        assert_eq!(lanes.room(now), [(7, 1)]);
        let probe = lanes.take(7);
        assert_eq!(lanes.room(now), [(7, 0)]);
        probe.failed(now);
        drop(probe);
        // Twice as long, but no longer than the longest.
        now += Duration::from_millis(11_900);
        assert_eq!(lanes.room(now), [(7, 0)]);
        now += Duration::from_millis(3_200);
        let probe = lanes.take(7);
        probe.succeeded();
        assert_eq!(lanes.room(now), [(7, 3)]);
        drop(probe);
        assert_eq!((lanes.room(now), lanes.open_breakers()), (vec![], 0));
    }

    #[test]
    fn what_needs_no_account_never_rests() {
        let (lanes, now) = (Lanes::new(4, RULES), Instant::now());
        for _ in 0..9 {
            lanes.take(0).failed(now);
        }
        assert_eq!(lanes.room(now), []);
    }
}
