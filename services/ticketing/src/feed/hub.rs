//! Live changes for watchers: one reader of the feed a replica, however many watch.
//!
//! The feed of all tenants tells it which tickets were changed, and nothing more. What watchers are told is read as any call
//! of their tenant reads it ([`Hub::read`]): in a transaction that sees this one alone. It is read once and shared.
//! [`registry`] says whom it concerns; each watcher has a bounded [`inbox`].

pub mod inbox;
pub mod registry;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use plazo_database::TenantPool;
use plazo_service::TaskError;
use plazo_service::status::chain;
use sqlx::PgPool;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::CancellationToken;

use crate::changes::Changes;
use crate::config::WatchConfig;
use crate::error::Error;
use crate::feed::{self, FeedIdentity, POLL, Position};
use crate::metrics::FeedMetrics;
use crate::store::clocks::TicketKey;
use crate::store::settings::PolicyCache;
use crate::store::tickets::TicketQuery;
use crate::tickets::read;

use inbox::{Ending, Inbox};
use registry::{ChangedTicket, Limits, Registry, WatcherId};

/// Changes are read for so many tenants at a time: one alone would be waiting for the database most of the time.
const TENANTS_AT_ONCE: usize = 4;
/// A call waits so long for the hub's first look at the feed.
const READY_WITHIN: Duration = Duration::from_secs(3);

/// Up to where watchers were told.
#[derive(Debug, Clone)]
pub struct Reached {
    /// The feed.
    pub feed: Arc<FeedIdentity>,
    /// What comes up to here was put into the inboxes.
    pub position: Position,
}

/// Hands changed tickets to the watchers that they concern.
#[derive(Debug, Clone)]
pub struct Hub {
    changes: Changes,
    policies: Arc<PolicyCache>,
    metrics: FeedMetrics,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    registry: Mutex<Registry>,
    reached: watch::Sender<Option<Reached>>,
    seats: Arc<Semaphore>,
    readers: Arc<Semaphore>,
    tickets_each: usize,
}

/// A place among the bounded number of watchers.
#[derive(Debug)]
pub struct Seat {
    hub: Hub,
    _permit: OwnedSemaphorePermit,
}

/// A registered watcher. It is forgotten with this value.
#[derive(Debug)]
pub struct Subscription {
    hub: Hub,
    id: WatcherId,
    inbox: Arc<Inbox>,
}

impl Hub {
    /// Wiring.
    pub fn new(
        changes: Changes,
        policies: Arc<PolicyCache>,
        config: &WatchConfig,
        metrics: FeedMetrics,
    ) -> Self {
        let size = |value: u32| usize::try_from(value).unwrap_or(usize::MAX);
        let limits = Limits {
            backlog: size(config.backlog),
            tickets_each: size(config.max_tickets_each),
            tickets_in_all: size(config.max_tickets_in_all),
        };
        let semaphore =
            |permits: u32| Arc::new(Semaphore::new(size(permits).min(Semaphore::MAX_PERMITS)));
        let shared = Shared {
            registry: Mutex::new(Registry::new(limits)),
            reached: watch::Sender::new(None),
            seats: semaphore(config.max_watchers),
            readers: semaphore(config.max_readers),
            tickets_each: limits.tickets_each,
        };
        Self {
            changes,
            policies,
            metrics,
            shared: Arc::new(shared),
        }
    }

    /// What it counts.
    pub fn metrics(&self) -> &FeedMetrics {
        &self.metrics
    }

    /// The database of one tenant at a time.
    pub fn requests(&self) -> &TenantPool {
        self.changes.requests()
    }

    /// The database of all tenants.
    pub fn pool(&self) -> &PgPool {
        self.changes.pool()
    }

    /// The most tickets that one watcher holds.
    pub fn tickets_each(&self) -> usize {
        self.shared.tickets_each
    }

    /// Takes a seat; none when all are taken.
    pub fn seat(&self) -> Option<Seat> {
        let Ok(permit) = Arc::clone(&self.shared.seats).try_acquire_owned() else {
            self.metrics.refused_watchers.inc();
            return None;
        };
        self.metrics.streams.inc();
        self.metrics.watchers.inc();
        Some(Seat {
            hub: self.clone(),
            _permit: permit,
        })
    }

    /// Waits for a turn to read from the database. Never closed.
    pub async fn turn_to_read(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.shared.readers).acquire_owned().await.ok()
    }

    /// Registers a watcher; see [`Registry::add`].
    pub fn subscribe(&self, query: TicketQuery, resumes: bool) -> Result<Subscription, Ending> {
        let (id, inbox) = self.registry().add(query, resumes)?;
        Ok(Subscription {
            hub: self.clone(),
            id,
            inbox,
        })
    }

    /// Up to where watchers were told; none before the first look at the feed, within a bound.
    pub async fn reached(&self) -> Option<Reached> {
        let mut reached = self.shared.reached.subscribe();
        let known = tokio::time::timeout(READY_WITHIN, reached.wait_for(Option::is_some)).await;
        known.ok()?.ok()?.clone()
    }

    /// Reads tickets of a tenant as they now are, for one of its watchers or for all. What is no ticket of this tenant is
    /// missing, whatever the ids say: the transaction sees nothing else.
    pub async fn read(
        &self,
        tenant_id: i64,
        ticket_ids: &[i64],
    ) -> Result<Vec<ChangedTicket>, Error> {
        let keys: Vec<TicketKey> = ticket_ids
            .iter()
            .map(|&ticket_id| TicketKey {
                tenant_id,
                ticket_id,
            })
            .collect();
        let mut connection = self.requests().read_in_turn(tenant_id).await?;
        let views = read::tickets(&mut connection, &keys).await?;
        let tickets = read::to_protos(&mut connection, &self.policies, &views).await?;
        let read = views.into_iter().zip(tickets);
        Ok(read
            .map(|(view, ticket)| ChangedTicket {
                ticket_seq: view.ticket_seq(),
                facts: view.facts,
                ticket: Arc::new(ticket),
            })
            .collect())
    }

    /// Reads the feed until `stop`: from its end, or after a restart from where it was. While the database is away
    /// watchers stay, and nothing is skipped when it is back.
    pub async fn run(self, stop: CancellationToken) -> Result<(), TaskError> {
        let mut committed = self.changes.committed();
        let started = self.start().await?;
        let (feed, mut position) = (started.feed, started.position);
        let mut up_to_date = Instant::now();
        let mut is_in_doubt = false;
        loop {
            committed.mark_unchanged();
            let verified = if is_in_doubt {
                self.verify(&feed, position).await
            } else {
                Ok(())
            };
            let told = match verified {
                Ok(()) => self.tell(&feed, position).await,
                Err(error) => Err(error),
            };
            is_in_doubt = told.is_err();
            match told {
                Ok((next, more)) => {
                    position = next;
                    if more && !stop.is_cancelled() {
                        self.metrics
                            .watch_lag
                            .set(up_to_date.elapsed().as_secs_f64());
                        continue;
                    }
                    up_to_date = Instant::now();
                    self.metrics.watch_lag.set(0.0);
                }
                Err(HubError::Replaced) => {
                    self.end_all(Ending::FeedReplaced, false);
                    self.shared.reached.send_replace(None);
                    return Err(HubError::Replaced.into());
                }
                Err(HubError::Store(error)) => {
                    self.metrics
                        .watch_lag
                        .set(up_to_date.elapsed().as_secs_f64());
                    tracing::warn!(error = chain(&error), "changes can't be read");
                }
            }
            tokio::select! {
                () = stop.cancelled() => {
                    self.end_all(Ending::ShuttingDown, true);
                    return Ok(());
                }
                _ = committed.changed() => {}
                () = tokio::time::sleep(POLL) => {}
            }
        }
    }

    async fn start(&self) -> Result<Reached, Error> {
        if let Some(reached) = self.shared.reached.borrow().clone() {
            return Ok(reached);
        }
        let reached = Reached {
            feed: Arc::new(feed::identity(self.pool()).await?),
            position: feed::end(self.pool()).await?,
        };
        self.shared.reached.send_replace(Some(reached.clone()));
        Ok(reached)
    }

    /// After a failure another database may stand in the place of the one before.
    async fn verify(&self, known: &FeedIdentity, position: Position) -> Result<(), HubError> {
        let is_same = feed::identity(self.pool()).await? == *known
            && feed::end(self.pool()).await? >= position;
        if is_same {
            Ok(())
        } else {
            Err(HubError::Replaced)
        }
    }

    async fn tell(
        &self,
        feed: &Arc<FeedIdentity>,
        position: Position,
    ) -> Result<(Position, bool), HubError> {
        let touched = feed::touched(self.pool(), position).await?;
        let changed = self.changed(&touched.tickets).await?;
        self.metrics.watch_changes.inc_by(changed.len() as u64);
        let inboxes = self.route(&changed);
        let reached = Reached {
            feed: Arc::clone(feed),
            position: touched.position,
        };
        // Published when all of the batch is in the inboxes, and before anybody is woken to send it.
        self.shared.reached.send_replace(Some(reached));
        for inbox in inboxes {
            inbox.wake();
        }
        Ok((touched.position, touched.more))
    }

    /// The tickets of tenants that somebody watches, as they now are.
    async fn changed(&self, touched: &[TicketKey]) -> Result<Vec<ChangedTicket>, Error> {
        let mut watched: HashMap<i64, HashSet<i64>> = HashMap::new();
        {
            let registry = self.registry();
            for key in touched.iter().filter(|key| registry.watches(key.tenant_id)) {
                let of_tenant = watched.entry(key.tenant_id).or_default();
                of_tenant.insert(key.ticket_id);
            }
        }
        let reads = watched
            .into_iter()
            .map(|(tenant_id, ticket_ids)| async move {
                let ticket_ids: Vec<i64> = ticket_ids.into_iter().collect();
                self.read(tenant_id, &ticket_ids).await
            });
        let reads: Vec<_> = reads.collect();
        stream::iter(reads)
            .buffer_unordered(TENANTS_AT_ONCE)
            .try_concat()
            .await
    }

    fn route(&self, changed: &[ChangedTicket]) -> Vec<Arc<Inbox>> {
        let mut touched = Vec::new();
        // The lock is given back after each ticket, so that a large batch holds nobody up.
        for change in changed {
            let mut registry = self.registry();
            for (_, ending) in registry.route(change, &mut touched) {
                if ending == Ending::TooSlow {
                    self.metrics.slow_watchers.inc();
                }
            }
        }
        self.count_held();
        touched
    }

    fn end_all(&self, ending: Ending, for_good: bool) {
        self.registry().end_all(ending, for_good);
        self.count_held();
    }

    fn count_held(&self) {
        let held = self.registry().held();
        let held = i64::try_from(held).unwrap_or(i64::MAX);
        self.metrics.watched_tickets.set(held);
    }

    /// A panic while the lock is held leaves nothing half-changed that matters.
    fn registry(&self) -> MutexGuard<'_, Registry> {
        let registry = &self.shared.registry;
        registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, thiserror::Error)]
enum HubError {
    #[error("the feed can't be read")]
    Store(#[from] Error),
    #[error("the database was replaced by another one")]
    Replaced,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.hub.metrics.streams.dec();
        self.hub.metrics.watchers.dec();
    }
}

impl Subscription {
    /// What it has yet to be told.
    pub fn inbox(&self) -> &Inbox {
        &self.inbox
    }

    /// See [`Registry::begin_read`].
    pub fn begin_read(&self) {
        self.hub.registry().begin_read(self.id);
    }

    /// See [`Registry::take_read`].
    pub fn take_read(
        &self,
        read: Vec<ChangedTicket>,
    ) -> Result<Vec<Arc<plazo_proto::ticketing::v1::Ticket>>, Ending> {
        self.hub.registry().take_read(self.id, read)
    }

    /// See [`Registry::take_resumed`].
    pub fn take_resumed(&self, matching: &[i64], changed: &[i64]) -> Result<Vec<i64>, Ending> {
        let mut registry = self.hub.registry();
        registry.take_resumed(self.id, matching, changed)
    }

    /// Ends it: more tickets match than it may hold.
    pub fn end_as_too_large(&self) {
        self.hub.registry().end(self.id, Ending::TooLarge);
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.hub.registry().remove(self.id);
        self.hub.count_held();
    }
}
