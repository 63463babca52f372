//! The hot row of a ticket: its lock, its clock, the number of its last event.

mod columns;

use jiff::Timestamp;
use jiff_sqlx::Timestamp as SqlTimestamp;
use plazo_domain::Clock;
use sqlx::PgConnection;

use self::columns::{AlertColumns, ClockColumns};
use crate::error::Error;

pub(super) use columns::{StoredClock, StoredCycle};

/// The clock in a row that has all its columns.
macro_rules! clock_of_row {
    ($row:expr) => {
        $crate::store::clocks::StoredClock {
            generation: $row.generation,
            next_due_at: $row.next_due_at,
            last_cycle: $row.last_cycle,
            cycle: $crate::store::clocks::StoredCycle {
                number: $row.cycle,
                kind: $row.cycle_kind,
                anchor_at: $row.anchor_at,
                policy_version: $row.policy_version,
                done: $row.stages_done,
                is_excluded: $row.is_excluded,
                warning_accepted_at: $row.warning_accepted_at,
                warning_settled_at: $row.warning_settled_at,
                changed_at: $row.changed_at,
                due_at: $row.cycle_due_at,
            },
            agent_cycle: $crate::store::clocks::StoredCycle {
                number: $row.agent_cycle,
                kind: Some(plazo_domain::CycleKind::AgentSilent.code()),
                anchor_at: $row.agent_anchor_at,
                policy_version: $row.agent_policy_version,
                done: $row.agent_stages_done,
                is_excluded: false,
                warning_accepted_at: None,
                warning_settled_at: None,
                changed_at: $row.agent_changed_at,
                due_at: $row.agent_due_at,
            },
            alert: $row.alert,
            agent_alert: $row.agent_alert,
            turn: $row.turn,
            turn_since_at: $row.turn_since_at,
            turn_last_at: $row.turn_last_at,
            agent_has_written: $row.agent_has_written,
            hold_until: $row.hold_until,
            automation: $row.automation,
            automation_until: $row.automation_until,
        }
        .into_clock()
    };
}
pub(super) use clock_of_row;

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
    cycle: Option<i32>,
    cycle_kind: Option<i16>,
    anchor_at: Option<SqlTimestamp>,
    policy_version: Option<i64>,
    stages_done: i16,
    is_excluded: bool,
    warning_accepted_at: Option<SqlTimestamp>,
    warning_settled_at: Option<SqlTimestamp>,
    changed_at: Option<SqlTimestamp>,
    cycle_due_at: Option<SqlTimestamp>,
    alert: i16,
    agent_cycle: Option<i32>,
    agent_anchor_at: Option<SqlTimestamp>,
    agent_policy_version: Option<i64>,
    agent_stages_done: i16,
    agent_changed_at: Option<SqlTimestamp>,
    agent_due_at: Option<SqlTimestamp>,
    agent_alert: i16,
    turn: i16,
    turn_since_at: Option<SqlTimestamp>,
    turn_last_at: Option<SqlTimestamp>,
    agent_has_written: bool,
    hold_until: Option<SqlTimestamp>,
    automation: i16,
    automation_until: Option<SqlTimestamp>,
    last_customer_message_at: Option<SqlTimestamp>,
    event_transaction_id: i64,
    now: SqlTimestamp,
}

impl TryFrom<ClockRow> for LockedClock {
    type Error = Error;

    fn try_from(row: ClockRow) -> Result<Self, Error> {
        Ok(Self {
            key: TicketKey {
                tenant_id: row.tenant_id,
                ticket_id: row.ticket_id,
            },
            bot_id: row.bot_id,
            ticket_seq: row.ticket_seq,
            armed_generation: row.armed_generation,
            clock: clock_of_row!(row)?,
            last_customer_message_at: row.last_customer_message_at.map(SqlTimestamp::to_jiff),
            event_transaction_id: row.event_transaction_id,
            now: row.now.to_jiff(),
        })
    }
}

/// Waits for the tickets' rows and locks them, in the order of ids. Those that don't exist are missing.
pub async fn lock(
    connection: &mut PgConnection,
    keys: &[TicketKey],
) -> Result<Vec<LockedClock>, Error> {
    let (tenant_ids, ticket_ids) = columns_of(keys);
    let rows = sqlx::query_file_as!(
        ClockRow,
        "queries/wait_for_clocks.sql",
        &tenant_ids,
        &ticket_ids
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(LockedClock::try_from).collect()
}

/// Locks those of the tickets whose rows nobody else holds at this moment, and waits for none.
pub async fn lock_free(
    connection: &mut PgConnection,
    keys: &[TicketKey],
) -> Result<Vec<LockedClock>, Error> {
    let (tenant_ids, ticket_ids) = columns_of(keys);
    let rows = sqlx::query_file_as!(
        ClockRow,
        "queries/lock_free_clocks.sql",
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
    let transactions: Vec<i64> = rows.iter().map(|row| row.event_transaction_id).collect();
    let customer = rows.iter().map(|row| row.last_customer_message_at);
    let customer: Vec<_> = customer
        .map(|at| at.map(jiff_sqlx::ToSqlx::to_sqlx))
        .collect();
    let columns = ClockColumns::of(rows.iter().map(|row| row.clock.state()));
    sqlx::query_file!(
        "queries/save_clocks.sql",
        &tenant_ids,
        &ticket_ids,
        &seqs,
        &transactions,
        &columns.generations,
        &columns.next_due as &[Option<SqlTimestamp>],
        &columns.last_cycles,
        &columns.cycle.numbers as &[Option<i32>],
        &columns.cycle.kinds as &[Option<i16>],
        &columns.cycle.anchors as &[Option<SqlTimestamp>],
        &columns.cycle.policies as &[Option<i64>],
        &columns.cycle.done,
        &columns.cycle.excluded,
        &columns.cycle.accepted as &[Option<SqlTimestamp>],
        &columns.cycle.settled as &[Option<SqlTimestamp>],
        &columns.cycle.due as &[Option<SqlTimestamp>],
        &columns.alerts,
        &columns.agent_cycle.numbers as &[Option<i32>],
        &columns.agent_cycle.anchors as &[Option<SqlTimestamp>],
        &columns.agent_cycle.policies as &[Option<i64>],
        &columns.agent_cycle.done,
        &columns.agent_cycle.due as &[Option<SqlTimestamp>],
        &columns.agent_alerts,
        &columns.turns,
        &columns.turns_since as &[Option<SqlTimestamp>],
        &columns.turns_last as &[Option<SqlTimestamp>],
        &columns.agent_has_written,
        &columns.holds as &[Option<SqlTimestamp>],
        &columns.automations,
        &columns.automations_until as &[Option<SqlTimestamp>],
        &customer as &[Option<SqlTimestamp>],
        &columns.cycle.changed as &[Option<SqlTimestamp>],
        &columns.agent_cycle.changed as &[Option<SqlTimestamp>]
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Writes the rows as they now are, of which nothing has changed but what
/// [`Clock::differs_in_alerts_only`] names and the number of the last event.
pub async fn save_alerts(
    connection: &mut PgConnection,
    rows: &[&LockedClock],
) -> Result<(), Error> {
    let keys: Vec<TicketKey> = rows.iter().map(|row| row.key).collect();
    let (tenant_ids, ticket_ids) = columns_of(&keys);
    let seqs: Vec<i64> = rows.iter().map(|row| row.ticket_seq).collect();
    let transactions: Vec<i64> = rows.iter().map(|row| row.event_transaction_id).collect();
    let columns = AlertColumns::of(rows.iter().map(|row| row.clock.state()));
    sqlx::query_file!(
        "queries/save_alerts.sql",
        &tenant_ids,
        &ticket_ids,
        &seqs,
        &transactions,
        &columns.next_due as &[Option<SqlTimestamp>],
        &columns.done,
        &columns.due as &[Option<SqlTimestamp>],
        &columns.alerts,
        &columns.agent_done,
        &columns.agent_due as &[Option<SqlTimestamp>],
        &columns.agent_alerts
    )
    .execute(connection)
    .await?;
    Ok(())
}

pub(crate) fn columns_of(keys: &[TicketKey]) -> (Vec<i64>, Vec<i64>) {
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
