//! A ticket as history keeps it.

use plazo_proto::common::v1::{Author, ChannelIdentity};
use plazo_proto::ticketing::v1::{Contact, TicketEvent, TicketState};

use super::storable::storable;
use super::{Facts, TicketKey};

/// A ticket after its event `ticket_seq`. Ids of 0 mean "none"; enumerations are the numbers of their protos, so that
/// values of later versions survive.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::struct_field_names,
    reason = "ticket_seq is what all others call it"
)]
pub(crate) struct Ticket {
    pub(crate) key: TicketKey,
    pub(crate) bot_id: i64,
    pub(crate) queue_id: i64,
    /// The agent it was last assigned to; none after a transfer to a queue until somebody is assigned.
    pub(crate) agent_id: i64,
    pub(crate) state: i32,
    pub(crate) opened_at: jiff::Timestamp,
    pub(crate) previous_ticket_id: i64,
    pub(crate) tags: Vec<String>,
    pub(crate) customer_message_count: i32,
    pub(crate) agent_message_count: i32,
    pub(crate) reopen_count: i32,
    /// The customer as of the last event that told of him; its etag is not kept.
    pub(crate) contact: Contact,
    pub(crate) closure: Option<TicketClosure>,
    /// Closed, and hidden from the desk's lists.
    pub(crate) is_unlinked: bool,
    pub(crate) ticket_seq: i64,
}

/// How a ticket was last closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TicketClosure {
    pub(crate) closed_at: jiff::Timestamp,
    pub(crate) source: i32,
    pub(crate) author: Author,
    pub(crate) exit_route: String,
    /// Category and summary, if a note was left.
    pub(crate) note: Option<(String, String)>,
}

/// All that is kept of a ticket: what is shown, and what reports and the projection need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) ticket: Ticket,
    pub(crate) facts: Facts,
}

impl Record {
    /// When it was closed, and its last interaction, as long as it is closed: what of a ticket its dealings repeat.
    pub(crate) fn closed_and_interaction(&self) -> Option<(jiff::Timestamp, jiff::Timestamp)> {
        let closure = self.ticket.closure.as_ref()?;
        Some((closure.closed_at, self.facts.last_interaction_at))
    }

    pub(super) fn first_seen(event: &TicketEvent, event_at: jiff::Timestamp) -> Self {
        let ticket = Ticket {
            key: TicketKey::of(event),
            bot_id: event.bot_id,
            queue_id: 0,
            agent_id: 0,
            state: TicketState::Waiting.into(),
            opened_at: event_at,
            previous_ticket_id: 0,
            tags: Vec::new(),
            customer_message_count: 0,
            agent_message_count: 0,
            reopen_count: 0,
            contact: storable_contact(Contact::default()),
            closure: None,
            is_unlinked: false,
            ticket_seq: 0,
        };
        Self {
            ticket,
            facts: Facts::of_new(event_at),
        }
    }
}

/// The contact as it is kept: without its etag, and always with an identity.
pub(super) fn storable_contact(contact: Contact) -> Contact {
    let identity = contact.channel_identity.unwrap_or_default();
    Contact {
        contact_id: contact.contact_id,
        name: storable(contact.name),
        email: storable(contact.email),
        phone: storable(contact.phone),
        channel_identity: Some(ChannelIdentity {
            channel: identity.channel,
            address: storable(identity.address),
        }),
        etag: String::new(),
    }
}
