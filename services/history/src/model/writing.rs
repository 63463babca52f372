//! What is written in a ticket, and what that says about who dealt with it and who waited.

use plazo_proto::common::v1::{Author, AuthorKind};
use plazo_proto::history::v1::ConversationEntryKind;
use plazo_proto::notification::v1::{ActiveMessage, ActiveMessageKind};
use plazo_proto::ticketing::v1::{MessageKind, MessageRecorded};

use super::storable::{storable, storable_list};
use super::{Entry, Step, from_proto};

impl Step<'_> {
    pub(super) fn record_message(&mut self, recorded: MessageRecorded) -> Result<(), &'static str> {
        let state = recorded.state();
        let message = recorded.message.ok_or("records no message")?;
        let recorded_at = from_proto(message.record_time).unwrap_or(self.at);
        self.become_open(state, recorded_at);

        let author = message.author.unwrap_or(self.author);
        let kind = match message.kind() {
            MessageKind::Note => ConversationEntryKind::Note,
            MessageKind::Comment => ConversationEntryKind::Comment,
            MessageKind::Chat | MessageKind::Unspecified => ConversationEntryKind::Chat,
        };
        if author.kind() == AuthorKind::Agent {
            let key = self.record.ticket.key;
            self.changes.deal(key, author.id, recorded_at);
        }
        if kind == ConversationEntryKind::Chat {
            self.count_chat(author.kind(), recorded_at);
        }
        self.changes.entries.push(Entry {
            key: self.record.ticket.key,
            ticket_seq: self.record.ticket.ticket_seq,
            kind,
            message_id: message.message_id,
            author,
            text: storable(message.text),
            attachment_urls: storable_list(message.attachment_urls),
            recorded_at,
            channel_at: from_proto(message.channel_time),
        });
        Ok(())
    }

    fn count_chat(&mut self, author: AuthorKind, recorded_at: jiff::Timestamp) {
        let (ticket, facts) = (&mut self.record.ticket, &mut self.record.facts);
        match author {
            AuthorKind::Customer => {
                ticket.customer_message_count += 1;
                facts.customer_wrote(recorded_at);
            }
            AuthorKind::Agent => {
                ticket.agent_message_count += 1;
                facts.agent_wrote(ticket.opened_at, recorded_at, self.calendar);
            }
            _ => {}
        }
        self.interact(recorded_at);
    }

    /// The warning and the closing text are part of the conversation. Other active messages have a place of their
    /// own.
    pub(super) fn request(&mut self, message: ActiveMessage) {
        let kind = match message.kind() {
            ActiveMessageKind::Warning => ConversationEntryKind::Warning,
            ActiveMessageKind::ClosingText => ConversationEntryKind::ClosingText,
            ActiveMessageKind::Outreach | ActiveMessageKind::Unspecified => return,
        };
        self.changes.entries.push(Entry {
            key: self.record.ticket.key,
            ticket_seq: self.record.ticket.ticket_seq,
            kind,
            message_id: 0,
            author: Author {
                kind: AuthorKind::System.into(),
                id: 0,
            },
            text: storable(message.text),
            attachment_urls: storable_list(vec![message.image_url]),
            recorded_at: self.at,
            channel_at: None,
        });
    }
}
