//! The clocks of a ticket, and what messages, holds, transfers, closes and settings do to them.

pub(crate) mod advance;
pub(crate) mod changes;
mod pause;
pub(crate) mod settings;
pub(crate) mod warning;

use jiff::Timestamp;

use crate::automation::Automation;
use crate::clock::changes::{Change, Ended, EndedHold, Removed, StartedCycle};
use crate::cycle::{Alert, Cycle, CycleKind, Stage, StageSet};
use crate::instant::{ceil_to_millis, plus_millis};
use crate::plan::plan;
use crate::policy::{Anchor, InactivityPolicy};
use crate::turn::Turn;

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
    /// The running cycle about the customer, [`CycleKind::CustomerSilent`] or
    /// [`CycleKind::CustomerWaits`]. It runs on after its last stage, until somebody writes or the ticket
    /// is closed.
    pub cycle: Option<Cycle>,
    /// The running cycle of the agent's side, [`CycleKind::AgentSilent`].
    pub agent_cycle: Option<Cycle>,
    /// The alert that shows for a silent customer.
    pub alert: Alert,
    /// The alert that shows for a silent agent.
    pub agent_alert: Alert,
    /// Whose turn it is.
    pub turn: Turn,
    /// Whether an agent has ever written in this ticket.
    pub agent_has_written: bool,
    /// While the ticket is on hold: when the hold ends by itself, in whole milliseconds.
    pub hold_until: Option<Timestamp>,
    /// The bot's automation.
    pub automation: Automation,
}

/// The policy in force for new cycles of a ticket.
#[derive(Debug, Clone, Copy)]
pub struct InForce<'a> {
    /// Its version.
    pub version: i64,
    /// The policy.
    pub policy: &'a InactivityPolicy,
    /// Whether the ticket carries a tag that this policy excludes; see [`InactivityPolicy::excludes`].
    pub is_excluded: bool,
}

/// The clocks of one ticket: the customer's inactivity, the alerts of the agent's side, a hold, and the
/// pause of the automation. One instant, the earliest of theirs, is what the ticket waits for.
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
    /// The clock before anything has happened: generation 1, nothing due. The first deadline raises to
    /// generation 2.
    pub const fn new() -> Self {
        Self {
            state: ClockState {
                generation: 1,
                next_due_at: None,
                last_cycle: 0,
                cycle: None,
                agent_cycle: None,
                alert: Alert::None,
                agent_alert: Alert::None,
                turn: Turn::Nobody,
                agent_has_written: false,
                hold_until: None,
                automation: Automation::Running,
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

    /// See [`ClockState::agent_cycle`].
    pub const fn agent_cycle(&self) -> Option<&Cycle> {
        self.state.agent_cycle.as_ref()
    }

    /// See [`ClockState::alert`].
    pub const fn alert(&self) -> Alert {
        self.state.alert
    }

    /// See [`ClockState::agent_alert`].
    pub const fn agent_alert(&self) -> Alert {
        self.state.agent_alert
    }

    /// The versions of the policies that the running cycles go by.
    pub fn policy_versions(&self) -> impl Iterator<Item = i64> {
        let cycles = self.state.cycle.iter().chain(&self.state.agent_cycle);
        cycles.map(|cycle| cycle.policy_version)
    }

    /// Whether a hold has reached its end at `now`: then [`advance`](crate::advance) and the messages
    /// need the policy in force.
    pub fn is_hold_over(&self, now: Timestamp) -> bool {
        self.state.hold_until.is_some_and(|until| until <= now)
    }

    /// Whether nothing tells this clock from an earlier one of the same ticket but its alerts, the stages that are over,
    /// and what is due next: all that [`advance`](crate::advance) changes when alerts fire.
    pub fn differs_in_alerts_only(&self, earlier: &Self) -> bool {
        let ClockState {
            cycle,
            agent_cycle,
            next_due_at,
            alert,
            agent_alert,
            ..
        } = self.state.clone();
        let with_stages_of = |cycle: Option<Cycle>, earlier: &Option<Cycle>| match (cycle, earlier)
        {
            (Some(cycle), Some(earlier)) => Some(Cycle {
                done: cycle.done,
                due_at: cycle.due_at,
                ..*earlier
            }),
            (_, earlier) => *earlier,
        };
        let expected = ClockState {
            cycle: with_stages_of(cycle, &earlier.state.cycle),
            agent_cycle: with_stages_of(agent_cycle, &earlier.state.agent_cycle),
            next_due_at,
            alert,
            agent_alert,
            ..earlier.state.clone()
        };
        self.state == expected
    }

    /// The ticket was opened at `at`. Where the policy closes tickets that no agent has written in, a
    /// cycle begins.
    pub fn opened(&mut self, at: Timestamp, in_force: Option<InForce<'_>>) -> Vec<StartedCycle> {
        self.state.turn = Turn::Opened { at };
        let started = self.start_by_turn(at, in_force);
        self.set_next_due_at();
        started
    }

    /// An agent wrote to the customer at `at`.
    ///
    /// The agent's side ends and its alert goes. A cycle starts, unless one about a silent customer is
    /// running and its own policy, `running`, counts from the first unanswered message: then nothing
    /// changes. A policy in force without any stage ends the running cycle and starts none. The alert about
    /// the customer stays in any case. While the ticket is on hold nothing starts; a hold that is over ends
    /// first, as of its end.
    pub fn agent_wrote(
        &mut self,
        at: Timestamp,
        in_force: Option<InForce<'_>>,
        running: Option<&InactivityPolicy>,
    ) -> Change {
        let hold_ended = self.end_overdue_hold(at, in_force);
        let mut started = Vec::new();
        self.state.turn = self.state.turn.after_agent(at);
        self.state.agent_has_written = true;
        self.state.agent_cycle = None;
        let removed = Removed {
            alert: Alert::None,
            agent_alert: std::mem::take(&mut self.state.agent_alert),
        };
        if self.state.hold_until.is_none() {
            let is_counting = self
                .cycle()
                .is_some_and(|cycle| cycle.kind == CycleKind::CustomerSilent);
            // What a hold's end has just started goes by the policy in force.
            let policy = match hold_ended {
                Some(_) => in_force.map(|in_force| in_force.policy),
                None => running,
            };
            let keeps_counting = policy.is_some_and(|policy| policy.anchor == Anchor::FirstMessage);
            if !is_counting || !keeps_counting {
                self.state.cycle = None;
                started.extend(self.start(CycleKind::CustomerSilent, at, at, in_force));
            }
        }
        self.set_next_due_at();
        Change {
            hold_ended,
            started,
            removed,
        }
    }

    /// The customer wrote at `at`: the cycle about him ends and its alert goes; a hold ends, one that was over
    /// already as of its end. The agent's side begins with his first unanswered message, and, where the
    /// policy closes tickets whose customer waits, a cycle begins with each.
    pub fn customer_wrote(&mut self, at: Timestamp, in_force: Option<InForce<'_>>) -> Change {
        let overdue_hold = self.end_overdue_hold(at, in_force);
        let hold = self.state.hold_until.take();
        let mut started = Vec::new();
        self.state.cycle = None;
        let removed = Removed {
            alert: std::mem::take(&mut self.state.alert),
            agent_alert: Alert::None,
        };
        let is_first = !matches!(self.state.turn, Turn::Agent { .. }) || hold.is_some();
        self.state.turn = self.state.turn.after_customer(at);
        if hold.is_some() {
            self.state.turn = self.state.turn.restarted(at);
        }
        started.extend(self.start(CycleKind::CustomerWaits, at, at, in_force));
        if is_first {
            started.extend(self.start(CycleKind::AgentSilent, at, at, in_force));
        }
        self.set_next_due_at();
        let ended_by_him = hold.map(|due_at| EndedHold {
            due_at,
            started: Vec::new(),
        });
        Change {
            hold_ended: overdue_hold.or(ended_by_him),
            started,
            removed,
        }
    }

    /// The ticket was closed, by whomever: all clocks end, and the automation resumes.
    pub fn closed(&mut self) -> Ended {
        let pause = self.state.automation;
        self.resume_automation();
        Ended {
            pause,
            ..self.transferred()
        }
    }

    /// The ticket was transferred to a queue: the inactivity clocks are disarmed until somebody writes, and
    /// a hold ends. The automation stays as it is.
    pub fn transferred(&mut self) -> Ended {
        let hold_ended = self.state.hold_until.take();
        let removed = self.stop();
        self.state.turn = Turn::Nobody;
        self.set_next_due_at();
        Ended {
            removed,
            hold_ended,
            pause: Automation::Running,
        }
    }

    /// Puts the ticket on hold until `until`, rounded up to a whole millisecond: the alerts go and the
    /// inactivity clocks stop. A hold that lasts already gets the new end; see [`hold_until`](crate::hold_until) for
    /// which are allowed.
    pub fn hold(&mut self, until: Timestamp) -> Removed {
        let removed = self.stop();
        self.state.hold_until = Some(ceil_to_millis(until));
        self.set_next_due_at();
        removed
    }

    /// Ends a hold at `at`, or at its own end if that was before, and starts from zero what counted before. None
    /// when there is no hold.
    pub fn resume(
        &mut self,
        at: Timestamp,
        in_force: Option<InForce<'_>>,
    ) -> Option<Vec<StartedCycle>> {
        let started = self.end_hold(at, in_force)?;
        self.set_next_due_at();
        Some(started)
    }

    /// Ends a hold that was over by `now` but that nobody has noticed, as of its own end: what counted before counts
    /// from there, however late that is found. The caller sets `next_due_at`.
    fn end_overdue_hold(
        &mut self,
        now: Timestamp,
        in_force: Option<InForce<'_>>,
    ) -> Option<EndedHold> {
        let due_at = self.state.hold_until.filter(|until| *until <= now)?;
        let started = self.end_hold(due_at, in_force)?;
        Some(EndedHold { due_at, started })
    }

    /// Ends a hold at `at`, or at its own end if that was before. The caller sets `next_due_at`.
    fn end_hold(
        &mut self,
        at: Timestamp,
        in_force: Option<InForce<'_>>,
    ) -> Option<Vec<StartedCycle>> {
        let at = self.state.hold_until.take()?.min(at);
        self.state.turn = self.state.turn.restarted(at);
        Some(self.start_by_turn(at, in_force))
    }

    /// Ends both cycles and removes both alerts.
    fn stop(&mut self) -> Removed {
        self.state.cycle = None;
        self.state.agent_cycle = None;
        Removed {
            alert: std::mem::take(&mut self.state.alert),
            agent_alert: std::mem::take(&mut self.state.agent_alert),
        }
    }

    /// Starts what counts in this turn and does not run, from the turn's own instants. The caller sets
    /// `next_due_at`.
    fn start_by_turn(
        &mut self,
        now: Timestamp,
        in_force: Option<InForce<'_>>,
    ) -> Vec<StartedCycle> {
        let mut started = Vec::new();
        let turn = self.state.turn;
        let runs = self.state.cycle.is_some();
        let agents_side_runs = self.state.agent_cycle.is_some();
        let mut start = |kind, anchor_at| {
            let is_running = match kind {
                CycleKind::CustomerSilent | CycleKind::CustomerWaits => runs,
                CycleKind::AgentSilent => agents_side_runs,
            };
            if !is_running {
                started.extend(self.start(kind, anchor_at, now, in_force));
            }
        };
        match turn {
            Turn::Nobody => {}
            Turn::Opened { at } => {
                start(CycleKind::CustomerWaits, at);
            }
            Turn::Customer { since, last_at } => {
                let anchor = in_force.map(|in_force| in_force.policy.anchor);
                let anchor_at = match anchor.unwrap_or_default() {
                    Anchor::FirstMessage => since,
                    Anchor::LastMessage => last_at,
                };
                start(CycleKind::CustomerSilent, anchor_at);
            }
            Turn::Agent { since, last_at } => {
                start(CycleKind::CustomerWaits, last_at);
                start(CycleKind::AgentSilent, since);
            }
        }
        started
    }

    /// Starts a cycle if the policy in force has stages for it.
    fn start(
        &mut self,
        kind: CycleKind,
        anchor_at: Timestamp,
        now: Timestamp,
        in_force: Option<InForce<'_>>,
    ) -> Option<StartedCycle> {
        let agent_has_written = self.state.agent_has_written;
        let in_force = in_force.filter(|it| it.policy.counts(kind, agent_has_written))?;
        let number = self.state.last_cycle + 1;
        let mut cycle = Cycle {
            number,
            kind,
            anchor_at,
            policy_version: in_force.version,
            done: StageSet::EMPTY,
            is_excluded: in_force.is_excluded,
            warning_accepted_at: None,
            warning_settled_at: None,
            changed_at: None,
            due_at: None,
        };
        cycle.due_at = due_at(&cycle, in_force.policy, now);
        self.state.last_cycle = number;
        match kind {
            CycleKind::CustomerSilent | CycleKind::CustomerWaits => self.state.cycle = Some(cycle),
            CycleKind::AgentSilent => self.state.agent_cycle = Some(cycle),
        }
        Some(StartedCycle {
            number,
            kind,
            anchor_at,
            policy_version: in_force.version,
        })
    }

    /// The only place that writes `next_due_at`: the earliest of what is pending. Raises the generation
    /// exactly when it falls or comes back.
    fn set_next_due_at(&mut self) {
        let state = &mut self.state;
        let pending = [
            state.cycle.and_then(|cycle| cycle.due_at),
            state.agent_cycle.and_then(|cycle| cycle.due_at),
            state.hold_until,
            state.automation.resumes_at(),
        ];
        let next = pending.into_iter().flatten().min();
        let needs_new_generation = match (state.next_due_at, next) {
            (None, Some(_)) => true,
            (Some(old), Some(new)) => new < old,
            (_, None) => false,
        };
        if needs_new_generation {
            state.generation += 1;
        }
        state.next_due_at = next;
    }
}

/// The earliest instant at which `cycle` needs a look, as seen at `now`: that of the first stage that is
/// not over, the close at its known or earliest possible instant.
fn due_at(cycle: &Cycle, policy: &InactivityPolicy, now: Timestamp) -> Option<Timestamp> {
    let plan = plan(cycle, policy);
    plan.stages(now)
        .into_iter()
        .filter(|planned| !cycle.done.contains(planned.stage))
        .map(|planned| {
            let may_come_any_moment =
                planned.stage == Stage::Close && plan.awaits_acceptance() && planned.due_at <= now;
            if may_come_any_moment {
                plus_millis(now, LOOK_AGAIN_MS)
            } else {
                planned.due_at
            }
        })
        .min()
}
