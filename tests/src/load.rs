//! Many tickets at once, put into ticketing's database as agents' messages would have left them.

use plazo_proto::common::v1::{Author, AuthorKind};
use plazo_proto::ticketing::v1::ticket_event::Payload;
use plazo_proto::ticketing::v1::{
    CycleKind, CycleStart, Message, MessageKind, MessageRecorded, TicketEvent, TicketOpened,
    TicketState, Turn,
};
use prost::Message as _;
use sqlx::PgPool;

use crate::desk::Desk;
use crate::truth::{MILLI_US, ceil_to_millis, now_us, proto_timestamp};

/// Tickets in one statement.
const CHUNK: usize = 5_000;

/// Above the ids that ticketing gives out in a test.
const SEED_MESSAGE_ID_MIN: i64 = 1 << 40;
/// What the agent writes in each ticket.
const SEED_TEXT: &str = "Are you still there?";

/// A ticket whose agent wrote at its anchor, and that waits for its clock.
#[derive(Debug, Clone, Copy)]
pub struct Seed {
    /// The ticket.
    pub ticket_id: i64,
    /// When the agent wrote, in microseconds since 1970.
    pub anchor_us: i64,
}

/// Puts tickets in whose agents have written within the last `within_ms`, evenly spread. The anchors have odd
/// microseconds, so that rounding the deadlines matters. Nothing is due before [`start_clocks`].
pub async fn put_tickets(pool: &PgPool, desk: &Desk, count: usize, within_ms: i64) -> Vec<Seed> {
    let first_us = now_us(pool).await - within_ms * MILLI_US;
    let mut seeds = Vec::with_capacity(count);
    let place = |number: usize| {
        let share = i64::try_from(number).expect("a small number") * within_ms * MILLI_US;
        first_us + share / i64::try_from(count).expect("a small number")
    };
    let anchors: Vec<i64> = (0..count).map(place).collect();
    for anchors in anchors.chunks(CHUNK) {
        let ids: Vec<i64> = sqlx::query_scalar(
            "INSERT INTO tickets
                 (tenant_id, bot_id, contact_id, agent_id, state, opened_at, first_assigned_at, first_agent_message_at)
             SELECT $1, $2, $3, $4, $5, at, at, at
             FROM unnest($6::bigint[]) AS anchor (us),
                 LATERAL (SELECT 'epoch'::timestamptz + us * interval '1 microsecond' AS at) AS instant
             RETURNING ticket_id",
        )
        .bind(desk.tenant_id)
        .bind(desk.bot_id)
        .bind(desk.contact.contact_id)
        .bind(desk.agent_id)
        .bind(code(TicketState::Open))
        .bind(anchors)
        .fetch_all(pool)
        .await
        .expect("tickets can be put in");
        let chunk: Vec<Seed> = ids
            .into_iter()
            .zip(anchors)
            .map(|(ticket_id, anchor_us)| Seed {
                ticket_id,
                anchor_us: *anchor_us,
            })
            .collect();
        put_events(pool, desk, &chunk).await;
        seeds.extend(chunk);
    }
    seeds
}

/// The two events of each ticket: its opening, and the agent's message, which starts the first cycle.
async fn put_events(pool: &PgPool, desk: &Desk, seeds: &[Seed]) {
    let opened = encode(Payload::Opened(TicketOpened {
        contact: Some(desk.contact.clone()),
        agent_id: desk.agent_id,
        ..TicketOpened::default()
    }));
    let mut rows = EventRows::default();
    for seed in seeds {
        rows.push(seed, 1, opened.clone());
        rows.push(seed, 2, encode(first_message(desk, seed)));
    }
    sqlx::query(
        "INSERT INTO ticket_events
             (transaction_id, tenant_id, ticket_id, ticket_seq, bot_id, author_kind, author_id, recorded_at, payload)
         SELECT pg_current_xact_id(), $1, ticket_id, ticket_seq, $2, $3, $4,
             'epoch'::timestamptz + us * interval '1 microsecond', payload
         FROM unnest($5::bigint[], $6::bigint[], $7::bigint[], $8::bytea[])
             WITH ORDINALITY AS event (ticket_id, ticket_seq, us, payload, place)
         ORDER BY place",
    )
    .bind(desk.tenant_id)
    .bind(desk.bot_id)
    .bind(code(AuthorKind::Agent))
    .bind(desk.agent_id)
    .bind(rows.ticket_ids)
    .bind(rows.seqs)
    .bind(rows.recorded_us)
    .bind(rows.payloads)
    .execute(pool)
    .await
    .expect("events can be put in");
    put_messages(pool, desk, seeds).await;
}

/// The agent's message of each ticket, where ticketing keeps what was written.
async fn put_messages(pool: &PgPool, desk: &Desk, seeds: &[Seed]) {
    sqlx::query(
        "INSERT INTO messages
             (tenant_id, ticket_id, ticket_seq, message_id, author_kind, author_id, kind, body, recorded_at)
         OVERRIDING SYSTEM VALUE
         SELECT $1, ticket_id, 2, $2 + ticket_id, $3, $4, $5, $6, 'epoch'::timestamptz + us * interval '1 microsecond'
         FROM unnest($7::bigint[], $8::bigint[]) AS message (ticket_id, us)",
    )
    .bind(desk.tenant_id)
    .bind(SEED_MESSAGE_ID_MIN)
    .bind(code(AuthorKind::Agent))
    .bind(desk.agent_id)
    .bind(code(MessageKind::Chat))
    .bind(SEED_TEXT)
    .bind(seeds.iter().map(|seed| seed.ticket_id).collect::<Vec<_>>())
    .bind(seeds.iter().map(|seed| seed.anchor_us).collect::<Vec<_>>())
    .execute(pool)
    .await
    .expect("messages can be put in");
}

/// Starts the clocks of the tickets under the desk's policy: the relay finds them and arms them.
pub async fn start_clocks(pool: &PgPool, desk: &Desk, seeds: &[Seed]) {
    let first_alert_ms = i64::from(desk.stages.first_alert_s) * 1_000;
    let due_us = |seed: &Seed| ceil_to_millis(seed.anchor_us) + first_alert_ms * MILLI_US;
    sqlx::query(
        "INSERT INTO ticket_clocks
             (tenant_id, ticket_id, bot_id, ticket_seq, generation, armed_generation, next_due_at, last_cycle,
              cycle, cycle_kind, anchor_at, policy_version, cycle_due_at, turn, turn_since_at, turn_last_at,
              agent_has_written, event_transaction_id)
         SELECT $1, ticket_id, $2, 2, 2, 1, due_at, 1, 1, $7, anchor_at, $3, due_at, $8, anchor_at, anchor_at,
             true, pg_current_xact_id()::text::bigint
         FROM unnest($4::bigint[], $5::bigint[], $6::bigint[]) AS clock (ticket_id, anchor_us, due_us),
             LATERAL (
                 SELECT 'epoch'::timestamptz + anchor_us * interval '1 microsecond' AS anchor_at,
                     'epoch'::timestamptz + due_us * interval '1 microsecond' AS due_at
             ) AS instants",
    )
    .bind(desk.tenant_id)
    .bind(desk.bot_id)
    .bind(desk.policy_version)
    .bind(seeds.iter().map(|seed| seed.ticket_id).collect::<Vec<_>>())
    .bind(seeds.iter().map(|seed| seed.anchor_us).collect::<Vec<_>>())
    .bind(seeds.iter().map(due_us).collect::<Vec<_>>())
    .bind(code(CycleKind::CustomerSilent))
    .bind(code(Turn::Customer))
    .execute(pool)
    .await
    .expect("clocks can be put in");
}

#[derive(Default)]
struct EventRows {
    ticket_ids: Vec<i64>,
    seqs: Vec<i64>,
    recorded_us: Vec<i64>,
    payloads: Vec<Vec<u8>>,
}

impl EventRows {
    fn push(&mut self, seed: &Seed, seq: i64, payload: Vec<u8>) {
        self.ticket_ids.push(seed.ticket_id);
        self.seqs.push(seq);
        self.recorded_us.push(seed.anchor_us);
        self.payloads.push(payload);
    }
}

fn first_message(desk: &Desk, seed: &Seed) -> Payload {
    let message = Message {
        message_id: SEED_MESSAGE_ID_MIN + seed.ticket_id,
        ticket_id: seed.ticket_id,
        author: Some(Author {
            kind: AuthorKind::Agent.into(),
            id: desk.agent_id,
        }),
        kind: MessageKind::Chat.into(),
        text: SEED_TEXT.to_owned(),
        record_time: Some(proto_timestamp(seed.anchor_us)),
        ticket_seq: 2,
        ..Message::default()
    };
    Payload::MessageRecorded(MessageRecorded {
        message: Some(message),
        state: TicketState::Open.into(),
        started_cycle: 1,
        cycles: vec![CycleStart {
            cycle: 1,
            kind: CycleKind::CustomerSilent.into(),
            anchor_time: Some(proto_timestamp(seed.anchor_us)),
            policy_version: desk.policy_version,
        }],
    })
}

/// An enum as a column holds it.
fn code(number: impl Into<i32>) -> i16 {
    i16::try_from(number.into()).expect("a small number")
}

fn encode(payload: Payload) -> Vec<u8> {
    TicketEvent {
        payload: Some(payload),
        ..TicketEvent::default()
    }
    .encode_to_vec()
}
