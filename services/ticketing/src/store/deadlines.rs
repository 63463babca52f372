//! Deadlines as the timer is told of them.

use std::time::Duration;

use jiff::Timestamp;
use jiff_sqlx::{Timestamp as SqlTimestamp, ToSqlx as _};
use sqlx::PgPool;

use crate::error::Error;
use crate::store::clocks::{TicketKey, columns_of};

/// A ticket whose generation the timer may not know.
#[derive(Debug, Clone, Copy)]
pub struct DirtyTicket {
    /// Which ticket.
    pub key: TicketKey,
    /// The generation to arm.
    pub generation: i64,
    /// The last one that the timer is known to hold.
    pub armed_generation: i64,
    /// When it is due; none when there is nothing to add.
    pub next_due_at: Option<Timestamp>,
}

/// A ticket that has a next due instant.
#[derive(Debug, Clone, Copy)]
pub struct PendingTicket {
    /// Which ticket.
    pub key: TicketKey,
    /// Its generation.
    pub generation: i64,
    /// When it is due.
    pub next_due_at: Timestamp,
}

/// Tickets to arm, as committed. No lock outlives the statement: rows that somebody changes at this moment are left
/// for the next round, when they will be as they then are. Begins after a ticket, so that those that the timer can't take
/// now don't keep the others waiting.
pub async fn dirty(
    pool: &PgPool,
    after: Option<TicketKey>,
    limit: i64,
) -> Result<Vec<DirtyTicket>, Error> {
    let after = after.unwrap_or(TicketKey {
        tenant_id: 0,
        ticket_id: 0,
    });
    let rows = sqlx::query!(
        "SELECT tenant_id, ticket_id, generation, armed_generation, next_due_at
         FROM ticket_clocks
         WHERE armed_generation < generation AND (tenant_id, ticket_id) > ($2, $3)
         -- The index of dirty rows; how few they are is not known to the planner.
         ORDER BY tenant_id, ticket_id
         LIMIT $1
         FOR UPDATE SKIP LOCKED",
        limit,
        after.tenant_id,
        after.ticket_id
    )
    .fetch_all(pool)
    .await?;
    let tickets = rows.into_iter().map(|row| DirtyTicket {
        key: TicketKey {
            tenant_id: row.tenant_id,
            ticket_id: row.ticket_id,
        },
        generation: row.generation,
        armed_generation: row.armed_generation,
        next_due_at: row.next_due_at.map(SqlTimestamp::to_jiff),
    });
    Ok(tickets.collect())
}

/// Notes that the timer holds these generations. A row that has moved on stays dirty.
pub async fn mark_armed(pool: &PgPool, armed: &[DirtyTicket]) -> Result<(), Error> {
    let mut armed: Vec<&DirtyTicket> = armed.iter().collect();
    // Two replicas that mark the same rows must lock them in the same order.
    armed.sort_unstable_by_key(|ticket| ticket.key);
    let keys: Vec<TicketKey> = armed.iter().map(|ticket| ticket.key).collect();
    let (tenant_ids, ticket_ids) = columns_of(&keys);
    let generations: Vec<i64> = armed.iter().map(|ticket| ticket.generation).collect();
    sqlx::query!(
        "WITH locked AS MATERIALIZED (
             SELECT clocks.tenant_id, clocks.ticket_id, armed.generation
             FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS armed (tenant_id, ticket_id, generation)
             JOIN ticket_clocks AS clocks
                 ON clocks.tenant_id = armed.tenant_id AND clocks.ticket_id = armed.ticket_id
             WHERE clocks.armed_generation < armed.generation
             ORDER BY clocks.tenant_id, clocks.ticket_id
             FOR UPDATE OF clocks
         )
         UPDATE ticket_clocks AS clocks
         SET armed_generation = locked.generation
         FROM locked
         WHERE clocks.tenant_id = locked.tenant_id AND clocks.ticket_id = locked.ticket_id",
        &tenant_ids,
        &ticket_ids,
        &generations
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// Where a page of pending tickets ended.
#[derive(Debug, Clone, Copy)]
pub struct PendingCursor {
    /// The instant of the last ticket.
    pub next_due_at: Timestamp,
    /// The last ticket.
    pub key: TicketKey,
}

/// Tickets that have a next due instant, those that the timer may not know too, the earliest first.
pub async fn pending(
    pool: &PgPool,
    after: Option<PendingCursor>,
    limit: i64,
) -> Result<Vec<PendingTicket>, Error> {
    let after = after.unwrap_or(PendingCursor {
        next_due_at: Timestamp::UNIX_EPOCH,
        key: TicketKey {
            tenant_id: 0,
            ticket_id: 0,
        },
    });
    let rows = sqlx::query!(
        r#"SELECT tenant_id, ticket_id, generation, next_due_at AS "next_due_at!"
           FROM ticket_clocks
           WHERE next_due_at IS NOT NULL AND (next_due_at, tenant_id, ticket_id) > ($1, $2, $3)
           ORDER BY next_due_at, tenant_id, ticket_id
           LIMIT $4"#,
        after.next_due_at.to_sqlx(),
        after.key.tenant_id,
        after.key.ticket_id,
        limit
    )
    .fetch_all(pool)
    .await?;
    let tickets = rows.into_iter().map(|row| PendingTicket {
        key: TicketKey {
            tenant_id: row.tenant_id,
            ticket_id: row.ticket_id,
        },
        generation: row.generation,
        next_due_at: row.next_due_at.to_jiff(),
    });
    Ok(tickets.collect())
}

/// Tickets that should have been looked at more than `grace` ago, the longest overdue first. The statement's time bounds
/// the search of the index, which `clock_timestamp()` could not.
pub async fn overdue(
    pool: &PgPool,
    grace: Duration,
    limit: i64,
) -> Result<Vec<PendingTicket>, Error> {
    let rows = sqlx::query!(
        r#"SELECT tenant_id, ticket_id, generation, next_due_at AS "next_due_at!"
           FROM ticket_clocks
           WHERE next_due_at < statement_timestamp() - make_interval(secs => $1)
           ORDER BY next_due_at
           LIMIT $2"#,
        grace.as_secs_f64(),
        limit
    )
    .fetch_all(pool)
    .await?;
    let tickets = rows.into_iter().map(|row| PendingTicket {
        key: TicketKey {
            tenant_id: row.tenant_id,
            ticket_id: row.ticket_id,
        },
        generation: row.generation,
        next_due_at: row.next_due_at.to_jiff(),
    });
    Ok(tickets.collect())
}
