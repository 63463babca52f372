//! The claim loop: one for all shards of a replica, since on small machines waking up costs more than working.
//!
//! It sleeps until the next deadline that it knows of, looks at Redis for others in between, claims what is due from
//! all lanes alike, and starts dispatches. It never waits for a server: looks and claims are under way side by side, one
//! look at a time and one claim for each shard. When the handler bears no more it claims nothing: backpressure begins here.

mod linger;
mod lost;
mod shards;

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use plazo_service::status::chain;
use plazo_service::supervisor::TaskError;
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::core::Core;
use crate::dispatch::{Batch, LateAcks, Lease, dispatch};
use crate::metrics::seconds;
use crate::shard::Shard;
use crate::store::{Claim, Claimed, Look, StoreError};
use linger::Linger;
use lost::give_back;
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
        let pause = claiming.step();
        shutdown.run_until_cancelled(claiming.wait(pause)).await;
    }
    // Their answers are worth waiting for: otherwise the leases must end by themselves.
    while let Some(done) = claiming.under_way.next().await {
        claiming.done(done);
    }
    while let Some(ended) = claiming.dispatches.join_next().await {
        claiming.ended(ended);
    }
    while claiming.late.join_next().await.is_some() {}
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

/// A look or a claim that has ended.
enum Done {
    Looked {
        shards: Vec<Shard>,
        are_own: bool,
        with_leases: bool,
        sent_at: Instant,
        look: Look,
    },
    Claimed {
        claims: Vec<Claim>,
        batch_limit: usize,
        sent_at: Instant,
        answers: Vec<Result<Claimed, StoreError>>,
    },
}

struct Claiming {
    core: Arc<Core>,
    shards: ShardStates,
    /// Looks and claims.
    under_way: FuturesUnordered<BoxFuture<'static, Done>>,
    /// Whether a look at the own shards, or at those of others, is among them.
    is_looking: bool,
    is_looking_at_foreign: bool,
    dispatches: JoinSet<Option<LateAcks>>,
    /// Leases whose shards give no answers, and claims whose answers were lost. They take up no dispatch slot: the shards
    /// that do answer go on.
    late: JoinSet<()>,
    looked_at: Option<Instant>,
    looked_at_leases: Option<Instant>,
    looked_at_foreign: Instant,
    /// The version of the ownership that `shards` has.
    ownership_version: u64,
    linger: Linger,
}

impl Claiming {
    fn new(core: Arc<Core>) -> Self {
        let config = &core.config.timer;
        let linger = Linger::new(
            Duration::from_millis(config.linger_ms),
            Duration::from_millis(config.linger_max_ms),
        );
        Self {
            linger,
            shards: ShardStates::new(core.store.layout()),
            core,
            under_way: FuturesUnordered::new(),
            is_looking: false,
            is_looking_at_foreign: false,
            dispatches: JoinSet::new(),
            late: JoinSet::new(),
            looked_at: None,
            looked_at_leases: None,
            looked_at_foreign: Instant::now(),
            ownership_version: 0,
        }
    }

    fn step(&mut self) -> Pause {
        while let Some(ended) = self.dispatches.try_join_next() {
            self.ended(ended);
        }
        while self.late.try_join_next().is_some() {}
        self.core
            .wake
            .take(|shard, due_ms| self.shards.hint(shard, due_ms));
        self.note_ownership();
        let look_interval = Duration::from_millis(self.core.config.timer.look_interval_ms);
        if !self.is_looking
            && self
                .looked_at
                .is_none_or(|at| at.elapsed() >= look_interval)
        {
            self.look();
        }
        if !self.is_looking_at_foreign && self.looked_at_foreign.elapsed() >= FOREIGN_LOOK_INTERVAL
        {
            self.look_at_foreign();
        }

        let now_ms = self.core.clock.now_ms();
        let breakers = self.core.store.connection().breakers();
        self.shards.leave_alone(|shard| breakers.is_open(shard));
        let next_ms = self.shards.next_ms_after(now_ms);
        let until_look = if self.is_looking {
            look_interval
        } else {
            self.looked_at.map_or(Duration::ZERO, |at| {
                look_interval.saturating_sub(at.elapsed())
            })
        };
        let Some(is_large) = self.shards.ready(now_ms) else {
            return Pause::Until(next_ms, until_look);
        };
        let wait = self.linger.left(Instant::now());
        if !is_large && !wait.is_zero() {
            return Pause::Exactly(wait);
        }
        let room = self.core.limiter.room();
        let selected = self.shards.select(now_ms, room);
        if selected.is_empty() {
            return Pause::RoomOrUntil(next_ms, until_look);
        }
        self.claim(selected, room.batch);
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

    fn look(&mut self) {
        let now = Instant::now();
        let with_leases = self
            .looked_at_leases
            .is_none_or(|at| at.elapsed() >= LEASE_LOOK_INTERVAL);
        self.is_looking = true;
        self.looked_at = Some(now);
        if with_leases {
            self.looked_at_leases = Some(now);
        }
        self.look_at(self.shards.list(true), true, with_leases);
    }

    /// Finds shards of others from which nobody claims.
    fn look_at_foreign(&mut self) {
        let foreign = self.shards.list(false);
        self.looked_at_foreign = Instant::now();
        if !foreign.is_empty() {
            self.is_looking_at_foreign = true;
            self.look_at(foreign, false, true);
        }
    }

    fn look_at(&mut self, shards: Vec<Shard>, are_own: bool, with_leases: bool) {
        self.shards.looking(&shards);
        let core = Arc::clone(&self.core);
        let look = async move {
            let sent_at = Instant::now();
            let look = core.store.look(&shards, with_leases).await;
            Done::Looked {
                shards,
                are_own,
                with_leases,
                sent_at,
                look,
            }
        };
        self.under_way.push(look.boxed());
    }

    /// Claims from these shards, all at the same time: one pipeline for each server, so that none waits for another's.
    fn claim(&mut self, selected: Vec<(Shard, usize)>, batch_limit: usize) {
        let claims = selected.into_iter().map(|(shard, limit)| {
            self.shards.claiming(shard);
            Claim {
                shard,
                id: self.core.next_claim_id(),
                limit,
            }
        });
        let claims = claims.collect();
        for claims in self.core.store.by_server(claims, |claim| claim.shard) {
            self.core.limiter.begin_claim(entries_of(&claims));
            self.linger.begin(Instant::now());
            let core = Arc::clone(&self.core);
            let claim = async move {
                let sent_at = Instant::now();
                let answers = core.store.claim(&claims, core.claim_rules()).await;
                Done::Claimed {
                    claims,
                    batch_limit,
                    sent_at,
                    answers,
                }
            };
            self.under_way.push(claim.boxed());
        }
    }

    fn done(&mut self, done: Done) {
        match done {
            Done::Looked {
                shards,
                are_own: true,
                with_leases,
                sent_at,
                look,
            } => {
                self.is_looking = false;
                if let Some(redis_us) = look.redis_us {
                    self.core.clock.observe(redis_us, sent_at);
                }
                self.shards.apply(&shards, &look, with_leases);
            }
            Done::Looked { shards, look, .. } => {
                self.is_looking_at_foreign = false;
                self.looked_at_others(&shards, &look);
            }
            Done::Claimed {
                claims,
                batch_limit,
                sent_at,
                answers,
            } => {
                self.core.limiter.end_claim(entries_of(&claims));
                self.claimed(claims, answers, batch_limit, sent_at);
            }
        }
    }

    fn looked_at_others(&mut self, foreign: &[Shard], look: &Look) {
        let Some(redis_us) = look.redis_us else {
            return;
        };
        self.shards.apply(foreign, look, true);
        let take_over_ms = self.core.config.timer.take_over_ms;
        let oldest_ms = redis_us / 1_000 - i64::try_from(take_over_ms).unwrap_or(i64::MAX);
        let taken_over = self.shards.take_over(foreign, oldest_ms);
        if taken_over > 0 {
            self.core.metrics.taken_over.inc_by(taken_over as u64);
            tracing::info!(
                shards = taken_over,
                "claiming from shards of other replicas, which are behind"
            );
        }
    }

    /// Dispatches what claims have brought, in calls of so many entries at most. A shard that fails waits a moment, and what
    /// its claim may have taken is given back.
    fn claimed(
        &mut self,
        claims: Vec<Claim>,
        answers: Vec<Result<Claimed, StoreError>>,
        batch_limit: usize,
        sent_at: Instant,
    ) {
        let mut leases = Vec::new();
        let mut lost = Vec::new();
        for (answer, claim) in answers.into_iter().zip(claims) {
            match answer {
                Ok(claimed) => {
                    let redis_us = claimed.redis_us - claimed.ahead_us;
                    self.core.clock.observe(redis_us, sent_at);
                    self.shards.claimed(&claimed, claim.limit);
                    self.note(&claimed);
                    if !claimed.entries.is_empty() {
                        leases.push(Lease::new(claimed, sent_at));
                    }
                }
                Err(error) => {
                    tracing::debug!(
                        shard = claim.shard.number(),
                        error = chain(&error),
                        "a claim failed"
                    );
                    let again_ms = self.core.clock.now_ms() + FAILED_PAUSE_MS;
                    self.shards.failed(claim.shard, again_ms);
                    if error.may_have_run() {
                        lost.push(claim);
                    }
                }
            }
        }
        if !lost.is_empty() {
            let until = Instant::now() + self.core.config.timer.lease();
            self.late
                .spawn(give_back(Arc::clone(&self.core), lost, until));
        }
        let total = leases.iter().map(|lease| lease.entries.len()).sum();
        self.linger.claimed(total);
        if !(1..batch_limit).contains(&total) {
            self.linger.end();
        }
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
                self.late.spawn(late.ack(Arc::clone(&self.core)));
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

    /// Waits as it is said, and less when a look or a claim ends.
    async fn wait(&mut self, pause: Pause) {
        let core = Arc::clone(&self.core);
        let pausing = async {
            match pause {
                Pause::None => {}
                Pause::Exactly(wait) => tokio::time::sleep(wait).await,
                Pause::Until(unix_ms, longest) | Pause::RoomOrUntil(unix_ms, longest) => {
                    sleep_until(&core, unix_ms, longest).await;
                }
            }
        };
        let wants_room = matches!(pause, Pause::RoomOrUntil(..));
        tokio::select! {
            biased;
            Some(done) = self.under_way.next() => self.done(done),
            Some(ended) = self.dispatches.join_next(), if wants_room => self.ended(ended),
            () = pausing => {}
        }
    }
}

/// How many entries were asked for.
fn entries_of(claims: &[Claim]) -> usize {
    claims.iter().map(|claim| claim.limit).sum()
}

async fn sleep_until(core: &Core, unix_ms: i64, longest: Duration) {
    let wait = core.clock.until_ms(unix_ms).min(longest);
    tokio::select! {
        () = tokio::time::sleep(wait) => {}
        () = core.wake.earlier_than(unix_ms) => {}
    }
}
