//! How every change reaches the database: one transaction that also keeps the first answer to its
//! request id, run to its end even when the caller goes away.

use std::sync::Arc;

use futures::future::BoxFuture;
use plazo_database::{TenantPool, TenantReader, first_answer, keep_answer};
use plazo_service::{RequestKey, commit_in_background};
use prost::Message;
use sqlx::{PgConnection, PgPool};
use tokio::sync::watch;

use crate::callers;
use crate::error::Error;

/// A deadlock or failed serialization is tried so often in all.
const MAX_ATTEMPTS: u32 = 4;

/// Runs changes and wakes those who wait for them.
#[derive(Debug, Clone)]
pub struct Changes {
    requests: TenantPool,
    background: PgPool,
    /// Counts commits.
    committed: Arc<watch::Sender<u64>>,
}

impl Changes {
    /// Changes go to a database by two ways: that of requests, which sees one tenant at a time, and that of all others.
    pub fn new(requests: TenantPool, background: PgPool) -> Self {
        Self {
            requests,
            background,
            committed: Arc::new(watch::Sender::new(0)),
        }
    }

    /// The database of all tenants, for tasks in the background and for other services, which wait their turn.
    pub fn pool(&self) -> &PgPool {
        &self.background
    }

    /// The database of one tenant at a time.
    pub fn requests(&self) -> &TenantPool {
        &self.requests
    }

    /// A connection for a call that reads what this tenant has.
    pub async fn connection(&self, tenant_id: i64) -> Result<TenantReader, Error> {
        Ok(self.requests.read(tenant_id).await?)
    }

    /// Changes after each commit of this process: there may be events to read and tickets to arm.
    pub fn committed(&self) -> watch::Receiver<u64> {
        self.committed.subscribe()
    }

    /// Says that something was committed outside of [`Self::run`].
    pub fn announce(&self) {
        self.committed
            .send_modify(|commits| *commits = commits.wrapping_add(1));
    }

    /// Runs `change` in a transaction and returns its answer; a repeated request gets its first answer and changes
    /// nothing. On any error nothing is changed. Runs to its end even if this future is dropped.
    pub async fn run<A, F>(&self, key: RequestKey, change: F) -> Result<A, Error>
    where
        A: Message + Default + 'static,
        F: for<'c> Fn(&'c mut PgConnection) -> BoxFuture<'c, Result<A, Error>>
            + Send
            + Sync
            + 'static,
    {
        let changes = self.clone();
        commit_in_background(async move {
            let mut attempt = 1;
            loop {
                match changes.attempt(&key, &change).await {
                    Err(error) if error.is_transient() && attempt < MAX_ATTEMPTS => attempt += 1,
                    answer => return answer,
                }
            }
        })
        .await
    }

    async fn attempt<A, F>(&self, key: &RequestKey, change: &F) -> Result<A, Error>
    where
        A: Message + Default,
        F: for<'c> Fn(&'c mut PgConnection) -> BoxFuture<'c, Result<A, Error>>,
    {
        let mut transaction = self.requests.begin(key.tenant_id).await?;
        if let Some(answer) = first_answer(&mut transaction, key).await? {
            return Ok(answer);
        }
        let known = callers::require_known(&mut transaction, key.tenant_id, &key.maker).await;
        let answer = match known {
            Ok(()) => change(&mut transaction).await,
            Err(error) => Err(error),
        };
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                // Waited for: what was refused must not hold the ticket a moment longer.
                transaction.rollback().await?;
                return Err(error);
            }
        };
        keep_answer(&mut transaction, key, &answer).await?;
        transaction.commit().await?;
        self.announce();
        Ok(answer)
    }
}
