//! Removing what is old, a limited number of rows at a time.

use sqlx::PgPool;

/// Removes first answers older than `hours`, at most `batch`; how many.
pub(crate) async fn answered_requests(
    pool: &PgPool,
    hours: u32,
    batch: u32,
) -> Result<u64, sqlx::Error> {
    let removed = sqlx::query!(
        "DELETE FROM answered_requests WHERE (tenant_id, request_id) IN (
             SELECT tenant_id, request_id FROM answered_requests
             WHERE answered_at < statement_timestamp() - make_interval(hours => $1)
             ORDER BY answered_at LIMIT $2
         )",
        i32::try_from(hours).unwrap_or(i32::MAX),
        i64::from(batch)
    )
    .execute(pool)
    .await?;
    Ok(removed.rows_affected())
}

/// Removes attempts older than `days`, at most `batch`; how many.
pub(crate) async fn attempts(pool: &PgPool, days: u32, batch: u32) -> Result<u64, sqlx::Error> {
    let removed = sqlx::query!(
        "DELETE FROM send_attempts WHERE (tenant_id, message_id, attempt) IN (
             SELECT tenant_id, message_id, attempt FROM send_attempts
             WHERE attempt_at < statement_timestamp() - make_interval(days => $1)
             ORDER BY attempt_at LIMIT $2
         )",
        i32::try_from(days).unwrap_or(i32::MAX),
        i64::from(batch)
    )
    .execute(pool)
    .await?;
    Ok(removed.rows_affected())
}
