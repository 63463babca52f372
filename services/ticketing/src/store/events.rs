//! The append-only list of what happened, as tickets write it. Reading it in order is `feed`'s matter.

use jiff::Timestamp;
use jiff_sqlx::{Timestamp as SqlTimestamp, ToSqlx as _};
use plazo_proto::common::v1::{Author, AuthorKind};
use plazo_proto::ticketing::v1::TicketEvent;
use plazo_proto::ticketing::v1::ticket_event::Payload;
use prost::Message as _;
use sqlx::PgConnection;

use crate::error::Error;
use crate::instants::to_proto;
use crate::store::clocks::TicketKey;

/// The tables with events, in the order in which an event moves through them: each has the encoded event in a column
/// `payload`, and the ticket's key. Who erases what events say erases it in all of them, in this order and in a statement for
/// each (`keeping` says why).
pub const PAYLOAD_TABLES: [&str; 2] = ["ticket_events", "kept_events"];

/// An event that is about to be written.
#[derive(Debug, Clone)]
pub struct NewEvent {
    /// The ticket.
    pub key: TicketKey,
    /// Its bot.
    pub bot_id: i64,
    /// Number of the event in its ticket.
    pub ticket_seq: i64,
    /// Who caused it.
    pub author: Author,
    /// When.
    pub recorded_at: Timestamp,
    /// What happened.
    pub payload: Payload,
    /// Under which transaction it stands in the feed.
    pub transaction_id: i64,
}

/// A row of `ticket_events`.
pub(crate) struct EventRow {
    pub(crate) event_id: i64,
    /// Under which it stands in the feed.
    pub(crate) transaction_id: i64,
    pub(crate) tenant_id: i64,
    pub(crate) ticket_id: i64,
    pub(crate) ticket_seq: i64,
    pub(crate) bot_id: i64,
    pub(crate) author_kind: i16,
    pub(crate) author_id: i64,
    pub(crate) recorded_at: SqlTimestamp,
    pub(crate) payload: Vec<u8>,
}

impl EventRow {
    /// The event as it is told.
    pub(crate) fn into_event(self) -> Result<TicketEvent, Error> {
        let mut event = TicketEvent::decode(self.payload.as_slice())?;
        event.event_id = self.event_id;
        event.tenant_id = self.tenant_id;
        event.ticket_id = self.ticket_id;
        event.ticket_seq = self.ticket_seq;
        event.bot_id = self.bot_id;
        event.author = Some(Author {
            kind: i32::from(self.author_kind),
            id: self.author_id,
        });
        event.event_time = Some(to_proto(self.recorded_at.to_jiff()));
        Ok(event)
    }
}

/// Writes events in the order given. The tickets' rows are locked.
pub async fn append(connection: &mut PgConnection, events: &[&NewEvent]) -> Result<(), Error> {
    if events.is_empty() {
        return Ok(());
    }
    let tenant_ids: Vec<i64> = events.iter().map(|event| event.key.tenant_id).collect();
    let ticket_ids: Vec<i64> = events.iter().map(|event| event.key.ticket_id).collect();
    let seqs: Vec<i64> = events.iter().map(|event| event.ticket_seq).collect();
    let bot_ids: Vec<i64> = events.iter().map(|event| event.bot_id).collect();
    let kinds: Vec<i16> = events
        .iter()
        .map(|event| author_code(&event.author))
        .collect();
    let author_ids: Vec<i64> = events.iter().map(|event| event.author.id).collect();
    let recorded: Vec<_> = events
        .iter()
        .map(|event| event.recorded_at.to_sqlx())
        .collect();
    let payloads: Vec<Vec<u8>> = events
        .iter()
        .map(|event| {
            let only_payload = TicketEvent {
                payload: Some(event.payload.clone()),
                ..TicketEvent::default()
            };
            only_payload.encode_to_vec()
        })
        .collect();
    let transactions: Vec<i64> = events.iter().map(|event| event.transaction_id).collect();
    sqlx::query_file!(
        "queries/append_events.sql",
        &tenant_ids,
        &ticket_ids,
        &seqs,
        &bot_ids,
        &kinds,
        &author_ids,
        &recorded,
        &payloads,
        &transactions
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The code of an author's kind in the database: the proto's number.
pub(crate) fn author_code(author: &Author) -> i16 {
    i16::try_from(author.kind).unwrap_or(AuthorKind::Unspecified as i16)
}

/// Events of one ticket after a number, by number.
pub async fn of_ticket(
    connection: &mut PgConnection,
    key: TicketKey,
    after_seq: i64,
    limit: i64,
) -> Result<Vec<TicketEvent>, Error> {
    let rows = sqlx::query_as!(
        EventRow,
        r#"SELECT event_id, transaction_id::text::bigint AS "transaction_id!", tenant_id, ticket_id, ticket_seq,
               bot_id, author_kind, author_id, recorded_at, payload
           FROM ticket_events
           WHERE tenant_id = $1 AND ticket_id = $2 AND ticket_seq > $3
           ORDER BY ticket_seq
           LIMIT $4"#,
        key.tenant_id,
        key.ticket_id,
        after_seq,
        limit
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(EventRow::into_event).collect()
}

/// The last events of one ticket up to number `until_seq`, by number: at most `limit`, and `max_bytes` of payload.
pub async fn last_of_ticket(
    connection: &mut PgConnection,
    key: TicketKey,
    until_seq: i64,
    limit: i64,
    max_bytes: i64,
) -> Result<Vec<TicketEvent>, Error> {
    let rows = sqlx::query_file_as!(
        EventRow,
        "queries/last_events.sql",
        key.tenant_id,
        key.ticket_id,
        until_seq,
        limit,
        max_bytes
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().rev().map(EventRow::into_event).collect()
}
