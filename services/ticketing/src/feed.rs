//! Reading events in order, from a position onward.
//!
//! Ids of serials are no order across transactions, and neither are transaction ids: a transaction that began early
//! may lock a ticket late. So each event stands under a transaction id that is its writer's, or that of the event
//! before it in its ticket if that is higher; and a reader takes *windows*: all events that stand at or above the last
//! bound and below the oldest transaction that is still running, ordered by event id within the window.
//!
//! Why nothing is skipped: an event stands at or above its writer's id, so below a bound there are only events whose
//! writers have ended, and no others can come.
//!
//! Why this keeps the order of each ticket: let event A of a ticket come before event B. B was written under the lock
//! of the ticket's row after A was committed. So B stands at A's transaction or above, and its window is A's or a later
//! one; within a window A comes first, since B's id was taken later. The writers' own ids would not do: with a writer of
//! B that began before the one of A, a third transaction with an id between theirs puts a bound between them.

pub mod hub;
mod position;

use std::time::Duration;

use plazo_proto::ticketing::v1::TicketEvent;
use sqlx::{PgConnection, PgPool};

use crate::error::Error;
use crate::store::events::EventRow;

pub use position::{FeedIdentity, Position, PositionError};

/// So many events are sent at once.
pub const BATCH: i64 = 1_000;
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
    let mut connection = pool.acquire().await?;
    let position = match position.window {
        Some(_) => position,
        None => match open_window(&mut connection, position).await? {
            Some(position) => position,
            None => {
                return Ok(Batch {
                    events: Vec::new(),
                    position,
                    more: false,
                });
            }
        },
    };
    let Some(window) = position.window else {
        return Ok(Batch {
            events: Vec::new(),
            position,
            more: false,
        });
    };
    let rows = sqlx::query_as!(
        EventRow,
        "SELECT event_id, tenant_id, ticket_id, ticket_seq, bot_id, author_kind, author_id, recorded_at, payload
         FROM ticket_events
         WHERE event_id > $1
             AND transaction_id >= $2::bigint::text::xid8 AND transaction_id < $3::bigint::text::xid8
         ORDER BY event_id
         LIMIT $4",
        window.after_event_id,
        position.from_transaction,
        window.until_transaction,
        BATCH
    )
    .fetch_all(&mut *connection)
    .await?;
    let is_full = i64::try_from(rows.len()).unwrap_or(i64::MAX) == BATCH;
    let position = match rows.last() {
        Some(last) if is_full => position.within_window(last.event_id),
        _ => position.after_window(),
    };
    let events = rows
        .into_iter()
        .map(EventRow::into_event)
        .collect::<Result<_, _>>()?;
    Ok(Batch {
        events,
        position,
        more: is_full,
    })
}

/// Takes the next window: up to the oldest transaction that still runs. None when nothing was written since; a
/// stretch of transactions without events is passed over.
async fn open_window(
    connection: &mut PgConnection,
    position: Position,
) -> Result<Option<Position>, Error> {
    let until = oldest_running(&mut *connection).await?;
    if until <= position.from_transaction {
        return Ok(None);
    }
    let first = sqlx::query_scalar!(
        "SELECT min(event_id) FROM ticket_events
         WHERE transaction_id >= $1::bigint::text::xid8 AND transaction_id < $2::bigint::text::xid8",
        position.from_transaction,
        until
    )
    .fetch_one(connection)
    .await?;
    Ok(Some(match first {
        Some(event_id) => position.with_window(until, event_id - 1),
        None => position.with_window(until, i64::MAX).after_window(),
    }))
}

/// The oldest transaction id that still runs: everything below it has ended.
async fn oldest_running(connection: &mut PgConnection) -> Result<i64, Error> {
    let transaction = sqlx::query_scalar!(
        r#"SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS "transaction!""#
    )
    .fetch_one(connection)
    .await?;
    Ok(transaction)
}

/// The position before everything that is kept.
pub async fn beginning(pool: &PgPool) -> Result<Position, Error> {
    Ok(Position::at(horizon(pool).await?))
}

/// The position after everything that has ended by now.
pub async fn end(pool: &PgPool) -> Result<Position, Error> {
    let mut connection = pool.acquire().await?;
    Ok(Position::at(oldest_running(&mut connection).await?))
}

/// Events of transactions below this were dropped.
pub async fn horizon(pool: &PgPool) -> Result<i64, Error> {
    let horizon = sqlx::query_scalar!(
        r#"SELECT horizon_transaction_id::text::bigint AS "horizon!" FROM feed"#
    )
    .fetch_one(pool)
    .await?;
    Ok(horizon)
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
