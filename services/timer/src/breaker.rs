//! A breaker for each shard. After failures in a row the shard is left alone for a while, so that a dead Redis costs
//! the others nothing; then one probe decides whether it is served again. Only the probe, or an answer that was still on
//! its way, closes the breaker: nobody else waits for a server that may be dead.
//!
//! It belongs to the shard and not to the server, because a shard can move. The shards of a server that gives no answers
//! fail together, and so they open together.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::metrics::gauge::Gauge;
use rand::Rng as _;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::config::RedisConfig;
use crate::shard::Shard;

/// How long shards are left alone, and after what.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BreakerLimits {
    /// Failures in a row after which a shard is left alone.
    pub(crate) failures: u32,
    /// The first rest; it doubles with each probe that fails.
    pub(crate) rest: Duration,
    /// The longest rest.
    pub(crate) longest_rest: Duration,
}

impl From<&RedisConfig> for BreakerLimits {
    fn from(config: &RedisConfig) -> Self {
        Self {
            failures: config.breaker_failures,
            rest: Duration::from_millis(config.breaker_rest_ms),
            longest_rest: Duration::from_millis(config.breaker_rest_max_ms),
        }
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct State {
    failures: u32,
    open: Option<Open>,
}

#[derive(Debug, Clone, Copy)]
struct Open {
    probe_at: Instant,
    rest: Duration,
}

/// The breakers of all shards.
#[derive(Debug)]
pub(crate) struct Breakers {
    limits: BreakerLimits,
    states: Vec<Mutex<State>>,
    /// Shards with failures: while there are none, nothing has to be locked.
    troubled: AtomicUsize,
    opened: Notify,
    open_shards: Gauge,
}

impl Breakers {
    /// All closed. The gauge counts those that are open.
    pub(crate) fn new(limits: BreakerLimits, shard_count: u16, open_shards: Gauge) -> Self {
        Self {
            limits,
            states: (0..shard_count).map(|_| Mutex::default()).collect(),
            troubled: AtomicUsize::new(0),
            opened: Notify::new(),
            open_shards,
        }
    }

    /// Whether the shard is to be left alone.
    pub(crate) fn is_open(&self, shard: Shard) -> bool {
        self.has_trouble() && self.lock(shard).open.is_some()
    }

    /// Whether any shard has failed since it last answered.
    pub(crate) fn has_trouble(&self) -> bool {
        self.troubled.load(Ordering::Relaxed) > 0
    }

    /// The shard has answered.
    pub(crate) fn succeeded(&self, shard: Shard) {
        if !self.has_trouble() {
            return;
        }
        let mut state = self.lock(shard);
        if state.failures == 0 {
            return;
        }
        self.troubled.fetch_sub(1, Ordering::Relaxed);
        if state.open.is_some() {
            self.open_shards.dec();
            tracing::info!(shard = shard.number(), "a shard is served again");
        }
        *state = State::default();
    }

    /// The shard has failed. `is_grave` opens it at once: a failure that has cost others a whole time-out must not be
    /// repeated.
    pub(crate) fn failed(&self, shard: Shard, is_grave: bool) {
        let mut state = self.lock(shard);
        if state.failures == 0 {
            self.troubled.fetch_add(1, Ordering::Relaxed);
        }
        state.failures = state.failures.saturating_add(1);
        if state.open.is_some() || !is_grave && state.failures < self.limits.failures {
            return;
        }
        state.open = Some(self.open(self.limits.rest));
        drop(state);
        self.open_shards.inc();
        self.opened.notify_one();
        tracing::warn!(
            shard = shard.number(),
            "a shard gives no answers, and is left alone for a while"
        );
    }

    /// The probe of an open shard has failed: the next one comes later.
    pub(crate) fn probe_failed(&self, shard: Shard) {
        let mut state = self.lock(shard);
        if let Some(open) = state.open {
            state.open = Some(self.open((open.rest * 2).min(self.limits.longest_rest)));
        }
    }

    /// The shard is served by another server now: it is probed at once.
    pub(crate) fn probe_now(&self, shard: Shard) {
        if let Some(open) = &mut self.lock(shard).open {
            open.probe_at = Instant::now();
        }
    }

    /// The open shards that are to be probed now.
    pub(crate) fn due_probes(&self) -> Vec<Shard> {
        let now = Instant::now();
        self.open_shards()
            .filter(|(_, open)| open.probe_at <= now)
            .map(|(shard, _)| shard)
            .collect()
    }

    /// When the next probe is due; none while no shard is open.
    pub(crate) fn next_probe_at(&self) -> Option<Instant> {
        self.open_shards().map(|(_, open)| open.probe_at).min()
    }

    /// Waits for a shard to be opened. One that was opened since the last call counts.
    pub(crate) async fn opened(&self) {
        self.opened.notified().await;
    }

    fn open_shards(&self) -> impl Iterator<Item = (Shard, Open)> {
        let count = if self.has_trouble() {
            self.states.len()
        } else {
            0
        };
        let shards = (0_u16..).map(Shard::new).take(count);
        shards.filter_map(|shard| Some((shard, self.lock(shard).open?)))
    }

    /// With jitter, so that replicas don't probe in step.
    fn open(&self, rest: Duration) -> Open {
        let jitter = rand::rng().random_range(0.5..=1.0);
        Open {
            probe_at: Instant::now() + rest.mul_f64(jitter),
            rest: rest.min(self.limits.longest_rest),
        }
    }

    fn lock(&self, shard: Shard) -> MutexGuard<'_, State> {
        self.states[shard.index()]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARD: Shard = Shard::new(2);

    fn breakers() -> (Breakers, Gauge) {
        let limits = BreakerLimits {
            failures: 3,
            rest: Duration::from_secs(100),
            longest_rest: Duration::from_mins(5),
        };
        let gauge = Gauge::default();
        (Breakers::new(limits, 4, gauge.clone()), gauge)
    }

    #[tokio::test]
    async fn failures_in_a_row_open_a_shard_and_only_that() {
        let (breakers, gauge) = breakers();
        breakers.failed(SHARD, false);
        breakers.failed(SHARD, false);
        breakers.succeeded(SHARD);
        assert!(!breakers.has_trouble());
        breakers.failed(SHARD, false);
        breakers.failed(SHARD, false);
        assert!(!breakers.is_open(SHARD));
        breakers.failed(SHARD, false);
        assert!(breakers.is_open(SHARD));
        assert!(!breakers.is_open(Shard::new(1)));
        assert_eq!(gauge.get(), 1);
        breakers.opened().await;
    }

    #[test]
    fn an_open_shard_is_probed_after_its_rest_which_grows_up_to_a_bound() {
        let (breakers, gauge) = breakers();
        breakers.failed(SHARD, true);
        for longest_s in [100, 200, 300, 300, 300] {
            assert!(breakers.due_probes().is_empty());
            let rest = breakers.next_probe_at().expect("it is open") - Instant::now();
            let bounds = Duration::from_secs(longest_s / 2 - 1)..=Duration::from_secs(longest_s);
            assert!(bounds.contains(&rest), "{rest:?} of {bounds:?}");
            breakers.probe_now(SHARD);
            assert_eq!(breakers.due_probes(), [SHARD]);
            assert!(
                breakers.is_open(SHARD),
                "it is left alone until a probe succeeds"
            );
            breakers.probe_failed(SHARD);
        }
        breakers.succeeded(SHARD);
        assert!(!breakers.is_open(SHARD));
        assert_eq!(breakers.next_probe_at(), None);
        assert_eq!(gauge.get(), 0);
    }
}
