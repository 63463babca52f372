//! First answers: what was answered to a request that carries a request id is kept in the transaction that makes its
//! change, and whoever repeats the request gets it again while nothing is changed a second time.
//!
//! Each service has the table in its own schema:
//!
//! ```sql
//! CREATE TABLE answered_requests (
//!     tenant_id bigint NOT NULL,
//!     request_id uuid NOT NULL,
//!     method text NOT NULL,
//!     fingerprint bytea NOT NULL,
//!     answer bytea,
//!     answered_at timestamptz NOT NULL DEFAULT clock_timestamp(),
//!     PRIMARY KEY (tenant_id, request_id)
//! );
//! CREATE INDEX answered_requests_by_age ON answered_requests (answered_at);
//! ```
//!
//! The queries of services are checked against their schema as they are compiled; these belong to no one schema, and are
//! checked by running: in every service each change that has a request id goes through them.

use plazo_service::{RequestKey, request_id_reused, status};
use prost::Message;
use sqlx::{PgConnection, PgPool};
use tonic::Status;

/// Why a request can't be answered as it was at first. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// The request id was used with another request: of another method or actor, or with other contents.
    #[error("request id used before with another request")]
    RequestIdReused,
    /// What was kept is not an answer of this method.
    #[error("a kept answer can't be read")]
    Unreadable(#[from] prost::DecodeError),
    /// The database failed.
    #[error("database")]
    Database(#[from] sqlx::Error),
}

impl From<AnswerError> for Status {
    fn from(error: AnswerError) -> Self {
        match error {
            AnswerError::RequestIdReused => request_id_reused(),
            AnswerError::Unreadable(_) => status::internal(&error),
            AnswerError::Database(error) => crate::to_status(&error),
        }
    }
}

/// Takes the request id for this transaction, or finds what was answered before; none, too, where the request has no id. A
/// second request with the same id waits here for the first one's transaction to end.
pub async fn first_answer<A: Message + Default>(
    transaction: &mut PgConnection,
    key: &RequestKey,
) -> Result<Option<A>, AnswerError> {
    let Some(request_id) = key.request_id else {
        return Ok(None);
    };
    loop {
        let taken = sqlx::query(
            "INSERT INTO answered_requests (tenant_id, request_id, method, fingerprint)
             VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
        )
        .bind(key.tenant_id)
        .bind(request_id)
        .bind(key.method)
        .bind(key.fingerprint.as_slice())
        .execute(&mut *transaction)
        .await?;
        if taken.rows_affected() == 1 {
            return Ok(None);
        }
        let first = sqlx::query_as::<_, (bool, Vec<u8>)>(
            "SELECT method = $3 AND fingerprint = $4, answer FROM answered_requests
             WHERE tenant_id = $1 AND request_id = $2",
        )
        .bind(key.tenant_id)
        .bind(request_id)
        .bind(key.method)
        .bind(key.fingerprint.as_slice())
        .fetch_optional(&mut *transaction)
        .await?;
        match first {
            Some((true, answer)) => return Ok(Some(A::decode(answer.as_slice())?)),
            Some((false, _)) => return Err(AnswerError::RequestIdReused),
            // It was forgotten between the two statements: the id is free.
            None => {}
        }
    }
}

/// Keeps the answer to a request whose id this transaction has taken, for those who repeat it.
pub async fn keep_answer<A: Message>(
    transaction: &mut PgConnection,
    key: &RequestKey,
    answer: &A,
) -> Result<(), sqlx::Error> {
    let Some(request_id) = key.request_id else {
        return Ok(());
    };
    sqlx::query(
        "UPDATE answered_requests SET answer = $3 WHERE tenant_id = $1 AND request_id = $2",
    )
    .bind(key.tenant_id)
    .bind(request_id)
    .bind(answer.encode_to_vec())
    .execute(transaction)
    .await?;
    Ok(())
}

/// Forgets first answers of all tenants that are older than `keep_hours`, the oldest first and at most `batch`; how many.
pub async fn forget_answers(
    pool: &PgPool,
    keep_hours: u32,
    batch: u32,
) -> Result<u64, sqlx::Error> {
    let forgotten = sqlx::query(
        "DELETE FROM answered_requests
         WHERE ctid = ANY (ARRAY(
             SELECT ctid FROM answered_requests
             WHERE answered_at < statement_timestamp() - make_interval(hours => $1)
             ORDER BY answered_at
             LIMIT $2
         ))",
    )
    .bind(i32::try_from(keep_hours).unwrap_or(i32::MAX))
    .bind(i64::from(batch))
    .execute(pool)
    .await?;
    Ok(forgotten.rows_affected())
}
