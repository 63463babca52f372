//! How far the feed is applied, and what its events do to stored messages.

use jiff::Timestamp;
use plazo_proto::notification::v1::ActiveMessageKind;
use sqlx::{PgConnection, PgPool};

use super::ticket_positions::TicketKey;

const FEED: &str = "ticketing";

/// An event that makes queued messages of one kind and of its ticket pointless.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CallOff {
    pub(crate) ticket: TicketKey,
    pub(crate) ticket_seq: i64,
    pub(crate) kind: ActiveMessageKind,
    /// Only the message with this key; none for all of the kind.
    pub(crate) idempotency_key: Option<String>,
    /// Stable, in capitals.
    pub(crate) reason: &'static str,
}

/// The position after the last event that was applied; empty at the beginning.
pub(crate) async fn position(pool: &PgPool) -> Result<String, sqlx::Error> {
    let position = sqlx::query_scalar!("SELECT position FROM feed_positions WHERE feed = $1", FEED)
        .fetch_optional(pool)
        .await?;
    Ok(position.unwrap_or_default())
}

/// Moves the position from `from` to `to`, and returns the present time. None, and nothing is changed, when it is
/// not at `from`: another replica was faster. Locks the position until the transaction ends, so that batches are applied in turn.
pub(crate) async fn advance(
    transaction: &mut PgConnection,
    from: &str,
    to: &str,
) -> Result<Option<Timestamp>, sqlx::Error> {
    sqlx::query!(
        "INSERT INTO feed_positions (feed, position) VALUES ($1, '') ON CONFLICT DO NOTHING",
        FEED
    )
    .execute(&mut *transaction)
    .await?;
    let moved_at = sqlx::query_scalar!(
        "UPDATE feed_positions SET position = $3, updated_at = clock_timestamp()
         WHERE feed = $1 AND position = $2 RETURNING updated_at",
        FEED,
        from,
        to
    )
    .fetch_optional(transaction)
    .await?;
    Ok(moved_at.map(jiff_sqlx::Timestamp::to_jiff))
}

/// Notes for messages that were stored before, by a call, that the feed has shown their requests:
/// (tenant, key, `ticket_seq`).
pub(crate) async fn mark_requested(
    transaction: &mut PgConnection,
    shown: &[(i64, String, i64)],
) -> Result<(), sqlx::Error> {
    let tenant_ids: Vec<i64> = shown.iter().map(|(tenant_id, ..)| *tenant_id).collect();
    let keys: Vec<String> = shown.iter().map(|(_, key, _)| key.clone()).collect();
    let seqs: Vec<i64> = shown.iter().map(|(.., seq)| *seq).collect();
    sqlx::query_file!("queries/mark_requested.sql", &tenant_ids, &keys, &seqs)
        .execute(transaction)
        .await?;
    Ok(())
}

/// Calls queued messages off; how many were cancelled at once.
pub(crate) async fn call_off(
    transaction: &mut PgConnection,
    call_offs: &[CallOff],
) -> Result<i64, sqlx::Error> {
    let tenant_ids: Vec<i64> = call_offs.iter().map(|one| one.ticket.0).collect();
    let ticket_ids: Vec<i64> = call_offs.iter().map(|one| one.ticket.1).collect();
    let seqs: Vec<i64> = call_offs.iter().map(|one| one.ticket_seq).collect();
    let kinds: Vec<i32> = call_offs.iter().map(|one| one.kind.into()).collect();
    let keys: Vec<Option<String>> = call_offs
        .iter()
        .map(|one| one.idempotency_key.clone())
        .collect();
    let reasons: Vec<String> = call_offs.iter().map(|one| one.reason.to_owned()).collect();
    sqlx::query_file_scalar!(
        "queries/call_off.sql",
        &tenant_ids,
        &ticket_ids,
        &seqs,
        &reasons,
        &kinds,
        &keys as &[Option<String>]
    )
    .fetch_one(transaction)
    .await
}
