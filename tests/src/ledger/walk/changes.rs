//! Tags, the automation's pause, and policies that are applied to running cycles.

use plazo_proto::ticketing::v1::{
    AutomationPaused, AutomationResumeCause, AutomationResumed, CycleKind, PolicyApplied,
    TagsChanged,
};

use super::{Awaited, Pause, Walk};
use crate::truth::us_of;

impl Walk<'_> {
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

    /// A pause begins, or lasts longer than before. After a superseded close it is no shorter than the one before that.
    pub(super) fn paused(&mut self, paused: AutomationPaused, awaited: Option<Awaited>) {
        let automation = paused.automation.unwrap_or_default();
        let pause = match automation.resume_time {
            Some(resume_time) => Pause::Until(us_of(Some(&resume_time))),
            None => Pause::UntilCompleted,
        };
        let before = std::mem::replace(&mut self.pause, pause);
        let is_longer = match (before, pause) {
            (Pause::Running, _) | (Pause::Until(_), Pause::UntilCompleted) => true,
            (Pause::Until(before_us), Pause::Until(until_us)) => until_us > before_us,
            (Pause::UntilCompleted, _) | (_, Pause::Running) => false,
        };
        self.expect(is_longer, || format!("{before:?} became {pause:?}"));
        if awaited == Some(Awaited::Pause) {
            let is_as_long = match (self.pause_before_close, pause) {
                (Pause::Until(ended_us), Pause::Until(until_us)) => until_us >= ended_us,
                (Pause::UntilCompleted, pause) => pause == Pause::UntilCompleted,
                _ => true,
            };
            let ended = self.pause_before_close;
            self.expect(is_as_long, || {
                format!("the close ended {ended:?}, and its superseding gave {pause:?} back")
            });
        }
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
