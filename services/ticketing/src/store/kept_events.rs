//! What is kept of events whose partition is dropped, and how far that has come. `keeping` says why.

use jiff::Timestamp;
use jiff_sqlx::{Timestamp as SqlTimestamp, ToSqlx as _};
use sqlx::{PgConnection, PgPool};

use crate::error::Error;

/// An event as it is kept.
#[derive(Debug, Clone)]
pub struct StoredEvent {
    /// Under which transaction it stands in the feed, and its number there.
    place: (i64, i64),
    tenant_id: i64,
    ticket_id: i64,
    ticket_seq: i64,
    author_kind: i16,
    author_id: i64,
    recorded_at: SqlTimestamp,
    /// An encoded event with nothing but its payload.
    pub payload: Vec<u8>,
}

/// A week whose events are being kept.
#[derive(Debug)]
pub struct Week {
    begins_at: Timestamp,
    /// Of the last event that was read.
    place: (i64, i64),
    /// Whether all of its events are kept.
    pub is_done: bool,
}

/// When those weeks begin that ended more than so many days ago, the oldest first.
pub async fn expired_weeks(pool: &PgPool, keep_days: i32) -> Result<Vec<Timestamp>, Error> {
    let weeks = sqlx::query_scalar!(
        r#"SELECT begins_at AS "begins_at!" FROM expired_event_weeks($1) AS begins_at"#,
        keep_days
    )
    .fetch_all(pool)
    .await?;
    Ok(weeks.into_iter().map(SqlTimestamp::to_jiff).collect())
}

/// Drops a week's partition. False when it is not done, or another has dropped it.
pub async fn drop_week(pool: &PgPool, begins_at: Timestamp) -> Result<bool, Error> {
    let is_dropped = sqlx::query_scalar!(
        r#"SELECT drop_event_week($1) AS "is_dropped!""#,
        begins_at.to_sqlx()
    )
    .fetch_one(pool)
    .await?;
    Ok(is_dropped)
}

/// Keeps events. Those that are kept already stay as they are.
pub async fn insert(connection: &mut PgConnection, events: &[StoredEvent]) -> Result<(), Error> {
    if events.is_empty() {
        return Ok(());
    }
    let column =
        |value: fn(&StoredEvent) -> i64| -> Vec<i64> { events.iter().map(value).collect() };
    let author_kinds: Vec<i16> = events.iter().map(|event| event.author_kind).collect();
    let recorded: Vec<SqlTimestamp> = events.iter().map(|event| event.recorded_at).collect();
    let payloads: Vec<&[u8]> = events
        .iter()
        .map(|event| event.payload.as_slice())
        .collect();
    sqlx::query!(
        "INSERT INTO kept_events
             (tenant_id, ticket_id, ticket_seq, author_kind, author_id, recorded_at, payload)
         SELECT * FROM unnest(
             $1::bigint[], $2::bigint[], $3::bigint[], $4::smallint[], $5::bigint[], $6::timestamptz[], $7::bytea[]
         )
         ON CONFLICT DO NOTHING",
        &column(|event| event.tenant_id),
        &column(|event| event.ticket_id),
        &column(|event| event.ticket_seq),
        &author_kinds,
        &column(|event| event.author_id),
        &recorded,
        &payloads as &[&[u8]]
    )
    .execute(connection)
    .await?;
    Ok(())
}

impl Week {
    /// The week, locked against others who keep its events; none when another has dropped it meanwhile.
    pub async fn lock(
        connection: &mut PgConnection,
        begins_at: Timestamp,
    ) -> Result<Option<Self>, Error> {
        sqlx::query!(
            "INSERT INTO event_keeping (begins_at) VALUES ($1) ON CONFLICT DO NOTHING",
            begins_at.to_sqlx()
        )
        .execute(&mut *connection)
        .await?;
        let row = sqlx::query!(
            r#"SELECT transaction_id::text::bigint AS "transaction_id!", event_id, is_done
               FROM event_keeping WHERE begins_at = $1 FOR UPDATE"#,
            begins_at.to_sqlx()
        )
        .fetch_optional(connection)
        .await?;
        Ok(row.map(|row| Self {
            begins_at,
            place: (row.transaction_id, row.event_id),
            is_done: row.is_done,
        }))
    }

    /// The next events of the week, at most `limit`, locked against changes.
    pub async fn read(
        &mut self,
        connection: &mut PgConnection,
        limit: i64,
    ) -> Result<Vec<StoredEvent>, Error> {
        let rows = sqlx::query!(
            r#"SELECT event_id, transaction_id::text::bigint AS "transaction_id!", tenant_id, ticket_id, ticket_seq,
                   author_kind, author_id, recorded_at, payload
               FROM ticket_events
               WHERE recorded_at >= $1 AND recorded_at < $1 + interval '168 hours'
                   AND (transaction_id, event_id) > ($2::bigint::text::xid8, $3)
               ORDER BY transaction_id, event_id
               LIMIT $4
               FOR SHARE"#,
            self.begins_at.to_sqlx(),
            self.place.0,
            self.place.1,
            limit
        )
        .fetch_all(connection)
        .await?;
        let events: Vec<StoredEvent> = rows
            .into_iter()
            .map(|row| StoredEvent {
                place: (row.transaction_id, row.event_id),
                tenant_id: row.tenant_id,
                ticket_id: row.ticket_id,
                ticket_seq: row.ticket_seq,
                author_kind: row.author_kind,
                author_id: row.author_id,
                recorded_at: row.recorded_at,
                payload: row.payload,
            })
            .collect();
        if let Some(last) = events.last() {
            self.place = last.place;
        }
        Ok(events)
    }

    /// Writes how far the locked week has come.
    pub async fn save(&self, connection: &mut PgConnection) -> Result<(), Error> {
        sqlx::query!(
            "UPDATE event_keeping SET transaction_id = $2::bigint::text::xid8, event_id = $3, is_done = $4
             WHERE begins_at = $1",
            self.begins_at.to_sqlx(),
            self.place.0,
            self.place.1,
            self.is_done
        )
        .execute(connection)
        .await?;
        Ok(())
    }
}
