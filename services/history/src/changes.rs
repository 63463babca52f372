//! How changes of the settings reach the database: one transaction that also keeps the first answer to its request id,
//! run to its end even when the caller goes away.

use futures::future::BoxFuture;
use plazo_database::TenantPool;
use plazo_service::{RequestKey, commit_in_background, request_id_reused, status};
use prost::Message;
use sqlx::PgConnection;
use tonic::Status;

/// A deadlock or failed serialization is tried so often in all.
const MAX_ATTEMPTS: u32 = 4;
/// For so long a repeated request gets its first answer.
const KEEP_HOURS: i32 = 24;
/// Each change forgets at most so many older answers: changes are rare, and no task is worth it.
const FORGET_BATCH: i64 = 100;

/// Why a change was not made. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChangeError {
    /// The etag is not the present one.
    #[error("it has changed since it was read")]
    Changed,
    /// The request id was used before with another request.
    #[error("the request id was used before with another request")]
    RequestIdReused,
    /// The first answer to a request can't be read.
    #[error("a kept answer can't be read")]
    AnswerUnreadable(#[from] prost::DecodeError),
    /// The database failed.
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
}

impl From<ChangeError> for Status {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Changed => status::aborted("CHANGED", "it has changed since it was read"),
            ChangeError::RequestIdReused => request_id_reused(),
            ChangeError::AnswerUnreadable(_) => status::internal(&error),
            ChangeError::Database(error) => plazo_database::to_status(&error),
        }
    }
}

/// Runs changes.
#[derive(Debug, Clone)]
pub(crate) struct Changes {
    pool: TenantPool,
}

impl Changes {
    pub(crate) fn new(pool: TenantPool) -> Self {
        Self { pool }
    }

    /// Runs `change` in a transaction and returns its answer; a repeated request gets its first answer and changes
    /// nothing. On any error nothing is changed. Runs to its end even if this future is dropped.
    pub(crate) async fn run<A, F>(&self, key: RequestKey, change: F) -> Result<A, ChangeError>
    where
        A: Message + Default + 'static,
        F: for<'c> Fn(&'c mut PgConnection) -> BoxFuture<'c, Result<A, ChangeError>>
            + Send
            + Sync
            + 'static,
    {
        let changes = self.clone();
        commit_in_background(async move {
            let mut attempt = 1;
            loop {
                match changes.attempt(&key, &change).await {
                    Err(ChangeError::Database(error))
                        if plazo_database::is_conflict(&error) && attempt < MAX_ATTEMPTS =>
                    {
                        attempt += 1;
                    }
                    answer => return answer,
                }
            }
        })
        .await
    }

    async fn attempt<A, F>(&self, key: &RequestKey, change: &F) -> Result<A, ChangeError>
    where
        A: Message + Default,
        F: for<'c> Fn(&'c mut PgConnection) -> BoxFuture<'c, Result<A, ChangeError>>,
    {
        let mut transaction = self.pool.begin(key.tenant_id).await?;
        if let Some(answer) = first_answer(&mut transaction, key).await? {
            return Ok(answer);
        }
        let answer = change(&mut transaction).await?;
        keep_answer(&mut transaction, key, &answer).await?;
        transaction.commit().await?;
        Ok(answer)
    }
}

/// Takes the request id for this transaction, or finds what was answered before. A second request with the same id waits
/// here for the first one's transaction to end.
async fn first_answer<A: Message + Default>(
    connection: &mut PgConnection,
    key: &RequestKey,
) -> Result<Option<A>, ChangeError> {
    let Some(request_id) = key.request_id else {
        return Ok(None);
    };
    sqlx::query!(
        "DELETE FROM answered_requests
         WHERE ctid = ANY (ARRAY(
             SELECT ctid FROM answered_requests
             WHERE tenant_id = $3 AND answered_at < statement_timestamp() - make_interval(hours => $1)
             ORDER BY answered_at
             LIMIT $2
             FOR UPDATE SKIP LOCKED
         ))",
        KEEP_HOURS,
        FORGET_BATCH,
        key.tenant_id
    )
    .execute(&mut *connection)
    .await?;
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
        return Err(ChangeError::RequestIdReused);
    }
    Ok(Some(A::decode(first.answer.as_slice())?))
}

async fn keep_answer<A: Message>(
    connection: &mut PgConnection,
    key: &RequestKey,
    answer: &A,
) -> Result<(), ChangeError> {
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
