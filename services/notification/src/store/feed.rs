//! How far the feed is applied, and what its events do to stored messages.

use std::collections::BTreeMap;

use jiff::Timestamp;
use plazo_proto::notification::v1::ActiveMessageKind;
use sqlx::{PgConnection, PgPool};

const FEED: &str = "ticketing";

/// A ticket, by tenant and id.
pub(crate) type TicketKey = (i64, i64);

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

/// The last applied `ticket_seq` of each of the tickets that has one.
pub(crate) async fn ticket_positions(
    transaction: &mut PgConnection,
    tickets: &[TicketKey],
) -> Result<BTreeMap<TicketKey, i64>, sqlx::Error> {
    let (tenant_ids, ticket_ids): (Vec<i64>, Vec<i64>) = tickets.iter().copied().unzip();
    let rows = sqlx::query!(
        "SELECT p.tenant_id, p.ticket_id, p.ticket_seq
         FROM unnest($1::bigint[], $2::bigint[]) AS u (tenant_id, ticket_id)
         JOIN ticket_positions AS p ON p.tenant_id = u.tenant_id AND p.ticket_id = u.ticket_id",
        &tenant_ids,
        &ticket_ids
    )
    .fetch_all(transaction)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| ((row.tenant_id, row.ticket_id), row.ticket_seq))
        .collect())
}

/// Keeps the last applied `ticket_seq` of tickets.
pub(crate) async fn keep_ticket_positions(
    transaction: &mut PgConnection,
    positions: &BTreeMap<TicketKey, i64>,
) -> Result<(), sqlx::Error> {
    let (tenant_ids, ticket_ids): (Vec<i64>, Vec<i64>) = positions.keys().copied().unzip();
    let seqs: Vec<i64> = positions.values().copied().collect();
    sqlx::query!(
        "INSERT INTO ticket_positions (tenant_id, ticket_id, ticket_seq)
         SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[])
         ON CONFLICT (tenant_id, ticket_id) DO UPDATE SET ticket_seq = excluded.ticket_seq",
        &tenant_ids,
        &ticket_ids,
        &seqs
    )
    .execute(transaction)
    .await?;
    Ok(())
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
