//! Rebuilding the entries of shards from the owner of the tickets.
//!
//! The guard marks a shard by writing "rebuilding: nonce" into its epoch. Then this reads every pending ticket, page
//! by page, dirty ones too, and adds what is missing. It ends with a compare-and-set on the mark: if Redis was wiped,
//! rolled back or replaced meanwhile, or another replica has taken over, that fails, and the guard marks the shard
//! anew. Claiming goes on all the while.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use plazo_proto::timer::v1::{ListPendingTicketsRequest, ListPendingTicketsResponse};
use plazo_service::Deadline;
use plazo_service::status::chain;
use plazo_service::supervisor::TaskError;
use rand::Rng as _;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

use crate::core::Core;
use crate::entry::Entry;
use crate::grpc::pending_entry;
use crate::metrics::RepairCause;
use crate::shard::Shard;
use crate::store::{Epoch, EpochChange, EpochState, Identity, StoreError};

/// The shards that this replica must rebuild, with the marks in their epochs.
#[derive(Debug, Default)]
pub(crate) struct Marked {
    shards: Mutex<BTreeMap<Shard, Epoch>>,
    nonce_number: AtomicU64,
    added: Notify,
}

impl Marked {
    /// A nonce that nobody has used before.
    pub(crate) fn next_nonce(&self, replica_id: &str) -> String {
        format!(
            "{replica_id}.{}",
            self.nonce_number.fetch_add(1, Ordering::Relaxed)
        )
    }

    /// A shard must be rebuilt. Its epoch has this mark.
    pub(crate) fn insert(&self, shard: Shard, mark: Epoch) {
        self.lock().insert(shard, mark);
        self.added.notify_one();
    }

    /// Whether the shard is still to be rebuilt under this nonce.
    pub(crate) fn has(&self, shard: Shard, nonce: &str) -> bool {
        let expected = EpochState::Rebuilding(nonce.to_owned());
        self.lock()
            .get(&shard)
            .is_some_and(|mark| mark.state == expected)
    }

    fn remove(&self, shard: Shard, mark: &Epoch) {
        let mut shards = self.lock();
        if shards.get(&shard) == Some(mark) {
            shards.remove(&shard);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Shard, Epoch>> {
        self.shards.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The epoch of a shard that is being rebuilt.
pub(crate) fn mark(identity: &Identity, counter: u64, nonce: &str) -> Epoch {
    let state = EpochState::Rebuilding(nonce.to_owned());
    Epoch {
        identity: identity.clone(),
        counter,
        state,
    }
}

/// Whether a replica made this nonce.
pub(crate) fn is_nonce_of(nonce: &str, replica_id: &str) -> bool {
    nonce
        .strip_prefix(replica_id)
        .is_some_and(|rest| rest.starts_with('.'))
}

/// Rebuilds what is marked, until shutdown.
pub(crate) async fn run(core: Arc<Core>, shutdown: CancellationToken) -> Result<(), TaskError> {
    loop {
        let marks = core.marked.lock().clone();
        let work = async {
            if marks.is_empty() {
                core.marked.added.notified().await;
            } else {
                rebuild(&core, marks).await;
            }
        };
        if shutdown.run_until_cancelled(work).await.is_none() {
            return Ok(());
        }
    }
}

/// Why an attempt failed.
#[derive(Debug, thiserror::Error)]
enum RebuildError {
    #[error("the owner of the tickets does not list them")]
    Handler(#[from] Status),
    #[error("entries can't be added")]
    Store(#[from] StoreError),
}

/// Rebuilds these shards, with one scan for all of them. Tries for ever, with bounded waits: while the owner is down
/// there is nobody else to ask.
async fn rebuild(core: &Core, marks: BTreeMap<Shard, Epoch>) {
    let started = Instant::now();
    let config = &core.config.guard;
    let mut backoff = Duration::from_millis(config.rebuild_backoff_ms);
    let longest = Duration::from_millis(config.rebuild_backoff_max_ms).max(backoff);
    let mut scan = Scan {
        core,
        marks: &marks,
        page_token: String::new(),
        repaired: 0,
        listed: 0,
    };
    loop {
        let error = match scan.finish().await {
            Ok(()) => break,
            Err(error) => error,
        };
        if let RebuildError::Handler(status) = &error
            && !matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded)
        {
            // Whatever is wrong, the token may be part of it.
            scan.page_token.clear();
        }
        tracing::warn!(error = chain(&error), wait = ?backoff, "a rebuild is tried again");
        let jitter = rand::rng().random_range(0.5..=1.0);
        tokio::time::sleep(backoff.mul_f64(jitter)).await;
        backoff = (backoff * 2).min(longest);
    }
    core.metrics
        .rebuild_duration
        .observe(started.elapsed().as_secs_f64());
    tracing::info!(
        shards = marks.len(),
        tickets = scan.listed,
        repaired = scan.repaired,
        took = ?started.elapsed(),
        "entries were rebuilt"
    );
}

/// One pass over the pending tickets, which can go on where it has failed.
struct Scan<'a> {
    core: &'a Core,
    marks: &'a BTreeMap<Shard, Epoch>,
    page_token: String,
    repaired: i64,
    listed: usize,
}

impl Scan<'_> {
    async fn finish(&mut self) -> Result<(), RebuildError> {
        let mut page = self.fetch(self.page_token.clone()).await?;
        loop {
            let entries = self.entries_of(&page);
            self.listed += page.tickets.len();
            if page.next_page_token.is_empty() {
                self.repaired += add(self.core, &entries).await?;
                break;
            }
            // The next page is made while this one is added.
            let next = self.fetch(page.next_page_token.clone());
            let (repaired, next) = tokio::join!(add(self.core, &entries), next);
            self.repaired += repaired?;
            self.page_token = std::mem::take(&mut page.next_page_token);
            page = next?;
        }
        self.end().await
    }

    async fn fetch(&self, page_token: String) -> Result<ListPendingTicketsResponse, Status> {
        let config = &self.core.config.guard;
        let request = ListPendingTicketsRequest {
            page_size: config.rebuild_page_size,
            page_token,
        };
        let deadline = Deadline::after(Duration::from_millis(config.rebuild_page_timeout_ms));
        let mut handler = self.core.handler.clone();
        let call = handler.list_pending_tickets(deadline.request(request));
        Ok(deadline.bound(call).await?.into_inner())
    }

    /// The entries of a page that belong to the shards in question.
    fn entries_of(&self, page: &ListPendingTicketsResponse) -> Vec<Entry> {
        let layout = self.core.store.layout();
        let mut ill_formed = 0;
        let mut entries = Vec::with_capacity(page.tickets.len());
        for ticket in &page.tickets {
            match pending_entry(ticket) {
                Ok(entry)
                    if self
                        .marks
                        .contains_key(&layout.shard_of_member(&entry.member)) =>
                {
                    entries.push(entry);
                }
                Ok(_) => {}
                Err(_) => ill_formed += 1,
            }
        }
        if ill_formed > 0 {
            tracing::error!(tickets = ill_formed, "the owner listed ill-formed tickets");
        }
        entries
    }

    /// Says in the epochs that the entries are complete, where the marks are still there.
    async fn end(&self) -> Result<(), RebuildError> {
        let changes: Vec<_> = self
            .marks
            .iter()
            .map(|(shard, mark)| EpochChange {
                shard: *shard,
                expected: mark.encode(),
                epoch: Epoch {
                    counter: mark.counter + 1,
                    state: EpochState::Complete,
                    ..mark.clone()
                },
            })
            .collect();
        let answers = self.core.store.change_epochs(&changes).await?;
        for (change, (was_changed, _)) in changes.iter().zip(answers) {
            if let Some(mark) = self.marks.get(&change.shard) {
                self.core.marked.remove(change.shard, mark);
            }
            if was_changed {
                self.core.metrics.rebuilds.inc();
            } else {
                // The guard finds the shard without a mark of ours, and marks it anew if need be.
                tracing::warn!(shard = change.shard.number(), "a rebuild was overtaken");
            }
        }
        Ok(())
    }
}

/// Adds what is missing of these entries; returns how many were.
async fn add(core: &Core, entries: &[Entry]) -> Result<i64, RebuildError> {
    let mut added = 0;
    for repaired in core.store.repair(entries).await? {
        added += repaired.added;
        if let Some(due_ms) = repaired.first_due_ms {
            core.wake.hint(repaired.shard, due_ms);
        }
    }
    core.metrics.repaired(RepairCause::Rebuild, added);
    Ok(added)
}
