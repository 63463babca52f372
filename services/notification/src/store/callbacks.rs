//! What providers told: each status and message is applied once.

use std::collections::HashSet;

use plazo_proto::notification::v1::ActiveMessageState;
use sqlx::PgConnection;

use crate::callbacks::news::Status;
use crate::store::enum_number;

/// The channel account that is called back for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AccountKey {
    pub(crate) tenant_id: i64,
    pub(crate) channel_account_id: i64,
}

/// What statuses did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Applied {
    /// So many belong to a message.
    pub(crate) matched: i64,
    /// So many messages changed.
    pub(crate) changed: i64,
}

/// Notes what was told, by keys; those that are new. Waits for other transactions that note the same.
pub(crate) async fn note(
    connection: &mut PgConnection,
    account: AccountKey,
    keys: &[String],
) -> Result<HashSet<String>, sqlx::Error> {
    let fresh = sqlx::query_scalar!(
        "INSERT INTO seen_callbacks (tenant_id, channel_account_id, callback_key)
         -- In one order, so that two that note the same don't wait for each other.
         SELECT DISTINCT $1::bigint, $2::bigint, key FROM unnest($3::text[]) AS key ORDER BY key
         ON CONFLICT DO NOTHING
         RETURNING callback_key",
        account.tenant_id,
        account.channel_account_id,
        keys
    )
    .fetch_all(connection)
    .await?;
    Ok(fresh.into_iter().collect())
}

/// Applies statuses to the account's messages.
pub(crate) async fn apply(
    connection: &mut PgConnection,
    account: AccountKey,
    statuses: &[&Status],
) -> Result<Applied, sqlx::Error> {
    let our_ids: Vec<Option<i64>> = statuses.iter().map(|it| it.message_id).collect();
    let provider_ids: Vec<Option<&str>> = statuses
        .iter()
        .map(|it| it.provider_message_id.as_deref())
        .collect();
    let states: Vec<i16> = statuses.iter().map(|it| enum_number(it.state)).collect();
    let places: Vec<i16> = statuses.iter().map(|it| place(it.state)).collect();
    let reasons: Vec<&str> = statuses
        .iter()
        .map(|it| it.failure_reason.as_str())
        .collect();
    let closed: Vec<bool> = statuses.iter().map(|it| it.is_window_closed).collect();
    let row = sqlx::query_file!(
        "queries/apply_statuses.sql",
        account.tenant_id,
        account.channel_account_id,
        &our_ids as &[Option<i64>],
        &provider_ids as &[Option<&str>],
        &states,
        &places,
        &reasons as &[&str],
        &closed
    )
    .fetch_one(connection)
    .await?;
    Ok(Applied {
        matched: row.matched,
        changed: row.changed,
    })
}

/// The place of a state in the order that statuses move forward in; `apply_statuses.sql` has the same.
fn place(state: ActiveMessageState) -> i16 {
    match state {
        ActiveMessageState::Unspecified
        | ActiveMessageState::Accepted
        | ActiveMessageState::Uncertain => 0,
        ActiveMessageState::Sent => 1,
        ActiveMessageState::Failed | ActiveMessageState::Cancelled => 2,
        ActiveMessageState::Delivered => 3,
        ActiveMessageState::Read => 4,
    }
}
