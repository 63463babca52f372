//! The inactivity clock of a ticket, and what messages and closes do to it.

pub(crate) mod advance;

use jiff::Timestamp;

use crate::cycle::{Alert, Cycle, Stage, StageSet};
use crate::instant::plus_millis;
use crate::plan::plan;
use crate::policy::{Anchor, InactivityPolicy};

/// How soon to look again when a close may be due at any moment and only its warning's acceptance is
/// missing, in milliseconds.
const LOOK_AGAIN_MS: i64 = 50;

/// What is stored of a [`Clock`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClockState {
    /// Fences off old news about deadlines; from 1, never falls.
    pub generation: i64,
    /// When the ticket must next be looked at; none when nothing is pending.
    pub next_due_at: Option<Timestamp>,
    /// The number of the last cycle that was started; 0 before the first.
    pub last_cycle: i32,
    /// The running cycle. It runs on after its last stage, until the customer answers or the ticket is
    /// closed.
    pub cycle: Option<Cycle>,
    /// The alert that shows.
    pub alert: Alert,
}

/// The inactivity clock of one ticket.
///
/// The invariant that it keeps: **within a generation `next_due_at` never falls, and once it is none it
/// stays none. Whatever lowers it or brings it back raises the generation in the same change.** A
/// reminder that was set for (generation, instant) is therefore never too late while its generation
/// lasts: a change that leaves the generation alone needs no new reminder.
///
/// Only one private function writes `next_due_at`, and raises the generation as needed; that is why the
/// fields cannot be set from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clock {
    state: ClockState,
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock {
    /// The clock of a new ticket: generation 1, nothing due. The first start raises to generation 2.
    pub const fn new() -> Self {
        Self {
            state: ClockState {
                generation: 1,
                next_due_at: None,
                last_cycle: 0,
                cycle: None,
                alert: Alert::None,
            },
        }
    }

    /// The clock as it was stored.
    pub const fn from_state(state: ClockState) -> Self {
        Self { state }
    }

    /// What to store.
    pub const fn state(&self) -> &ClockState {
        &self.state
    }

    /// See [`ClockState::generation`].
    pub const fn generation(&self) -> i64 {
        self.state.generation
    }

    /// See [`ClockState::next_due_at`].
    pub const fn next_due_at(&self) -> Option<Timestamp> {
        self.state.next_due_at
    }

    /// See [`ClockState::last_cycle`].
    pub const fn last_cycle(&self) -> i32 {
        self.state.last_cycle
    }

    /// See [`ClockState::cycle`].
    pub const fn cycle(&self) -> Option<&Cycle> {
        self.state.cycle.as_ref()
    }

    /// See [`ClockState::alert`].
    pub const fn alert(&self) -> Alert {
        self.state.alert
    }

    /// An agent wrote to the customer at `at`. `policy` is the one in force now, with its version.
    ///
    /// Starts a cycle and returns its number, unless one is running and `policy` counts from the first
    /// unanswered message: then nothing changes. A policy without any stage ends the running cycle and
    /// starts none. The alert that shows stays in any case.
    pub fn agent_wrote(
        &mut self,
        at: Timestamp,
        policy_version: i64,
        policy: &InactivityPolicy,
    ) -> Option<i32> {
        if self.state.cycle.is_some() && policy.anchor == Anchor::FirstMessage {
            return None;
        }
        if !policy.has_stages() {
            self.stop();
            return None;
        }
        let number = self.state.last_cycle + 1;
        let cycle = Cycle {
            number,
            anchor_at: at,
            policy_version,
            done: StageSet::EMPTY,
            warning_accepted_at: None,
        };
        self.state.last_cycle = number;
        self.state.cycle = Some(cycle);
        self.set_next_due_at(next_due_at(&cycle, policy, at));
        Some(number)
    }

    /// The customer wrote: the cycle ends and the alert goes. Returns the alert that was removed, if one
    /// showed. The generation stays.
    pub fn customer_wrote(&mut self) -> Option<Alert> {
        self.stop();
        let removed = std::mem::take(&mut self.state.alert);
        (removed != Alert::None).then_some(removed)
    }

    /// The ticket was closed, by whomever: the same as an answer.
    pub fn closed(&mut self) -> Option<Alert> {
        self.customer_wrote()
    }

    /// Notification reports at `now` that it accepted the warning of cycle number `cycle` at `at`.
    /// `policy` is the one of the running cycle's version.
    ///
    /// Returns whether that was news: only for the running cycle, whose warning has gone out and was
    /// not reported as accepted before. An instant in the future or before the warning was due is moved
    /// to `now` or to that due instant.
    ///
    /// A report that comes late can bring the close forward, which raises the generation.
    pub fn warning_accepted(
        &mut self,
        cycle: i32,
        at: Timestamp,
        now: Timestamp,
        policy: &InactivityPolicy,
    ) -> bool {
        let Some(running) = self.state.cycle.as_mut() else {
            return false;
        };
        let is_news = running.number == cycle
            && running.done.contains(Stage::Warning)
            && running.warning_accepted_at.is_none();
        let Some(warning) = policy.warning.as_ref().filter(|_| is_news) else {
            return false;
        };
        let warning_due_at = plus_millis(running.anchor_at, warning.after.as_millis());
        running.warning_accepted_at = Some(at.min(now).max(warning_due_at));
        let next = next_due_at(running, policy, now);
        self.set_next_due_at(next);
        true
    }

    /// Ends the running cycle; the alert stays.
    fn stop(&mut self) {
        self.state.cycle = None;
        self.set_next_due_at(None);
    }

    /// The only place that writes `next_due_at`: raises the generation exactly when it falls or comes
    /// back.
    fn set_next_due_at(&mut self, next: Option<Timestamp>) {
        let needs_new_generation = match (self.state.next_due_at, next) {
            (None, Some(_)) => true,
            (Some(old), Some(new)) => new < old,
            (_, None) => false,
        };
        if needs_new_generation {
            self.state.generation += 1;
        }
        self.state.next_due_at = next;
    }
}

/// The earliest instant at which `cycle` needs a look, as seen at `now`: that of the first stage that is
/// not over, the close at its known or earliest possible instant.
fn next_due_at(cycle: &Cycle, policy: &InactivityPolicy, now: Timestamp) -> Option<Timestamp> {
    let plan = plan(cycle, policy);
    let awaits_acceptance = plan.close().is_some_and(|close| close.known().is_none());
    plan.stages(now)
        .into_iter()
        .filter(|planned| !cycle.done.contains(planned.stage))
        .map(|planned| {
            if planned.stage == Stage::Close && awaits_acceptance && planned.due_at <= now {
                plus_millis(now, LOOK_AGAIN_MS)
            } else {
                planned.due_at
            }
        })
        .min()
}
