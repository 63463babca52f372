//! What changed settings and tags do to a ticket's running cycles.

use jiff::Timestamp;

use crate::clock::{Clock, InForce, StartedCycle, due_at};
use crate::cycle::Cycle;
use crate::policy::InactivityPolicy;

/// What applying another policy to an open ticket did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Applied {
    /// The numbers of the cycles that run on under the new version.
    pub recomputed: Vec<i32>,
    /// The cycles that began: the policy before had nothing for them.
    pub started: Vec<StartedCycle>,
    /// The numbers of the cycles that ended: the new policy has nothing for them.
    pub ended: Vec<i32>,
}

impl Applied {
    /// Whether anything changed.
    pub fn is_any(&self) -> bool {
        !(self.recomputed.is_empty() && self.started.is_empty() && self.ended.is_empty())
    }
}

impl Clock {
    /// Applies a policy at `now` to what runs, as if it had been in force all along: the anchors stay, the
    /// stages that are over stay over, the alerts that show stay. What the policy has no stage for ends; what
    /// only it has a stage for begins, counted from the messages that were written. Does nothing while the ticket is on
    /// hold, and to cycles that go by this version already. It need not be a later one: a queue
    /// that loses its own policy goes by an older one of the bot.
    pub fn apply_policy(&mut self, in_force: InForce<'_>, now: Timestamp) -> Applied {
        let mut applied = Applied::default();
        if self.state.hold_until.is_some() {
            return applied;
        }
        let agent_has_written = self.state.agent_has_written;
        let mut recompute = |running: &mut Option<Cycle>| {
            let Some(cycle) = running.as_mut() else {
                return;
            };
            if cycle.policy_version == in_force.version {
                return;
            }
            if in_force.policy.counts(cycle.kind, agent_has_written) {
                cycle.policy_version = in_force.version;
                cycle.is_excluded = in_force.is_excluded;
                cycle.due_at = due_at(cycle, in_force.policy, now);
                applied.recomputed.push(cycle.number);
            } else {
                applied.ended.push(cycle.number);
                *running = None;
            }
        };
        recompute(&mut self.state.cycle);
        recompute(&mut self.state.agent_cycle);
        applied.started = self.start_by_turn(now, Some(in_force));
        self.set_next_due_at();
        applied
    }

    /// The ticket's tags changed at `now`: `is_excluded` says what the policy of the running cycle about the
    /// customer makes of them. Returns whether that matters.
    pub fn set_excluded(
        &mut self,
        is_excluded: bool,
        now: Timestamp,
        policy: &InactivityPolicy,
    ) -> bool {
        let Some(cycle) = self.state.cycle.as_mut() else {
            return false;
        };
        if cycle.is_excluded == is_excluded {
            return false;
        }
        cycle.is_excluded = is_excluded;
        cycle.due_at = due_at(cycle, policy, now);
        self.set_next_due_at();
        true
    }
}
