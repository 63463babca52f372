//! A ticket's clock between the domain and the columns of `ticket_clocks`.

use jiff::Timestamp;
use jiff_sqlx::{Timestamp as SqlTimestamp, ToSqlx as _};
use plazo_domain::{Alert, Automation, Clock, ClockState, Cycle, CycleKind, StageSet, Turn};

use crate::error::Error;

/// The columns of one cycle; none where no cycle runs.
#[derive(Debug)]
pub(in crate::store) struct StoredCycle {
    pub(in crate::store) number: Option<i32>,
    pub(in crate::store) kind: Option<i16>,
    pub(in crate::store) anchor_at: Option<SqlTimestamp>,
    pub(in crate::store) policy_version: Option<i64>,
    pub(in crate::store) done: i16,
    pub(in crate::store) is_excluded: bool,
    pub(in crate::store) warning_accepted_at: Option<SqlTimestamp>,
    pub(in crate::store) warning_settled_at: Option<SqlTimestamp>,
    pub(in crate::store) changed_at: Option<SqlTimestamp>,
    pub(in crate::store) due_at: Option<SqlTimestamp>,
}

impl StoredCycle {
    fn into_cycle(self) -> Result<Option<Cycle>, Error> {
        let (Some(number), Some(kind), Some(anchor_at), Some(policy_version)) =
            (self.number, self.kind, self.anchor_at, self.policy_version)
        else {
            return Ok(None);
        };
        Ok(Some(Cycle {
            number,
            kind: CycleKind::from_code(kind).ok_or(Error::OutOfRange("cycle_kind"))?,
            anchor_at: anchor_at.to_jiff(),
            policy_version,
            done: StageSet::from_bits(self.done).ok_or(Error::OutOfRange("stages_done"))?,
            is_excluded: self.is_excluded,
            warning_accepted_at: self.warning_accepted_at.map(SqlTimestamp::to_jiff),
            warning_settled_at: self.warning_settled_at.map(SqlTimestamp::to_jiff),
            changed_at: self.changed_at.map(SqlTimestamp::to_jiff),
            due_at: self.due_at.map(SqlTimestamp::to_jiff),
        }))
    }
}

/// The columns of a [`Clock`].
#[derive(Debug)]
pub(in crate::store) struct StoredClock {
    pub(in crate::store) generation: i64,
    pub(in crate::store) next_due_at: Option<SqlTimestamp>,
    pub(in crate::store) last_cycle: i32,
    pub(in crate::store) cycle: StoredCycle,
    pub(in crate::store) agent_cycle: StoredCycle,
    pub(in crate::store) alert: i16,
    pub(in crate::store) agent_alert: i16,
    pub(in crate::store) turn: i16,
    pub(in crate::store) turn_since_at: Option<SqlTimestamp>,
    pub(in crate::store) turn_last_at: Option<SqlTimestamp>,
    pub(in crate::store) agent_has_written: bool,
    pub(in crate::store) hold_until: Option<SqlTimestamp>,
    pub(in crate::store) automation: i16,
    pub(in crate::store) automation_until: Option<SqlTimestamp>,
}

impl StoredClock {
    /// The clock that these columns hold.
    pub(in crate::store) fn into_clock(self) -> Result<Clock, Error> {
        let turn_times = match (self.turn_since_at, self.turn_last_at) {
            (Some(since), Some(last_at)) => Some((since.to_jiff(), last_at.to_jiff())),
            _ => None,
        };
        let automation_until = self.automation_until.map(SqlTimestamp::to_jiff);
        Ok(Clock::from_state(ClockState {
            generation: self.generation,
            next_due_at: self.next_due_at.map(SqlTimestamp::to_jiff),
            last_cycle: self.last_cycle,
            cycle: self.cycle.into_cycle()?,
            agent_cycle: self.agent_cycle.into_cycle()?,
            alert: Alert::from_code(self.alert).ok_or(Error::OutOfRange("alert"))?,
            agent_alert: Alert::from_code(self.agent_alert)
                .ok_or(Error::OutOfRange("agent_alert"))?,
            turn: Turn::from_parts(self.turn, turn_times).ok_or(Error::OutOfRange("turn"))?,
            agent_has_written: self.agent_has_written,
            hold_until: self.hold_until.map(SqlTimestamp::to_jiff),
            automation: Automation::from_parts(self.automation, automation_until)
                .ok_or(Error::OutOfRange("automation"))?,
        }))
    }
}

/// The columns of one cycle of many tickets.
#[derive(Debug, Default)]
pub(super) struct CycleColumns {
    pub(super) numbers: Vec<Option<i32>>,
    pub(super) kinds: Vec<Option<i16>>,
    pub(super) anchors: Vec<Option<SqlTimestamp>>,
    pub(super) policies: Vec<Option<i64>>,
    pub(super) done: Vec<i16>,
    pub(super) excluded: Vec<bool>,
    pub(super) accepted: Vec<Option<SqlTimestamp>>,
    pub(super) settled: Vec<Option<SqlTimestamp>>,
    pub(super) changed: Vec<Option<SqlTimestamp>>,
    pub(super) due: Vec<Option<SqlTimestamp>>,
}

impl CycleColumns {
    fn push(&mut self, cycle: Option<&Cycle>) {
        let instant = |of: fn(&Cycle) -> Option<Timestamp>| {
            cycle.and_then(of).map(jiff_sqlx::ToSqlx::to_sqlx)
        };
        self.numbers.push(cycle.map(|cycle| cycle.number));
        self.kinds.push(cycle.map(|cycle| cycle.kind.code()));
        self.anchors
            .push(cycle.map(|cycle| cycle.anchor_at.to_sqlx()));
        self.policies.push(cycle.map(|cycle| cycle.policy_version));
        self.done
            .push(cycle.map_or(0, |cycle| cycle.done.to_bits()));
        self.excluded
            .push(cycle.is_some_and(|cycle| cycle.is_excluded));
        self.accepted
            .push(instant(|cycle| cycle.warning_accepted_at));
        self.settled.push(instant(|cycle| cycle.warning_settled_at));
        self.changed.push(instant(|cycle| cycle.changed_at));
        self.due.push(instant(|cycle| cycle.due_at));
    }
}

/// The columns of many clocks.
#[derive(Debug, Default)]
pub(super) struct ClockColumns {
    pub(super) generations: Vec<i64>,
    pub(super) next_due: Vec<Option<SqlTimestamp>>,
    pub(super) last_cycles: Vec<i32>,
    pub(super) cycle: CycleColumns,
    pub(super) agent_cycle: CycleColumns,
    pub(super) alerts: Vec<i16>,
    pub(super) agent_alerts: Vec<i16>,
    pub(super) turns: Vec<i16>,
    pub(super) turns_since: Vec<Option<SqlTimestamp>>,
    pub(super) turns_last: Vec<Option<SqlTimestamp>>,
    pub(super) agent_has_written: Vec<bool>,
    pub(super) holds: Vec<Option<SqlTimestamp>>,
    pub(super) automations: Vec<i16>,
    pub(super) automations_until: Vec<Option<SqlTimestamp>>,
}

impl ClockColumns {
    /// The columns of these clocks, in their order.
    pub(super) fn of<'a>(states: impl Iterator<Item = &'a ClockState>) -> Self {
        let to_sql = |at: Option<Timestamp>| at.map(jiff_sqlx::ToSqlx::to_sqlx);
        let mut columns = Self::default();
        for state in states {
            let turn = state.turn.times();
            columns.generations.push(state.generation);
            columns.next_due.push(to_sql(state.next_due_at));
            columns.last_cycles.push(state.last_cycle);
            columns.cycle.push(state.cycle.as_ref());
            columns.agent_cycle.push(state.agent_cycle.as_ref());
            columns.alerts.push(state.alert.code());
            columns.agent_alerts.push(state.agent_alert.code());
            columns.turns.push(state.turn.code());
            columns
                .turns_since
                .push(to_sql(turn.map(|(since, _)| since)));
            columns
                .turns_last
                .push(to_sql(turn.map(|(_, last_at)| last_at)));
            columns.agent_has_written.push(state.agent_has_written);
            columns.holds.push(to_sql(state.hold_until));
            columns.automations.push(state.automation.code());
            columns
                .automations_until
                .push(to_sql(state.automation.resumes_at()));
        }
        columns
    }
}

/// Those columns of many clocks that alerts change.
#[derive(Debug, Default)]
pub(super) struct AlertColumns {
    pub(super) next_due: Vec<Option<SqlTimestamp>>,
    pub(super) done: Vec<i16>,
    pub(super) due: Vec<Option<SqlTimestamp>>,
    pub(super) alerts: Vec<i16>,
    pub(super) agent_done: Vec<i16>,
    pub(super) agent_due: Vec<Option<SqlTimestamp>>,
    pub(super) agent_alerts: Vec<i16>,
}

impl AlertColumns {
    /// The columns of these clocks, in their order.
    pub(super) fn of<'a>(states: impl Iterator<Item = &'a ClockState>) -> Self {
        let to_sql = |at: Option<Timestamp>| at.map(jiff_sqlx::ToSqlx::to_sqlx);
        let done = |cycle: Option<&Cycle>| cycle.map_or(0, |cycle| cycle.done.to_bits());
        let due = |cycle: Option<&Cycle>| to_sql(cycle.and_then(|cycle| cycle.due_at));
        let mut columns = Self::default();
        for state in states {
            columns.next_due.push(to_sql(state.next_due_at));
            columns.done.push(done(state.cycle.as_ref()));
            columns.due.push(due(state.cycle.as_ref()));
            columns.alerts.push(state.alert.code());
            columns.agent_done.push(done(state.agent_cycle.as_ref()));
            columns.agent_due.push(due(state.agent_cycle.as_ref()));
            columns.agent_alerts.push(state.agent_alert.code());
        }
        columns
    }
}
