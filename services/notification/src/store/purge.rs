//! Removing what is old, a limited number of rows at a time.

use sqlx::PgPool;

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

/// Forgets callbacks that came more than `days` ago, at most `batch`; how many.
pub(crate) async fn seen_callbacks(
    pool: &PgPool,
    days: u32,
    batch: u32,
) -> Result<u64, sqlx::Error> {
    let removed = sqlx::query!(
        "DELETE FROM seen_callbacks WHERE (tenant_id, channel_account_id, callback_key) IN (
             SELECT tenant_id, channel_account_id, callback_key FROM seen_callbacks
             WHERE seen_at < statement_timestamp() - make_interval(days => $1)
             ORDER BY seen_at LIMIT $2
         )",
        i32::try_from(days).unwrap_or(i32::MAX),
        i64::from(batch)
    )
    .execute(pool)
    .await?;
    Ok(removed.rows_affected())
}

/// Removes events that were delivered or given up more than `days` ago, at most `batch`; how many.
pub(crate) async fn settled_events(
    pool: &PgPool,
    days: u32,
    batch: u32,
) -> Result<u64, sqlx::Error> {
    let removed = sqlx::query!(
        "DELETE FROM event_deliveries WHERE (tenant_id, subscription_id, event_id) IN (
             SELECT tenant_id, subscription_id, event_id FROM event_deliveries
             WHERE settled_at < statement_timestamp() - make_interval(days => $1)
             ORDER BY settled_at LIMIT $2
             FOR UPDATE SKIP LOCKED
         )",
        i32::try_from(days).unwrap_or(i32::MAX),
        i64::from(batch)
    )
    .execute(pool)
    .await?;
    Ok(removed.rows_affected())
}

/// Removes places older than `days` from which replays could begin, and replays that ended and began so long ago, at most
/// `batch` of each; the larger number.
pub(crate) async fn event_marks(pool: &PgPool, days: u32, batch: u32) -> Result<u64, sqlx::Error> {
    let days = i32::try_from(days).unwrap_or(i32::MAX);
    let marks = sqlx::query!(
        "DELETE FROM event_marks WHERE events IN (
             SELECT events FROM event_marks
             WHERE marked_at < statement_timestamp() - make_interval(days => $1)
             ORDER BY marked_at LIMIT $2
         )",
        days,
        i64::from(batch)
    )
    .execute(pool)
    .await?;
    let replays = sqlx::query!(
        "DELETE FROM event_replays WHERE (tenant_id, subscription_id, replay_id) IN (
             SELECT tenant_id, subscription_id, replay_id FROM event_replays
             WHERE state <> 1 AND created_at < statement_timestamp() - make_interval(days => $1)
             ORDER BY created_at LIMIT $2
         )",
        days,
        i64::from(batch)
    )
    .execute(pool)
    .await?;
    Ok(marks.rows_affected().max(replays.rows_affected()))
}

/// Removes what belongs to deleted subscriptions, at most `batch` of their events, and then those of which nothing is
/// left; how many events.
pub(crate) async fn deleted_subscriptions(pool: &PgPool, batch: u32) -> Result<u64, sqlx::Error> {
    let removed = sqlx::query_file!("queries/purge_deleted.sql", i64::from(batch))
        .execute(pool)
        .await?;
    if removed.rows_affected() > 0 {
        return Ok(removed.rows_affected());
    }
    // One statement: whoever might add something for it saw that it is deleted.
    sqlx::query!(
        "WITH gone AS (
             DELETE FROM webhook_subscriptions AS s
             WHERE s.deleted_at < statement_timestamp() - interval '1 minute' AND NOT EXISTS (
                 SELECT 1 FROM event_deliveries AS d
                 WHERE d.tenant_id = s.tenant_id AND d.subscription_id = s.subscription_id
             )
             RETURNING s.tenant_id, s.subscription_id
         ), lanes AS (
             DELETE FROM event_lanes AS l USING gone
             WHERE l.tenant_id = gone.tenant_id AND l.subscription_id = gone.subscription_id
         )
         DELETE FROM event_replays AS r USING gone
         WHERE r.tenant_id = gone.tenant_id AND r.subscription_id = gone.subscription_id"
    )
    .execute(pool)
    .await?;
    Ok(0)
}
