//! Rows of `inbound_messages`: which messages of customers came already.

use std::collections::HashSet;

use sqlx::PgConnection;

use crate::error::Error;

/// The channel account that messages came by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AccountKey {
    /// The tenant.
    pub tenant_id: i64,
    /// The account, in notification.
    pub channel_account_id: i64,
}

/// Notes that messages came, and tells which of them never came before. Waits for other transactions that note the
/// same ones.
pub async fn note(
    connection: &mut PgConnection,
    account: AccountKey,
    provider_message_ids: &[&str],
) -> Result<HashSet<String>, Error> {
    let fresh = sqlx::query_scalar!(
        "INSERT INTO inbound_messages (tenant_id, channel_account_id, provider_message_id)
         -- In one order, so that two that note the same ones don't wait for each other.
         SELECT DISTINCT $1::bigint, $2::bigint, id FROM unnest($3::text[]) AS id ORDER BY id
         ON CONFLICT DO NOTHING
         RETURNING provider_message_id",
        account.tenant_id,
        account.channel_account_id,
        provider_message_ids as &[&str]
    )
    .fetch_all(connection)
    .await?;
    Ok(fresh.into_iter().collect())
}

/// The ticket that a noted message stands in; none when it was ignored.
pub async fn ticket_of(
    connection: &mut PgConnection,
    account: AccountKey,
    provider_message_id: &str,
) -> Result<Option<i64>, Error> {
    let ticket_id = sqlx::query_scalar!(
        "SELECT ticket_id FROM inbound_messages
         WHERE tenant_id = $1 AND channel_account_id = $2 AND provider_message_id = $3",
        account.tenant_id,
        account.channel_account_id,
        provider_message_id
    )
    .fetch_optional(connection)
    .await?;
    Ok(ticket_id.flatten())
}

/// Says where a noted message went; none for nowhere.
pub async fn settle(
    connection: &mut PgConnection,
    account: AccountKey,
    provider_message_id: &str,
    ticket_id: Option<i64>,
) -> Result<(), Error> {
    sqlx::query!(
        "UPDATE inbound_messages
         SET ticket_id = $4, ignored_at = CASE WHEN $4::bigint IS NULL THEN clock_timestamp() END
         WHERE tenant_id = $1 AND channel_account_id = $2 AND provider_message_id = $3",
        account.tenant_id,
        account.channel_account_id,
        provider_message_id,
        ticket_id
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Forgets messages that were ignored more than so many days ago, at most `limit`. Returns how many.
pub async fn forget_ignored(
    connection: &mut PgConnection,
    keep_days: i32,
    limit: i64,
) -> Result<u64, Error> {
    let deleted = sqlx::query!(
        "DELETE FROM inbound_messages
         WHERE ctid = ANY (ARRAY(
             SELECT ctid FROM inbound_messages
             WHERE ignored_at < statement_timestamp() - make_interval(days => $1)
             ORDER BY ignored_at
             LIMIT $2
         ))",
        keep_days,
        limit
    )
    .execute(connection)
    .await?;
    Ok(deleted.rows_affected())
}
