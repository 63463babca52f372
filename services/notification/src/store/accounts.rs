//! Channel accounts.

use plazo_service::Redacted;
use sqlx::{PgConnection, PgPool};

/// What sends messages on a channel for a tenant. Without its secret, which is read by claims alone.
#[derive(Debug, Clone)]
pub(crate) struct Account {
    pub(crate) channel_account_id: i64,
    pub(crate) name: String,
    pub(crate) channel: i16,
    pub(crate) webhook_url: String,
    pub(crate) enabled: bool,
}

/// An account to create.
#[derive(Debug, Clone)]
pub(crate) struct NewAccount {
    pub(crate) name: String,
    pub(crate) channel: i16,
    pub(crate) webhook_url: String,
    pub(crate) signing_secret: Redacted<Vec<u8>>,
}

/// Creates an account, enabled; returns its id.
pub(crate) async fn create(
    connection: &mut PgConnection,
    tenant_id: i64,
    account: &NewAccount,
) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        "INSERT INTO channel_accounts (tenant_id, name, channel, webhook_url, signing_secret)
         VALUES ($1, $2, $3, $4, $5) RETURNING channel_account_id",
        tenant_id,
        account.name,
        account.channel,
        account.webhook_url,
        account.signing_secret.0
    )
    .fetch_one(connection)
    .await
}

/// One page of a tenant's accounts by id, with ids above `after`.
pub(crate) async fn list(
    pool: &PgPool,
    tenant_id: i64,
    after: i64,
    limit: i64,
) -> Result<Vec<Account>, sqlx::Error> {
    sqlx::query_as!(
        Account,
        "SELECT channel_account_id, name, channel, webhook_url, enabled FROM channel_accounts
         WHERE tenant_id = $1 AND channel_account_id > $2 ORDER BY channel_account_id LIMIT $3",
        tenant_id,
        after,
        limit
    )
    .fetch_all(pool)
    .await
}

/// Switches an account on or off; none when the tenant has no such account.
pub(crate) async fn set_enabled(
    connection: &mut PgConnection,
    tenant_id: i64,
    channel_account_id: i64,
    enabled: bool,
) -> Result<Option<Account>, sqlx::Error> {
    sqlx::query_as!(
        Account,
        "UPDATE channel_accounts SET enabled = $3 WHERE tenant_id = $1 AND channel_account_id = $2
         RETURNING channel_account_id, name, channel, webhook_url, enabled",
        tenant_id,
        channel_account_id,
        enabled
    )
    .fetch_optional(connection)
    .await
}
