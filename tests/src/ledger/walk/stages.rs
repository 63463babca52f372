//! The stages of a ticket's cycles: none early, late, lost or twice; and the messages that they call for.

use plazo_proto::notification::v1::ActiveMessageState;
use plazo_proto::ticketing::v1::{
    ActiveMessageReported, ActiveMessageRequested, CycleKind, Stage, StageFired,
};

use super::cycle::{Cycle, is_alert};
use super::{Awaited, Walk};
use crate::ledger::{Fired, ViolationKind};
use crate::truth::us_of;

impl Walk<'_> {
    pub(super) fn fired(&mut self, event: &StageFired, at_us: i64) {
        let stage = event.stage();
        let said_us = us_of(event.due_time.as_ref());
        let Some(mut cycle) = self.side(event.kind()).take() else {
            self.violation(
                ViolationKind::Wrong,
                &format!("{stage:?} fired without a cycle"),
            );
            return;
        };
        let is_this = (cycle.number, cycle.kind) == (event.cycle, event.kind());
        self.expect(is_this, || {
            format!("{stage:?} fired in cycle {}", event.cycle)
        });
        self.expect(cycle.version == event.policy_version, || {
            format!("{stage:?} fired by policy {}", event.policy_version)
        });
        self.expect_of(ViolationKind::Twice, !cycle.fired.contains(&stage), || {
            format!("{stage:?} fired twice")
        });
        let mut alerts = cycle.fired.iter().filter(|fired| is_alert(**fired));
        let has_passed = is_alert(stage) && alerts.any(|fired| *fired > stage);
        self.expect(!has_passed, || {
            format!("{stage:?} fired after a higher one")
        });
        let expected_us = cycle.due_us(stage);
        self.expect(expected_us == Some(said_us), || {
            format!("{stage:?} was due at {said_us}, not {expected_us:?}")
        });
        // What was overdue before a change is late from its own instant.
        let due_us = us_of(event.could_act_time.as_ref());
        let is_right = due_us == said_us || due_us == said_us.max(cycle.changed_us);
        self.expect(is_right, || {
            format!("{stage:?}, due at {said_us}, says that it could act at {due_us}")
        });
        self.expect_on_time(&format!("{stage:?}"), due_us, at_us);
        self.account.fired.push(Fired {
            ticket_id: self.ticket_id,
            cycle: event.cycle,
            stage,
            due_us,
            at_us,
        });
        self.passed_over(&cycle, stage, at_us);
        cycle.fired.push(stage);
        *self.side(event.kind()) = Some(cycle);
        self.takes_effect(event);
    }

    fn takes_effect(&mut self, event: &StageFired) {
        let stage = event.stage();
        let shown = match event.kind() {
            CycleKind::AgentSilent => &mut self.agent_alert,
            _ => &mut self.alert,
        };
        match stage {
            Stage::FirstAlert => *shown = (*shown).max(1),
            Stage::SecondAlert => *shown = (*shown).max(2),
            Stage::Warning | Stage::Close | Stage::Unspecified => {}
        }
        // A close takes the alert with it.
        let shown = if stage == Stage::Close { 0 } else { *shown };
        self.expect(event.alert == shown, || {
            format!("alert {} shows instead of {shown}", event.alert)
        });
        match stage {
            Stage::Warning => self.awaited.push_back(Awaited::WarningRequest),
            Stage::Close => self.awaited.push_back(Awaited::Close),
            _ => {}
        }
    }

    /// A lower stage may be missing when a higher one acts only if it was not long due.
    fn passed_over(&mut self, cycle: &Cycle, higher: Stage, at_us: i64) {
        let lower: Vec<(Stage, i64)> = [Stage::FirstAlert, Stage::SecondAlert, Stage::Warning]
            .into_iter()
            // The warning acts beside the alerts: neither passes over the other.
            .filter(|stage| *stage < higher && (is_alert(*stage) == is_alert(higher) || higher == Stage::Close))
            .filter(|stage| !cycle.fired.contains(stage))
            .filter_map(|stage| Some((stage, cycle.could_act_us(stage)?)))
            .collect();
        for (stage, due_us) in lower {
            let late_us = at_us - due_us;
            let is_lost = late_us > self.lateness_max_us;
            self.expect_of(ViolationKind::Lost, !is_lost, || {
                format!("{stage:?} was lost: {late_us} µs overdue")
            });
        }
    }

    /// Both cycles end.
    pub(super) fn cycles_end(&mut self, at_us: i64) {
        self.side_ends(CycleKind::CustomerSilent, at_us);
        self.side_ends(CycleKind::AgentSilent, at_us);
    }

    /// The cycle of one side ends, if there is one.
    pub(super) fn side_ends(&mut self, kind: CycleKind, at_us: i64) {
        if let Some(cycle) = self.side(kind).take() {
            self.expect_none_lost(&cycle, at_us);
        }
    }

    /// What was due in a cycle must have acted, or be no longer overdue than is allowed.
    pub(super) fn expect_none_lost(&mut self, cycle: &Cycle, at_us: i64) {
        let fired = cycle.fired.iter().copied();
        let highest = fired.filter(|stage| is_alert(*stage)).max();
        for stage in [
            Stage::FirstAlert,
            Stage::SecondAlert,
            Stage::Warning,
            Stage::Close,
        ] {
            let is_passed = is_alert(stage) && highest > Some(stage);
            if is_passed || cycle.fired.contains(&stage) {
                continue;
            }
            let Some(due_us) = cycle.could_act_us(stage) else {
                continue;
            };
            let late_us = at_us - due_us;
            let is_lost = late_us > self.lateness_max_us;
            self.expect_of(ViolationKind::Lost, !is_lost, || {
                format!(
                    "{stage:?} of cycle {} is lost: {late_us} µs overdue",
                    cycle.number
                )
            });
        }
    }

    pub(super) fn requested(&mut self, request: &ActiveMessageRequested, awaited: Option<Awaited>) {
        let message = request.message.clone().unwrap_or_default();
        let purpose = match awaited {
            Some(Awaited::WarningRequest) => {
                self.cycle.as_ref().map(|cycle| (cycle.number, "warning"))
            }
            Some(Awaited::ClosingRequest) => self.closing.take().map(|cycle| (cycle, "closing")),
            _ => None,
        };
        let expected =
            purpose.map(|(cycle, name)| format!("ticket/{}/cycle/{cycle}/{name}", self.ticket_id));
        let key = message.idempotency_key;
        self.expect(expected.as_ref() == Some(&key), || {
            format!("message {key} was asked for, not {expected:?}")
        });
        let is_new = self.account.requested.insert(key.clone());
        self.expect_of(ViolationKind::Twice, is_new, || {
            format!("message {key} was asked for twice")
        });
    }

    pub(super) fn reported(&mut self, report: &ActiveMessageReported, at_us: i64) {
        let key = &report.idempotency_key;
        let is_known = self.account.requested.contains(key);
        self.expect(is_known, || {
            format!("{key} was reported before it was asked for")
        });
        if report.state() == ActiveMessageState::Cancelled {
            return;
        }
        let ticket_id = self.ticket_id;
        let Some(cycle) = &mut self.cycle else { return };
        let Some(warning_due_us) = cycle.warning_due_us() else {
            return;
        };
        if *key == format!("ticket/{ticket_id}/cycle/{}/warning", cycle.number) {
            let accepted_us = us_of(report.state_time.as_ref())
                .min(at_us)
                .max(warning_due_us);
            let known_us = cycle.warning_accepted_us.unwrap_or(accepted_us);
            cycle.warning_accepted_us = Some(known_us.min(accepted_us));
        }
    }
}
