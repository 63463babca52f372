//! What changed settings and tags do to a ticket's running cycles.

use jiff::Timestamp;

use crate::clock::advance::is_overdue;
use crate::clock::changes::StartedCycle;
use crate::clock::{Clock, InForce, due_at};
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
    ///
    /// What it makes due in the past is late from `now` on only ([`Cycle::changed_at`]); `of_version` gives the policies
    /// that the running cycles go by, which tell what was overdue already. A version that it does not know counts as if
    /// nothing was.
    pub fn apply_policy<'p>(
        &mut self,
        in_force: InForce<'_>,
        of_version: impl Fn(i64) -> Option<&'p InactivityPolicy>,
        now: Timestamp,
    ) -> Applied {
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
                let before = of_version(cycle.policy_version);
                if !before.is_some_and(|policy| is_overdue(cycle, policy, now)) {
                    cycle.changed_at = Some(now);
                }
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
        for started in &applied.started {
            let cycles = [&mut self.state.cycle, &mut self.state.agent_cycle];
            let of_number = |cycle: &&mut Cycle| cycle.number == started.number;
            if let Some(cycle) = cycles.into_iter().flatten().find(of_number) {
                cycle.changed_at = Some(now);
            }
        }
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
        if !is_excluded && !is_overdue(cycle, policy, now) {
            cycle.changed_at = Some(now);
        }
        cycle.is_excluded = is_excluded;
        cycle.due_at = due_at(cycle, policy, now);
        self.set_next_due_at();
        true
    }
}
