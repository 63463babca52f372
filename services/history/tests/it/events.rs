//! Events as ticketing would write them.

use plazo_proto::common::v1::{Author, AuthorKind, Channel, ChannelIdentity};
use plazo_proto::notification::v1::{ActiveMessage, ActiveMessageKind};
use plazo_proto::ticketing::v1::ticket_event::Payload;
use plazo_proto::ticketing::v1::{
    ActiveMessageRequested, CloseSource, ClosingNote, Closure, Contact, Message, MessageKind,
    MessageRecorded, TicketClosed, TicketEvent, TicketOpened, TicketState,
};
use prost_types::Timestamp;

pub(crate) const CUSTOMER: Author = Author {
    kind: AuthorKind::Customer as i32,
    id: 5,
};
pub(crate) const AGENT: Author = Author {
    kind: AuthorKind::Agent as i32,
    id: 12,
};
pub(crate) const SYSTEM: Author = Author {
    kind: AuthorKind::System as i32,
    id: 0,
};

/// Writes the events of one ticket, numbered without gaps.
#[derive(Debug, Clone)]
pub(crate) struct Writer {
    pub(crate) tenant_id: i64,
    pub(crate) bot_id: i64,
    pub(crate) ticket_id: i64,
    /// The number of the next event.
    pub(crate) next_seq: i64,
}

/// An instant within the tests' day.
pub(crate) fn second(seconds: i64) -> Timestamp {
    Timestamp {
        seconds: 1_700_000_000 + seconds,
        nanos: 123_456_000,
    }
}

pub(crate) fn contact() -> Contact {
    Contact {
        contact_id: 5,
        name: "Ana Müller".to_owned(),
        email: "ana@example.com".to_owned(),
        phone: "+5511987654321".to_owned(),
        channel_identity: Some(ChannelIdentity {
            channel: Channel::Whatsapp.into(),
            address: "+5511987654321".to_owned(),
        }),
        etag: String::new(),
    }
}

impl Writer {
    pub(crate) fn new(tenant_id: i64, bot_id: i64, ticket_id: i64) -> Self {
        Self {
            tenant_id,
            bot_id,
            ticket_id,
            next_seq: 1,
        }
    }

    /// The next event of the ticket, at the second of its number.
    pub(crate) fn event(&mut self, author: Author, payload: Option<Payload>) -> TicketEvent {
        let ticket_seq = self.next_seq;
        self.next_seq += 1;
        TicketEvent {
            event_id: self.ticket_id * 1_000_000 + ticket_seq,
            tenant_id: self.tenant_id,
            ticket_id: self.ticket_id,
            ticket_seq,
            author: Some(author),
            event_time: Some(second(ticket_seq)),
            bot_id: self.bot_id,
            payload,
        }
    }

    pub(crate) fn opened(&mut self, agent_id: i64) -> TicketEvent {
        let opened = TicketOpened {
            queue_id: 2,
            contact: Some(contact()),
            agent_id,
            previous_ticket_id: 4,
            ..TicketOpened::default()
        };
        self.event(SYSTEM, Some(Payload::Opened(opened)))
    }

    pub(crate) fn written(&mut self, author: Author, kind: MessageKind, text: &str) -> TicketEvent {
        let message = Message {
            message_id: self.ticket_id * 1_000 + self.next_seq,
            ticket_id: self.ticket_id,
            author: Some(author),
            kind: kind.into(),
            text: text.to_owned(),
            attachment_urls: vec![
                "https://example.com/a".to_owned(),
                "https://example.com/b".to_owned(),
            ],
            record_time: Some(second(self.next_seq)),
            channel_time: (author == CUSTOMER).then(|| second(self.next_seq - 1)),
            ticket_seq: self.next_seq,
        };
        let recorded = MessageRecorded {
            message: Some(message),
            state: TicketState::Open.into(),
            ..MessageRecorded::default()
        };
        self.event(author, Some(Payload::MessageRecorded(recorded)))
    }

    pub(crate) fn requested(&mut self, kind: ActiveMessageKind, text: &str) -> TicketEvent {
        let message = ActiveMessage {
            tenant_id: self.tenant_id,
            kind: kind.into(),
            bot_id: self.bot_id,
            ticket_id: self.ticket_id,
            text: text.to_owned(),
            ..ActiveMessage::default()
        };
        let requested = ActiveMessageRequested {
            message: Some(message),
        };
        self.event(SYSTEM, Some(Payload::ActiveMessageRequested(requested)))
    }

    pub(crate) fn closed_at(&mut self, close_time: Timestamp) -> TicketEvent {
        let closure = Closure {
            close_time: Some(close_time),
            source: CloseSource::CustomerInactivity.into(),
            author: Some(SYSTEM),
            note: Some(ClosingNote {
                category: "billing".to_owned(),
                summary: "paid".to_owned(),
            }),
            exit_route: "goodbye".to_owned(),
        };
        let tags = vec!["silent".to_owned(), "vip".to_owned()];
        let closed = TicketClosed {
            closure: Some(closure),
            cycle: 1,
            tags,
            unassigned_agent_id: 0,
        };
        self.event(SYSTEM, Some(Payload::Closed(closed)))
    }

    pub(crate) fn closed(&mut self) -> TicketEvent {
        self.closed_at(second(self.next_seq))
    }
}

/// A ticket's opening by an agent and its close at an instant.
pub(crate) fn closed_ticket(
    tenant_id: i64,
    bot_id: i64,
    ticket_id: i64,
    agent_id: i64,
    close_time: Timestamp,
) -> Vec<TicketEvent> {
    let mut ticket = Writer::new(tenant_id, bot_id, ticket_id);
    vec![ticket.opened(agent_id), ticket.closed_at(close_time)]
}
