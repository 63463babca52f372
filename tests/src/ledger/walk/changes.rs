//! Holds, tags, the automation's pause, and policies that are applied to running cycles.

use plazo_proto::ticketing::v1::{
    AutomationPaused, AutomationResumeCause, AutomationResumed, CycleKind, HoldEnd, HoldEnded,
    PolicyApplied, TagsChanged, TicketHeld,
};

use super::{Awaited, Pause, Walk};
use crate::desk::Rules;
use crate::truth::us_of;

impl Walk<'_> {
    pub(super) fn held(&mut self, event: &TicketHeld, at_us: i64) {
        self.expect_open("put on hold");
        self.cycles_end(at_us);
        self.clear(true, true);
        let hold = event.hold.clone().unwrap_or_default();
        let until_us = us_of(hold.end_time.as_ref());
        self.expect(until_us > at_us, || "a hold without a length".to_owned());
        self.hold_until_us = Some(until_us);
    }

    pub(super) fn hold_ended(&mut self, ended: &HoldEnded, awaited: Option<Awaited>, at_us: i64) {
        let (cause, due_us) = (ended.cause(), us_of(ended.due_time.as_ref()));
        let hold_until_us = self.hold_until_us.take();
        self.expect(hold_until_us == Some(due_us), || {
            format!("a hold until {hold_until_us:?} ended that was due at {due_us}")
        });
        let restart_us = match cause {
            HoldEnd::Resumed => Some(at_us),
            HoldEnd::Expired => {
                self.expect_on_time("the end of a hold", due_us, at_us);
                Some(due_us)
            }
            HoldEnd::CustomerWrote => {
                self.awaited.push_back(Awaited::CustomerMessage);
                None
            }
            HoldEnd::Closed | HoldEnd::Transferred | HoldEnd::Unspecified => {
                let is_awaited = awaited == Some(Awaited::HoldEnd(cause));
                self.expect(is_awaited, || {
                    format!("a hold ended by {cause:?} for nothing")
                });
                None
            }
        };
        let Some(restart_us) = restart_us else {
            self.started(&ended.cycles, Vec::new());
            return;
        };
        self.turn = self.turn.restarted(restart_us);
        let expected = self.turn.cycles();
        if cause == HoldEnd::Expired && ended.cycles.is_empty() && !expected.is_empty() {
            let agent_has_written = self.agent_has_written;
            let mut policies = self.policies.values();
            let is_due = |rules: &Rules| {
                let mut kinds = expected.iter().map(|(kind, _)| *kind);
                kinds.any(|kind| rules.counts(kind, agent_has_written))
            };
            if policies.all(is_due) {
                // The agent's message that finds the hold over starts a cycle of its own.
                self.awaited.push_back(Awaited::AgentMessage);
            }
            return;
        }
        self.started(&ended.cycles, expected);
    }

    pub(super) fn tagged(&mut self, changed: &TagsChanged, at_us: i64) {
        self.expect(changed.tags.is_sorted(), || {
            "tags are not sorted".to_owned()
        });
        let are_right = changed.added.iter().all(|tag| changed.tags.contains(tag))
            && !changed.removed.iter().any(|tag| changed.tags.contains(tag));
        self.expect(are_right, || {
            "tags don't follow from what changed".to_owned()
        });
        self.tags.clone_from(&changed.tags);
        if let Some(cycle) = &mut self.cycle {
            let is_excluded = cycle.rules.excludes(&self.tags);
            if cycle.is_excluded != is_excluded {
                cycle.is_excluded = is_excluded;
                cycle.changed_us = at_us;
            }
        }
    }

    pub(super) fn paused(&mut self, paused: AutomationPaused) {
        self.expect(self.pause == Pause::Running, || "paused twice".to_owned());
        let automation = paused.automation.unwrap_or_default();
        self.pause = match automation.resume_time {
            Some(resume_time) => Pause::Until(us_of(Some(&resume_time))),
            None => Pause::UntilCompleted,
        };
    }

    pub(super) fn resumed(
        &mut self,
        resumed: AutomationResumed,
        awaited: Option<Awaited>,
        at_us: i64,
    ) {
        let pause = std::mem::replace(&mut self.pause, Pause::Running);
        self.expect(pause != Pause::Running, || "resumed twice".to_owned());
        let is_awaited = awaited == Some(Awaited::Resumption);
        match resumed.cause() {
            AutomationResumeCause::TimeOver => {
                let due_us = us_of(resumed.due_time.as_ref());
                let is_over = matches!(pause, Pause::Until(until_us) if until_us <= due_us);
                self.expect(is_over, || {
                    format!("the automation was due to resume at {due_us}, not {pause:?}")
                });
                self.expect_on_time("the automation", due_us, at_us);
            }
            AutomationResumeCause::Completed => self.expect(is_awaited, || {
                "the automation resumed at no close".to_owned()
            }),
            AutomationResumeCause::Requested => {}
            AutomationResumeCause::Unspecified => {
                self.expect(false, || "the automation resumed for nothing".to_owned());
            }
        }
    }

    /// Running cycles of older versions go by the new one, or end when it has nothing for them; what only it has
    /// something for begins.
    pub(super) fn applied(&mut self, applied: &PolicyApplied, at_us: i64) {
        let version = applied.policy_version;
        let Some(rules) = self.policies.get(&version).cloned() else {
            self.expect(false, || format!("nobody set the policy {version}"));
            return;
        };
        self.expect(self.hold_until_us.is_none(), || {
            "a policy was applied to a ticket on hold".to_owned()
        });
        for kind in [CycleKind::CustomerSilent, CycleKind::AgentSilent] {
            let Some(mut cycle) = self.side(kind).take() else {
                continue;
            };
            self.expect_none_lost(&cycle, at_us);
            let has_ended = applied.ended_cycles.contains(&cycle.number);
            let counts = rules.counts(cycle.kind, self.agent_has_written);
            let is_older = cycle.version < version;
            self.expect(has_ended == (is_older && !counts), || {
                format!("cycle {} ended, or goes on, wrongly", cycle.number)
            });
            if has_ended {
                continue;
            }
            if is_older {
                cycle.version = version;
                cycle.rules = rules.clone();
                cycle.is_excluded = rules.excludes(&self.tags);
                cycle.changed_us = at_us;
            }
            *self.side(kind) = Some(cycle);
        }
        let mut expected = self.turn.cycles();
        expected.retain(|(kind, _)| self.side(*kind).is_none());
        self.started(&applied.cycles, expected);
        for kind in [CycleKind::CustomerSilent, CycleKind::AgentSilent] {
            if let Some(cycle) = self.side(kind) {
                cycle.changed_us = cycle.changed_us.max(at_us);
            }
        }
    }
}
