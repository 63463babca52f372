//! How changes of the settings reach the database: one transaction that also keeps the first answer to its request id,
//! run to its end even when the caller goes away.

use futures::future::BoxFuture;
use plazo_database::{AnswerError, TenantPool, first_answer, keep_answer};
use plazo_service::{RequestKey, commit_in_background, status};
use prost::Message;
use sqlx::PgConnection;
use tonic::Status;

/// A deadlock or failed serialization is tried so often in all.
const MAX_ATTEMPTS: u32 = 4;

/// Why a change was not made. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChangeError {
    /// The etag is not the present one.
    #[error("it has changed since it was read")]
    Changed,
    /// It can't be answered as it was at first.
    #[error(transparent)]
    Answer(AnswerError),
    /// The database failed.
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
}

impl From<AnswerError> for ChangeError {
    fn from(error: AnswerError) -> Self {
        match error {
            AnswerError::Database(error) => Self::Database(error),
            error => Self::Answer(error),
        }
    }
}

impl From<ChangeError> for Status {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Changed => status::aborted("CHANGED", "it has changed since it was read"),
            ChangeError::Answer(error) => error.into(),
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
