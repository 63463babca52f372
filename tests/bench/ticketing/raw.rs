//! The same rows written bare: what a program could do at best that talks to PostgreSQL itself, with prepared
//! statements and a transaction for each change.
//!
//! These statements follow the schema of ticketing: `lock` as it locks, and the rows that it writes. Those of firings are
//! the service's own files.

use jiff::SignedDuration;
use jiff_sqlx::{Timestamp as SqlTimestamp, ToSqlx as _};
use plazo_proto::common::v1::{Author, AuthorKind};
use plazo_proto::ticketing::v1::ticket_event::Payload;
use plazo_proto::ticketing::v1::{
    CycleKind, CycleStart, Message, MessageKind, MessageRecorded, Stage, StageFired, TicketEvent,
    TicketOpened, TicketState,
};
use plazo_tests::desk::Desk;
use plazo_tests::load::Seed;
use plazo_tests::truth::proto_timestamp;
use prost::Message as _;
use sqlx::{Connection, PgConnection, Postgres, Row, Transaction};

use crate::measure::Caller;
use crate::ticketing::clocks::SEQ;
use crate::ticketing::messages::{TEXT, Tickets};

const LOCK: &str = "
    WITH locked AS MATERIALIZED (
        SELECT * FROM ticket_clocks WHERE tenant_id = $1 AND ticket_id = $2 FOR UPDATE
    )
    SELECT *, clock_timestamp() AS now FROM locked";

const INSERT_EVENT: &str = "
    INSERT INTO ticket_events
        (transaction_id, tenant_id, ticket_id, ticket_seq, bot_id, author_kind, author_id, recorded_at, payload)
    VALUES (pg_current_xact_id(), $1, $2, $3, $4, $5, $6, clock_timestamp(), $7)";

/// Locks a clock, writes a message, the clock and an event.
pub(crate) struct RawMessages {
    connection: PgConnection,
    desk: Desk,
    tickets: Tickets,
    payload: Vec<u8>,
}

impl RawMessages {
    pub(super) fn new(connection: PgConnection, desk: &Desk, tickets: Tickets) -> Self {
        Self {
            connection,
            desk: desk.clone(),
            tickets,
            payload: encode(Payload::MessageRecorded(MessageRecorded {
                message: Some(Message {
                    message_id: 1 << 40,
                    ticket_id: 1 << 20,
                    author: Some(Author {
                        kind: AuthorKind::Customer.into(),
                        id: 1 << 10,
                    }),
                    kind: MessageKind::Chat.into(),
                    text: TEXT.to_owned(),
                    record_time: Some(proto_timestamp(1_700_000_000_000_001)),
                    ticket_seq: 100,
                    ..Message::default()
                }),
                state: TicketState::Open.into(),
                started_cycle: 1,
                cycles: vec![CycleStart {
                    cycle: 1,
                    kind: CycleKind::CustomerSilent.into(),
                    anchor_time: Some(proto_timestamp(1_700_000_000_001_000)),
                    policy_version: desk.policy_version,
                }],
            })),
        }
    }
}

impl Caller for RawMessages {
    async fn step(&mut self) -> u64 {
        let (ticket_id, kind) = self.tickets.next();
        let tenant_id = self.desk.tenant_id;
        let by_agent = kind == AuthorKind::Agent;
        let author_id = if by_agent {
            self.desk.agent_id
        } else {
            self.desk.contact.contact_id
        };
        let author_kind = i16::try_from(i32::from(kind)).expect("a small number");
        let mut transaction = begin(&mut self.connection).await;
        let row = sqlx::query(LOCK)
            .bind(tenant_id)
            .bind(ticket_id)
            .fetch_one(&mut *transaction)
            .await
            .expect("the clock is there");
        let seq: i64 = row.get::<i64, _>("ticket_seq") + 1;
        sqlx::query_scalar::<_, i64>(
            "INSERT INTO messages
                 (tenant_id, ticket_id, ticket_seq, author_kind, author_id, kind, body, recorded_at)
             VALUES ($1, $2, $3, $4, $5, 1, $6, clock_timestamp())
             RETURNING message_id",
        )
        .bind(tenant_id)
        .bind(ticket_id)
        .bind(seq)
        .bind(author_kind)
        .bind(author_id)
        .bind(TEXT)
        .fetch_one(&mut *transaction)
        .await
        .expect("the message is written");
        // An agent's message starts a cycle and a customer's ends it. The generation counts as armed: ticketing, which
        // runs beside this, has nothing to do for it.
        sqlx::query(
            "UPDATE ticket_clocks
             SET ticket_seq = $3, generation = generation + $4, armed_generation = generation + $4,
                 last_cycle = last_cycle + $4, alert = 0, stages_done = 0, warning_accepted_at = NULL,
                 cycle = CASE $4 WHEN 1 THEN last_cycle + 1 END, cycle_kind = CASE $4 WHEN 1 THEN 1 END,
                 anchor_at = CASE $4 WHEN 1 THEN statement_timestamp() END,
                 cycle_due_at = CASE $4 WHEN 1
                     THEN date_trunc('milliseconds', statement_timestamp()) + interval '6 hours' END,
                 next_due_at = least(automation_until, CASE $4 WHEN 1
                     THEN date_trunc('milliseconds', statement_timestamp()) + interval '6 hours' END),
                 policy_version = CASE $4 WHEN 1 THEN $5::bigint END,
                 last_customer_message_at = CASE $4 WHEN 1 THEN last_customer_message_at ELSE clock_timestamp() END,
                 event_transaction_id = pg_current_xact_id()::text::bigint
             WHERE tenant_id = $1 AND ticket_id = $2",
        )
        .bind(tenant_id)
        .bind(ticket_id)
        .bind(seq)
        .bind(i32::from(by_agent))
        .bind(self.desk.policy_version)
        .execute(&mut *transaction)
        .await
        .expect("the clock is written");
        sqlx::query(INSERT_EVENT)
            .bind(tenant_id)
            .bind(ticket_id)
            .bind(seq)
            .bind(self.desk.bot_id)
            .bind(author_kind)
            .bind(author_id)
            .bind(&self.payload)
            .execute(&mut *transaction)
            .await
            .expect("the event is written");
        transaction.commit().await.expect("it is committed");
        1
    }
}

/// Writes a ticket, its clock and an event.
pub(crate) struct RawOpening {
    connection: PgConnection,
    desk: Desk,
    payload: Vec<u8>,
}

impl RawOpening {
    pub(crate) fn new(connection: PgConnection, desk: &Desk) -> Self {
        Self {
            connection,
            desk: desk.clone(),
            payload: encode(Payload::Opened(TicketOpened {
                contact: Some(desk.contact.clone()),
                agent_id: desk.agent_id,
                ..TicketOpened::default()
            })),
        }
    }
}

impl Caller for RawOpening {
    async fn step(&mut self) -> u64 {
        let tenant_id = self.desk.tenant_id;
        let mut transaction = begin(&mut self.connection).await;
        let ticket_id: i64 = sqlx::query_scalar(
            "INSERT INTO tickets (tenant_id, bot_id, contact_id, agent_id, state, opened_at, first_assigned_at)
             SELECT $1, $2, $3, $4, 2, now, now FROM clock_timestamp() AS now
             RETURNING ticket_id",
        )
        .bind(tenant_id)
        .bind(self.desk.bot_id)
        .bind(self.desk.contact.contact_id)
        .bind(self.desk.agent_id)
        .fetch_one(&mut *transaction)
        .await
        .expect("the ticket is written");
        sqlx::query(
            "INSERT INTO ticket_clocks
                 (tenant_id, ticket_id, bot_id, ticket_seq, generation, armed_generation, event_transaction_id)
             VALUES ($1, $2, $3, 2, 1, 1, pg_current_xact_id()::text::bigint)",
        )
        .bind(tenant_id)
        .bind(ticket_id)
        .bind(self.desk.bot_id)
        .execute(&mut *transaction)
        .await
        .expect("the clock is written");
        // The opening, and the pause of the automation.
        for seq in 1..=2_i64 {
            sqlx::query(INSERT_EVENT)
                .bind(tenant_id)
                .bind(ticket_id)
                .bind(seq)
                .bind(self.desk.bot_id)
                .bind(i16::try_from(i32::from(AuthorKind::Administrator)).expect("a small number"))
                .bind(1_i64)
                .bind(&self.payload)
                .execute(&mut *transaction)
                .await
                .expect("the event is written");
        }
        transaction.commit().await.expect("it is committed");
        1
    }
}

/// Locks the clocks of a batch, writes them and an event for each.
pub(crate) struct RawFiring {
    connection: PgConnection,
    desk: Desk,
    batches: Vec<Vec<Seed>>,
    payload: Vec<u8>,
}

impl RawFiring {
    /// Its statements are prepared when this returns.
    pub(crate) async fn new(connection: PgConnection, desk: &Desk) -> Self {
        let mut raw = Self {
            connection,
            desk: desk.clone(),
            batches: vec![Vec::new()],
            payload: encode(Payload::StageFired(StageFired {
                cycle: 1,
                stage: Stage::FirstAlert.into(),
                due_time: Some(proto_timestamp(1_700_000_000_001_000)),
                could_act_time: Some(proto_timestamp(1_700_000_000_001_000)),
                alert: 1,
                kind: CycleKind::CustomerSilent.into(),
                policy_version: desk.policy_version,
            })),
        };
        raw.step().await;
        raw
    }

    /// What to do next.
    pub(crate) fn give(&mut self, batches: Vec<Vec<Seed>>) {
        self.batches = batches;
    }
}

// The service's own.
const LOCK_BATCH: &str = include_str!("../../../services/ticketing/queries/lock_free_clocks.sql");
const SAVE_BATCH: &str = include_str!("../../../services/ticketing/queries/save_alerts.sql");
const INSERT_EVENTS: &str = include_str!("../../../services/ticketing/queries/append_events.sql");
/// From the first alert to the second.
const NEXT_STAGE_S: i64 = 23 * 3_600;

impl Caller for RawFiring {
    async fn step(&mut self) -> u64 {
        let Some(batch) = self.batches.pop() else {
            return 0;
        };
        let count = batch.len();
        let tenants = vec![self.desk.tenant_id; count];
        let mut ids: Vec<i64> = batch.iter().map(|seed| seed.ticket_id).collect();
        let mut transaction = begin(&mut self.connection).await;
        let rows = sqlx::query(LOCK_BATCH)
            .bind(&tenants)
            .bind(&ids)
            .fetch_all(&mut *transaction)
            .await
            .expect("clocks are locked");
        assert_eq!(rows.len(), count, "nobody else locks them");
        ids = rows.iter().map(|row| row.get("ticket_id!")).collect();
        let transactions: Vec<i64> = rows
            .iter()
            .map(|row| row.get("event_transaction_id!"))
            .collect();
        let now: Vec<SqlTimestamp> = rows.iter().map(|row| row.get("now!")).collect();
        let next_due: Vec<SqlTimestamp> = rows
            .iter()
            .map(|row| row.get::<SqlTimestamp, _>("next_due_at").to_jiff())
            .map(|due_at| (due_at + SignedDuration::from_secs(NEXT_STAGE_S)).to_sqlx())
            .collect();
        let seqs = vec![SEQ + 1; count];
        let codes = |code: i16| vec![code; count];
        let saved = sqlx::query(SAVE_BATCH)
            .bind(&tenants)
            .bind(&ids)
            .bind(&seqs)
            .bind(&transactions)
            .bind(&next_due)
            .bind(codes(1))
            .bind(&next_due)
            .bind(codes(1))
            .bind(codes(0))
            .bind(vec![None::<SqlTimestamp>; count])
            .bind(codes(0))
            .execute(&mut *transaction)
            .await
            .expect("clocks are written");
        sqlx::query(INSERT_EVENTS)
            .bind(&tenants)
            .bind(&ids)
            .bind(&seqs)
            .bind(vec![self.desk.bot_id; count])
            .bind(codes(
                i16::try_from(i32::from(AuthorKind::System)).expect("a small number"),
            ))
            .bind(vec![0_i64; count])
            .bind(now)
            .bind(vec![self.payload.clone(); count])
            .bind(&transactions)
            .execute(&mut *transaction)
            .await
            .expect("events are written");
        transaction.commit().await.expect("it is committed");
        saved.rows_affected()
    }
}

async fn begin(connection: &mut PgConnection) -> Transaction<'_, Postgres> {
    connection.begin().await.expect("a transaction begins")
}

fn encode(payload: Payload) -> Vec<u8> {
    TicketEvent {
        payload: Some(payload),
        ..TicketEvent::default()
    }
    .encode_to_vec()
}
