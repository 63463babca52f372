//! The model as messages.

use plazo_proto::history::v1::{ConversationEntry, TicketHistory};

use crate::model::{Entry, Ticket, TicketClosure, to_proto};

pub(super) fn ticket_history(ticket: Ticket) -> TicketHistory {
    TicketHistory {
        ticket_id: ticket.key.ticket_id,
        bot_id: ticket.bot_id,
        queue_id: ticket.queue_id,
        agent_id: ticket.agent_id,
        contact: Some(ticket.contact),
        state: ticket.state,
        open_time: Some(to_proto(ticket.opened_at)),
        closure: ticket.closure.map(TicketClosure::into_proto),
        tags: ticket.tags,
        previous_ticket_id: ticket.previous_ticket_id,
        customer_message_count: ticket.customer_message_count,
        agent_message_count: ticket.agent_message_count,
        reopen_count: ticket.reopen_count,
        ticket_seq: ticket.ticket_seq,
        unlinked: ticket.is_unlinked,
    }
}

pub(super) fn conversation_entry(entry: Entry) -> ConversationEntry {
    ConversationEntry {
        kind: entry.kind.into(),
        message: Some(entry.into_message()),
    }
}
