//! Live changes for watchers: one reader of the feed a replica, however many watch.

use std::collections::HashSet;
use std::sync::Arc;

use plazo_proto::ticketing::v1::Ticket;
use plazo_service::TaskError;
use plazo_service::status::chain;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use crate::changes::Changes;
use crate::error::Error;
use crate::feed::{self, POLL, Position};
use crate::store::clocks::TicketKey;
use crate::store::settings::PolicyCache;
use crate::store::tickets::TicketFacts;
use crate::tickets::read;

/// A watcher that is so many changes behind is cut off.
const BACKLOG: usize = 4_096;

/// A ticket after a change.
#[derive(Debug)]
pub struct ChangedTicket {
    /// To tell who watches it.
    pub facts: TicketFacts,
    /// As it is told.
    pub ticket: Ticket,
}

/// Hands changed tickets to all watchers.
#[derive(Debug, Clone)]
pub struct Hub {
    changes: Changes,
    policies: Arc<PolicyCache>,
    watchers: broadcast::Sender<Arc<ChangedTicket>>,
}

impl Hub {
    /// Wiring.
    pub fn new(changes: Changes, policies: Arc<PolicyCache>) -> Self {
        Self {
            changes,
            policies,
            watchers: broadcast::Sender::new(BACKLOG),
        }
    }

    /// All changes that are read from now on.
    pub fn watch(&self) -> broadcast::Receiver<Arc<ChangedTicket>> {
        self.watchers.subscribe()
    }

    /// Reads the feed from its end until `stop`.
    pub async fn run(self, stop: CancellationToken) -> Result<(), TaskError> {
        let mut committed = self.changes.committed();
        let mut position = feed::end(self.changes.pool()).await?;
        loop {
            committed.mark_unchanged();
            // Watchers stay subscribed while the database is away, so the reader goes on from where it was.
            match self.tell(position).await {
                Ok((next, more)) => {
                    position = next;
                    if more && !stop.is_cancelled() {
                        continue;
                    }
                }
                Err(error) => tracing::warn!(error = chain(&error), "changes can't be read"),
            }
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                _ = committed.changed() => {}
                () = tokio::time::sleep(POLL) => {}
            }
        }
    }

    async fn tell(&self, position: Position) -> Result<(Position, bool), Error> {
        let batch = feed::read(self.changes.pool(), position).await?;
        if !batch.events.is_empty() && self.watchers.receiver_count() > 0 {
            let keys: Vec<TicketKey> = batch
                .events
                .iter()
                .map(|event| TicketKey {
                    tenant_id: event.tenant_id,
                    ticket_id: event.ticket_id,
                })
                .collect::<HashSet<_>>()
                .into_iter()
                .collect();
            let mut connection = self.changes.pool().acquire().await?;
            let views = read::tickets(&mut connection, &keys).await?;
            let tickets = read::to_protos(&mut connection, &self.policies, &views).await?;
            for (view, ticket) in views.into_iter().zip(tickets) {
                // Nobody watches any more: that's no failure.
                let _ = self.watchers.send(Arc::new(ChangedTicket {
                    facts: view.facts,
                    ticket,
                }));
            }
        }
        Ok((batch.position, batch.more))
    }
}
