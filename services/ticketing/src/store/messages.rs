//! The conversation: what people, bots and systems wrote.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use plazo_proto::common::v1::Author;
use plazo_proto::ticketing::v1::{Message, MessageKind};
use sqlx::PgConnection;

use crate::error::Error;
use crate::instants::to_proto;
use crate::store::clocks::TicketKey;
use crate::store::events::author_code;

/// A message that is about to be written.
#[derive(Debug, Clone)]
pub struct NewMessage {
    /// Who wrote it.
    pub author: Author,
    /// Chat or note.
    pub kind: MessageKind,
    /// The text.
    pub text: String,
    /// Addresses of attachments.
    pub attachment_urls: Vec<String>,
    /// When the channel says that it was written.
    pub channel_at: Option<Timestamp>,
}

/// Writes a message under the number of the event that records it.
pub async fn insert(
    connection: &mut PgConnection,
    key: TicketKey,
    ticket_seq: i64,
    recorded_at: Timestamp,
    new: &NewMessage,
) -> Result<Message, Error> {
    let message_id = sqlx::query_scalar!(
        "INSERT INTO messages
            (tenant_id, ticket_id, ticket_seq, author_kind, author_id, kind, body, attachment_urls, recorded_at, channel_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
         RETURNING message_id",
        key.tenant_id,
        key.ticket_id,
        ticket_seq,
        author_code(&new.author),
        new.author.id,
        kind_code(new.kind),
        new.text,
        &new.attachment_urls,
        recorded_at.to_sqlx(),
        new.channel_at.map(jiff_sqlx::ToSqlx::to_sqlx) as Option<jiff_sqlx::Timestamp>
    )
    .fetch_one(connection)
    .await?;
    Ok(Message {
        message_id,
        ticket_id: key.ticket_id,
        author: Some(new.author),
        kind: new.kind.into(),
        text: new.text.clone(),
        attachment_urls: new.attachment_urls.clone(),
        record_time: Some(to_proto(recorded_at)),
        channel_time: new.channel_at.map(to_proto),
        ticket_seq,
    })
}

fn kind_code(kind: MessageKind) -> i16 {
    match kind {
        MessageKind::Unspecified | MessageKind::Chat => 1,
        MessageKind::Note => 2,
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
