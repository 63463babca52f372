//! Channel accounts.

use plazo_service::Redacted;
use sqlx::{PgConnection, PgPool};

/// What sends messages on a channel for a tenant. Without its secret, which is read by claims alone.
#[derive(Debug, Clone)]
pub(crate) struct Account {
    pub(crate) channel_account_id: i64,
    pub(crate) name: String,
    pub(crate) channel: i16,
    /// See [`crate::account::decode_settings`].
    pub(crate) settings: Vec<u8>,
    /// Empty for none.
    pub(crate) credential_name: String,
    pub(crate) enabled: bool,
    /// Empty unless it is stopped.
    pub(crate) stopped_reason: String,
    pub(crate) stopped_at: Option<jiff_sqlx::Timestamp>,
    /// Changes with each change that a call makes.
    pub(crate) version: i64,
}

/// An account to create.
#[derive(Debug, Clone)]
pub(crate) struct NewAccount {
    pub(crate) name: String,
    pub(crate) channel: i16,
    pub(crate) settings: Vec<u8>,
    pub(crate) credential_name: String,
    /// Empty for none.
    pub(crate) signing_secret: Redacted<Vec<u8>>,
}

/// Creates an account, enabled; returns its id.
pub(crate) async fn create(
    connection: &mut PgConnection,
    tenant_id: i64,
    account: &NewAccount,
) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        "INSERT INTO channel_accounts (tenant_id, name, channel, settings, credential_name, signing_secret)
         VALUES ($1, $2, $3, $4, $5, $6) RETURNING channel_account_id",
        tenant_id,
        account.name,
        account.channel,
        account.settings,
        account.credential_name,
        account.signing_secret.0
    )
    .fetch_one(connection)
    .await
}

/// One account of a tenant.
pub(crate) async fn find(
    connection: &mut PgConnection,
    tenant_id: i64,
    channel_account_id: i64,
) -> Result<Option<Account>, sqlx::Error> {
    sqlx::query_as!(
        Account,
        "SELECT channel_account_id, name, channel, settings, credential_name, enabled, stopped_reason, stopped_at,
             version
         FROM channel_accounts WHERE tenant_id = $1 AND channel_account_id = $2",
        tenant_id,
        channel_account_id
    )
    .fetch_optional(connection)
    .await
}

/// One account of a tenant, which nobody else changes until the end of the transaction.
pub(crate) async fn lock(
    connection: &mut PgConnection,
    tenant_id: i64,
    channel_account_id: i64,
) -> Result<Option<Account>, sqlx::Error> {
    sqlx::query_as!(
        Account,
        "SELECT channel_account_id, name, channel, settings, credential_name, enabled, stopped_reason, stopped_at,
             version
         FROM channel_accounts WHERE tenant_id = $1 AND channel_account_id = $2 FOR UPDATE",
        tenant_id,
        channel_account_id
    )
    .fetch_optional(connection)
    .await
}

/// Writes the name, the settings and the credential's name of an account; its new version.
pub(crate) async fn update(
    connection: &mut PgConnection,
    tenant_id: i64,
    account: &Account,
) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        "UPDATE channel_accounts SET name = $3, settings = $4, credential_name = $5, version = version + 1
         WHERE tenant_id = $1 AND channel_account_id = $2
         RETURNING version",
        tenant_id,
        account.channel_account_id,
        account.name,
        account.settings,
        account.credential_name
    )
    .fetch_one(connection)
    .await
}

/// The key of a webhook account's signatures; empty for other channels, none when there is no such account.
pub(crate) async fn signing_secret(
    connection: &mut PgConnection,
    tenant_id: i64,
    channel_account_id: i64,
) -> Result<Option<Vec<u8>>, sqlx::Error> {
    sqlx::query_scalar!(
        "SELECT signing_secret FROM channel_accounts WHERE tenant_id = $1 AND channel_account_id = $2",
        tenant_id,
        channel_account_id
    )
    .fetch_optional(connection)
    .await
}

/// One page of a tenant's accounts by id, with ids above `after`.
pub(crate) async fn list(
    connection: &mut PgConnection,
    tenant_id: i64,
    after: i64,
    limit: i64,
) -> Result<Vec<Account>, sqlx::Error> {
    sqlx::query_as!(
        Account,
        "SELECT channel_account_id, name, channel, settings, credential_name, enabled, stopped_reason, stopped_at,
             version
         FROM channel_accounts
         WHERE tenant_id = $1 AND channel_account_id > $2 ORDER BY channel_account_id LIMIT $3",
        tenant_id,
        after,
        limit
    )
    .fetch_all(connection)
    .await
}

/// Switches an account on or off, and on also ends a stop; none when the tenant has no such account.
pub(crate) async fn set_enabled(
    connection: &mut PgConnection,
    tenant_id: i64,
    channel_account_id: i64,
    enabled: bool,
) -> Result<Option<Account>, sqlx::Error> {
    sqlx::query_as!(
        Account,
        "UPDATE channel_accounts
         SET enabled = $3,
             version = version + 1,
             stopped_reason = CASE WHEN $3 THEN '' ELSE stopped_reason END,
             stopped_at = CASE WHEN $3 THEN NULL ELSE stopped_at END
         WHERE tenant_id = $1 AND channel_account_id = $2
         RETURNING channel_account_id, name, channel, settings, credential_name, enabled, stopped_reason,
             stopped_at, version",
        tenant_id,
        channel_account_id,
        enabled
    )
    .fetch_optional(connection)
    .await
}

/// Stops an account: its messages wait. Whether it was not stopped before.
pub(crate) async fn stop(
    connection: &mut PgConnection,
    tenant_id: i64,
    channel_account_id: i64,
    reason: &str,
) -> Result<bool, sqlx::Error> {
    let stopped = sqlx::query!(
        "UPDATE channel_accounts SET stopped_reason = $3, stopped_at = clock_timestamp()
         WHERE tenant_id = $1 AND channel_account_id = $2 AND stopped_at IS NULL",
        tenant_id,
        channel_account_id,
        reason
    )
    .execute(connection)
    .await?;
    Ok(stopped.rows_affected() == 1)
}

/// How many accounts of all tenants are stopped.
pub(crate) async fn count_stopped(pool: &PgPool) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM channel_accounts WHERE stopped_at IS NOT NULL"#
    )
    .fetch_one(pool)
    .await
}
