//! Reading events in order, from a position onward.
//!
//! Ids of serials are no order across transactions, and neither are transaction ids: a transaction that began early
//! may lock a ticket late. So each event stands under a transaction id that is its writer's, or that of the event
//! before it in its ticket if that is higher. Readers take events by (that transaction id, event id), as far as they lie
//! below the oldest transaction that is still running.
//!
//! Why nothing is skipped: an event stands at or above its writer's id, so below the oldest running transaction there
//! are only events whose writers have ended, and no others can come.
//!
//! Why this keeps the order of each ticket: let event A of a ticket come before event B. B was written under the lock
//! of the ticket's row after A was committed. So B stands at A's transaction id or above; and when they stand at the
//! same, A comes first, since B's event id was taken later. The writers' own ids would not do: B's writer may have begun
//! before A's, and with a third transaction between the two still running, B would be read and A not yet.

pub mod hub;
pub mod lag;
mod position;

use std::time::Duration;

use plazo_proto::ticketing::v1::TicketEvent;
use sqlx::{PgConnection, PgPool};

use crate::error::Error;
use crate::fitting::fitting;
use crate::store::clocks::TicketKey;
use crate::store::events::EventRow;
use crate::store::tickets::TicketQuery;

pub use position::{FeedIdentity, Position, PositionError};

/// So many events are sent at once,
pub const BATCH: i64 = 1_000;
/// and of so many bytes, or one: a message must not outgrow what callers take.
const BATCH_BYTES: usize = 1 << 20;
/// Commits of this process wake readers at once; those of other replicas are found by this poll.
pub const POLL: Duration = Duration::from_millis(100);

/// Some events, and the position after them.
#[derive(Debug)]
pub struct Batch {
    /// In order; may be empty.
    pub events: Vec<TicketEvent>,
    /// After the events.
    pub position: Position,
    /// Whether there is more to read at once.
    pub more: bool,
}

/// Reads what follows `position`.
pub async fn read(pool: &PgPool, position: Position) -> Result<Batch, Error> {
    let mut rows = sqlx::query_as!(
        EventRow,
        r#"SELECT event_id, transaction_id::text::bigint AS "transaction_id!", tenant_id, ticket_id, ticket_seq,
               bot_id, author_kind, author_id, recorded_at, payload
           FROM ticket_events
           WHERE (transaction_id, event_id) > ($1::bigint::text::xid8, $2)
               AND transaction_id < pg_snapshot_xmin(pg_current_snapshot())
           ORDER BY transaction_id, event_id
           LIMIT $3"#,
        position.transaction_id,
        position.event_id,
        BATCH
    )
    .fetch_all(pool)
    .await?;
    let found = rows.len();
    rows.truncate(fitting(
        rows.iter().map(|row| row.payload.len()),
        BATCH_BYTES,
    ));
    let more = rows.len() < found || i64::try_from(found).unwrap_or(i64::MAX) == BATCH;
    let position = rows.last().map_or(position, |last| Position {
        transaction_id: last.transaction_id,
        event_id: last.event_id,
    });
    let events = rows
        .into_iter()
        .map(EventRow::into_event)
        .collect::<Result<_, _>>()?;
    Ok(Batch {
        events,
        position,
        more,
    })
}

/// Which tickets some events are about, and the position after them.
#[derive(Debug)]
pub struct Touched {
    /// The ticket of each event, in the events' order; may be empty.
    pub tickets: Vec<TicketKey>,
    /// After the events.
    pub position: Position,
    /// Whether there is more to read at once.
    pub more: bool,
}

/// Reads what the events that follow `position` are about, of all tenants, and nothing of what they say.
pub async fn touched(pool: &PgPool, position: Position) -> Result<Touched, Error> {
    let rows = sqlx::query!(
        r#"SELECT event_id, transaction_id::text::bigint AS "transaction_id!", tenant_id, ticket_id
           FROM ticket_events
           WHERE (transaction_id, event_id) > ($1::bigint::text::xid8, $2)
               AND transaction_id < pg_snapshot_xmin(pg_current_snapshot())
           ORDER BY transaction_id, event_id
           LIMIT $3"#,
        position.transaction_id,
        position.event_id,
        BATCH
    )
    .fetch_all(pool)
    .await?;
    let more = i64::try_from(rows.len()).unwrap_or(i64::MAX) == BATCH;
    let position = rows.last().map_or(position, |last| Position {
        transaction_id: last.transaction_id,
        event_id: last.event_id,
    });
    let tickets = rows.into_iter().map(|row| TicketKey {
        tenant_id: row.tenant_id,
        ticket_id: row.ticket_id,
    });
    Ok(Touched {
        tickets: tickets.collect(),
        position,
        more,
    })
}

/// What follows a position, in short.
#[derive(Debug)]
pub struct ChangedSince {
    /// How many events, of all tenants; counted up to a limit.
    pub event_count: i64,
    /// The tickets that they are about.
    pub changed: Vec<i64>,
}

/// The tickets that the first `limit` committed events after `position` are about, as far as `query` may see them.
pub async fn changed_since(
    connection: &mut PgConnection,
    position: Position,
    query: &TicketQuery,
    limit: i64,
) -> Result<ChangedSince, Error> {
    let row = sqlx::query_file_as!(
        ChangedSince,
        "queries/changed_since.sql",
        position.transaction_id,
        position.event_id,
        limit,
        query.tenant_id,
        query.permitted_bots.as_deref() as Option<&[i64]>,
        query.bot_id
    )
    .fetch_one(connection)
    .await?;
    Ok(row)
}

/// The position after everything that has ended by now.
pub async fn end(pool: &PgPool) -> Result<Position, Error> {
    let transaction_id = sqlx::query_scalar!(
        r#"SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS "transaction_id!""#
    )
    .fetch_one(pool)
    .await?;
    Ok(Position {
        transaction_id,
        event_id: 0,
    })
}

/// The position before everything that is kept: of the last event that was dropped.
pub async fn beginning(pool: &PgPool) -> Result<Position, Error> {
    let horizon = sqlx::query!(
        r#"SELECT horizon_transaction_id::text::bigint AS "transaction_id!", horizon_event_id FROM feed"#
    )
    .fetch_one(pool)
    .await?;
    Ok(Position {
        transaction_id: horizon.transaction_id,
        event_id: horizon.horizon_event_id,
    })
}

/// Which feed this database is: transaction ids mean nothing in a restored copy, nor in another database of the server.
pub async fn identity(pool: &PgPool) -> Result<FeedIdentity, Error> {
    let row = sqlx::query!(
        r#"SELECT feed_uuid, system_identifier AS "system_identifier!",
               (SELECT oid::bigint FROM pg_database WHERE datname = current_database()) AS "database_oid!"
           FROM feed, pg_control_system()"#
    )
    .fetch_one(pool)
    .await?;
    Ok(FeedIdentity::new(
        row.feed_uuid,
        row.system_identifier,
        row.database_oid,
    ))
}
