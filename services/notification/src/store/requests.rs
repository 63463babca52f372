//! Requests that may be repeated under a request id.

use plazo_service::RequestKey;
use prost::Message;
use sqlx::PgConnection;

use crate::error::Error;

/// Takes the request id for this transaction, or finds what was answered before. A second request with the
/// same id waits here for the first one's transaction to end.
pub(crate) async fn first_answer<A: Message + Default>(
    transaction: &mut PgConnection,
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
    .execute(&mut *transaction)
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
    .fetch_one(transaction)
    .await?;
    if first.method != key.method || first.fingerprint != key.fingerprint {
        return Err(Error::RequestIdReused);
    }
    Ok(Some(A::decode(first.answer.as_slice())?))
}

/// Keeps the answer for repeated requests.
pub(crate) async fn keep_answer<A: Message>(
    transaction: &mut PgConnection,
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
    .execute(transaction)
    .await?;
    Ok(())
}
