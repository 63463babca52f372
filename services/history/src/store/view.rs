//! Rows as they are shown.

use crate::model::{Entry, TicketKey};
use crate::store::row::EntryRow;

/// A ticket with its facts. NULL: it did not happen (yet).
#[derive(Debug)]
pub(crate) struct TicketView {
    pub(crate) ticket_id: i64,
    pub(crate) bot_id: i64,
    pub(crate) queue_id: i64,
    pub(crate) agent_id: i64,
    pub(crate) state: i32,
    pub(crate) opened_at: jiff::Timestamp,
    pub(crate) previous_ticket_id: i64,
    pub(crate) tags: Vec<String>,
    pub(crate) customer_message_count: i32,
    pub(crate) agent_message_count: i32,
    pub(crate) reopen_count: i32,
    pub(crate) contact_id: i64,
    pub(crate) contact_name: String,
    pub(crate) contact_email: String,
    pub(crate) contact_phone: String,
    pub(crate) contact_channel: i32,
    pub(crate) contact_address: String,
    pub(crate) closed_at: Option<jiff_sqlx::Timestamp>,
    pub(crate) close_source: Option<i32>,
    pub(crate) close_author_kind: Option<i32>,
    pub(crate) close_author_id: Option<i64>,
    pub(crate) close_exit_route: Option<String>,
    pub(crate) close_category: Option<String>,
    pub(crate) close_summary: Option<String>,
    pub(crate) is_unlinked: bool,
    pub(crate) first_queue_id: i64,
    pub(crate) opened_by_kind: i32,
    pub(crate) opened_by_id: i64,
    pub(crate) first_assigned_at: Option<jiff_sqlx::Timestamp>,
    pub(crate) first_agent_message_at: Option<jiff_sqlx::Timestamp>,
    pub(crate) first_closed_at: Option<jiff_sqlx::Timestamp>,
    pub(crate) later_response_count: i32,
    pub(crate) later_response_ms: i64,
    pub(crate) handling_ms: i64,
    pub(crate) calendar_version: i64,
    pub(crate) business_wait_ms: Option<i64>,
    pub(crate) business_first_response_ms: Option<i64>,
    pub(crate) business_later_response_ms: Option<i64>,
    pub(crate) business_first_resolution_ms: Option<i64>,
    pub(crate) business_full_resolution_ms: Option<i64>,
    pub(crate) business_handling_ms: Option<i64>,
    pub(crate) last_interaction_at: Option<jiff_sqlx::Timestamp>,
    pub(crate) ticket_seq: i64,
}

/// A contact as of its last interaction.
#[derive(Debug)]
pub(crate) struct ContactView {
    pub(crate) contact_id: i64,
    pub(crate) name: String,
    pub(crate) email: String,
    pub(crate) phone: String,
    pub(crate) channel: i32,
    pub(crate) address: String,
    /// What names are ordered by.
    pub(crate) name_key: String,
    /// The last interaction that the viewer may know of.
    pub(crate) last_interaction_at: Option<jiff_sqlx::Timestamp>,
}

/// A comment and the bot of its ticket.
#[derive(Debug)]
pub(crate) struct CommentView {
    pub(crate) bot_id: i64,
    pub(crate) entry: Entry,
}

/// A comment with the columns of its ticket.
pub(super) struct CommentRow {
    pub(super) ticket_id: i64,
    pub(super) bot_id: i64,
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

impl CommentRow {
    pub(super) fn of_tenant(self, tenant_id: i64) -> CommentView {
        let key = TicketKey {
            tenant_id,
            ticket_id: self.ticket_id,
        };
        let entry = EntryRow {
            ticket_seq: self.ticket_seq,
            kind: self.kind,
            message_id: self.message_id,
            author_kind: self.author_kind,
            author_id: self.author_id,
            text: self.text,
            attachment_urls: self.attachment_urls,
            recorded_at: self.recorded_at,
            channel_at: self.channel_at,
        };
        CommentView {
            bot_id: self.bot_id,
            entry: entry.of_ticket(key),
        }
    }
}
