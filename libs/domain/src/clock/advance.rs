//! What the passing of time does to a ticket.

use jiff::Timestamp;

use crate::clock::changes::{Ended, EndedHold, StartedCycle};
use crate::clock::{Clock, InForce, due_at};
use crate::cycle::{Alert, Cycle, CycleKind, Stage};
use crate::plan::{Plan, PlannedStage, plan};
use crate::policy::InactivityPolicy;

/// What a look at a ticket found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Something took effect.
    Fired,
    /// Something is pending, but not yet.
    NotDue,
    /// Nothing is pending.
    Already,
}

/// A stage that took effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FiredStage {
    /// The number of its cycle.
    pub cycle: i32,
    /// What that cycle is about.
    pub kind: CycleKind,
    /// The version of its policy.
    pub policy_version: i64,
    /// The stage.
    pub stage: Stage,
    /// The instant it was due at.
    pub due_at: Timestamp,
    /// When it could first act: at `due_at`, or when settings or tags made it due after that instant had passed. `now`
    /// minus this is how late it is.
    pub could_act_at: Timestamp,
    /// The alert that shows from now on, on the side that the cycle belongs to.
    pub alert: Alert,
}

/// What took effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// A hold reached its maximum length.
    HoldEnded {
        /// When it was due to end. What counted before counts from there again.
        due_at: Timestamp,
        /// The cycles that began with it.
        started: Vec<StartedCycle>,
    },
    /// A stage.
    Stage(FiredStage),
    /// The pause of the automation was over.
    AutomationResumed {
        /// When it was due to resume.
        due_at: Timestamp,
    },
}

impl Effect {
    /// When it was due.
    pub const fn due_at(&self) -> Timestamp {
        match self {
            Self::HoldEnded { due_at, .. } | Self::AutomationResumed { due_at } => *due_at,
            Self::Stage(fired) => fired.due_at,
        }
    }
}

/// What [`advance`] did. When to look next is the clock's [`Clock::next_due_at`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advance {
    /// What was found.
    pub outcome: Outcome,
    /// What took effect, in this order. Stages that were passed over are not here.
    pub effects: Vec<Effect>,
    /// For a close: what ended with it.
    pub closed: Option<Ended>,
}

impl Advance {
    /// The stages that took effect.
    pub fn stages(&self) -> impl Iterator<Item = &FiredStage> {
        self.effects.iter().filter_map(|effect| match effect {
            Effect::Stage(fired) => Some(fired),
            Effect::HoldEnded { .. } | Effect::AutomationResumed { .. } => None,
        })
    }
}

/// The policies that a look needs.
#[derive(Debug, Clone, Copy, Default)]
pub struct Policies<'a> {
    /// That of the running cycle about the customer, by its version.
    pub cycle: Option<&'a InactivityPolicy>,
    /// That of the running cycle of the agent's side, by its version.
    pub agent_cycle: Option<&'a InactivityPolicy>,
    /// The one in force for new cycles; matters only when a hold is over ([`Clock::is_hold_over`]).
    pub in_force: Option<InForce<'a>>,
}

/// Looks at a ticket's clock at `now`, and lets act what is due.
///
/// Nothing acts before its instant, and each stage acts at most once in a cycle.
///
/// - A hold that is over ends, and what it stopped counts anew from the hold's end.
/// - A close that is due acts alone: what lies below it is passed over, the alerts of the agent's side too; all
///   clocks end, the alerts go.
/// - Otherwise the highest alert of each side that is due acts, a lower one is passed over, and the warning acts too
///   if it is due. The alert that shows never falls; a stage that reaches no more than what shows
///   still takes effect.
/// - An automation whose pause is over resumes.
///
/// `next_due_at` does not fall within a generation here, as long as `now` does not run backwards: the
/// instants of alerts and warning are fixed; the stages that are over only become more; a stage that
/// gives way to the close stands on the close's instant, so letting it back in lowers nothing; the
/// cycles that a hold's end starts have no stage before that end, which was the due instant until
/// then; and the earliest possible close never falls as `now` grows, because a warning that is not
/// accepted by `now` can only be accepted at `now` or later. An acceptance that is reported late breaks
/// this last premise; it comes through [`Clock::warning_reported`], which raises the generation then.
/// Should `now` run backwards, the generation is raised as well.
pub fn advance(clock: &mut Clock, policies: Policies<'_>, now: Timestamp) -> Advance {
    let mut effects = Vec::new();
    let mut policies = policies;
    if let Some(EndedHold { due_at, started }) = clock.end_overdue_hold(now, policies.in_force) {
        // No cycle runs during a hold, so all that run now go by the policy in force.
        let policy = policies.in_force.map(|in_force| in_force.policy);
        policies = Policies {
            cycle: policy,
            agent_cycle: policy,
            in_force: policies.in_force,
        };
        effects.push(Effect::HoldEnded { due_at, started });
    }
    let running = clock.state.cycle.zip(policies.cycle);
    let due_close = running.and_then(|(cycle, policy)| {
        let close_at = plan(&cycle, policy).close_at()?;
        (close_at <= now).then_some((cycle, close_at))
    });
    let mut closed = None;
    if let Some((cycle, due_at)) = due_close {
        closed = Some(clock.closed());
        effects.push(Effect::Stage(FiredStage {
            cycle: cycle.number,
            kind: cycle.kind,
            policy_version: cycle.policy_version,
            stage: Stage::Close,
            due_at,
            could_act_at: could_act_at(&cycle, due_at),
            alert: Alert::None,
        }));
    } else {
        if let Some((cycle, policy)) = clock.state.agent_cycle.zip(policies.agent_cycle) {
            let (cycle, fired) = fire(cycle, policy, now, &mut clock.state.agent_alert);
            clock.state.agent_cycle = Some(cycle);
            effects.extend(fired.into_iter().map(Effect::Stage));
        }
        if let Some((cycle, policy)) = running {
            let (cycle, fired) = fire(cycle, policy, now, &mut clock.state.alert);
            clock.state.cycle = Some(cycle);
            effects.extend(fired.into_iter().map(Effect::Stage));
        }
    }
    if let Some(due_at) = clock.state.automation.resumes_at().filter(|at| *at <= now) {
        clock.resume_automation();
        effects.push(Effect::AutomationResumed { due_at });
    }
    clock.set_next_due_at();

    let outcome = if !effects.is_empty() {
        Outcome::Fired
    } else if clock.state.next_due_at.is_some() {
        Outcome::NotDue
    } else {
        Outcome::Already
    };
    Advance {
        outcome,
        effects,
        closed,
    }
}

/// Lets the alerts and the warning of a cycle act that are due, and raises the alert that shows.
fn fire(
    mut cycle: Cycle,
    policy: &InactivityPolicy,
    now: Timestamp,
    alert: &mut Alert,
) -> (Cycle, Vec<FiredStage>) {
    let plan = plan(&cycle, policy);
    let due = due_below_close(&cycle, &plan, now);
    let highest_alert = due
        .iter()
        .filter(|planned| alert_of(planned.stage).is_some())
        .max_by_key(|planned| planned.stage);
    let warning = due.iter().find(|planned| planned.stage == Stage::Warning);
    let reached = highest_alert.and_then(|planned| alert_of(planned.stage));
    *alert = (*alert).max(reached.unwrap_or_default());

    for planned in &due {
        cycle.done.insert(planned.stage);
        for stage in plan.gives_way_to(*planned) {
            cycle.done.insert(stage);
        }
    }
    cycle.due_at = due_at(&cycle, policy, now);
    let fired = highest_alert.into_iter().chain(warning);
    let fired = fired.map(|planned| FiredStage {
        cycle: cycle.number,
        kind: cycle.kind,
        policy_version: cycle.policy_version,
        stage: planned.stage,
        due_at: planned.due_at,
        could_act_at: could_act_at(&cycle, planned.due_at),
        alert: *alert,
    });
    (cycle, fired.collect())
}

/// When a stage that was due at `due_at` could first act.
fn could_act_at(cycle: &Cycle, due_at: Timestamp) -> Timestamp {
    cycle.changed_at.map_or(due_at, |at| at.max(due_at))
}

/// Whether something of a cycle should have acted by `now`, and has not.
pub(super) fn is_overdue(cycle: &Cycle, policy: &InactivityPolicy, now: Timestamp) -> bool {
    let plan = plan(cycle, policy);
    let is_close_due = plan.close_at().is_some_and(|at| at <= now);
    is_close_due || !due_below_close(cycle, &plan, now).is_empty()
}

/// The alerts and the warning that are due and not over.
fn due_below_close(cycle: &Cycle, plan: &Plan<'_>, now: Timestamp) -> Vec<PlannedStage> {
    plan.stages(now)
        .into_iter()
        // A close in this list waits for its acceptance, even where its earliest instant is now.
        .filter(|planned| planned.stage != Stage::Close)
        .filter(|planned| planned.due_at <= now && !cycle.done.contains(planned.stage))
        .collect()
}

/// The alert that a stage raises, if it raises one.
const fn alert_of(stage: Stage) -> Option<Alert> {
    match stage {
        Stage::FirstAlert => Some(Alert::Yellow),
        Stage::SecondAlert => Some(Alert::Red),
        Stage::Warning | Stage::Close => None,
    }
}
