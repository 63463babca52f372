//! What is shown, as messages.

use jiff_sqlx::Timestamp as SqlTimestamp;
use plazo_proto::common::v1::{Author, ChannelIdentity};
use plazo_proto::history::v1::{
    ContactComment, ContactHistory, ConversationEntry, TicketHistory, TicketOrigin, TicketTimes,
};
use plazo_proto::ticketing::v1::{ClosingNote, Closure, Contact};
use prost_types::{Duration, Timestamp};

use crate::model::{Entry, to_proto};
use crate::store::{CommentView, ContactView, TicketView};

pub(super) fn ticket_history(ticket: TicketView) -> TicketHistory {
    TicketHistory {
        ticket_id: ticket.ticket_id,
        bot_id: ticket.bot_id,
        queue_id: ticket.queue_id,
        agent_id: ticket.agent_id,
        state: ticket.state,
        open_time: Some(to_proto(ticket.opened_at)),
        closure: closure(&ticket),
        origin: Some(TicketOrigin {
            queue_id: ticket.first_queue_id,
            channel: ticket.contact_channel,
            opened_by: Some(Author {
                kind: ticket.opened_by_kind,
                id: ticket.opened_by_id,
            }),
        }),
        times: Some(times(&ticket)),
        business_times: (ticket.calendar_version != 0).then(|| business_times(&ticket)),
        last_interaction_time: instant(ticket.last_interaction_at),
        previous_ticket_id: ticket.previous_ticket_id,
        customer_message_count: ticket.customer_message_count,
        agent_message_count: ticket.agent_message_count,
        reopen_count: ticket.reopen_count,
        ticket_seq: ticket.ticket_seq,
        unlinked: ticket.is_unlinked,
        tags: ticket.tags,
        contact: Some(Contact {
            contact_id: ticket.contact_id,
            name: ticket.contact_name,
            email: ticket.contact_email,
            phone: ticket.contact_phone,
            channel_identity: Some(ChannelIdentity {
                channel: ticket.contact_channel,
                address: ticket.contact_address,
            }),
            etag: String::new(),
        }),
    }
}

/// How it was last closed. The table's constraints say that the columns of a closure are there together.
fn closure(ticket: &TicketView) -> Option<Closure> {
    let note = ticket
        .close_category
        .clone()
        .zip(ticket.close_summary.clone());
    Some(Closure {
        close_time: Some(to_proto(ticket.closed_at?.to_jiff())),
        source: ticket.close_source?,
        author: Some(Author {
            kind: ticket.close_author_kind?,
            id: ticket.close_author_id?,
        }),
        note: note.map(|(category, summary)| ClosingNote { category, summary }),
        exit_route: ticket.close_exit_route.clone()?,
    })
}

fn times(ticket: &TicketView) -> TicketTimes {
    let since_opening = |end: Option<SqlTimestamp>| {
        end.map(|end| {
            milliseconds(end.to_jiff().as_millisecond() - ticket.opened_at.as_millisecond())
        })
    };
    TicketTimes {
        wait_time: since_opening(ticket.first_assigned_at),
        first_response_time: since_opening(ticket.first_agent_message_at),
        average_response_time: mean(ticket.later_response_ms, ticket.later_response_count),
        first_resolution_time: since_opening(ticket.first_closed_at),
        full_resolution_time: since_opening(ticket.closed_at),
        handling_time: Some(milliseconds(ticket.handling_ms)),
    }
}

fn business_times(ticket: &TicketView) -> TicketTimes {
    let later = ticket.business_later_response_ms;
    TicketTimes {
        wait_time: ticket.business_wait_ms.map(milliseconds),
        first_response_time: ticket.business_first_response_ms.map(milliseconds),
        average_response_time: later.and_then(|sum| mean(sum, ticket.later_response_count)),
        first_resolution_time: ticket.business_first_resolution_ms.map(milliseconds),
        full_resolution_time: ticket.business_full_resolution_ms.map(milliseconds),
        handling_time: ticket.business_handling_ms.map(milliseconds),
    }
}

/// None of nothing.
fn mean(sum_ms: i64, count: i32) -> Option<Duration> {
    (count > 0).then(|| milliseconds(sum_ms / i64::from(count)))
}

/// Never below zero, whatever clocks say.
fn milliseconds(length: i64) -> Duration {
    let length = length.max(0);
    Duration {
        seconds: length / 1_000,
        nanos: i32::try_from(length % 1_000).unwrap_or_default() * 1_000_000,
    }
}

fn instant(at: Option<SqlTimestamp>) -> Option<Timestamp> {
    at.map(|at| to_proto(at.to_jiff()))
}

pub(super) fn contact_history(contact: ContactView) -> ContactHistory {
    ContactHistory {
        last_interaction_time: instant(contact.last_interaction_at),
        contact: Some(Contact {
            contact_id: contact.contact_id,
            name: contact.name,
            email: contact.email,
            phone: contact.phone,
            channel_identity: Some(ChannelIdentity {
                channel: contact.channel,
                address: contact.address,
            }),
            etag: String::new(),
        }),
    }
}

pub(super) fn conversation_entry(entry: Entry) -> ConversationEntry {
    ConversationEntry {
        kind: entry.kind.into(),
        message: Some(entry.into_message()),
    }
}

pub(super) fn contact_comment(comment: CommentView) -> ContactComment {
    ContactComment {
        bot_id: comment.bot_id,
        message: Some(comment.entry.into_message()),
    }
}
