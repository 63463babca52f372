//! What was written in a ticket.

use plazo_proto::common::v1::Author;
use plazo_proto::history::v1::ConversationEntryKind;
use plazo_proto::ticketing::v1::{Message, MessageKind};

use super::{TicketKey, to_proto};

/// Something that was written in a ticket, at the place of its event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) key: TicketKey,
    pub(crate) ticket_seq: i64,
    pub(crate) kind: ConversationEntryKind,
    /// 0 for what the desk itself wrote.
    pub(crate) message_id: i64,
    pub(crate) author: Author,
    pub(crate) text: String,
    pub(crate) attachment_urls: Vec<String>,
    pub(crate) recorded_at: jiff::Timestamp,
    pub(crate) channel_at: Option<jiff::Timestamp>,
}

impl Entry {
    pub(crate) fn into_message(self) -> Message {
        let kind = match self.kind {
            ConversationEntryKind::Note => MessageKind::Note,
            ConversationEntryKind::Comment => MessageKind::Comment,
            _ => MessageKind::Chat,
        };
        Message {
            message_id: self.message_id,
            ticket_id: self.key.ticket_id,
            author: Some(self.author),
            kind: kind.into(),
            text: self.text,
            attachment_urls: self.attachment_urls,
            record_time: Some(to_proto(self.recorded_at)),
            channel_time: self.channel_at.map(to_proto),
            ticket_seq: self.ticket_seq,
        }
    }
}
