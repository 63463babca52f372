//! The hot row of a ticket: its lock, its clock, the number of its last event.

use jiff::Timestamp;
use jiff_sqlx::{Timestamp as SqlTimestamp, ToSqlx as _};
use plazo_domain::{Alert, Clock, ClockState, Cycle, StageSet};
use sqlx::PgConnection;

use crate::error::Error;

/// Which ticket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TicketKey {
    /// The tenant.
    pub tenant_id: i64,
    /// The ticket.
    pub ticket_id: i64,
}

/// A row of `ticket_clocks`, locked by the present transaction.
#[derive(Debug, Clone)]
pub struct LockedClock {
    /// Which ticket.
    pub key: TicketKey,
    /// Its bot; never changes.
    pub bot_id: i64,
    /// Number of its last event.
    pub ticket_seq: i64,
    /// The last generation that the timer is known to hold.
    pub armed_generation: i64,
    /// Cycle, alert, generation and next due instant.
    pub clock: Clock,
    /// When the customer last wrote.
    pub last_customer_message_at: Option<Timestamp>,
    /// Under which transaction events of this ticket stand in the feed from now on.
    pub event_transaction_id: i64,
    /// The database's time after the row was locked.
    pub now: Timestamp,
}

struct ClockRow {
    tenant_id: i64,
    ticket_id: i64,
    bot_id: i64,
    ticket_seq: i64,
    generation: i64,
    armed_generation: i64,
    next_due_at: Option<SqlTimestamp>,
    last_cycle: i32,
    anchor_at: Option<SqlTimestamp>,
    policy_version: Option<i64>,
    stages_done: i16,
    warning_accepted_at: Option<SqlTimestamp>,
    alert: i16,
    last_customer_message_at: Option<SqlTimestamp>,
    event_transaction_id: i64,
    now: SqlTimestamp,
}

impl TryFrom<ClockRow> for LockedClock {
    type Error = Error;

    fn try_from(row: ClockRow) -> Result<Self, Error> {
        let key = TicketKey {
            tenant_id: row.tenant_id,
            ticket_id: row.ticket_id,
        };
        let clock = clock_from_columns(ClockColumns {
            generation: row.generation,
            next_due_at: row.next_due_at,
            last_cycle: row.last_cycle,
            anchor_at: row.anchor_at,
            policy_version: row.policy_version,
            stages_done: row.stages_done,
            warning_accepted_at: row.warning_accepted_at,
            alert: row.alert,
        })?;
        Ok(Self {
            key,
            bot_id: row.bot_id,
            ticket_seq: row.ticket_seq,
            armed_generation: row.armed_generation,
            clock,
            last_customer_message_at: row.last_customer_message_at.map(SqlTimestamp::to_jiff),
            event_transaction_id: row.event_transaction_id,
            now: row.now.to_jiff(),
        })
    }
}

/// The columns that hold a [`Clock`].
#[derive(Debug, Clone, Copy)]
pub(super) struct ClockColumns {
    pub(super) generation: i64,
    pub(super) next_due_at: Option<SqlTimestamp>,
    pub(super) last_cycle: i32,
    pub(super) anchor_at: Option<SqlTimestamp>,
    pub(super) policy_version: Option<i64>,
    pub(super) stages_done: i16,
    pub(super) warning_accepted_at: Option<SqlTimestamp>,
    pub(super) alert: i16,
}

pub(super) fn clock_from_columns(columns: ClockColumns) -> Result<Clock, Error> {
    let cycle = match (columns.anchor_at, columns.policy_version) {
        (Some(anchor_at), Some(policy_version)) => Some(Cycle {
            number: columns.last_cycle,
            anchor_at: anchor_at.to_jiff(),
            policy_version,
            done: StageSet::from_bits(columns.stages_done)
                .ok_or(Error::OutOfRange("stages_done"))?,
            warning_accepted_at: columns.warning_accepted_at.map(SqlTimestamp::to_jiff),
        }),
        _ => None,
    };
    Ok(Clock::from_state(ClockState {
        generation: columns.generation,
        next_due_at: columns.next_due_at.map(SqlTimestamp::to_jiff),
        last_cycle: columns.last_cycle,
        cycle,
        alert: Alert::from_code(columns.alert).ok_or(Error::OutOfRange("alert"))?,
    }))
}

/// Waits for the ticket's row and locks it. None when there is no such ticket.
pub async fn lock(
    connection: &mut PgConnection,
    key: TicketKey,
) -> Result<Option<LockedClock>, Error> {
    sqlx::query_file_as!(
        ClockRow,
        "queries/lock_clock.sql",
        key.tenant_id,
        key.ticket_id
    )
    .fetch_optional(connection)
    .await?
    .map(LockedClock::try_from)
    .transpose()
}

/// Locks those of the tickets whose rows nobody else holds at this moment, and waits for none.
pub async fn lock_batch(
    connection: &mut PgConnection,
    keys: &[TicketKey],
) -> Result<Vec<LockedClock>, Error> {
    let (tenant_ids, ticket_ids) = columns_of(keys);
    let rows = sqlx::query_file_as!(
        ClockRow,
        "queries/lock_clocks.sql",
        &tenant_ids,
        &ticket_ids
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(LockedClock::try_from).collect()
}

/// The committed generations of tickets, without waiting for locks. Those that don't exist are missing.
pub async fn generations(
    connection: &mut PgConnection,
    keys: &[TicketKey],
) -> Result<Vec<(TicketKey, i64)>, Error> {
    let (tenant_ids, ticket_ids) = columns_of(keys);
    let rows = sqlx::query!(
        "SELECT tenant_id, ticket_id, generation
         FROM unnest($1::bigint[], $2::bigint[]) AS wanted (tenant_id, ticket_id)
         JOIN ticket_clocks USING (tenant_id, ticket_id)",
        &tenant_ids,
        &ticket_ids
    )
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .filter_map(|row| {
            let key = TicketKey {
                tenant_id: row.tenant_id?,
                ticket_id: row.ticket_id?,
            };
            Some((key, row.generation))
        })
        .collect())
}

/// The row of a new ticket: no cycle, nothing pending, nothing to arm. Locked, since nobody else can see it.
pub async fn insert(
    connection: &mut PgConnection,
    key: TicketKey,
    bot_id: i64,
) -> Result<LockedClock, Error> {
    let clock = Clock::new();
    let row = sqlx::query!(
        r#"INSERT INTO ticket_clocks (tenant_id, ticket_id, bot_id, ticket_seq, generation, armed_generation)
           VALUES ($1, $2, $3, 0, $4, $4)
           RETURNING clock_timestamp() AS "now!", pg_current_xact_id()::text::bigint AS "transaction_id!""#,
        key.tenant_id,
        key.ticket_id,
        bot_id,
        clock.generation()
    )
    .fetch_one(connection)
    .await?;
    Ok(LockedClock {
        key,
        bot_id,
        ticket_seq: 0,
        armed_generation: clock.generation(),
        clock,
        last_customer_message_at: None,
        event_transaction_id: row.transaction_id,
        now: row.now.to_jiff(),
    })
}

/// Writes the rows as they now are.
pub async fn save(connection: &mut PgConnection, rows: &[&LockedClock]) -> Result<(), Error> {
    let keys: Vec<TicketKey> = rows.iter().map(|row| row.key).collect();
    let (tenant_ids, ticket_ids) = columns_of(&keys);
    let seqs: Vec<i64> = rows.iter().map(|row| row.ticket_seq).collect();
    let generations: Vec<i64> = rows.iter().map(|row| row.clock.generation()).collect();
    let due: Vec<_> = rows
        .iter()
        .map(|row| row.clock.next_due_at().map(jiff_sqlx::ToSqlx::to_sqlx))
        .collect();
    let cycles: Vec<i32> = rows.iter().map(|row| row.clock.last_cycle()).collect();
    let anchors: Vec<_> = cycle_column(rows, |cycle| cycle.anchor_at.to_sqlx());
    let policies: Vec<_> = cycle_column(rows, |cycle| cycle.policy_version);
    let done: Vec<i16> = rows
        .iter()
        .map(|row| row.clock.cycle().map_or(0, |cycle| cycle.done.to_bits()))
        .collect();
    let accepted: Vec<_> = cycle_column(rows, |cycle| {
        cycle.warning_accepted_at.map(jiff_sqlx::ToSqlx::to_sqlx)
    })
    .into_iter()
    .map(Option::flatten)
    .collect();
    let alerts: Vec<i16> = rows.iter().map(|row| row.clock.alert().code()).collect();
    let customer: Vec<_> = rows
        .iter()
        .map(|row| row.last_customer_message_at.map(jiff_sqlx::ToSqlx::to_sqlx))
        .collect();
    let transactions: Vec<i64> = rows.iter().map(|row| row.event_transaction_id).collect();
    sqlx::query_file!(
        "queries/save_clocks.sql",
        &tenant_ids,
        &ticket_ids,
        &seqs,
        &generations,
        &due as &[Option<SqlTimestamp>],
        &cycles,
        &anchors as &[Option<SqlTimestamp>],
        &policies as &[Option<i64>],
        &done,
        &accepted as &[Option<SqlTimestamp>],
        &alerts,
        &customer as &[Option<SqlTimestamp>],
        &transactions
    )
    .execute(connection)
    .await?;
    Ok(())
}

fn cycle_column<T>(rows: &[&LockedClock], column: impl Fn(&Cycle) -> T) -> Vec<Option<T>> {
    rows.iter()
        .map(|row| row.clock.cycle().map(&column))
        .collect()
}

pub(super) fn columns_of(keys: &[TicketKey]) -> (Vec<i64>, Vec<i64>) {
    keys.iter()
        .map(|key| (key.tenant_id, key.ticket_id))
        .unzip()
}

/// The database's time.
pub async fn now(connection: &mut PgConnection) -> Result<Timestamp, Error> {
    let now = sqlx::query_scalar!(r#"SELECT clock_timestamp() AS "now!""#)
        .fetch_one(connection)
        .await?;
    Ok(now.to_jiff())
}
