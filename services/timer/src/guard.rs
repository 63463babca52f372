//! Watches over Redis: whether it still has what it was given, and who is alive.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use plazo_service::status::chain;
use plazo_service::supervisor::TaskError;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::app::TASKS_GRACE;
use crate::checks;
use crate::core::Core;
use crate::rebuild;
use crate::shard::Shard;
use crate::store::{EpochChange, EpochState, FoundEpoch, Identity, ShardHealth, count};

/// How long a dead replica stays on the list, for people to see.
const REPLICA_KEPT_MS: u64 = 60_000;
/// Quarantined entries of a shard that are tried again at a time.
const RETRIED_MAX: usize = 16;

/// Watches until shutdown.
pub(crate) async fn run(core: Arc<Core>, shutdown: CancellationToken) -> Result<(), TaskError> {
    let interval = Duration::from_millis(core.config.guard.interval_ms);
    let mut guard = Guard {
        unwatched: BTreeSet::new(),
        has_started: false,
        alive: Vec::new(),
        seen: BTreeMap::new(),
        checked_at: Instant::now(),
        unsafe_servers: Vec::new(),
        core,
    };
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while shutdown.run_until_cancelled(ticks.tick()).await.is_some() {
        guard.tick().await;
    }
    guard.begin_leaving().await;
    Ok(())
}

struct Guard {
    core: Arc<Core>,
    /// Whether this replica has decided if it must rebuild at its start.
    has_started: bool,
    /// Shards that must be rebuilt because nobody was alive to watch them.
    unwatched: BTreeSet<Shard>,
    /// The replicas that were alive when that could last be told.
    alive: Vec<String>,
    /// What this replica has last seen of each shard.
    seen: BTreeMap<Shard, Seen>,
    checked_at: Instant,
    /// Servers whose settings would lose entries, with the eviction policy.
    unsafe_servers: Vec<(String, String)>,
}

#[derive(Debug, Clone)]
struct Seen {
    /// The highest counter of the epoch.
    counter: u64,
    /// The server. Until a shard is marked anew, this is the server that it was on before.
    identity: Identity,
}

/// Why Redis may have lost entries of a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loss {
    EpochMissing,
    Replaced,
    Switched,
    WentBack,
    Abandoned,
    Unwatched,
}

impl Loss {
    pub(crate) const ALL: [Self; 6] = [
        Self::EpochMissing,
        Self::Replaced,
        Self::Switched,
        Self::WentBack,
        Self::Abandoned,
        Self::Unwatched,
    ];

    /// The cause, as a label of metrics.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::EpochMissing => "epoch_missing",
            Self::Replaced => "replaced",
            Self::Switched => "switched",
            Self::WentBack => "went_back",
            Self::Abandoned => "abandoned",
            Self::Unwatched => "unwatched",
        }
    }

    fn reason(self) -> &'static str {
        match self {
            Self::EpochMissing => "its epoch is missing",
            Self::Replaced => "redis was restarted or replaced",
            Self::Switched => "this replica reaches another redis than before",
            Self::WentBack => "redis went back to an older copy",
            Self::Abandoned => "its rebuild was abandoned",
            Self::Unwatched => "no other replica was alive at the start",
        }
    }
}

impl Guard {
    /// What can't be told of one shard now says nothing about the others.
    async fn tick(&mut self) {
        let own_id = self.core.replica_id.clone();
        if !self.has_started {
            self.has_started = self.start().await;
        }
        if self.has_started && self.heartbeat(&own_id).await.is_some() {
            self.note_owners();
        }
        let epochs = self.epochs().await;
        self.check(epochs).await;
        self.watch_failures().await;
        self.watch_settings().await;
    }

    fn note_owners(&self) {
        let core = &self.core;
        if let Some(owned) = core.ownership.update(&core.replica_id, &self.alive) {
            core.metrics.owned_shards.set(count(owned));
            tracing::info!(
                shards = owned,
                replicas = self.alive.len(),
                "shards were divided anew"
            );
        }
    }

    /// From here on others claim what this replica owned. It watches over Redis no more, so that whoever starts and finds
    /// nobody else must rebuild; but the leases that it holds are still acked.
    async fn begin_leaving(&self) {
        let core = &self.core;
        // The server and the dispatches have the grace time each.
        let left_ms = 2 * core.config.server.shutdown_grace_ms;
        let tasks_ms = u64::try_from(TASKS_GRACE.as_millis()).unwrap_or_default();
        let left_ms = left_ms.saturating_add(tasks_ms);
        if let Err(error) = core.store.begin_leaving(&core.replica_id, left_ms).await {
            tracing::warn!(
                error = chain(&error),
                "others take over only when the heartbeat of this replica is old"
            );
        }
    }

    /// A replica that finds no other alive can't know what happened to Redis while nobody looked, so it rebuilds. It
    /// marks the shards before it says that it is alive: whoever starts meanwhile finds nobody, or the marks. Shards
    /// that can't be marked now are marked as soon as they answer.
    async fn start(&mut self) -> bool {
        let Some(leaving) = self.heartbeat("").await else {
            return false;
        };
        if self.alive.is_empty() {
            tracing::info!(
                "no other replica is alive: all entries are checked against their owner"
            );
            self.unwatched = self.core.store.layout().shards().collect();
            if leaving == 0 {
                // Whoever held leases is gone: nobody will ack them, and their entries needn't wait for their ends.
                self.core.store.end_leases().await;
            }
            let epochs = self.epochs().await;
            self.check(epochs).await;
        }
        true
    }

    /// Says that this replica is alive, unless the id is empty, and notes who is. Returns how many are about to end; none
    /// when that can't be told.
    async fn heartbeat(&mut self, replica_id: &str) -> Option<i64> {
        let alive_ms = self.core.config.guard.replica_alive_ms;
        let presence = self
            .core
            .store
            .heartbeat(replica_id, alive_ms, REPLICA_KEPT_MS)
            .await;
        match presence {
            Ok(presence) => {
                self.alive = presence.alive;
                Some(presence.leaving)
            }
            Err(error) => {
                tracing::warn!(
                    error = chain(&error),
                    "it can't be told which replicas are alive"
                );
                None
            }
        }
    }

    /// The epochs of the shards that can be told now, each with the identity of its server.
    async fn epochs(&self) -> Vec<(Shard, Identity, FoundEpoch)> {
        let epochs = self.core.store.epochs().await;
        let mut failures = 0;
        let shards = self.core.store.layout().shards().zip(epochs);
        let found = shards.filter_map(|(shard, found)| {
            failures += usize::from(found.is_err());
            let (identity, epoch) = found.ok()?;
            Some((shard, identity, epoch))
        });
        let found: Vec<_> = found.collect();
        if failures > 0 {
            tracing::warn!(shards = failures, "shards can't be watched");
        }
        found
    }

    /// Marks the shards of which Redis may have lost something, and raises the counters of the others.
    async fn check(&mut self, epochs: Vec<(Shard, Identity, FoundEpoch)>) {
        let mut lost = Vec::new();
        let mut raise = Vec::new();
        for (shard, identity, found) in epochs {
            if let Some(loss) = self.loss(shard, &identity, &found) {
                // The start has told of all shards that nobody watched.
                if loss != Loss::Unwatched {
                    tracing::warn!(
                        shard = shard.number(),
                        reason = loss.reason(),
                        "the entries of a shard are rebuilt"
                    );
                }
                self.core.metrics.suspected_loss(loss.label(), 1);
                lost.push((shard, identity, found));
                continue;
            }
            let Some(mut epoch) = found.epoch else {
                continue;
            };
            let seen = Seen {
                counter: epoch.counter,
                identity,
            };
            self.seen.insert(shard, seen);
            // One replica raises it, and all watch it.
            if epoch.state == EpochState::Complete && self.core.ownership.owns(shard) {
                epoch.counter += 1;
                raise.push(EpochChange {
                    shard,
                    expected: found.text,
                    epoch,
                });
            }
        }
        self.mark(lost).await;
        // Another replica may have been faster: its value is noted at the next tick.
        let answers = self.core.store.change_epochs(&raise).await;
        for (change, answer) in raise.into_iter().zip(answers) {
            if let (Ok((true, _)), Some(seen)) = (answer, self.seen.get_mut(&change.shard)) {
                seen.counter = change.epoch.counter;
            }
        }
    }

    /// Why Redis may have lost entries of the shard; none when it can't have.
    fn loss(&self, shard: Shard, identity: &Identity, found: &FoundEpoch) -> Option<Loss> {
        if self.unwatched.contains(&shard) {
            return Some(Loss::Unwatched);
        }
        let Some(epoch) = &found.epoch else {
            return Some(Loss::EpochMissing);
        };
        if epoch.identity != *identity {
            return Some(Loss::Replaced);
        }
        if let Some(seen) = self.seen.get(&shard) {
            if epoch.counter < seen.counter {
                return Some(Loss::WentBack);
            }
            // Another replica may have switched before, and rebuilt the shard on the new server while this one was still
            // giving entries to the old one: these are missing.
            if seen.identity != *identity {
                return Some(Loss::Switched);
            }
        }
        match &epoch.state {
            EpochState::Complete => None,
            EpochState::Rebuilding(nonce) if self.core.marked.has(shard, nonce) => None,
            EpochState::Rebuilding(nonce) => {
                let is_at_work =
                    |id: &String| *id != self.core.replica_id && rebuild::is_nonce_of(nonce, id);
                let is_abandoned = !self.alive.iter().any(is_at_work);
                is_abandoned.then_some(Loss::Abandoned)
            }
        }
    }

    /// Writes "rebuilding" into the epochs before anything is read from the owner: whatever happens to Redis from then
    /// on, the rebuild can't end by mistake.
    async fn mark(&mut self, shards: Vec<(Shard, Identity, FoundEpoch)>) {
        if shards.is_empty() {
            return;
        }
        let nonce = self.core.marked.next_nonce(&self.core.replica_id);
        let changes: Vec<_> = shards
            .into_iter()
            .map(|(shard, identity, found)| {
                let found_counter = found.epoch.map_or(0, |epoch| epoch.counter);
                let seen = self.seen.get(&shard).map_or(0, |seen| seen.counter);
                let epoch = rebuild::mark(&identity, found_counter.max(seen) + 1, &nonce);
                EpochChange {
                    shard,
                    expected: found.text,
                    epoch,
                }
            })
            .collect();
        let answers = self.core.store.change_epochs(&changes).await;
        for (change, answer) in changes.into_iter().zip(answers) {
            // If it was done although the answer was lost, the mark is found to be abandoned, and made again.
            if let Ok((true, _)) = answer {
                let seen = Seen {
                    counter: change.epoch.counter,
                    identity: change.epoch.identity.clone(),
                };
                self.seen.insert(change.shard, seen);
                self.unwatched.remove(&change.shard);
                self.core.marked.insert(change.shard, change.epoch);
            }
        }
    }

    /// Keeps the gauges, and gives quarantined entries their next try.
    async fn watch_failures(&self) {
        let core = &self.core;
        let health = core.store.health(core.clock.now_ms()).await;
        let mut total = ShardHealth::default();
        for (shard, health) in core.store.layout().shards().zip(health) {
            let Ok(health) = health else { continue };
            total.due_count += health.due_count;
            total.quarantined_count += health.quarantined_count;
            core.set_has_failures(shard, health.has_failures);
        }
        core.metrics.overdue.set(total.due_count);
        core.metrics.quarantined.set(total.quarantined_count);
        if total.quarantined_count > 0 {
            let kept = core.config.timer.failed_attempts_max - 1;
            let retried = core.store.retry_quarantined(kept, RETRIED_MAX).await;
            if retried > 0 {
                tracing::info!(entries = retried, "quarantined entries are tried again");
            }
        }
    }

    /// Now and then looks whether the settings of each Redis are still fit.
    async fn watch_settings(&mut self) {
        let interval = Duration::from_millis(self.core.config.guard.settings_interval_ms);
        if self.checked_at.elapsed() < interval {
            return;
        }
        self.checked_at = Instant::now();
        let wrong = checks::watch(&self.core.store, &self.core.metrics).await;
        for (address, policy) in &wrong {
            if !self
                .unsafe_servers
                .iter()
                .any(|(known, _)| known == address)
            {
                tracing::error!(
                    address,
                    policy,
                    "redis throws entries away when memory runs out: set maxmemory-policy noeviction"
                );
            }
        }
        if wrong.is_empty() && !self.unsafe_servers.is_empty() {
            tracing::info!("every redis has maxmemory-policy noeviction again");
        }
        self.unsafe_servers = wrong;
    }
}
