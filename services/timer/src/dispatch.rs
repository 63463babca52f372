//! Dispatching: asks the handler what follows for a batch, hands the active messages to notification, and acks.
//!
//! A crash at any point leads to another look after the lease: the handler answers ALREADY then, and notification
//! knows the messages by their keys.

mod answers;
mod calls;
mod limit;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use plazo_service::status::chain;
use tokio::time::Instant;
use tracing::Instrument as _;
use tracing::field::Empty;

use crate::core::Core;
use crate::shard::Shard;
use crate::store::{Ack, Claimed, ClaimedEntry, LeaseId, count};
use calls::Outcome;
pub(crate) use calls::code_label;
pub(crate) use limit::{Limiter, Limits, Room};

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

    /// Whether its entries failed before. Then it is no measure of what the handler bears.
    fn has_failures(&self) -> bool {
        self.leases.iter().any(Lease::has_failures)
    }

    fn claimed_at(&self) -> Instant {
        self.leases
            .iter()
            .map(|lease| lease.claimed_at)
            .min()
            .unwrap_or_else(Instant::now)
    }
}

/// Leases that could not be acked at once, because their shards gave no answer.
#[derive(Debug)]
pub(crate) struct LateAcks {
    acks: Vec<Ack>,
    /// When they end by themselves.
    ends_at: Instant,
}

/// Entries that are being handled, whatever becomes of them.
struct InFlight<'a> {
    core: &'a Core,
    entries: usize,
}

impl<'a> InFlight<'a> {
    fn new(core: &'a Core, entries: usize) -> Self {
        core.metrics.in_flight.inc_by(count(entries));
        Self { core, entries }
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.core.metrics.in_flight.dec_by(count(self.entries));
        self.core.limiter.end(self.entries);
    }
}

/// Handles a batch to its end. What can't be finished comes again when the leases end. Returns what is left to ack.
pub(crate) async fn dispatch(core: Arc<Core>, batch: Batch) -> Option<LateAcks> {
    // A trace of its own, of which the calls of ticketing and notification are parts.
    let span = tracing::info_span!(
        parent: None, "fire", entries = count(batch.entries().count()), lateness_ms = Empty,
    );
    handle(core, batch).instrument(span).await
}

async fn handle(core: Arc<Core>, batch: Batch) -> Option<LateAcks> {
    let _in_flight = InFlight::new(&core, batch.entries().count());
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
    let acks = ack(&core, acks).await;
    (!acks.is_empty()).then(|| LateAcks {
        acks,
        ends_at: batch.claimed_at() + core.config.timer.lease(),
    })
}

impl LateAcks {
    /// Acks while the leases last.
    pub(crate) async fn ack(mut self, core: Arc<Core>) {
        let mut backoff = ACK_FIRST_BACKOFF;
        while Instant::now() + backoff < self.ends_at {
            tokio::time::sleep(backoff).await;
            backoff = (backoff * 2).min(ACK_LONGEST_BACKOFF);
            self.acks = ack(&core, self.acks).await;
            if self.acks.is_empty() {
                return;
            }
        }
        tracing::warn!(
            leases = self.acks.len(),
            "leases could not be acked: their entries come again when they end"
        );
    }
}

/// Acks, and returns the acks that failed. Those may have been done although their answers were lost: doing them twice
/// does no harm.
async fn ack(core: &Core, acks: Vec<Ack>) -> Vec<Ack> {
    let answers = core.store.ack(&acks).await;
    let mut failed = Vec::new();
    for (ack, answer) in acks.into_iter().zip(answers) {
        match answer {
            Ok(acked) => {
                core.metrics.acks.inc();
                if let Some(due_ms) = acked.next_due_ms {
                    core.hint(acked.shard, due_ms);
                }
                if !acked.was_held {
                    tracing::debug!(shard = acked.shard.number(), "an ack came after its lease");
                }
            }
            Err(error) => {
                tracing::debug!(error = chain(&error), "an ack is sent again");
                failed.push(ack);
            }
        }
    }
    failed
}
