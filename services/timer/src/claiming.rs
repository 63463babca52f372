//! The claim loop: one for all shards of a replica, since on small machines waking up costs more than working.
//!
//! It sleeps until the next deadline that it knows of, looks at Redis for others in between, claims what is due from
//! all lanes alike, and starts dispatches. When the dispatch slots are taken it claims nothing: backpressure begins
//! here.

mod shards;

use std::sync::Arc;
use std::time::Duration;

use plazo_service::status::chain;
use plazo_service::supervisor::TaskError;
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::core::Core;
use crate::dispatch::{Batch, LateAcks, Lease, dispatch};
use crate::metrics::seconds;
use crate::shard::Shard;
use crate::store::{Claim, Claimed};
use shards::ShardStates;

/// How often the ends of leases are looked at. A replica's own claims tell it more often.
const LEASE_LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// How often the shards of other replicas are looked at.
const FOREIGN_LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// How long a shard whose claim failed waits, as while its slot moves. If it goes on failing, its breaker opens.
const FAILED_PAUSE_MS: i64 = 20;

/// Claims and dispatches until shutdown, then waits for what it has dispatched.
pub(crate) async fn run(core: Arc<Core>, shutdown: CancellationToken) -> Result<(), TaskError> {
    let mut claiming = Claiming::new(core);
    while !shutdown.is_cancelled() {
        let pause = claiming.step().await;
        shutdown.run_until_cancelled(claiming.wait(pause)).await;
    }
    // Their answers are worth waiting for: otherwise the leases must end by themselves.
    while let Some(ended) = claiming.dispatches.join_next().await {
        claiming.ended(ended);
    }
    while claiming.late_acks.join_next().await.is_some() {}
    Ok(())
}

/// What to wait for before the next step.
#[derive(Debug, Clone, Copy)]
enum Pause {
    /// Nothing.
    None,
    /// This long, whatever comes.
    Exactly(Duration),
    /// Until Redis' clock reads so many Unix milliseconds, but not longer than the other, and less when something earlier
    /// is armed.
    Until(i64, Duration),
    /// The same, and less when a dispatch ends.
    RoomOrUntil(i64, Duration),
}

struct Claiming {
    core: Arc<Core>,
    shards: ShardStates,
    dispatches: JoinSet<Option<LateAcks>>,
    /// Leases whose shards give no answers. They take up no dispatch slot: the shards that do answer go on.
    late_acks: JoinSet<()>,
    looked_at: Option<Instant>,
    looked_at_leases: Option<Instant>,
    looked_at_foreign: Instant,
    /// The version of the ownership that `shards` has.
    ownership_version: u64,
    /// After a small batch, the next one waits until then for more work.
    linger_until: Option<Instant>,
}

impl Claiming {
    fn new(core: Arc<Core>) -> Self {
        Self {
            shards: ShardStates::new(core.store.layout()),
            core,
            dispatches: JoinSet::new(),
            late_acks: JoinSet::new(),
            looked_at: None,
            looked_at_leases: None,
            looked_at_foreign: Instant::now(),
            ownership_version: 0,
            linger_until: None,
        }
    }

    async fn step(&mut self) -> Pause {
        while let Some(ended) = self.dispatches.try_join_next() {
            self.ended(ended);
        }
        while self.late_acks.try_join_next().is_some() {}
        self.core
            .wake
            .take(|shard, due_ms| self.shards.hint(shard, due_ms));
        self.note_ownership();
        let look_interval = Duration::from_millis(self.core.config.timer.look_interval_ms);
        if self
            .looked_at
            .is_none_or(|at| at.elapsed() >= look_interval)
        {
            self.look().await;
        }
        if self.looked_at_foreign.elapsed() >= FOREIGN_LOOK_INTERVAL {
            self.look_at_foreign().await;
        }

        let now_ms = self.core.clock.now_ms();
        let breakers = self.core.store.connection().breakers();
        self.shards.leave_alone(|shard| breakers.is_open(shard));
        let next_ms = self.shards.next_ms_after(now_ms);
        let until_look = self.looked_at.map_or(Duration::ZERO, |at| {
            look_interval.saturating_sub(at.elapsed())
        });
        let Some(is_large) = self.shards.ready(now_ms) else {
            return Pause::Until(next_ms, until_look);
        };
        if !is_large
            && let Some(until) = self.linger_until.take()
            && let wait = until.saturating_duration_since(Instant::now())
            && !wait.is_zero()
        {
            return Pause::Exactly(wait);
        }
        let room = self.core.limiter.room();
        let selected = self.shards.select(now_ms, room);
        if selected.is_empty() {
            return Pause::RoomOrUntil(next_ms, until_look);
        }
        self.claim(now_ms, selected, room.batch).await;
        Pause::None
    }

    /// Takes over which shards are this replica's, if that has changed. What it no longer owns it finishes and acks all the
    /// same.
    fn note_ownership(&mut self) {
        let ownership = &self.core.ownership;
        let version = ownership.version();
        if version != self.ownership_version {
            self.ownership_version = version;
            self.shards.set_owned(|shard| ownership.owns(shard));
            self.looked_at = None;
            self.looked_at_leases = None;
        }
    }

    async fn look(&mut self) {
        let own = self.shards.list(true);
        let sent_at = Instant::now();
        let with_leases = self
            .looked_at_leases
            .is_none_or(|at| at.elapsed() >= LEASE_LOOK_INTERVAL);
        let look = self.core.store.look(&own, with_leases).await;
        if let Some(redis_us) = look.redis_us {
            self.core.clock.observe(redis_us, sent_at);
        }
        self.shards.apply(&own, &look, with_leases);
        self.looked_at = Some(sent_at);
        if with_leases {
            self.looked_at_leases = Some(sent_at);
        }
    }

    /// Finds shards of others from which nobody claims.
    async fn look_at_foreign(&mut self) {
        let foreign = self.shards.list(false);
        self.looked_at_foreign = Instant::now();
        if foreign.is_empty() {
            return;
        }
        let look = self.core.store.look(&foreign, true).await;
        let Some(redis_us) = look.redis_us else {
            return;
        };
        self.shards.apply(&foreign, &look, true);
        let take_over_ms = self.core.config.timer.take_over_ms;
        let oldest_ms = redis_us / 1_000 - i64::try_from(take_over_ms).unwrap_or(i64::MAX);
        let taken_over = self.shards.take_over(&foreign, oldest_ms);
        if taken_over > 0 {
            self.core.metrics.taken_over.inc_by(taken_over as u64);
            tracing::info!(
                shards = taken_over,
                "claiming from shards of other replicas, which are behind"
            );
        }
    }

    /// Claims from these shards, all at the same time, and dispatches what came in calls of so many entries at most. A
    /// shard that fails waits a moment; the others don't.
    async fn claim(&mut self, now_ms: i64, selected: Vec<(Shard, usize)>, batch_limit: usize) {
        let claims: Vec<_> = selected
            .iter()
            .map(|(shard, limit)| Claim {
                shard: *shard,
                id: self.core.next_claim_id(),
                limit: *limit,
            })
            .collect();
        let sent_at = Instant::now();
        let answers = self.core.store.claim(claims, self.core.claim_rules()).await;

        let mut leases = Vec::new();
        for (answer, (shard, limit)) in answers.into_iter().zip(selected) {
            match answer {
                Ok(claimed) => {
                    let redis_us = claimed.redis_us - claimed.ahead_us;
                    self.core.clock.observe(redis_us, sent_at);
                    self.shards.claimed(&claimed, limit);
                    self.note(&claimed);
                    if !claimed.entries.is_empty() {
                        leases.push(Lease::new(claimed, sent_at));
                    }
                }
                Err(error) => {
                    tracing::debug!(
                        shard = shard.number(),
                        error = chain(&error),
                        "a claim failed"
                    );
                    self.shards.failed(shard, now_ms + FAILED_PAUSE_MS);
                }
            }
        }
        let total: usize = leases.iter().map(|lease| lease.entries.len()).sum();
        let is_small = total < batch_limit;
        let linger = Duration::from_millis(self.core.config.timer.linger_ms);
        self.linger_until = (is_small && total > 0).then(|| Instant::now() + linger);
        for batch in Batch::pack(leases, batch_limit) {
            self.core.faults.after_claim();
            self.core.limiter.begin(batch.entries().count());
            self.dispatches
                .spawn(dispatch(Arc::clone(&self.core), batch));
        }
    }

    /// A dispatch has ended, but for leases that could not be acked.
    fn ended(&mut self, ended: Result<Option<LateAcks>, JoinError>) {
        match ended {
            Ok(Some(late)) => {
                self.late_acks.spawn(late.ack(Arc::clone(&self.core)));
            }
            // Its leases end by themselves.
            Err(error) if error.is_panic() => {
                tracing::error!(error = chain(&error), "a dispatch panicked");
            }
            Ok(None) | Err(_) => {}
        }
    }

    fn note(&self, claimed: &Claimed) {
        let metrics = &self.core.metrics;
        if !claimed.entries.is_empty() {
            metrics.claims.inc();
        }
        for claimed_entry in &claimed.entries {
            if claimed_entry.failed_attempts == 0 {
                let late_us = claimed.redis_us - claimed_entry.entry.due_ms * 1_000;
                metrics.claim_lateness.observe(seconds(late_us));
            }
        }
        if claimed.ended_leases > 0 {
            metrics
                .ended_leases
                .inc_by(claimed.ended_leases.unsigned_abs());
            self.core.set_has_failures(claimed.shard, true);
            tracing::warn!(
                shard = claimed.shard.number(),
                leases = claimed.ended_leases,
                "leases ended without an answer, and their entries come again"
            );
        }
        if claimed.quarantined > 0 {
            tracing::error!(
                shard = claimed.shard.number(),
                entries = claimed.quarantined,
                "entries went into quarantine: their leases ended too often"
            );
        }
    }

    async fn wait(&mut self, pause: Pause) {
        match pause {
            Pause::None => {}
            Pause::Exactly(wait) => tokio::time::sleep(wait).await,
            Pause::Until(unix_ms, longest) => sleep_until(&self.core, unix_ms, longest).await,
            Pause::RoomOrUntil(unix_ms, longest) => {
                let core = Arc::clone(&self.core);
                tokio::select! {
                    () = sleep_until(&core, unix_ms, longest) => {}
                    Some(ended) = self.dispatches.join_next() => self.ended(ended),
                }
            }
        }
    }
}

async fn sleep_until(core: &Core, unix_ms: i64, longest: Duration) {
    let wait = core.clock.until_ms(unix_ms).min(longest);
    tokio::select! {
        () = tokio::time::sleep(wait) => {}
        () = core.wake.earlier_than(unix_ms) => {}
    }
}
