//! How far the live feed of events for subscribers has come, and places in it to begin replays from.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use sqlx::{PgConnection, PgExecutor};

/// A place in the feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// Opaque, of ticketing; empty at the beginning.
    pub(crate) position: String,
    /// How many events stand before it.
    pub(crate) events: i64,
}

/// Where the live feed is.
pub(crate) async fn place(executor: impl PgExecutor<'_>) -> Result<Place, sqlx::Error> {
    sqlx::query_as!(
        Place,
        "SELECT position, events FROM event_feed WHERE feed = 'ticketing'"
    )
    .fetch_one(executor)
    .await
}

/// The same; the live feed stands still until the transaction ends.
pub(crate) async fn lock_place(connection: &mut PgConnection) -> Result<Place, sqlx::Error> {
    sqlx::query_as!(
        Place,
        "SELECT position, events FROM event_feed WHERE feed = 'ticketing' FOR UPDATE"
    )
    .fetch_one(connection)
    .await
}

/// Moves the live feed on by `events`, the newest of which happened at `newest_at`, and returns the present time.
pub(crate) async fn advance(
    connection: &mut PgConnection,
    to: &str,
    events: i64,
    newest_at: Option<Timestamp>,
) -> Result<Timestamp, sqlx::Error> {
    let moved_at = sqlx::query_scalar!(
        "UPDATE event_feed SET position = $1, events = events + $2,
             newest_event_at = greatest(newest_event_at, $3), updated_at = clock_timestamp()
         WHERE feed = 'ticketing' RETURNING updated_at",
        to,
        events,
        newest_at.map(ToSqlx::to_sqlx) as Option<jiff_sqlx::Timestamp>
    )
    .fetch_one(connection)
    .await?;
    Ok(moved_at.to_jiff())
}

/// Marks the place where the live feed is, if it `is_needed` or none was marked for ten seconds.
pub(crate) async fn mark(
    connection: &mut PgConnection,
    is_needed: bool,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO event_marks (events, position, newest_event_at)
         SELECT events, position, newest_event_at FROM event_feed
         WHERE feed = 'ticketing' AND (
             $1 OR NOT EXISTS (
                 SELECT 1 FROM event_marks WHERE marked_at > statement_timestamp() - interval '10 s'
             )
         )
         ON CONFLICT DO NOTHING",
        is_needed
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The last mark at or before the event with this index; none when there is none left.
pub(crate) async fn mark_before(
    connection: &mut PgConnection,
    index: i64,
) -> Result<Option<Place>, sqlx::Error> {
    sqlx::query_as!(
        Place,
        "SELECT position, events FROM event_marks WHERE events <= $1 ORDER BY events DESC LIMIT 1",
        index
    )
    .fetch_optional(connection)
    .await
}

/// The last mark that has all events from an instant on behind it, else the oldest; none when there is none at all.
pub(crate) async fn mark_before_time(
    connection: &mut PgConnection,
    at: Timestamp,
) -> Result<Option<Place>, sqlx::Error> {
    let found = sqlx::query_as!(
        Place,
        "SELECT position, events FROM event_marks WHERE newest_event_at < $1
         ORDER BY newest_event_at DESC, events DESC LIMIT 1",
        at.to_sqlx() as jiff_sqlx::Timestamp
    )
    .fetch_optional(&mut *connection)
    .await?;
    if found.is_some() {
        return Ok(found);
    }
    sqlx::query_as!(
        Place,
        "SELECT position, events FROM event_marks ORDER BY events LIMIT 1"
    )
    .fetch_optional(connection)
    .await
}
