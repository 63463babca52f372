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

use crate::config::GuardConfig;
use crate::core::Core;
use crate::entry::Entry;
use crate::grpc::pending_entry;
use crate::metrics::RepairCause;
use crate::shard::Shard;
use crate::store::{Epoch, EpochChange, EpochState, Identity, Repaired, StoreError};

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

/// Rebuilds what is marked, until shutdown. Shards whose Redis gives no answers wait until it does, and keep the others
/// from nothing.
pub(crate) async fn run(core: Arc<Core>, shutdown: CancellationToken) -> Result<(), TaskError> {
    let mut backoff = Backoff::new(&core.config.guard);
    loop {
        let work = async {
            let mut marks = core.marked.lock().clone();
            if marks.is_empty() {
                return core.marked.added.notified().await;
            }
            let breakers = core.store.connection().breakers();
            marks.retain(|shard, _| !breakers.is_open(*shard));
            if !marks.is_empty() && rebuild(&core, marks).await {
                backoff = Backoff::new(&core.config.guard);
                return;
            }
            tokio::time::sleep(backoff.next()).await;
        };
        if shutdown.run_until_cancelled(work).await.is_none() {
            return Ok(());
        }
    }
}

/// Waits between attempts: each longer than the one before, up to a bound, with jitter.
struct Backoff {
    wait: Duration,
    longest: Duration,
}

impl Backoff {
    fn new(config: &GuardConfig) -> Self {
        let wait = Duration::from_millis(config.rebuild_backoff_ms);
        let longest = Duration::from_millis(config.rebuild_backoff_max_ms).max(wait);
        Self { wait, longest }
    }

    fn next(&mut self) -> Duration {
        let wait = self.wait.mul_f64(rand::rng().random_range(0.5..=1.0));
        self.wait = (self.wait * 2).min(self.longest);
        wait
    }
}

/// Rebuilds these shards, with one scan for all of them; returns whether all were rebuilt. Asks the owner for ever, with
/// bounded waits: while it is down there is nobody else to ask. A shard that can't be written to is left for later.
async fn rebuild(core: &Core, marks: BTreeMap<Shard, Epoch>) -> bool {
    let started = Instant::now();
    let mut backoff = Backoff::new(&core.config.guard);
    let shard_count = marks.len();
    let mut scan = Scan {
        core,
        marks,
        page_token: String::new(),
        repaired: 0,
        listed: 0,
    };
    while let Err(status) = scan.finish().await {
        if !matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded) {
            // Whatever is wrong, the token may be part of it.
            scan.page_token.clear();
        }
        let wait = backoff.next();
        tracing::warn!(
            error = chain(&status),
            ?wait,
            "the owner of the tickets does not list them, and is asked again"
        );
        tokio::time::sleep(wait).await;
    }
    core.metrics
        .rebuild_duration
        .observe(started.elapsed().as_secs_f64());
    tracing::info!(
        shards = scan.marks.len(),
        left = shard_count - scan.marks.len(),
        tickets = scan.listed,
        repaired = scan.repaired,
        took = ?started.elapsed(),
        "entries were rebuilt"
    );
    scan.marks.len() == shard_count
}

/// One pass over the pending tickets, which can go on where it has failed.
struct Scan<'a> {
    core: &'a Core,
    /// The shards to rebuild, without those that could not be written to.
    marks: BTreeMap<Shard, Epoch>,
    page_token: String,
    repaired: i64,
    listed: usize,
}

impl Scan<'_> {
    async fn finish(&mut self) -> Result<(), Status> {
        let mut page = self.fetch(self.page_token.clone()).await?;
        while !self.marks.is_empty() {
            let entries = self.entries_of(&page);
            self.listed += page.tickets.len();
            if page.next_page_token.is_empty() {
                let answers = self.core.store.repair(&entries).await;
                self.note(answers);
                break;
            }
            // The next page is made while this one is added.
            let next = self.fetch(page.next_page_token.clone());
            let (answers, next) = tokio::join!(self.core.store.repair(&entries), next);
            self.note(answers);
            self.page_token = std::mem::take(&mut page.next_page_token);
            page = next?;
        }
        self.end().await;
        Ok(())
    }

    /// Notes what was missing. What could not be added makes its shard start over.
    fn note(&mut self, answers: Vec<(Shard, Result<Repaired, StoreError>)>) {
        let mut added = 0;
        for (shard, answer) in answers {
            match answer {
                Ok(repaired) => {
                    added += repaired.added;
                    if let Some(due_ms) = repaired.first_due_ms {
                        self.core.hint(shard, due_ms);
                    }
                }
                Err(error) => self.leave(shard, &error),
            }
        }
        self.core.metrics.repaired(RepairCause::Rebuild, added);
        self.repaired += added;
    }

    fn leave(&mut self, shard: Shard, error: &StoreError) {
        if self.marks.remove(&shard).is_some() {
            tracing::warn!(
                shard = shard.number(),
                error = chain(error),
                "the rebuild of a shard is tried again"
            );
        }
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
    async fn end(&mut self) {
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
        let answers = self.core.store.change_epochs(&changes).await;
        for (change, answer) in changes.iter().zip(answers) {
            let was_changed = match answer {
                Ok((was_changed, _)) => was_changed,
                Err(error) => {
                    self.leave(change.shard, &error);
                    continue;
                }
            };
            if let Some(mark) = self.marks.get(&change.shard) {
                self.core.marked.remove(change.shard, mark);
            }
            if was_changed {
                self.core.metrics.rebuilds.inc();
            } else {
                self.core.metrics.overtaken_rebuilds.inc();
                // The guard finds the shard without a mark of ours, and marks it anew if need be.
                tracing::warn!(shard = change.shard.number(), "a rebuild was overtaken");
            }
        }
    }
}
