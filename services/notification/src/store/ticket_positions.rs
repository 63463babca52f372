//! The last event of each ticket that a feed has shown.

use std::collections::BTreeMap;

use sqlx::PgConnection;

/// A ticket, by tenant and id.
pub(crate) type TicketKey = (i64, i64);

/// Who follows the event stream, as the table numbers them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i16)]
pub(crate) enum FeedKind {
    /// For active messages.
    Messages = 1,
    /// For webhook subscriptions.
    Subscriptions = 2,
}

/// The last `ticket_seq` of each of the tickets that has one.
pub(crate) async fn find(
    transaction: &mut PgConnection,
    feed: FeedKind,
    tickets: &[TicketKey],
) -> Result<BTreeMap<TicketKey, i64>, sqlx::Error> {
    let (tenant_ids, ticket_ids): (Vec<i64>, Vec<i64>) = tickets.iter().copied().unzip();
    let rows = sqlx::query!(
        "SELECT p.tenant_id, p.ticket_id, p.ticket_seq
         FROM unnest($2::bigint[], $3::bigint[]) AS u (tenant_id, ticket_id)
         JOIN ticket_positions AS p
             ON p.feed = $1 AND p.tenant_id = u.tenant_id AND p.ticket_id = u.ticket_id",
        feed as i16,
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

/// Keeps the last `ticket_seq` of tickets.
pub(crate) async fn keep(
    transaction: &mut PgConnection,
    feed: FeedKind,
    positions: &BTreeMap<TicketKey, i64>,
) -> Result<(), sqlx::Error> {
    let (tenant_ids, ticket_ids): (Vec<i64>, Vec<i64>) = positions.keys().copied().unzip();
    let seqs: Vec<i64> = positions.values().copied().collect();
    sqlx::query!(
        "INSERT INTO ticket_positions (feed, tenant_id, ticket_id, ticket_seq)
         SELECT $1, * FROM unnest($2::bigint[], $3::bigint[], $4::bigint[])
         ON CONFLICT (feed, tenant_id, ticket_id) DO UPDATE SET ticket_seq = excluded.ticket_seq",
        feed as i16,
        &tenant_ids,
        &ticket_ids,
        &seqs
    )
    .execute(transaction)
    .await?;
    Ok(())
}
