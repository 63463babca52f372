//! Housekeeping: what is kept no longer is taken away, and what a rebuild has left is dropped.

use plazo_database::{HousekeepingMetrics, forget_answers};
use plazo_service::TaskError;
use plazo_service::status::chain;
use sqlx::PgPool;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::config::{RequestsConfig, RetentionConfig};
use crate::metrics::RetentionMetrics;
use crate::store::{ProjectionStore, RebuildStore};

/// The most statements a round, for tickets those of one tenant, so that a round ends.
const MAX_BATCHES: u32 = 10_000;
/// One statement forgets so many first answers.
const ANSWERS_BATCH: u32 = 5_000;

/// Takes tickets and first answers away after their time of keeping.
#[derive(Debug, Clone)]
pub(crate) struct Retention {
    pub(crate) config: RetentionConfig,
    pub(crate) requests: RequestsConfig,
    pub(crate) metrics: RetentionMetrics,
    pub(crate) rounds: HousekeepingMetrics,
}

impl Retention {
    /// Runs at start and then once a period, until `stop`.
    pub(crate) async fn run(
        &self,
        store: &ProjectionStore,
        rebuilds: &RebuildStore,
        pool: &PgPool,
        stop: CancellationToken,
    ) -> Result<(), TaskError> {
        loop {
            let round = async {
                self.forget_answers(pool).await?;
                rebuilds.drop_replaced().await?;
                self.round_on(store).await
            };
            let Some(ended) = stop.run_until_cancelled(round).await else {
                return Ok(());
            };
            self.rounds.count(&ended);
            if let Err(error) = ended {
                tracing::warn!(error = chain(&error), "retention failed");
            }
            let pause = sleep(self.config.period());
            if stop.run_until_cancelled(pause).await.is_none() {
                return Ok(());
            }
        }
    }

    /// Forgets the first answers of all tenants that are too old.
    async fn forget_answers(&self, pool: &PgPool) -> Result<(), sqlx::Error> {
        for _ in 0..MAX_BATCHES {
            let forgotten = forget_answers(pool, self.requests.keep_hours, ANSWERS_BATCH).await?;
            if forgotten < u64::from(ANSWERS_BATCH) {
                break;
            }
        }
        Ok(())
    }

    /// Takes away what is too old in these tables: first whole partitions, then single tickets of tenants, then contacts
    /// that have none left.
    pub(crate) async fn round_on(&self, store: &ProjectionStore) -> Result<(), sqlx::Error> {
        let default_days = self.config.keep_days();
        if !store.forgets(default_days).await? {
            return Ok(());
        }
        let dropped = store.drop_partitions(default_days).await?;
        self.metrics.partitions.inc_by(dropped);
        let mut after = 0;
        let (mut tickets, mut contacts) = (0, 0);
        while let Some((tenant_id, keep_days)) = store.next_tenant(after, default_days).await? {
            after = tenant_id;
            if let Some(keep_days) = keep_days {
                let limit = i64::from(self.config.batch_tickets);
                tickets += forget(store, What::Tickets, tenant_id, keep_days, limit).await?;
                contacts += forget(store, What::Contacts, tenant_id, keep_days, limit).await?;
            }
        }
        self.metrics.tickets.inc_by(tickets);
        self.metrics.contacts.inc_by(contacts);
        if dropped + tickets + contacts > 0 {
            tracing::info!(
                partitions = dropped,
                tickets,
                contacts,
                "took away what is kept no longer"
            );
        }
        Ok(())
    }
}

/// What is deleted.
#[derive(Debug, Clone, Copy)]
enum What {
    Tickets,
    Contacts,
}

/// Deletes until there is less than may be deleted at once; tells how many rows went.
async fn forget(
    store: &ProjectionStore,
    what: What,
    tenant_id: i64,
    keep_days: i32,
    limit: i64,
) -> Result<u64, sqlx::Error> {
    let mut all = 0;
    for _ in 0..MAX_BATCHES {
        let deleted = match what {
            What::Tickets => store.forget_tickets(tenant_id, keep_days, limit).await?,
            What::Contacts => store.forget_contacts(tenant_id, keep_days, limit).await?,
        };
        all += deleted;
        if deleted < limit.unsigned_abs() {
            break;
        }
    }
    Ok(all)
}
