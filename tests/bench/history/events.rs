//! Events as a busy desk writes them: those of many tickets in turn.

use std::collections::VecDeque;

use plazo_proto::common::v1::{Author, AuthorKind};
use plazo_proto::ticketing::v1::ticket_event::Payload;
use plazo_proto::ticketing::v1::{
    AlertCleared, CloseSource, ClosingNote, Closure, Contact, CycleKind, Message, MessageKind,
    MessageRecorded, Stage, StageFired, TagsChanged, TicketAssigned, TicketClosed, TicketEvent,
    TicketOpened, TicketState,
};
use plazo_tests::truth::proto_timestamp;

use crate::history::TENANT;

/// Tickets that are open at the same time.
const OPEN: usize = 4_000;
/// Events of each ticket.
pub(super) const EVENTS: i64 = 10;
const SECOND_US: i64 = 1_000_000;
const AGENTS: i64 = 500;
/// One customer in so many is known by another name than before.
const RENAMED: i64 = 50;
const BOTS: i64 = 8;
const TEXT: &str = "Obrigado pelo contato. Reenviei a fatura para o seu e-mail, pode conferir?";

/// A stream of events with an end.
pub(super) struct Events {
    left: usize,
    next_ticket_id: i64,
    now_us: i64,
    /// The customers, as they are known; each opens tickets in turn.
    contacts: Vec<Contact>,
    /// Open tickets with the number of their next event.
    open: VecDeque<(i64, i64)>,
}

impl Events {
    /// So many events of tickets from an id on, of these contacts; about one in a millisecond.
    pub(super) fn new(
        count: usize,
        first_ticket_id: i64,
        contacts: Vec<Contact>,
        now_us: i64,
    ) -> Self {
        let span_us = 1_000 * i64::try_from(count).expect("a small number");
        Self {
            left: count,
            next_ticket_id: first_ticket_id,
            now_us: now_us - span_us,
            contacts,
            open: VecDeque::with_capacity(OPEN),
        }
    }

    fn event(&self, ticket_id: i64, ticket_seq: i64) -> TicketEvent {
        let agent = author(AuthorKind::Agent, 1 + ticket_id % AGENTS);
        let count = i64::try_from(self.contacts.len()).expect("a small number");
        let place = usize::try_from(ticket_id % count).expect("ids are above zero");
        let contact = &self.contacts[place];
        let customer = author(AuthorKind::Customer, contact.contact_id);
        let system = author(AuthorKind::System, 0);
        let recorded = |by| recorded(ticket_id, ticket_seq, by, self.now_us);
        let (by, payload) = match ticket_seq {
            1 => (
                author(AuthorKind::Bot, 1 + ticket_id % BOTS),
                opened(contact.clone(), ticket_id % RENAMED == 0),
            ),
            2 | 5 => (customer, recorded(customer)),
            3 => (
                agent,
                Payload::Assigned(TicketAssigned {
                    agent_id: agent.id,
                    previous_agent_id: 0,
                }),
            ),
            4 | 8 => (agent, recorded(agent)),
            6 => (customer, Payload::AlertCleared(AlertCleared::default())),
            7 => (
                agent,
                Payload::TagsChanged(TagsChanged {
                    tags: vec!["entrega".to_owned()],
                    ..TagsChanged::default()
                }),
            ),
            9 => (system, self.fired()),
            _ => (system, self.closed(system)),
        };
        TicketEvent {
            event_id: ticket_id * EVENTS + ticket_seq,
            tenant_id: TENANT,
            ticket_id,
            ticket_seq,
            author: Some(by),
            event_time: Some(proto_timestamp(self.now_us)),
            bot_id: 1 + ticket_id % BOTS,
            payload: Some(payload),
        }
    }

    fn fired(&self) -> Payload {
        let due_us = self.now_us - 20_000;
        Payload::StageFired(StageFired {
            cycle: 1,
            stage: Stage::Close.into(),
            due_time: Some(proto_timestamp(due_us)),
            kind: CycleKind::CustomerSilent.into(),
            policy_version: 1,
            could_act_time: Some(proto_timestamp(due_us)),
            ..StageFired::default()
        })
    }

    fn closed(&self, by: Author) -> Payload {
        Payload::Closed(TicketClosed {
            closure: Some(Closure {
                close_time: Some(proto_timestamp(self.now_us)),
                source: CloseSource::CustomerInactivity.into(),
                author: Some(by),
                note: Some(ClosingNote {
                    category: "inatividade".to_owned(),
                    summary: "Cliente não respondeu.".to_owned(),
                }),
                exit_route: "atendimento-inativo".to_owned(),
            }),
            cycle: 1,
            tags: vec!["entrega".to_owned(), "inatividade".to_owned()],
            unassigned_agent_id: 0,
        })
    }
}

impl Iterator for Events {
    type Item = TicketEvent;

    fn next(&mut self) -> Option<TicketEvent> {
        self.left = self.left.checked_sub(1)?;
        self.now_us += SECOND_US / 1_000;
        let (ticket_id, ticket_seq) = if self.open.len() < OPEN {
            self.next_ticket_id += 1;
            (self.next_ticket_id - 1, 1)
        } else {
            self.open.pop_front().expect("tickets are open")
        };
        if ticket_seq < EVENTS {
            self.open.push_back((ticket_id, ticket_seq + 1));
        }
        Some(self.event(ticket_id, ticket_seq))
    }
}

fn author(kind: AuthorKind, id: i64) -> Author {
    Author {
        kind: kind.into(),
        id,
    }
}

fn opened(mut contact: Contact, is_renamed: bool) -> Payload {
    if is_renamed {
        contact.name.push_str(" Guimarães");
    }
    Payload::Opened(TicketOpened {
        queue_id: 1,
        contact: Some(contact),
        ..TicketOpened::default()
    })
}

fn recorded(ticket_id: i64, ticket_seq: i64, by: Author, at_us: i64) -> Payload {
    Payload::MessageRecorded(MessageRecorded {
        message: Some(Message {
            message_id: ticket_id * EVENTS + ticket_seq,
            ticket_id,
            author: Some(by),
            kind: MessageKind::Chat.into(),
            text: TEXT.to_owned(),
            record_time: Some(proto_timestamp(at_us)),
            ticket_seq,
            ..Message::default()
        }),
        state: TicketState::Open.into(),
        ..MessageRecorded::default()
    })
}
