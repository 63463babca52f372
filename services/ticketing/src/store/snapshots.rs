//! All tickets with their events as of one position of the feed, page by page. `snapshot` says why this is of one moment.

use jiff_sqlx::Timestamp as SqlTimestamp;
use plazo_proto::ticketing::v1::TicketEvent;
use sqlx::PgConnection;

use crate::error::Error;
use crate::feed::Position;
use crate::keeping;
use crate::store::clocks::{TicketKey, columns_of};
use crate::store::events::EventRow;

/// What a snapshot is of.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// Everything before it in the feed, and nothing after it.
    pub position: Position,
    /// The last ticket that may be in it.
    pub last_ticket_id: i64,
}

/// A ticket of a snapshot.
#[derive(Debug, Clone)]
pub struct TicketOfSnapshot {
    /// Which ticket.
    pub key: TicketKey,
    /// Its bot.
    pub bot_id: i64,
    /// Number of its last event; zero when it had none yet.
    pub ticket_seq: i64,
    /// About how many bytes its events have.
    pub bytes: i64,
}

/// The present moment.
pub async fn moment(connection: &mut PgConnection) -> Result<Moment, Error> {
    // One statement: what was committed before the bound is seen by the other half.
    let row = sqlx::query!(
        r#"SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS "transaction_id!",
               (SELECT coalesce(max(ticket_id), 0) FROM tickets) AS "last_ticket_id!""#
    )
    .fetch_one(connection)
    .await?;
    Ok(Moment {
        position: Position {
            transaction_id: row.transaction_id,
            event_id: 0,
        },
        last_ticket_id: row.last_ticket_id,
    })
}

/// The next tickets after one, in the order of ids, at most `limit`.
pub async fn tickets(
    connection: &mut PgConnection,
    moment: Moment,
    after_ticket_id: i64,
    limit: i64,
) -> Result<Vec<TicketOfSnapshot>, Error> {
    let rows = sqlx::query_file!(
        "queries/snapshot_tickets.sql",
        after_ticket_id,
        moment.position.transaction_id,
        moment.last_ticket_id,
        limit
    )
    .fetch_all(connection)
    .await?;
    let tickets = rows.into_iter().map(|row| TicketOfSnapshot {
        key: TicketKey {
            tenant_id: row.tenant_id,
            ticket_id: row.ticket_id,
        },
        bot_id: row.bot_id,
        ticket_seq: row.ticket_seq,
        bytes: row.bytes,
    });
    Ok(tickets.collect())
}

/// The events of tickets after a number, by ticket and number: as many as `max_bytes` hold, at least one. Their bot is left
/// out.
pub async fn events(
    connection: &mut PgConnection,
    moment: Moment,
    keys: &[TicketKey],
    after_seq: i64,
    max_bytes: i64,
) -> Result<Vec<TicketEvent>, Error> {
    let (tenant_ids, ticket_ids) = columns_of(keys);
    let rows = sqlx::query_file!(
        "queries/snapshot_events.sql",
        &tenant_ids,
        &ticket_ids,
        moment.position.transaction_id,
        after_seq,
        max_bytes
    )
    .fetch_all(connection)
    .await?;
    let mut events = Vec::with_capacity(rows.len());
    let mut last = (0, 0);
    for row in rows {
        // The same event, from the other table.
        if last == (row.ticket_id, row.ticket_seq) {
            continue;
        }
        last = (row.ticket_id, row.ticket_seq);
        let is_kept = row.event_id == 0;
        let recorded_at: SqlTimestamp = row.recorded_at;
        let stored = EventRow {
            event_id: row.event_id,
            transaction_id: 0,
            tenant_id: row.tenant_id,
            ticket_id: row.ticket_id,
            ticket_seq: row.ticket_seq,
            bot_id: 0,
            author_kind: row.author_kind,
            author_id: row.author_id,
            recorded_at,
            payload: row.payload,
        };
        let mut event = stored.into_event()?;
        if is_kept {
            let urls = row.attachment_urls.unwrap_or_default();
            keeping::restore(&mut event, row.body.unwrap_or_default(), urls);
        }
        events.push(event);
    }
    Ok(events)
}
