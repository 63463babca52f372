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
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::core::Core;
use crate::dispatch::{Batch, Lease, dispatch};
use crate::metrics::seconds;
use crate::store::{Claim, Claimed, StoreError};
use shards::ShardStates;

/// How often the ends of leases are looked at. A replica's own claims tell it more often.
const LEASE_LOOK_INTERVAL: Duration = Duration::from_secs(1);
const FIRST_BACKOFF: Duration = Duration::from_millis(20);
const LONGEST_BACKOFF: Duration = Duration::from_millis(500);

/// Claims and dispatches until shutdown, then waits for what it has dispatched.
pub(crate) async fn run(core: Arc<Core>, shutdown: CancellationToken) -> Result<(), TaskError> {
    let mut claiming = Claiming::new(core);
    let mut backoff = FIRST_BACKOFF;
    while !shutdown.is_cancelled() {
        let pause = match claiming.step().await {
            Ok(pause) => {
                backoff = FIRST_BACKOFF;
                pause
            }
            Err(error) => {
                tracing::warn!(error = chain(&error), wait = ?backoff, "nothing can be claimed");
                let pause = Pause::Exactly(backoff);
                backoff = (backoff * 2).min(LONGEST_BACKOFF);
                pause
            }
        };
        shutdown.run_until_cancelled(claiming.wait(pause)).await;
    }
    // Their answers are worth waiting for: otherwise the leases must end by themselves.
    while claiming.dispatches.join_next().await.is_some() {}
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
    /// A free dispatch slot.
    Slot,
}

struct Claiming {
    core: Arc<Core>,
    shards: ShardStates,
    dispatches: JoinSet<()>,
    looked_at: Option<Instant>,
    looked_at_leases: Option<Instant>,
    /// After a small batch, the next one waits until then for more work.
    linger_until: Option<Instant>,
}

impl Claiming {
    fn new(core: Arc<Core>) -> Self {
        Self {
            shards: ShardStates::new(core.store.layout()),
            core,
            dispatches: JoinSet::new(),
            looked_at: None,
            looked_at_leases: None,
            linger_until: None,
        }
    }

    async fn step(&mut self) -> Result<Pause, StoreError> {
        while let Some(ended) = self.dispatches.try_join_next() {
            log_panic(ended);
        }
        self.core
            .wake
            .take(|shard, due_ms| self.shards.hint(shard, due_ms));
        let look_interval = Duration::from_millis(self.core.config.timer.look_interval_ms);
        if self
            .looked_at
            .is_none_or(|at| at.elapsed() >= look_interval)
        {
            self.look().await?;
        }

        let free_slots = self
            .core
            .config
            .timer
            .dispatch_slots
            .saturating_sub(self.dispatches.len());
        if free_slots == 0 {
            return Ok(Pause::Slot);
        }
        let now_ms = self.core.clock.now_ms();
        let Some(is_large) = self.shards.ready(now_ms) else {
            let until_look = self.looked_at.map_or(Duration::ZERO, |at| {
                look_interval.saturating_sub(at.elapsed())
            });
            return Ok(Pause::Until(self.shards.next_ms(), until_look));
        };
        if !is_large
            && let Some(until) = self.linger_until.take()
            && let wait = until.saturating_duration_since(Instant::now())
            && !wait.is_zero()
        {
            return Ok(Pause::Exactly(wait));
        }
        self.claim(now_ms, free_slots).await?;
        Ok(Pause::None)
    }

    async fn look(&mut self) -> Result<(), StoreError> {
        let sent_at = Instant::now();
        let with_leases = self
            .looked_at_leases
            .is_none_or(|at| at.elapsed() >= LEASE_LOOK_INTERVAL);
        let look = self.core.store.look(with_leases).await?;
        self.core.clock.observe(look.redis_us, sent_at);
        self.shards.apply(&look);
        self.looked_at = Some(sent_at);
        if with_leases {
            self.looked_at_leases = Some(sent_at);
        }
        Ok(())
    }

    /// Claims from the shards that are ready, in one pipeline, and dispatches what came.
    async fn claim(&mut self, now_ms: i64, free_slots: usize) -> Result<(), StoreError> {
        let batch_limit = self.core.config.timer.batch_limit;
        let claims: Vec<_> = self
            .shards
            .select(now_ms, free_slots, batch_limit)
            .into_iter()
            .map(|(shard, limit)| Claim {
                shard,
                lease_id: self.core.next_lease_id(),
                limit,
            })
            .collect();
        let limits: Vec<_> = claims.iter().map(|claim| claim.limit).collect();
        let sent_at = Instant::now();
        let answers = self
            .core
            .store
            .claim(claims, self.core.claim_rules())
            .await?;

        let mut failure = None;
        let mut leases = Vec::new();
        for (answer, limit) in answers.into_iter().zip(limits) {
            match answer {
                Ok(claimed) => {
                    self.core.clock.observe(claimed.redis_us, sent_at);
                    self.shards.claimed(&claimed, limit);
                    self.note(&claimed);
                    if !claimed.entries.is_empty() {
                        leases.push(Lease::new(claimed, sent_at));
                    }
                }
                Err(error) => failure = Some(error),
            }
        }
        let total: usize = leases.iter().map(|lease| lease.entries.len()).sum();
        let is_small = total < batch_limit;
        let linger = Duration::from_millis(self.core.config.timer.linger_ms);
        self.linger_until = (is_small && total > 0).then(|| Instant::now() + linger);
        for batch in Batch::pack(leases, batch_limit) {
            self.core.faults.after_claim();
            self.dispatches
                .spawn(dispatch(Arc::clone(&self.core), batch));
        }
        failure.map_or(Ok(()), Err)
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
            Pause::Slot => {
                if let Some(ended) = self.dispatches.join_next().await {
                    log_panic(ended);
                }
            }
            Pause::Until(unix_ms, longest) => {
                let wait = self.core.clock.until_ms(unix_ms).min(longest);
                tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    () = self.core.wake.earlier_than(unix_ms) => {}
                }
            }
        }
    }
}

/// Its leases end by themselves.
fn log_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(error = chain(&error), "a dispatch panicked");
    }
}
