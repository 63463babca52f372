//! Dispatching: asks the handler what follows for a batch, hands the active messages to notification, and acks.
//!
//! A crash at any point leads to another look after the lease: the handler answers ALREADY then, and notification
//! knows the messages by their keys.

mod answers;
mod calls;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use plazo_service::status::chain;
use tokio::time::Instant;

use crate::core::Core;
use crate::shard::Shard;
use crate::store::{Ack, Claimed, ClaimedEntry, LeaseId, StoreError, count};
use calls::Outcome;

const ACK_FIRST_BACKOFF: Duration = Duration::from_millis(20);
const ACK_LONGEST_BACKOFF: Duration = Duration::from_millis(500);

/// Entries of one shard under one lease.
#[derive(Debug)]
pub(crate) struct Lease {
    pub(crate) shard: Shard,
    pub(crate) id: LeaseId,
    pub(crate) entries: Vec<ClaimedEntry>,
    /// Before the claim was sent: the lease lasts at least its length from here on.
    claimed_at: Instant,
}

impl Lease {
    pub(crate) fn new(claimed: Claimed, claimed_at: Instant) -> Self {
        Self {
            shard: claimed.shard,
            id: claimed.lease_id,
            entries: claimed.entries,
            claimed_at,
        }
    }

    /// Entries that failed before must be alone with their like.
    fn has_failures(&self) -> bool {
        self.entries
            .iter()
            .any(|claimed| claimed.failed_attempts > 0)
    }
}

/// What goes into one call of the handler.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) leases: Vec<Lease>,
}

impl Batch {
    /// Puts small leases together, up to so many entries. Leases with entries that failed before travel alone.
    pub(crate) fn pack(leases: Vec<Lease>, limit: usize) -> Vec<Self> {
        let mut batches = Vec::new();
        let mut open = Vec::new();
        let mut open_size = 0;
        for lease in leases {
            if lease.has_failures() {
                batches.push(Self {
                    leases: vec![lease],
                });
                continue;
            }
            if open_size + lease.entries.len() > limit && !open.is_empty() {
                batches.push(Self {
                    leases: std::mem::take(&mut open),
                });
                open_size = 0;
            }
            open_size += lease.entries.len();
            open.push(lease);
        }
        if !open.is_empty() {
            batches.push(Self { leases: open });
        }
        batches
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = &ClaimedEntry> {
        self.leases.iter().flat_map(|lease| &lease.entries)
    }

    fn claimed_at(&self) -> Instant {
        self.leases
            .iter()
            .map(|lease| lease.claimed_at)
            .min()
            .unwrap_or_else(Instant::now)
    }
}

/// Handles a batch to its end. What can't be finished comes again when the leases end.
pub(crate) async fn dispatch(core: Arc<Core>, batch: Batch) {
    let size = count(batch.entries().count());
    core.metrics.in_flight.inc_by(size);
    let acks = match calls::ask_handler(&core, &batch).await {
        Outcome::Answered(mut answer) => {
            core.answered_batches.fetch_add(1, Ordering::Relaxed);
            let messages = answers::take_messages(&mut answer);
            let acks = answers::acks_of(&core, &batch, &answer);
            calls::notify(&core, messages).await;
            acks
        }
        Outcome::Failed { reason } => answers::acks_of_failure(&core, &batch, &reason),
        Outcome::Unanswered => answers::acks_of_outage(&core, &batch),
    };
    core.faults.before_ack();
    let lease_ends = batch.claimed_at() + core.config.timer.lease();
    if let Err(error) = ack(&core, &acks, lease_ends).await {
        tracing::warn!(
            error = chain(&error),
            entries = size,
            "leases could not be acked: their entries come again when they end"
        );
    }
    core.metrics.in_flight.dec_by(size);
}

/// Acks while the leases last. An ack may have been done although its answer was lost: doing it twice does no harm.
async fn ack(core: &Core, acks: &[Ack], lease_ends: Instant) -> Result<(), StoreError> {
    let mut backoff = ACK_FIRST_BACKOFF;
    loop {
        match core.store.ack(acks).await {
            Ok(acked) => {
                core.metrics.acks.inc_by(acked.len() as u64);
                for acked in acked {
                    if let Some(due_ms) = acked.next_due_ms {
                        core.wake.hint(acked.shard, due_ms);
                    }
                    if !acked.was_held {
                        tracing::debug!(
                            shard = acked.shard.number(),
                            "an ack came after its lease"
                        );
                    }
                }
                return Ok(());
            }
            Err(error) if Instant::now() + backoff >= lease_ends => return Err(error),
            Err(error) => tracing::debug!(error = chain(&error), "an ack is sent again"),
        }
        tokio::time::sleep(backoff).await;
        backoff = (backoff * 2).min(ACK_LONGEST_BACKOFF);
    }
}
