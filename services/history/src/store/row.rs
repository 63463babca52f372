//! Rows as the queries return them, and the model made from them.

use plazo_proto::common::v1::Author;
use plazo_proto::history::v1::ConversationEntryKind;

use crate::model::{Entry, TicketKey};

/// A row of `conversation_entries`, without the key of its ticket.
pub(super) struct EntryRow {
    pub(super) ticket_seq: i64,
    pub(super) kind: i32,
    pub(super) message_id: i64,
    pub(super) author_kind: i32,
    pub(super) author_id: i64,
    pub(super) text: String,
    pub(super) attachment_urls: Vec<String>,
    pub(super) recorded_at: jiff::Timestamp,
    pub(super) channel_at: Option<jiff_sqlx::Timestamp>,
}

impl EntryRow {
    pub(super) fn of_ticket(self, key: TicketKey) -> Entry {
        Entry {
            key,
            ticket_seq: self.ticket_seq,
            kind: ConversationEntryKind::try_from(self.kind).unwrap_or_default(),
            message_id: self.message_id,
            author: Author {
                kind: self.author_kind,
                id: self.author_id,
            },
            text: self.text,
            attachment_urls: self.attachment_urls,
            recorded_at: self.recorded_at,
            channel_at: self.channel_at.map(jiff_sqlx::Timestamp::to_jiff),
        }
    }
}
