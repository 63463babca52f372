//! Arming and repairing, with patience for a Redis that is away for a moment.

mod queue;

use std::borrow::Cow;
use std::time::Duration;

use plazo_proto::timer::v1::ArmOutcome;
use plazo_service::status::chain;
use tokio::time::Instant;

use crate::core::Core;
use crate::entry::Entry;
use crate::shard::Shard;
use crate::store::{Arm, ArmCounts, Armed, Repaired, StoreError};

pub(crate) use queue::{ArmQueue, Armer};

/// For so long a caller waits for a Redis that can't serve, and does not see it. Less than the deadline of a relay.
const PATIENCE: Duration = Duration::from_millis(1_500);
const FIRST_BACKOFF: Duration = Duration::from_millis(20);
const LONGEST_BACKOFF: Duration = Duration::from_millis(200);

/// What arming came to.
#[derive(Debug)]
pub(crate) struct ArmAnswer {
    /// Entries that are new, and older ones that were removed.
    pub(crate) counts: ArmCounts,
    /// What became of each arm, in the order of the arms.
    pub(crate) outcomes: Vec<ArmOutcome>,
    /// Why, if nothing at all could be armed.
    pub(crate) failure: Option<StoreError>,
}

/// Arms, and tells the claim loop what is due.
pub(crate) async fn arm(core: &Core, arms: &[Arm]) -> ArmAnswer {
    let layout = core.store.layout();
    let armed = arm_patiently(core, arms).await;
    let mut counts = ArmCounts::default();
    let mut outcome_of = vec![ArmOutcome::Armed; usize::from(layout.shard_count())];
    let mut failure = None;
    let mut is_any_armed = false;
    for armed in armed {
        match armed.outcome {
            Ok(change) => {
                counts.added += change.added;
                counts.removed += change.removed;
                is_any_armed = true;
            }
            Err(error) => {
                outcome_of[armed.shard.index()] = outcome(&error);
                failure = Some(error);
            }
        }
    }
    core.metrics.armed.inc_by(counts.added.unsigned_abs());
    let outcomes = arms.iter().map(|arm| {
        let shard = layout.shard_of_member(&arm.member);
        if let Some(due_ms) = arm.due_ms {
            core.hint(shard, due_ms);
        }
        outcome_of[shard.index()]
    });
    ArmAnswer {
        counts,
        outcomes: outcomes.collect(),
        failure: failure.filter(|_| !is_any_armed),
    }
}

/// What became of the arms of a shard that failed.
fn outcome(error: &StoreError) -> ArmOutcome {
    match error {
        StoreError::Unavailable(_) | StoreError::LeftAlone => ArmOutcome::Unavailable,
        StoreError::OutOfMemory(_) => ArmOutcome::Exhausted,
        StoreError::Refused(_) | StoreError::Answer(_) => {
            tracing::error!(error = chain(error), "entries could not be armed");
            ArmOutcome::Failed
        }
    }
}

/// Asks Redis again about the shards that it did not serve. In a cluster, shards of which others were served
/// are left to the caller, who needn't wait for a dead master then.
async fn arm_patiently(core: &Core, arms: &[Arm]) -> Vec<Armed> {
    let mut patience = Patience::new();
    let mut left = Cow::Borrowed(arms);
    let mut settled = Vec::new();
    loop {
        let armed = core
            .store
            .arm(&left, |shard| core.has_failures(shard))
            .await;
        let (away, done): (Vec<_>, Vec<_>) = armed
            .into_iter()
            .partition(|armed| armed.outcome.as_ref().is_err_and(is_away));
        settled.extend(done);
        let is_worth_it = settled.is_empty() || core.store.is_one_server();
        if away.is_empty() || !is_worth_it || !patience.allows_another().await {
            settled.extend(away);
            return settled;
        }
        let layout = core.store.layout();
        left.to_mut().retain(|arm| {
            let shard = layout.shard_of_member(&arm.member);
            away.iter().any(|armed| armed.shard == shard)
        });
    }
}

/// Repairs, and asks Redis again while it serves no shard at all. The rest is for the next sweep.
pub(crate) async fn repair(
    core: &Core,
    entries: &[Entry],
) -> Vec<(Shard, Result<Repaired, StoreError>)> {
    let mut patience = Patience::new();
    loop {
        let repaired = core.store.repair(entries).await;
        let mut outcomes = repaired.iter().map(|(_, repaired)| repaired);
        let nobody_answers =
            !repaired.is_empty() && outcomes.all(|repaired| repaired.as_ref().is_err_and(is_away));
        if !nobody_answers || !patience.allows_another().await {
            return repaired;
        }
    }
}

/// How long a caller waits for Redis: it may be busy with a script, or change its master. What is asked may have been done
/// before, so it must be safe to repeat.
#[derive(Debug)]
struct Patience {
    ends_at: Instant,
    backoff: Duration,
}

impl Patience {
    fn new() -> Self {
        Self {
            ends_at: Instant::now() + PATIENCE,
            backoff: FIRST_BACKOFF,
        }
    }

    /// Waits before the next attempt; false when there is to be none.
    async fn allows_another(&mut self) -> bool {
        if Instant::now() + self.backoff >= self.ends_at {
            return false;
        }
        tokio::time::sleep(self.backoff).await;
        self.backoff = (self.backoff * 2).min(LONGEST_BACKOFF);
        true
    }
}

/// Whether a server could not be reached, which a moment later it may.
fn is_away(error: &StoreError) -> bool {
    matches!(error, StoreError::Unavailable(_) | StoreError::LeftAlone)
}
