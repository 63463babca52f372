//! The clock of Redis, as far as this process knows it.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::time::Instant;

/// An estimate older than this is replaced by any other.
const BEST_FOR: Duration = Duration::from_secs(1);

/// Estimates the time of Redis from its answers. The estimate only decides when to ask; what is due is decided by
/// Redis itself, in the script that claims.
#[derive(Debug)]
pub(crate) struct RedisClock {
    origin: Instant,
    state: Mutex<Option<Estimate>>,
}

#[derive(Debug, Clone, Copy)]
struct Estimate {
    /// Time of Redis minus time since the origin, in microseconds.
    offset_us: i64,
    /// Half of the round trip: the estimate may be wrong by so much.
    uncertainty: Duration,
    made_at: Instant,
}

impl RedisClock {
    pub(crate) fn new() -> Self {
        Self {
            origin: Instant::now(),
            state: Mutex::new(None),
        }
    }

    /// Notes what Redis said between two instants. The answers with the shortest round trips count.
    pub(crate) fn observe(&self, redis_us: i64, sent_at: Instant) {
        let now = Instant::now();
        let uncertainty = (now - sent_at) / 2;
        let middle = sent_at + uncertainty;
        let fresh = Estimate {
            offset_us: redis_us - self.since_origin_us(middle),
            uncertainty,
            made_at: now,
        };
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let keep = state
            .is_some_and(|best| best.uncertainty < uncertainty && now - best.made_at < BEST_FOR);
        if !keep {
            *state = Some(fresh);
        }
    }

    /// The estimated time of Redis, in Unix microseconds; zero before the first answer.
    pub(crate) fn now_us(&self) -> i64 {
        self.at_us(Instant::now())
    }

    /// The estimated time of Redis, in Unix milliseconds.
    pub(crate) fn now_ms(&self) -> i64 {
        self.now_us().div_euclid(1_000)
    }

    /// The estimated time of Redis at an instant, in Unix microseconds; zero before the first answer.
    pub(crate) fn at_us(&self, instant: Instant) -> i64 {
        let state = *self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.map_or(0, |estimate| {
            estimate.offset_us + self.since_origin_us(instant)
        })
    }

    /// How long until Redis' clock reads so many Unix milliseconds, by the estimate; zero when it does already.
    pub(crate) fn until_ms(&self, unix_ms: i64) -> Duration {
        let wait_us = unix_ms.saturating_mul(1_000).saturating_sub(self.now_us());
        Duration::from_micros(u64::try_from(wait_us).unwrap_or(0))
    }

    fn since_origin_us(&self, instant: Instant) -> i64 {
        let micros = instant.saturating_duration_since(self.origin).as_micros();
        i64::try_from(micros).unwrap_or(i64::MAX)
    }
}
