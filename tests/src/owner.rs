//! An owner of tickets in the test's own process: it decides as ticketing does, keeps its own account of what it
//! decided, hands dirty rows over to the timers, and sweeps.

mod account;
mod handler;
mod relay;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::Notify;

pub use account::{Acted, OwnerAccount};
pub use handler::serve;
pub use relay::{Relay, TimerClient, timer_client};

use account::Books;

/// Most stages of a cycle.
pub const STAGES_MAX: usize = 3;

/// A ticket, from 0. Its id is one more.
pub type TicketIndex = usize;

/// A row as ticketing has it: within a generation the next instant never falls, and once it is none it stays none.
#[derive(Debug, Clone, Copy)]
struct Row {
    tenant_id: i64,
    generation: i64,
    armed_generation: i64,
    cycle: u32,
    /// Due instants in Unix milliseconds; unused ones are the highest number.
    stages: [i64; STAGES_MAX],
    /// The stage that comes next; as many as there are at most, and then there is none.
    next_stage: usize,
}

impl Row {
    fn next_ms(&self) -> Option<i64> {
        let next = self.stages.get(self.next_stage).copied();
        next.filter(|due_ms| *due_ms != i64::MAX)
    }
}

/// What goes wrong on purpose.
#[derive(Debug, Clone, Default)]
pub struct Trouble {
    /// Every call answers UNAVAILABLE.
    pub is_down: bool,
    /// These tickets answer ERROR.
    pub erring: BTreeSet<i64>,
    /// A call with one of these is never answered, and asks for the death of who called.
    pub killing: BTreeSet<i64>,
}

/// What the handler was asked, and what came of calls of the timer.
#[derive(Debug, Clone, Default)]
pub struct OwnerCounts {
    /// Calls of the handler, and tickets in them.
    pub calls: usize,
    /// Tickets that were looked at.
    pub looks: usize,
    /// Looks that had happened before.
    pub already: usize,
    /// Looks before the instant.
    pub not_due: usize,
    /// Looks at generations that were over.
    pub stale: usize,
    /// Calls that were refused on purpose, or never answered.
    pub refused: usize,
    /// Calls at the same time, at most.
    pub calls_at_once: usize,
    /// Tickets that came in calls that were not answered yet, at most.
    pub tickets_at_once: usize,
    /// Tickets that were listed for rebuilds.
    pub listed: usize,
    /// Calls of `ArmTickets` that were answered, and the slowest of them.
    pub arm_calls: usize,
    /// The longest time that one took.
    pub slowest_arm: Duration,
    /// Calls of `ArmTickets` that failed, by code.
    pub arm_failures: BTreeMap<String, usize>,
    /// Lost entries that the sweep has found.
    pub swept: i64,
}

#[derive(Debug, Default)]
struct State {
    rows: Vec<Row>,
    dirty: VecDeque<TicketIndex>,
    books: Books,
    trouble: Trouble,
    counts: OwnerCounts,
    /// Calls and tickets that are being handled.
    busy: (usize, usize),
}

/// The owner; a handle to it.
#[derive(Debug, Clone, Default)]
pub struct Owner(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// The owner's clock minus that of the machine, in milliseconds.
    skew_ms: AtomicI64,
    has_dirty: Notify,
    wants_death: Notify,
}

impl Owner {
    /// The owner's time, in Unix microseconds.
    #[expect(clippy::disallowed_methods, reason = "it has a clock of its own")]
    pub fn now_us(&self) -> i64 {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("later than 1970");
        let skew_ms = self.0.skew_ms.load(Ordering::Relaxed);
        i64::try_from(since.as_micros()).expect("not that late") + skew_ms * 1_000
    }

    /// The owner's time, in Unix milliseconds.
    pub fn now_ms(&self) -> i64 {
        self.now_us() / 1_000
    }

    /// Lets the owner's clock be so many milliseconds ahead of the machine's.
    pub fn set_skew(&self, skew_ms: i64) {
        self.0.skew_ms.store(skew_ms, Ordering::Relaxed);
    }

    /// Adds tickets of a tenant without anything due; returns the first one.
    pub fn add(&self, tenant_id: i64, count: usize) -> TicketIndex {
        let mut state = self.lock();
        let first = state.rows.len();
        let row = Row {
            tenant_id,
            generation: 1,
            armed_generation: 1,
            cycle: 0,
            stages: [i64::MAX; STAGES_MAX],
            next_stage: STAGES_MAX,
        };
        state.rows.resize(first + count, row);
        first
    }

    /// The agent writes: a new cycle begins, with stages that are due at these instants in Unix milliseconds.
    pub fn write(&self, tickets: impl IntoIterator<Item = (TicketIndex, [i64; STAGES_MAX])>) {
        let now_us = self.now_us();
        let mut state = self.lock();
        let State {
            rows, dirty, books, ..
        } = &mut *state;
        for (index, stages) in tickets {
            let row = &mut rows[index];
            books.call_off(index, row.cycle, now_us);
            row.cycle += 1;
            // Whatever was due before: the generation may always rise.
            row.generation += 1;
            row.stages = stages;
            row.next_stage = 0;
            books.plan(index, row.cycle, &stages);
            dirty.push_back(index);
        }
        drop(state);
        self.0.has_dirty.notify_one();
    }

    /// The customer replies: nothing is due any more, and the generation stays.
    pub fn reply(&self, index: TicketIndex) {
        let now_us = self.now_us();
        let mut state = self.lock();
        let State { rows, books, .. } = &mut *state;
        let row = &mut rows[index];
        books.call_off(index, row.cycle, now_us);
        row.next_stage = STAGES_MAX;
    }

    /// Changes what goes wrong.
    pub fn trouble(&self, change: impl FnOnce(&mut Trouble)) {
        change(&mut self.lock().trouble);
    }

    /// What was counted so far.
    pub fn counts(&self) -> OwnerCounts {
        self.lock().counts.clone()
    }

    /// Rows that the timers may not know, roughly.
    pub fn dirty_count(&self) -> usize {
        self.lock().dirty.len()
    }

    /// Rows whose generation is armed and that have something due.
    pub fn armed_count(&self) -> usize {
        let state = self.lock();
        let armed = state
            .rows
            .iter()
            .filter(|row| row.armed_generation == row.generation && row.next_ms().is_some());
        armed.count()
    }

    /// Rows whose generation is not armed.
    pub fn unarmed_count(&self) -> usize {
        let state = self.lock();
        let unarmed = state
            .rows
            .iter()
            .filter(|row| row.armed_generation < row.generation);
        unarmed.count()
    }

    /// Rows that have something due within so many milliseconds.
    pub fn pending_count(&self, within_ms: i64) -> usize {
        let last_ms = self.now_ms() + within_ms;
        let state = self.lock();
        let due = state
            .rows
            .iter()
            .filter(|row| row.next_ms().is_some_and(|due_ms| due_ms <= last_ms));
        due.count()
    }

    /// The tenant of a ticket.
    pub fn tenant_of(&self, index: TicketIndex) -> i64 {
        self.lock().rows[index].tenant_id
    }

    /// How many stages took effect so far.
    pub fn acted_count(&self) -> usize {
        self.lock().books.acted_count()
    }

    /// Waits until a ticket wants the death of whoever asked about it.
    pub async fn wants_death(&self) {
        self.0.wants_death.notified().await;
    }

    /// Judges what was planned against what was done.
    pub fn judge(&self) -> OwnerAccount {
        let now_us = self.now_us();
        self.lock().books.judge(now_us)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
