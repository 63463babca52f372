//! What the passing of time does to a ticket.

use jiff::Timestamp;

use crate::clock::{Clock, next_due_at};
use crate::cycle::{Alert, Cycle, Stage};
use crate::plan::{PlannedStage, plan};
use crate::policy::InactivityPolicy;

/// What a look at a ticket found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// At least one stage took effect.
    Fired,
    /// Something is pending, but not yet.
    NotDue,
    /// Nothing is pending.
    Already,
}

/// A stage that took effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FiredStage {
    /// The stage.
    pub stage: Stage,
    /// The instant it was due at; `now` minus this is how late it is.
    pub due_at: Timestamp,
}

/// What [`advance`] did. When to look next is the clock's [`Clock::next_due_at`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advance {
    /// What was found.
    pub outcome: Outcome,
    /// The stages that took effect, by rank. Those that were passed over are not here.
    pub fired: Vec<FiredStage>,
}

/// Looks at a ticket's clock at `now`, and lets the stages act that are due. `policy` is the one of the
/// running cycle's version; without a running cycle it does not matter.
///
/// No stage acts before its instant, and each acts at most once in a cycle.
///
/// - A close that is due acts alone: what lies below it is passed over, the cycle ends, the alert goes.
/// - Otherwise the highest alert that is due acts, a lower one is passed over, and the warning acts too
///   if it is due. The alert that shows never falls; a stage that reaches no more than what shows
///   still takes effect.
///
/// `next_due_at` does not fall within a generation here, as long as `now` does not run backwards: the
/// instants of alerts and warning are fixed; the stages that are over only become more; a stage that
/// gives way to the close stands on the close's instant, so letting it back in lowers nothing; and the
/// earliest possible close never falls as `now` grows, because a warning that is not accepted by `now`
/// can only be accepted at `now` or later. An acceptance that is reported late breaks this last
/// premise; it comes through [`Clock::warning_accepted`], which raises the generation then. Should `now`
/// run backwards, the generation is raised as well.
pub fn advance(clock: &mut Clock, policy: &InactivityPolicy, now: Timestamp) -> Advance {
    let fired = match clock.state.cycle {
        Some(cycle) => advance_cycle(clock, cycle, policy, now),
        None => Vec::new(),
    };
    let outcome = if !fired.is_empty() {
        Outcome::Fired
    } else if clock.state.next_due_at.is_some() {
        Outcome::NotDue
    } else {
        Outcome::Already
    };
    Advance { outcome, fired }
}

fn advance_cycle(
    clock: &mut Clock,
    mut cycle: Cycle,
    policy: &InactivityPolicy,
    now: Timestamp,
) -> Vec<FiredStage> {
    let plan = plan(&cycle, policy);
    let known_close = plan.close().and_then(crate::CloseAt::known);
    if let Some(due_at) = known_close.filter(|due_at| *due_at <= now) {
        clock.closed();
        return vec![FiredStage {
            stage: Stage::Close,
            due_at,
        }];
    }

    let due: Vec<PlannedStage> = plan
        .stages(now)
        .into_iter()
        // A close in this list waits for its acceptance, even where its earliest instant is now.
        .filter(|planned| planned.stage != Stage::Close)
        .filter(|planned| planned.due_at <= now && !cycle.done.contains(planned.stage))
        .collect();
    let highest_alert = due
        .iter()
        .filter(|planned| alert_of(planned.stage).is_some())
        .max_by_key(|planned| planned.stage);
    let warning = due.iter().find(|planned| planned.stage == Stage::Warning);
    let fired: Vec<FiredStage> = highest_alert
        .into_iter()
        .chain(warning)
        .map(|planned| FiredStage {
            stage: planned.stage,
            due_at: planned.due_at,
        })
        .collect();

    for planned in &due {
        cycle.done.insert(planned.stage);
    }
    let reached = highest_alert.and_then(|planned| alert_of(planned.stage));
    clock.state.alert = clock.state.alert.max(reached.unwrap_or_default());
    clock.state.cycle = Some(cycle);
    clock.set_next_due_at(next_due_at(&cycle, policy, now));
    fired
}

/// The alert that a stage raises, if it raises one.
const fn alert_of(stage: Stage) -> Option<Alert> {
    match stage {
        Stage::FirstAlert => Some(Alert::Yellow),
        Stage::SecondAlert => Some(Alert::Red),
        Stage::Warning | Stage::Close => None,
    }
}
