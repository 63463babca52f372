//! What was armed, and what came of it: sixteen bytes for each ticket.
//!
//! The ledger is the truth of the load, as ticketing's rows are in earnest. What the timer asks is answered from it,
//! and whatever the timer does wrong shows here: what it never asks about, what it asks about before the instant that it
//! was told, and what it asks about again without a reason.

mod looks;
mod owner;

use std::sync::{Mutex, MutexGuard, PoisonError};

use plazo_proto::timer::v1 as proto;

use super::handler::{now_us, proto_timestamp_us};
use super::lateness::{LatenessUs, new_histogram, record};
use super::schedule::{Change, Step};
use super::series::Series;
pub(super) use looks::{Faults, Looks};

/// Instants of handling are kept in tenths of a millisecond.
const HANDLED_UNIT_US: i64 = 100;

/// Where a ticket stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nobody has written yet.
    Unopened,
    /// It has a due instant.
    Pending,
    /// The customer has answered.
    Ended,
    /// It was due, and was handled.
    Fired,
}

/// A ticket. Times are in milliseconds from the beginning of the load.
#[derive(Debug, Clone, Copy)]
struct Ticket {
    due_ms: u32,
    /// The due instant that the timer was told; it may not ask before.
    told_ms: u32,
    /// When it was handled first in this generation, in tenths of a millisecond.
    handled: u32,
    generation: u16,
    state: State,
    flags: u8,
}

/// The timer has confirmed this generation.
const IS_ARMED: u8 = 1;
/// The timer was told to look again, with a wait instead of an instant.
const IS_TOLD_A_WAIT: u8 = 2;

const UNOPENED: Ticket = Ticket {
    due_ms: 0,
    told_ms: 0,
    handled: 0,
    generation: 0,
    state: State::Unopened,
    flags: 0,
};

/// Sums over all tickets.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    /// Tickets that were opened.
    pub(super) opened: u64,
    /// Due instants that were to be handled: one for each ticket, and one more for each generation that followed one
    /// that was handled.
    pub(super) expected: u64,
    /// Generations that the timer has confirmed.
    pub(super) armed: u64,
    /// Generations after the first of their ticket.
    pub(super) rearmed: u64,
    /// Due instants that a customer's answer took away before they were handled.
    pub(super) superseded: u64,
    /// Those of them that were overdue by then.
    pub(super) superseded_overdue: u64,
    /// Tickets that were postponed.
    pub(super) postponed: u64,
    /// What was handled when it was due.
    pub(super) fired: u64,
    /// Tickets that are opened and neither ended nor handled.
    pub(super) pending: u64,
    /// Arms that were sent when their ticket was due already.
    pub(super) armed_after_due: u64,
    /// Real ticketing: stages that took effect twice.
    pub(super) fired_twice: u64,
    /// Real ticketing: stages that took effect before their instant.
    pub(super) fired_early: u64,
}

/// The ledger.
#[derive(Debug)]
pub(super) struct Ledger {
    tickets: Vec<Ticket>,
    tenants: Vec<u16>,
    /// The class of each tenant.
    classes: Vec<u8>,
    start_us: i64,
    first_ticket_id: i64,
    first_tenant_id: i64,
    pub(super) counts: Counts,
    pub(super) looks: Looks,
    pub(super) faults: Faults,
    pub(super) series: Series,
    pub(super) lateness: LatenessUs,
    /// By class, when there are several.
    pub(super) lateness_of: Vec<LatenessUs>,
    /// Instants of the first and the last handling, from the beginning.
    pub(super) handled_us: Option<(i64, i64)>,
}

/// What a ledger begins with.
#[derive(Debug)]
pub(super) struct Beginning {
    /// The tenant of each ticket, from 0.
    pub(super) tenants: Vec<u16>,
    /// The id of ticket 0; the others follow.
    pub(super) first_ticket_id: i64,
    /// The id of tenant 0; the others follow.
    pub(super) first_tenant_id: i64,
    /// The length of an interval of the series.
    pub(super) interval_ms: u32,
}

/// A ticket that is to be handled.
#[derive(Debug, Clone)]
pub(super) struct Pending {
    pub(super) name: proto::TicketGeneration,
    /// When it is due, in milliseconds from the beginning.
    pub(super) due_ms: u32,
}

/// What was due and was not handled.
#[derive(Debug, Clone, Default)]
pub(super) struct Missed {
    /// The timer had confirmed them.
    pub(super) lost: u64,
    /// It had not.
    pub(super) unarmed: u64,
    /// Some of those that are lost.
    pub(super) names: Vec<Pending>,
}

impl Ledger {
    /// A ledger without any opened ticket.
    pub(super) fn new(beginning: Beginning) -> Self {
        Self {
            tickets: vec![UNOPENED; beginning.tenants.len()],
            tenants: beginning.tenants,
            classes: Vec::new(),
            start_us: 0,
            first_ticket_id: beginning.first_ticket_id,
            first_tenant_id: beginning.first_tenant_id,
            counts: Counts::default(),
            looks: Looks::default(),
            faults: Faults::default(),
            series: Series::new(beginning.interval_ms),
            lateness: new_histogram(),
            lateness_of: Vec::new(),
            handled_us: None,
        }
    }

    /// The load begins at this instant, in Unix microseconds, a whole number of milliseconds.
    pub(super) fn begin(&mut self, start_us: i64) {
        self.start_us = start_us;
    }

    /// Each tenant belongs to one of so many classes, whose lateness is kept apart.
    pub(super) fn classify(&mut self, classes: Vec<u8>, class_count: usize) {
        self.classes = classes;
        self.lateness_of = (0..class_count).map(|_| new_histogram()).collect();
    }

    /// Whether a step changes anything: nobody answers or writes again in a ticket that has nothing due.
    pub(super) fn takes(&self, step: Step) -> bool {
        match step.change() {
            Change::Arm | Change::Rearm => true,
            Change::Answer | Change::Postpone => {
                self.tickets[step.ticket() as usize].state == State::Pending
            }
        }
    }

    /// Does a step of the schedule, and returns what the timer must be told of it.
    pub(super) fn apply(&mut self, step: Step, at_us: i64) -> Option<proto::TicketArm> {
        let index = step.ticket() as usize;
        let done_ms = self.ms_of(at_us);
        let ticket = &mut self.tickets[index];
        let was_pending = ticket.state == State::Pending;
        match step.change() {
            Change::Postpone | Change::Answer if !was_pending => return None,
            Change::Postpone => {
                self.series.will_not_be_due(ticket.due_ms);
                self.series.will_be_due(step.due_ms);
                ticket.due_ms = step.due_ms;
                self.counts.postponed += 1;
                return None;
            }
            Change::Answer => {
                ticket.state = State::Ended;
                self.supersede(index, done_ms);
                self.counts.pending -= 1;
                return None;
            }
            Change::Arm => {
                self.counts.opened += 1;
                self.counts.pending += 1;
            }
            Change::Rearm => {
                self.counts.rearmed += 1;
                if was_pending {
                    self.supersede(index, done_ms);
                } else {
                    self.counts.pending += 1;
                }
            }
        }
        self.counts.expected += 1;
        self.counts.armed_after_due += u64::from(done_ms > step.due_ms);
        self.series.will_be_due(step.due_ms);
        self.series.armed(done_ms);
        let ticket = &mut self.tickets[index];
        let old = ticket.generation;
        *ticket = Ticket {
            due_ms: step.due_ms,
            told_ms: step.due_ms,
            handled: 0,
            generation: old + 1,
            state: State::Pending,
            flags: 0,
        };
        Some(proto::TicketArm {
            ticket: Some(self.name(index)),
            due_time: Some(proto_timestamp_us(self.unix_us(step.due_ms))),
            first_superseded_generation: i64::from(old),
        })
    }

    /// The due instant of a ticket is taken away.
    fn supersede(&mut self, index: usize, now_ms: u32) {
        let due_ms = self.tickets[index].due_ms;
        self.counts.superseded += 1;
        self.counts.superseded_overdue += u64::from(due_ms < now_ms);
        self.series.will_not_be_due(due_ms);
    }

    /// The timer has confirmed an arm.
    pub(super) fn confirm(&mut self, arm: &proto::TicketArm) {
        self.counts.armed += 1;
        let Some(name) = &arm.ticket else { return };
        if let Some(index) = self.index_of(name) {
            let ticket = &mut self.tickets[index];
            if i64::from(ticket.generation) == name.generation {
                ticket.flags |= IS_ARMED;
            }
        }
    }

    /// Due instants before a moment that were not handled; counts all, and names some.
    pub(super) fn missed(&self, before_ms: u32, names_max: usize) -> Missed {
        let mut missed = Missed::default();
        for (index, ticket) in self.tickets.iter().enumerate() {
            if ticket.state != State::Pending || ticket.due_ms >= before_ms {
                continue;
            }
            if ticket.flags & IS_ARMED == 0 {
                missed.unarmed += 1;
                continue;
            }
            missed.lost += 1;
            if missed.names.len() < names_max {
                missed.names.push(self.pending_of(index));
            }
        }
        missed
    }

    /// Some pending tickets from a place on, and the place after them: to take them back from the timer.
    pub(super) fn pending_from(&self, from: usize, limit: usize) -> (Vec<Pending>, usize) {
        let mut found = Vec::new();
        let mut index = from;
        while index < self.tickets.len() && found.len() < limit {
            if self.tickets[index].state == State::Pending {
                found.push(self.pending_of(index));
            }
            index += 1;
        }
        (found, index)
    }

    fn pending_of(&self, index: usize) -> Pending {
        let name = self.name(index);
        let ticket = &self.tickets[index];
        Pending {
            name,
            due_ms: ticket.due_ms,
        }
    }

    /// A ticket was handled when it was due.
    fn fire(&mut self, index: usize, late_us: i64, at_us: i64) {
        let handled_us = (at_us - self.start_us).max(0);
        let in_series_ms = self.ms_of(at_us);
        let ticket = &mut self.tickets[index];
        ticket.state = State::Fired;
        ticket.handled = u32::try_from(handled_us / HANDLED_UNIT_US).unwrap_or(u32::MAX);
        self.counts.fired += 1;
        self.counts.pending -= 1;
        self.series.handled(in_series_ms, late_us);
        record(&mut self.lateness, late_us);
        let class = self.classes.get(usize::from(self.tenants[index]));
        if let Some(histogram) =
            class.and_then(|class| self.lateness_of.get_mut(usize::from(*class)))
        {
            record(histogram, late_us);
        }
        let (first, last) = self.handled_us.unwrap_or((handled_us, handled_us));
        self.handled_us = Some((first.min(handled_us), last.max(handled_us)));
    }

    /// A ticket as the timer names it.
    fn name(&self, index: usize) -> proto::TicketGeneration {
        proto::TicketGeneration {
            tenant_id: self.first_tenant_id + i64::from(self.tenants[index]),
            // There are fewer than 2^30.
            ticket_id: self.first_ticket_id + i64::try_from(index).unwrap_or(0),
            generation: i64::from(self.tickets[index].generation),
        }
    }

    /// The ticket with this name, whatever its generation.
    fn index_of(&self, name: &proto::TicketGeneration) -> Option<usize> {
        let index = name.ticket_id.checked_sub(self.first_ticket_id)?;
        let index = usize::try_from(index).ok()?;
        let tenant = self.first_tenant_id + i64::from(*self.tenants.get(index)?);
        (tenant == name.tenant_id).then_some(index)
    }

    /// The id of a ticket that this load does not use.
    pub(super) fn probe_ticket_id(&self) -> i64 {
        self.first_ticket_id - 1
    }

    /// How many due instants have passed, to the interval of the series.
    pub(super) fn due_until(&self, now_ms: u32) -> u64 {
        let passed = (now_ms / self.series.interval_ms()) as usize;
        let counts = self.series.due_counts().iter().take(passed);
        counts.map(|count| u64::try_from(*count).unwrap_or(0)).sum()
    }

    fn unix_us(&self, from_start_ms: u32) -> i64 {
        self.start_us + i64::from(from_start_ms) * 1_000
    }

    /// Whole milliseconds from the beginning to an instant.
    pub(super) fn ms_of(&self, unix_us: i64) -> u32 {
        u32::try_from((unix_us - self.start_us).max(0) / 1_000).unwrap_or(u32::MAX)
    }

    /// Milliseconds from the beginning until now.
    pub(super) fn now_ms(&self) -> u32 {
        self.ms_of(now_us())
    }
}

/// A ledger that the generator, the handler and the progress share.
#[derive(Debug)]
pub(super) struct SharedLedger(Mutex<Ledger>);

impl SharedLedger {
    pub(super) fn new(ledger: Ledger) -> Self {
        Self(Mutex::new(ledger))
    }

    /// No holder of the lock waits for anything.
    pub(super) fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
