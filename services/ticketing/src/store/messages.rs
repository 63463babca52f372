//! The conversation: what people, bots and systems wrote.

use std::collections::HashMap;

use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use plazo_proto::common::v1::Author;
use plazo_proto::ticketing::v1::{Message, MessageKind};
use plazo_service::telemetry;
use sqlx::PgConnection;

use crate::error::Error;
use crate::instants::to_proto;
use crate::store::clocks::{TicketKey, columns_of};
use crate::store::events::author_code;

/// A message that is about to be written.
#[derive(Debug, Clone)]
pub struct NewMessage {
    /// Who wrote it.
    pub author: Author,
    /// Chat, note or comment.
    pub kind: MessageKind,
    /// The text.
    pub text: String,
    /// Addresses of attachments.
    pub attachment_urls: Vec<String>,
    /// When the channel says that it was written.
    pub channel_at: Option<Timestamp>,
}

/// A message in its place.
#[derive(Debug, Clone)]
pub struct PlacedMessage {
    /// Its ticket, whose row is locked.
    pub key: TicketKey,
    /// The event that records it.
    pub ticket_seq: i64,
    /// When.
    pub recorded_at: Timestamp,
    /// What was written.
    pub new: NewMessage,
}

impl PlacedMessage {
    /// The message as it is told.
    pub fn to_proto(&self, message_id: i64) -> Message {
        Message {
            message_id,
            ticket_id: self.key.ticket_id,
            author: Some(self.new.author),
            kind: self.new.kind.into(),
            text: self.new.text.clone(),
            attachment_urls: self.new.attachment_urls.clone(),
            record_time: Some(to_proto(self.recorded_at)),
            channel_time: self.new.channel_at.map(to_proto),
            ticket_seq: self.ticket_seq,
        }
    }
}

/// Stands between the addresses of a message's attachments on their way to the database. No URL has it.
const URL_SEPARATOR: &str = "\u{1f}";

/// The traces in which the newest messages of these tickets were recorded, a hundred at most.
pub async fn newest_traces(
    connection: &mut PgConnection,
    keys: &[TicketKey],
) -> Result<Vec<Vec<u8>>, Error> {
    let (tenant_ids, ticket_ids) = columns_of(keys);
    let traces = sqlx::query_file_scalar!("queries/newest_traces.sql", &tenant_ids, &ticket_ids)
        .fetch_all(connection)
        .await?;
    Ok(traces)
}

/// Writes messages, and returns their ids in the same order.
pub async fn insert(
    connection: &mut PgConnection,
    messages: &[&PlacedMessage],
) -> Result<Vec<i64>, Error> {
    if messages.is_empty() {
        return Ok(Vec::new());
    }
    let keys: Vec<TicketKey> = messages.iter().map(|message| message.key).collect();
    let (tenant_ids, ticket_ids) = columns_of(&keys);
    let seqs: Vec<i64> = messages.iter().map(|message| message.ticket_seq).collect();
    let authors = messages.iter().map(|message| &message.new.author);
    let author_kinds: Vec<i16> = authors.clone().map(author_code).collect();
    let author_ids: Vec<i64> = authors.map(|author| author.id).collect();
    let kinds: Vec<i16> = messages.iter().map(|it| kind_code(it.new.kind)).collect();
    let bodies: Vec<&str> = messages.iter().map(|it| it.new.text.as_str()).collect();
    let urls: Vec<String> = messages
        .iter()
        .map(|message| message.new.attachment_urls.join(URL_SEPARATOR))
        .collect();
    let recorded: Vec<_> = messages.iter().map(|it| it.recorded_at.to_sqlx()).collect();
    let channel: Vec<_> = messages
        .iter()
        .map(|message| message.new.channel_at.map(jiff_sqlx::ToSqlx::to_sqlx))
        .collect();
    let rows = sqlx::query_file!(
        "queries/insert_messages.sql",
        &tenant_ids,
        &ticket_ids,
        &seqs,
        &author_kinds,
        &author_ids,
        &kinds,
        &bodies as &[&str],
        &urls,
        &recorded,
        &channel as &[Option<jiff_sqlx::Timestamp>],
        telemetry::current_trace() as Option<Vec<u8>>
    )
    .fetch_all(connection)
    .await?;
    let ids: HashMap<(i64, i64), i64> = rows
        .into_iter()
        .map(|row| ((row.ticket_id, row.ticket_seq), row.message_id))
        .collect();
    messages
        .iter()
        .map(|message| {
            let place = (message.key.ticket_id, message.ticket_seq);
            ids.get(&place)
                .copied()
                .ok_or(Error::OutOfRange("message_id"))
        })
        .collect()
}

fn kind_code(kind: MessageKind) -> i16 {
    match kind {
        MessageKind::Unspecified | MessageKind::Chat => 1,
        MessageKind::Note => 2,
        MessageKind::Comment => 3,
    }
}

/// Messages of a ticket after a number, the first written first.
pub async fn list(
    connection: &mut PgConnection,
    key: TicketKey,
    after_seq: i64,
    limit: i64,
) -> Result<Vec<Message>, Error> {
    let rows = sqlx::query!(
        "SELECT message_id, ticket_seq, author_kind, author_id, kind, body, attachment_urls, recorded_at, channel_at
         FROM messages
         WHERE tenant_id = $1 AND ticket_id = $2 AND ticket_seq > $3
         ORDER BY ticket_seq
         LIMIT $4",
        key.tenant_id,
        key.ticket_id,
        after_seq,
        limit
    )
    .fetch_all(connection)
    .await?;
    let messages = rows.into_iter().map(|row| Message {
        message_id: row.message_id,
        ticket_id: key.ticket_id,
        author: Some(Author {
            kind: row.author_kind.into(),
            id: row.author_id,
        }),
        kind: row.kind.into(),
        text: row.body,
        attachment_urls: row.attachment_urls,
        record_time: Some(to_proto(row.recorded_at.to_jiff())),
        channel_time: row.channel_at.map(|at| to_proto(at.to_jiff())),
        ticket_seq: row.ticket_seq,
    });
    Ok(messages.collect())
}
