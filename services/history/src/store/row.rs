//! Rows as the queries return them, and the model made from them.

use plazo_proto::common::v1::{Author, ChannelIdentity};
use plazo_proto::history::v1::ConversationEntryKind;
use plazo_proto::ticketing::v1::Contact;

use crate::model::{Entry, Ticket, TicketClosure, TicketKey};

/// All columns of `tickets`.
pub(super) struct TicketRow {
    pub(super) tenant_id: i64,
    pub(super) ticket_id: i64,
    pub(super) bot_id: i64,
    pub(super) queue_id: i64,
    pub(super) agent_id: i64,
    pub(super) state: i32,
    pub(super) opened_at: jiff::Timestamp,
    pub(super) previous_ticket_id: i64,
    pub(super) tags: Vec<String>,
    pub(super) customer_message_count: i32,
    pub(super) agent_message_count: i32,
    pub(super) reopen_count: i32,
    pub(super) contact_id: i64,
    pub(super) contact_name: String,
    pub(super) contact_email: String,
    pub(super) contact_phone: String,
    pub(super) contact_channel: i32,
    pub(super) contact_address: String,
    pub(super) closed_at: Option<jiff_sqlx::Timestamp>,
    pub(super) close_source: Option<i32>,
    pub(super) close_author_kind: Option<i32>,
    pub(super) close_author_id: Option<i64>,
    pub(super) close_exit_route: Option<String>,
    pub(super) close_category: Option<String>,
    pub(super) close_summary: Option<String>,
    pub(super) is_unlinked: bool,
    pub(super) ticket_seq: i64,
}

impl From<TicketRow> for Ticket {
    fn from(row: TicketRow) -> Self {
        // The table's constraints say that the columns of a closure are there together.
        let closure = row.closed_at.map(|closed_at| TicketClosure {
            closed_at: closed_at.to_jiff(),
            source: row.close_source.unwrap_or_default(),
            author: Author {
                kind: row.close_author_kind.unwrap_or_default(),
                id: row.close_author_id.unwrap_or_default(),
            },
            exit_route: row.close_exit_route.unwrap_or_default(),
            note: row.close_category.zip(row.close_summary),
        });
        Self {
            key: TicketKey {
                tenant_id: row.tenant_id,
                ticket_id: row.ticket_id,
            },
            bot_id: row.bot_id,
            queue_id: row.queue_id,
            agent_id: row.agent_id,
            state: row.state,
            opened_at: row.opened_at,
            previous_ticket_id: row.previous_ticket_id,
            tags: row.tags,
            customer_message_count: row.customer_message_count,
            agent_message_count: row.agent_message_count,
            reopen_count: row.reopen_count,
            contact: Contact {
                contact_id: row.contact_id,
                name: row.contact_name,
                email: row.contact_email,
                phone: row.contact_phone,
                channel_identity: Some(ChannelIdentity {
                    channel: row.contact_channel,
                    address: row.contact_address,
                }),
                etag: String::new(),
            },
            closure,
            is_unlinked: row.is_unlinked,
            ticket_seq: row.ticket_seq,
        }
    }
}

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
