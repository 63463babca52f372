//! Watches over Redis: whether it still has what it was given, and who is alive.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use plazo_service::status::chain;
use plazo_service::supervisor::TaskError;
use tokio_util::sync::CancellationToken;

use crate::core::Core;
use crate::rebuild;
use crate::shard::Shard;
use crate::store::{EpochChange, EpochState, FoundEpoch, Identity, ShardHealth, StoreError};

/// How long a dead replica stays on the list, for people to see.
const REPLICA_KEPT_MS: u64 = 60_000;
/// Quarantined entries of a shard that are tried again at a time.
const RETRIED_MAX: usize = 16;

/// Watches until shutdown.
pub(crate) async fn run(core: Arc<Core>, shutdown: CancellationToken) -> Result<(), TaskError> {
    let interval = Duration::from_millis(core.config.guard.interval_ms);
    let mut guard = Guard {
        core,
        has_started: false,
        counters: BTreeMap::new(),
    };
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while shutdown.run_until_cancelled(ticks.tick()).await.is_some() {
        if let Err(error) = guard.tick().await {
            tracing::warn!(error = chain(&error), "redis can't be watched");
        }
    }
    Ok(())
}

struct Guard {
    core: Arc<Core>,
    /// Whether this replica has decided if it must rebuild at its start.
    has_started: bool,
    /// For each shard the highest counter that was seen.
    counters: BTreeMap<Shard, u64>,
}

impl Guard {
    async fn tick(&mut self) -> Result<(), StoreError> {
        if !self.has_started {
            self.start().await?;
            self.has_started = true;
        }
        let alive = self.heartbeat(&self.core.replica_id).await?;
        let (identity, epochs) = self.core.store.epochs().await?;
        self.check(&identity, epochs, &alive).await?;
        self.watch_failures().await
    }

    /// A replica that finds no other alive can't know what happened to Redis while nobody looked, so it rebuilds. It
    /// marks the shards before it says that it is alive: whoever starts meanwhile finds nobody, or the marks.
    async fn start(&mut self) -> Result<(), StoreError> {
        let alive = self.heartbeat("").await?;
        if !alive.is_empty() {
            return Ok(());
        }
        // Whoever held leases is gone: nobody will ack them, and their entries needn't wait for their ends.
        self.core.store.end_leases().await?;
        let (identity, epochs) = self.core.store.epochs().await?;
        let all = self.core.store.layout().shards().zip(epochs).collect();
        tracing::info!("no other replica is alive: all entries are checked against their owner");
        self.mark(&identity, all).await
    }

    async fn heartbeat(&self, replica_id: &str) -> Result<Vec<String>, StoreError> {
        let alive_ms = self.core.config.guard.replica_alive_ms;
        self.core
            .store
            .heartbeat(replica_id, alive_ms, REPLICA_KEPT_MS)
            .await
    }

    /// Marks the shards of which Redis may have lost something, and raises the counters of the others.
    async fn check(
        &mut self,
        identity: &Identity,
        epochs: Vec<FoundEpoch>,
        alive: &[String],
    ) -> Result<(), StoreError> {
        let mut lost = Vec::new();
        let mut raise = Vec::new();
        for (shard, found) in self.core.store.layout().shards().zip(epochs) {
            let reason = self.loss(shard, identity, &found, alive);
            if let Some(reason) = reason {
                tracing::warn!(
                    shard = shard.number(),
                    reason,
                    "the entries of a shard are rebuilt"
                );
                lost.push((shard, found));
                continue;
            }
            let Some(mut epoch) = found.epoch else {
                continue;
            };
            self.counters.insert(shard, epoch.counter);
            if epoch.state == EpochState::Complete {
                epoch.counter += 1;
                raise.push(EpochChange {
                    shard,
                    expected: found.text,
                    epoch,
                });
            }
        }
        self.mark(identity, lost).await?;
        // Another replica may have been faster: its value is noted at the next tick.
        let answers = self.core.store.change_epochs(&raise).await?;
        for (change, (was_changed, _)) in raise.into_iter().zip(answers) {
            if was_changed {
                self.counters.insert(change.shard, change.epoch.counter);
            }
        }
        Ok(())
    }

    /// Why Redis may have lost entries of the shard; none when it can't have.
    fn loss(
        &self,
        shard: Shard,
        identity: &Identity,
        found: &FoundEpoch,
        alive: &[String],
    ) -> Option<&'static str> {
        let Some(epoch) = &found.epoch else {
            return Some("its epoch is missing");
        };
        if epoch.identity != *identity {
            return Some("redis was restarted or replaced");
        }
        if self
            .counters
            .get(&shard)
            .is_some_and(|seen| epoch.counter < *seen)
        {
            return Some("redis went back to an older copy");
        }
        match &epoch.state {
            EpochState::Complete => None,
            EpochState::Rebuilding(nonce) if self.core.marked.has(shard, nonce) => None,
            EpochState::Rebuilding(nonce) => {
                let is_at_work =
                    |id: &String| *id != self.core.replica_id && rebuild::is_nonce_of(nonce, id);
                let is_abandoned = !alive.iter().any(is_at_work);
                is_abandoned.then_some("its rebuild was abandoned")
            }
        }
    }

    /// Writes "rebuilding" into the epochs before anything is read from the owner: whatever happens to Redis from then
    /// on, the rebuild can't end by mistake.
    async fn mark(
        &mut self,
        identity: &Identity,
        shards: Vec<(Shard, FoundEpoch)>,
    ) -> Result<(), StoreError> {
        if shards.is_empty() {
            return Ok(());
        }
        let nonce = self.core.marked.next_nonce(&self.core.replica_id);
        let changes: Vec<_> = shards
            .into_iter()
            .map(|(shard, found)| {
                let found_counter = found.epoch.map_or(0, |epoch| epoch.counter);
                let seen = self.counters.get(&shard).copied().unwrap_or(0);
                let epoch = rebuild::mark(identity, found_counter.max(seen) + 1, &nonce);
                EpochChange {
                    shard,
                    expected: found.text,
                    epoch,
                }
            })
            .collect();
        let answers = self.core.store.change_epochs(&changes).await?;
        for (change, (was_changed, _)) in changes.into_iter().zip(answers) {
            if was_changed {
                self.counters.insert(change.shard, change.epoch.counter);
                self.core.marked.insert(change.shard, change.epoch);
            }
        }
        Ok(())
    }

    /// Keeps the gauges, and gives quarantined entries their next try.
    async fn watch_failures(&self) -> Result<(), StoreError> {
        let core = &self.core;
        let health = core.store.health(core.store.time_ms().await?).await?;
        let sum = |count: fn(&ShardHealth) -> i64| health.iter().map(count).sum::<i64>();
        let quarantined = sum(|shard| shard.quarantined_count);
        core.metrics.overdue.set(sum(|shard| shard.due_count));
        core.metrics.quarantined.set(quarantined);
        for (shard, health) in core.store.layout().shards().zip(&health) {
            core.set_has_failures(shard, health.has_failures);
        }
        if quarantined > 0 {
            let kept = core.config.timer.failed_attempts_max - 1;
            let retried = core.store.retry_quarantined(kept, RETRIED_MAX).await?;
            if retried > 0 {
                tracing::info!(entries = retried, "quarantined entries are tried again");
            }
        }
        Ok(())
    }
}
