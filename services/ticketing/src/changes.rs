//! How every change reaches the database: one transaction that also keeps the first answer to its
//! request id, run to its end even when the caller goes away.

use std::sync::Arc;

use futures::future::BoxFuture;
use plazo_service::{Actor, commit_in_background};
use prost::Message;
use sha2::{Digest as _, Sha256};
use sqlx::{PgConnection, PgPool};
use tokio::sync::watch;
use uuid::Uuid;

use crate::error::Error;

/// A deadlock or failed serialization is tried so often in all.
const MAX_ATTEMPTS: u32 = 4;

/// Runs changes and wakes those who wait for them.
#[derive(Debug, Clone)]
pub struct Changes {
    pool: PgPool,
    /// Counts commits.
    committed: Arc<watch::Sender<u64>>,
}

/// What identifies a request that may be repeated.
#[derive(Debug, Clone)]
pub struct RequestKey {
    tenant_id: i64,
    method: &'static str,
    request_id: Option<Uuid>,
    fingerprint: [u8; 32],
}

impl RequestKey {
    /// A key from the `request_id` field of `request`; without one the request can't be recognised again.
    /// INVALID on `request_id` when it is not a UUID. Another actor's request is another request, however
    /// alike: its maker may see other things.
    pub fn new<M: Message>(
        actor: &Actor,
        method: &'static str,
        request_id: &str,
        request: &M,
    ) -> Result<Self, Error> {
        let request_id = if request_id.is_empty() {
            None
        } else {
            let parsed = Uuid::try_parse(request_id)
                .map_err(|_| Error::invalid("request_id", "must be a UUID"))?;
            Some(parsed)
        };
        let mut fingerprint = Sha256::new();
        fingerprint.update(actor.kind.to_string());
        fingerprint.update([0]);
        fingerprint.update(request.encode_to_vec());
        Ok(Self {
            tenant_id: actor.tenant_id,
            method,
            request_id,
            fingerprint: fingerprint.finalize().into(),
        })
    }
}

impl Changes {
    /// Changes go to this database.
    pub fn new(pool: PgPool) -> Self {
        Self {
            pool,
            committed: Arc::new(watch::Sender::new(0)),
        }
    }

    /// The database.
    pub fn pool(&self) -> &PgPool {
        &self.pool
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
        let mut transaction = self.pool.begin().await?;
        if let Some(answer) = first_answer(&mut transaction, key).await? {
            return Ok(answer);
        }
        let answer = match change(&mut transaction).await {
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

/// Takes the request id for this transaction, or finds what was answered before. A second request with the
/// same id waits here for the first one's transaction to end.
async fn first_answer<A: Message + Default>(
    connection: &mut PgConnection,
    key: &RequestKey,
) -> Result<Option<A>, Error> {
    let Some(request_id) = key.request_id else {
        return Ok(None);
    };
    let taken = sqlx::query!(
        "INSERT INTO answered_requests (tenant_id, request_id, method, fingerprint)
         VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
        key.tenant_id,
        request_id,
        key.method,
        &key.fingerprint
    )
    .execute(&mut *connection)
    .await?;
    if taken.rows_affected() == 1 {
        return Ok(None);
    }
    let first = sqlx::query!(
        r#"SELECT method, fingerprint, answer AS "answer!" FROM answered_requests
           WHERE tenant_id = $1 AND request_id = $2"#,
        key.tenant_id,
        request_id
    )
    .fetch_one(&mut *connection)
    .await?;
    if first.method != key.method || first.fingerprint != key.fingerprint {
        return Err(Error::RequestIdReused);
    }
    Ok(Some(A::decode(first.answer.as_slice())?))
}

async fn keep_answer<A: Message>(
    connection: &mut PgConnection,
    key: &RequestKey,
    answer: &A,
) -> Result<(), Error> {
    let Some(request_id) = key.request_id else {
        return Ok(());
    };
    sqlx::query!(
        "UPDATE answered_requests SET answer = $3 WHERE tenant_id = $1 AND request_id = $2",
        key.tenant_id,
        request_id,
        answer.encode_to_vec()
    )
    .execute(connection)
    .await?;
    Ok(())
}
