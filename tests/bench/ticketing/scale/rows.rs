//! The rows of ticketing's tables. The only place that knows their columns, beside `clocks`: after a change of the
//! schema, a table whose COPY fails names its columns anew.

use plazo_proto::common::v1::{Author, AuthorKind, Channel, TimeUnit, TimeValue};
use plazo_proto::ticketing::v1::ticket_event::Payload;
use plazo_proto::ticketing::v1::{
    AlertSettings, InactivityPolicy, Message, MessageKind, MessageRecorded, TicketAssigned,
    TicketEvent, TicketOpened, TicketState,
};
use plazo_tests::truth::{ceil_to_millis, proto_timestamp};
use prost::Message as _;

use crate::ticketing::scale::copy::Rows;
use crate::ticketing::scale::shape::{BOTS, QUEUES, Shape, TENANTS, TicketShape, agents_of};

const MINUTE_US: i64 = 60_000_000;
const DAY_US: i64 = 24 * 60 * MINUTE_US;
/// The oldest ticket was opened so long ago.
const SPAN_US: i64 = 80 * DAY_US;
/// Every ticking ticket is due for its first alert so long after its agent wrote.
const FIRST_ALERT_H: i32 = 8;

const TEXT: &str = "Thank you, I have sent it to you once more. Did it arrive?";

/// A table: its columns, and the rows that a number gives.
pub(super) struct Table {
    pub(super) name: &'static str,
    pub(super) columns: &'static str,
    /// Numbers from 1 to this.
    pub(super) numbers: fn(&Shape) -> i64,
    pub(super) add: fn(&Loading, &mut Rows, i64),
    /// Whether rows can be written as long committed; not into partitions.
    pub(super) freeze: bool,
}

/// What all rows share.
#[derive(Debug, Clone)]
pub(super) struct Loading {
    pub(super) shape: Shape,
    pub(super) now_us: i64,
    /// Loaded events stand under transactions from this one on, all of which have ended.
    pub(super) first_transaction_id: i64,
}

/// So many transactions wrote the loaded events.
pub(super) const TRANSACTIONS: i64 = 50_000;

/// Tables that are filled one after the other beside the other groups; about as much work in each.
pub(super) const GROUPS: [&[Table]; 3] = [
    &[
        Table {
            name: "bots",
            columns: "tenant_id, bot_id, name, exit_route, reopen_window_value, reopen_window_unit, max_hold_value,
                max_hold_unit, late_reply_grace_value, late_reply_grace_unit, policy_version",
            numbers: |_| TENANTS * BOTS,
            add: bot,
            freeze: false,
        },
        Table {
            name: "inactivity_policies",
            columns: "tenant_id, policy_version, bot_id, settings",
            numbers: |_| TENANTS * BOTS,
            add: policy,
            freeze: false,
        },
        Table {
            name: "queues",
            columns: "tenant_id, queue_id, bot_id, name",
            numbers: |_| TENANTS * BOTS * QUEUES,
            add: queue,
            freeze: false,
        },
        Table {
            name: "agents",
            columns: "tenant_id, agent_id, name, bot_ids",
            numbers: |_| TENANTS,
            add: agents,
            freeze: false,
        },
        Table {
            name: "tickets",
            columns: "tenant_id, ticket_id, bot_id, queue_id, contact_id, agent_id, state, opened_at,
                first_assigned_at, first_agent_message_at, closed_at, close_source, close_author_kind,
                close_author_id, close_category, close_summary, close_exit_route",
            numbers: |shape| shape.tickets,
            add: ticket,
            freeze: true,
        },
    ],
    &[
        Table {
            name: "ticket_clocks",
            columns: "tenant_id, ticket_id, bot_id, ticket_seq, generation, armed_generation, next_due_at,
                last_cycle, cycle, cycle_kind, anchor_at, policy_version, cycle_due_at, last_customer_message_at,
                event_transaction_id",
            numbers: |shape| shape.tickets,
            add: clock,
            freeze: true,
        },
        Table {
            name: "active_message_states",
            columns: "tenant_id, ticket_id, idempotency_key, requested_at, state, state_at",
            numbers: |shape| shape.tickets,
            add: active_message,
            freeze: true,
        },
    ],
    &[
        Table {
            name: "ticket_events",
            columns: "event_id, transaction_id, tenant_id, ticket_id, ticket_seq, bot_id, author_kind, author_id,
                recorded_at, payload",
            numbers: |shape| shape.tickets,
            add: events,
            freeze: false,
        },
        Table {
            name: "messages",
            columns: "tenant_id, ticket_id, ticket_seq, message_id, author_kind, author_id, kind, body,
                attachment_urls, recorded_at",
            numbers: |shape| shape.tickets,
            add: messages,
            freeze: true,
        },
        Table {
            name: "contacts",
            columns: "tenant_id, contact_id, name, channel, address",
            numbers: |shape| shape.contacts,
            add: contact,
            // Tickets refer to it: it can't be emptied alone.
            freeze: false,
        },
        Table {
            name: "answered_requests",
            columns: "tenant_id, request_id, method, fingerprint, answer, answered_at",
            numbers: |shape| shape.answers,
            add: answer,
            freeze: true,
        },
    ],
];

/// Events of a ticket with a history.
const EVENTS: i64 = 4;

fn tenant_of_bot(bot_id: i64) -> i64 {
    (bot_id - 1) / BOTS + 1
}

fn bot(_: &Loading, rows: &mut Rows, bot_id: i64) {
    rows.row(11)
        .i64(tenant_of_bot(bot_id))
        .i64(bot_id)
        .text("Reception")
        .text("silent")
        .i32(1)
        .i16(code(TimeUnit::Day))
        .i32(1)
        .i16(code(TimeUnit::Day))
        .i32(1)
        .i16(code(TimeUnit::Minute))
        .i64(bot_id);
}

/// Each bot has one policy, whose version is the bot's id.
fn policy(_: &Loading, rows: &mut Rows, bot_id: i64) {
    let hours = |value| {
        Some(TimeValue {
            value,
            unit: TimeUnit::Hour.into(),
        })
    };
    let policy = InactivityPolicy {
        alerts: Some(AlertSettings {
            first_alert: hours(FIRST_ALERT_H),
            second_alert: hours(2 * FIRST_ALERT_H),
        }),
        ..InactivityPolicy::default()
    };
    rows.row(4)
        .i64(tenant_of_bot(bot_id))
        .i64(bot_id)
        .i64(bot_id)
        .bytes(&policy.encode_to_vec());
}

fn queue(_: &Loading, rows: &mut Rows, queue_id: i64) {
    let bot_id = (queue_id - 1) / QUEUES + 1;
    rows.row(4)
        .i64(tenant_of_bot(bot_id))
        .i64(queue_id)
        .i64(bot_id)
        .text(&format!("Queue {queue_id}"));
}

fn agents(_: &Loading, rows: &mut Rows, tenant_id: i64) {
    let bots: Vec<i64> = (1..=BOTS)
        .map(|place| (tenant_id - 1) * BOTS + place)
        .collect();
    let (first, count) = agents_of(tenant_id);
    for agent_id in first..first + count {
        rows.row(4)
            .i64(tenant_id)
            .i64(agent_id)
            .text(&format!("Agent {agent_id}"))
            .i64s(&bots);
    }
}

/// The address of a contact.
pub(super) fn address(contact_id: i64) -> String {
    format!("customer-{contact_id}")
}

fn contact(loading: &Loading, rows: &mut Rows, contact_id: i64) {
    rows.row(5)
        .i64(loading.shape.tenant_of_contact(contact_id))
        .i64(contact_id)
        .text("Rui Pereira")
        .i16(code(Channel::Log))
        .text(&address(contact_id));
}

fn ticket(loading: &Loading, rows: &mut Rows, ticket_id: i64) {
    let ticket = loading.shape.ticket(ticket_id);
    let opened = loading.opened_us(ticket_id);
    let assigned = (!ticket.is_waiting).then_some(opened + MINUTE_US);
    let closed = !ticket.is_open;
    let state = match (closed, ticket.is_waiting) {
        (true, _) => TicketState::Closed,
        (false, true) => TicketState::Waiting,
        (false, false) => TicketState::Open,
    };
    rows.row(17)
        .i64(ticket.tenant_id)
        .i64(ticket_id)
        .i64(ticket.bot_id)
        .i64(ticket.queue_id)
        .i64(ticket.contact_id)
        .i64_or_null((!ticket.is_waiting).then_some(ticket.agent_id))
        .i16(code(state))
        .instant(opened)
        .instant_or_null(assigned)
        .instant_or_null(assigned.map(|at| at + MINUTE_US))
        .instant_or_null(closed.then_some(opened + 60 * MINUTE_US))
        .i16_or_null(closed.then_some(1))
        .i16_or_null(closed.then_some(code(AuthorKind::Agent)))
        .i64_or_null(closed.then_some(ticket.agent_id))
        .text_or_null(closed.then_some("solved"))
        .text_or_null(closed.then_some("Sent the invoice once more."))
        .text_or_null(closed.then_some(""));
}

fn clock(loading: &Loading, rows: &mut Rows, ticket_id: i64) {
    let ticket = loading.shape.ticket(ticket_id);
    // Agents have written within the last hours, so that nothing is due while this runs.
    let anchor = ticket
        .is_ticking
        .then(|| loading.now_us - (ticket_id % 300) * MINUTE_US);
    let due = anchor.map(|at| ceil_to_millis(at) + i64::from(FIRST_ALERT_H) * 60 * MINUTE_US);
    let generation = 1 + i64::from(ticket.is_ticking);
    rows.row(15)
        .i64(ticket.tenant_id)
        .i64(ticket_id)
        .i64(ticket.bot_id)
        .i64(EVENTS)
        .i64(generation)
        .i64(generation)
        .instant_or_null(due)
        .i32(i32::from(ticket.is_ticking))
        .i32_or_null(anchor.map(|_| 1))
        .i16_or_null(anchor.map(|_| 1))
        .instant_or_null(anchor)
        .i64_or_null(anchor.map(|_| ticket.bot_id))
        .instant_or_null(due)
        .instant(loading.opened_us(ticket_id))
        .i64(loading.transaction_of(ticket_id));
}

fn active_message(loading: &Loading, rows: &mut Rows, ticket_id: i64) {
    let ticket = loading.shape.ticket(ticket_id);
    if ticket.was_warned {
        rows.row(6)
            .i64(ticket.tenant_id)
            .i64(ticket_id)
            .text(&format!("ticket/{ticket_id}/cycle/1/warning"))
            .instant(loading.opened_us(ticket_id) + 50 * MINUTE_US)
            .i16(3)
            .instant(loading.opened_us(ticket_id) + 50 * MINUTE_US);
    }
}

/// Opened, assigned, and a message of the customer and of the agent.
fn events(loading: &Loading, rows: &mut Rows, ticket_id: i64) {
    let ticket = loading.shape.ticket(ticket_id);
    if !ticket.has_history {
        return;
    }
    let opened = loading.opened_us(ticket_id);
    let agent = (AuthorKind::Agent, ticket.agent_id);
    let customer = (AuthorKind::Customer, ticket.contact_id);
    let payloads = [
        (
            (AuthorKind::Bot, ticket.bot_id),
            Payload::Opened(TicketOpened {
                queue_id: ticket.queue_id,
                ..TicketOpened::default()
            }),
        ),
        (
            agent,
            Payload::Assigned(TicketAssigned {
                agent_id: ticket.agent_id,
                ..TicketAssigned::default()
            }),
        ),
        (customer, recorded(&ticket, opened, 3, customer)),
        (agent, recorded(&ticket, opened, 4, agent)),
    ];
    for (seq, ((kind, id), payload)) in (1..).zip(payloads) {
        let event = TicketEvent {
            payload: Some(payload),
            ..TicketEvent::default()
        };
        rows.row(10)
            .i64(ticket_id * EVENTS + seq)
            .i64(loading.transaction_of(ticket_id))
            .i64(ticket.tenant_id)
            .i64(ticket_id)
            .i64(seq)
            .i64(ticket.bot_id)
            .i16(code(kind))
            .i64(id)
            .instant(opened + seq * MINUTE_US)
            .bytes(&event.encode_to_vec());
    }
}

fn recorded(
    ticket: &TicketShape,
    opened_us: i64,
    seq: i64,
    (kind, id): (AuthorKind, i64),
) -> Payload {
    Payload::MessageRecorded(MessageRecorded {
        message: Some(Message {
            message_id: ticket.ticket_id * EVENTS + seq,
            ticket_id: ticket.ticket_id,
            author: Some(Author {
                kind: kind.into(),
                id,
            }),
            kind: MessageKind::Chat.into(),
            text: TEXT.to_owned(),
            record_time: Some(proto_timestamp(opened_us + seq * MINUTE_US)),
            ticket_seq: seq,
            ..Message::default()
        }),
        state: TicketState::Open.into(),
        cycles: Vec::new(),
        started_cycle: i32::from(kind == AuthorKind::Agent),
    })
}

fn messages(loading: &Loading, rows: &mut Rows, ticket_id: i64) {
    let ticket = loading.shape.ticket(ticket_id);
    if !ticket.has_history {
        return;
    }
    let opened = loading.opened_us(ticket_id);
    for (seq, kind, id) in [
        (3, AuthorKind::Customer, ticket.contact_id),
        (4, AuthorKind::Agent, ticket.agent_id),
    ] {
        rows.row(10)
            .i64(ticket.tenant_id)
            .i64(ticket_id)
            .i64(seq)
            .i64(ticket_id * EVENTS + seq)
            .i16(code(kind))
            .i64(id)
            .i16(code(MessageKind::Chat))
            .text(TEXT)
            .no_texts()
            .instant(opened + seq * MINUTE_US);
    }
}

/// First answers of the last day.
fn answer(loading: &Loading, rows: &mut Rows, number: i64) {
    let mut request_id = [7; 16];
    request_id[..8].copy_from_slice(&number.wrapping_mul(0x1234_5678_9abc_def1).to_be_bytes());
    rows.row(6)
        .i64(loading.shape.ticket(number).tenant_id)
        .bytes(&request_id)
        .text("RecordMessage")
        .bytes(&[7; 32])
        .bytes(&[7; 160])
        .instant(loading.now_us - (DAY_US - 60 * MINUTE_US) * number / loading.shape.answers);
}

impl Loading {
    /// Under which transaction a ticket's events stand.
    fn transaction_of(&self, ticket_id: i64) -> i64 {
        self.first_transaction_id + (ticket_id - 1) * TRANSACTIONS / self.shape.tickets
    }

    /// Tickets were opened evenly over the span.
    fn opened_us(&self, ticket_id: i64) -> i64 {
        let age = (self.shape.tickets - ticket_id) * (SPAN_US / self.shape.tickets);
        self.now_us - age - 90 * MINUTE_US
    }
}

/// The number of a proto's value as the database keeps it.
fn code(value: impl Into<i32>) -> i16 {
    i16::try_from(value.into()).expect("codes are small")
}
