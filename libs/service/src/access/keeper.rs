//! Keeps the keys of one issuer: fetched at the start, again and again, and once when a token names an unknown one.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until, timeout};

use super::algorithm::TokenAlgorithm;
use super::config::KeysConfig;
use super::keys::KeySet;
use super::metrics::{AccessMetrics, RefreshOutcome};
use super::refusal::Refusal;
use super::source::{FetchError, Source};
use crate::status::chain;
use crate::supervisor::jittered;

/// After a failure the wait doubles from the first to the last of these.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const SLOWEST_RETRY: Duration = Duration::from_secs(30);
/// The age of the keys is shown so often.
const TICK: Duration = Duration::from_secs(1);
/// Those who wait for a fetch wait so much longer than it may take.
const SLACK: Duration = Duration::from_millis(500);

/// The keys of one issuer.
#[derive(Debug)]
pub(super) struct KeyKeeper {
    issuer: Arc<str>,
    source: Source,
    interval: Duration,
    unknown_key_interval: Duration,
    fetch_timeout: Duration,
    max_age: Duration,
    started_at: Instant,
    state: watch::Sender<State>,
    /// Somebody has a token with a key that is not known.
    wanted: Notify,
    metrics: AccessMetrics,
}

#[derive(Debug, Default)]
struct State {
    keys: Option<Fetched>,
    /// Fetches that have ended, in whatever way.
    attempts: u64,
    failures_in_row: u32,
    /// When the last fetch ended that an unknown key caused.
    wanted_at: Option<Instant>,
}

#[derive(Debug)]
struct Fetched {
    set: Arc<KeySet>,
    bytes: Vec<u8>,
    at: Instant,
}

impl KeyKeeper {
    pub(super) fn new(
        issuer: &str,
        source: Source,
        config: &KeysConfig,
        metrics: AccessMetrics,
    ) -> Self {
        let interval_ms = if source.is_file() {
            config.look_interval_ms
        } else {
            config.refresh_interval_ms
        };
        Self {
            issuer: issuer.into(),
            source,
            interval: Duration::from_millis(interval_ms),
            unknown_key_interval: Duration::from_millis(config.unknown_key_interval_ms),
            fetch_timeout: Duration::from_millis(config.fetch_timeout_ms),
            max_age: Duration::from_millis(config.max_age_ms),
            started_at: Instant::now(),
            state: watch::Sender::new(State::default()),
            wanted: Notify::new(),
            metrics,
        }
    }

    /// The keys, among them the one that was asked for. If it is not known, the keys are fetched once, however many ask,
    /// and not again for a while.
    pub(super) async fn with(
        &self,
        id: Option<&str>,
        algorithm: TokenAlgorithm,
    ) -> Result<Arc<KeySet>, Refusal> {
        let mut changes = self.state.subscribe();
        let attempts = {
            let state = changes.borrow_and_update();
            let keys = self.fresh(&state)?;
            if keys.find(id, algorithm).is_some() {
                return Ok(keys);
            }
            let is_too_soon = state
                .wanted_at
                .is_some_and(|at| at.elapsed() < self.unknown_key_interval);
            if is_too_soon {
                return Err(Refusal::KeyUnknown);
            }
            state.attempts
        };
        self.wanted.notify_one();
        let fetched = changes.wait_for(|state| state.attempts > attempts);
        match timeout(self.fetch_timeout + SLACK, fetched).await {
            Ok(Ok(state)) => self.fresh(&state),
            _ => Err(Refusal::KeyUnknown),
        }
    }

    fn fresh(&self, state: &State) -> Result<Arc<KeySet>, Refusal> {
        state
            .keys
            .as_ref()
            .filter(|keys| keys.at.elapsed() < self.max_age)
            .map(|keys| Arc::clone(&keys.set))
            .ok_or(Refusal::KeysUnavailable)
    }

    /// Whether the keys were fetched at least once, however old they are by now.
    pub(super) fn has_keys(&self) -> bool {
        self.state.borrow().keys.is_some()
    }

    /// Returns when the keys were fetched at least once.
    pub(super) async fn wait_for_keys(&self) {
        let mut changes = self.state.subscribe();
        // Fails only when this is gone.
        let _ = changes.wait_for(|state| state.keys.is_some()).await;
    }

    /// The first fetch. Keys in a file that is not there are a mistake in the configuration; an address that does not
    /// answer may do so later.
    pub(super) async fn start(&self) -> Result<(), FetchError> {
        match self.refresh(false).await {
            Err(error) if self.source.is_file() => Err(error),
            Err(_) | Ok(()) => Ok(()),
        }
    }

    /// Fetches again and again, until it is dropped.
    pub(super) async fn keep(&self) -> std::convert::Infallible {
        let mut next = self.next();
        let mut tick = tokio::time::interval(TICK);
        loop {
            let is_wanted = tokio::select! {
                () = sleep_until(next) => false,
                () = self.wanted.notified() => true,
                _ = tick.tick() => {
                    self.show_age();
                    continue;
                }
            };
            // Whoever asked while the keys were being fetched has got them.
            let is_too_soon = is_wanted
                && self
                    .state
                    .borrow()
                    .wanted_at
                    .is_some_and(|at| at.elapsed() < self.unknown_key_interval);
            if is_too_soon {
                continue;
            }
            // It is logged and counted.
            let _ = self.refresh(is_wanted).await;
            next = self.next();
        }
    }

    fn next(&self) -> Instant {
        let failures = self.state.borrow().failures_in_row;
        let wait = if failures == 0 {
            self.interval
        } else {
            let doubled = FIRST_RETRY * 2_u32.saturating_pow((failures - 1).min(8));
            doubled.min(SLOWEST_RETRY).min(self.interval)
        };
        Instant::now() + jittered(wait)
    }

    async fn refresh(&self, is_wanted: bool) -> Result<(), FetchError> {
        let fetched = self.source.fetch().await;
        let known = |bytes: &[u8]| {
            let state = self.state.borrow();
            let keys = state.keys.as_ref().filter(|keys| keys.bytes == bytes);
            keys.map(|keys| Arc::clone(&keys.set))
        };
        let fetched = fetched.and_then(|bytes| match known(&bytes) {
            Some(set) => Ok((set, bytes, RefreshOutcome::Unchanged)),
            None => Ok((
                Arc::new(KeySet::parse(&bytes)?),
                bytes,
                RefreshOutcome::Changed,
            )),
        });
        let outcome = match &fetched {
            Ok((_, _, outcome)) => *outcome,
            Err(error) => {
                let (issuer, error) = (&*self.issuer, chain(error));
                tracing::warn!(issuer, error, "an issuer's keys could not be fetched");
                RefreshOutcome::Failed
            }
        };
        if outcome == RefreshOutcome::Changed {
            tracing::info!(issuer = &*self.issuer, "an issuer's keys were fetched");
        }
        self.metrics.refreshed(&self.issuer, outcome);
        let now = Instant::now();
        let result = fetched.map(|(set, bytes, _)| Fetched {
            set,
            bytes,
            at: now,
        });
        let (keys, result) = match result {
            Ok(keys) => (Some(keys), Ok(())),
            Err(error) => (None, Err(error)),
        };
        self.state.send_modify(|state| {
            state.attempts += 1;
            state.failures_in_row = if keys.is_some() {
                0
            } else {
                state.failures_in_row.saturating_add(1)
            };
            if keys.is_some() {
                state.keys = keys;
            }
            if is_wanted {
                state.wanted_at = Some(now);
            }
        });
        self.show_age();
        result
    }

    /// Keys that were never fetched are as old as this.
    fn show_age(&self) {
        let state = self.state.borrow();
        let fetched_at = state.keys.as_ref().map_or(self.started_at, |keys| keys.at);
        self.metrics.age(&self.issuer, fetched_at.elapsed());
    }
}
