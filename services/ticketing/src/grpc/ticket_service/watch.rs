//! The live view of tickets: a snapshot, then changes.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use async_stream::try_stream;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use plazo_proto::ticketing::v1::watch_tickets_response::Update;
use plazo_proto::ticketing::v1::{SnapshotEnd, Ticket, WatchTicketsResponse};
use plazo_service::status;
use sqlx::PgPool;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tonic::Status;

use crate::error::Error;
use crate::feed::hub::ChangedTicket;
use crate::metrics::FeedMetrics;
use crate::store::clocks::TicketKey;
use crate::store::settings::PolicyCache;
use crate::store::tickets::{self, TicketQuery};
use crate::tickets::read;

const SNAPSHOT_PAGE: i64 = 500;
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// One watcher.
pub(super) struct Watcher {
    pub(super) pool: PgPool,
    pub(super) policies: Arc<PolicyCache>,
    /// Subscribed before the snapshot is read, so that nothing falls between the two.
    pub(super) changes: Receiver<Arc<ChangedTicket>>,
    pub(super) metrics: FeedMetrics,
    pub(super) query: TicketQuery,
}

/// Counts an open stream as long as it lives.
struct OpenStream(FeedMetrics);

impl OpenStream {
    fn count(metrics: &FeedMetrics) -> Self {
        metrics.streams.inc();
        Self(metrics.clone())
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.streams.dec();
    }
}

impl Watcher {
    pub(super) fn stream(mut self) -> BoxStream<'static, Result<WatchTicketsResponse, Status>> {
        let open = OpenStream::count(&self.metrics);
        try_stream! {
            let _open = open;
            // What this watcher was told, to tell it what leaves.
            let mut told = HashSet::new();
            let mut before = i64::MAX;
            loop {
                let page = self.page(before).await?;
                let Some(last) = page.last() else { break };
                before = last.ticket_id;
                for ticket in page {
                    told.insert(ticket.ticket_id);
                    yield update(Update::Ticket(ticket));
                }
            }
            let ticket_count = i64::try_from(told.len()).unwrap_or(i64::MAX);
            yield update(Update::SnapshotEnd(SnapshotEnd { ticket_count }));
            loop {
                match self.changes.recv().await {
                    Ok(changed) => {
                        let ticket_id = changed.ticket.ticket_id;
                        if self.query.matches(&changed.facts) {
                            told.insert(ticket_id);
                            yield update(Update::Ticket(changed.ticket.clone()));
                        } else if changed.facts.key.tenant_id == self.query.tenant_id
                            && told.remove(&ticket_id)
                        {
                            yield update(Update::LeftTicketId(ticket_id));
                        }
                    }
                    Err(RecvError::Lagged(_)) => {
                        self.metrics.slow_watchers.inc();
                        Err(too_slow())?;
                    }
                    Err(RecvError::Closed) => break,
                }
            }
        }
        .boxed()
    }

    /// The tickets below an id that match now. None of them can be later than the changes that follow.
    async fn page(&self, before: i64) -> Result<Vec<Ticket>, Error> {
        let mut connection = self.pool.acquire().await?;
        let ids = tickets::list(&mut connection, &self.query, before, SNAPSHOT_PAGE).await?;
        let keys: Vec<TicketKey> = ids
            .into_iter()
            .map(|ticket_id| TicketKey {
                tenant_id: self.query.tenant_id,
                ticket_id,
            })
            .collect();
        let views = read::tickets(&mut connection, &keys).await?;
        read::to_protos(&mut connection, &self.policies, &views).await
    }
}

fn update(update: Update) -> WatchTicketsResponse {
    WatchTicketsResponse {
        update: Some(update),
    }
}

fn too_slow() -> Status {
    status::resource_exhausted(
        "WATCHER_TOO_SLOW",
        "the watcher read too slowly and missed changes: call again",
        RETRY_AFTER,
    )
}
