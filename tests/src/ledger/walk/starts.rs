//! Cycles begin.

use plazo_proto::ticketing::v1::{CycleKind, CycleStart};

use super::Walk;
use super::cycle::Cycle;
use crate::ledger::ViolationKind;
use crate::truth::us_of;

impl Walk<'_> {
    /// Cycles began: these, and no others, with the next numbers. A policy may have nothing for a cycle.
    pub(super) fn started(&mut self, starts: &[CycleStart], mut expected: Vec<(CycleKind, i64)>) {
        for start in starts {
            let (kind, next) = (start.kind(), self.last_cycle + 1);
            self.expect(start.cycle == next, || {
                format!("cycle {} began, not {next}", start.cycle)
            });
            self.last_cycle = start.cycle;
            let place = expected.iter().position(|(expected, _)| *expected == kind);
            let anchor_us = us_of(start.anchor_time.as_ref());
            match place.map(|place| expected.remove(place).1) {
                Some(expected_us) => self.expect(anchor_us == expected_us, || {
                    format!("{kind:?} counts from {anchor_us}, not {expected_us}")
                }),
                None => self.expect(false, || format!("a cycle of {kind:?} began for nothing")),
            }
            let said = start.policy_version;
            let version = *self.started_under.get(&said).unwrap_or(&said);
            let Some(rules) = self.policies.get(&version).cloned() else {
                self.expect(false, || format!("nobody set the policy {version}"));
                continue;
            };
            self.expect(rules.counts(kind, self.agent_has_written), || {
                format!("the policy has nothing for {kind:?}")
            });
            let cycle = Cycle {
                number: start.cycle,
                kind,
                anchor_us,
                version,
                fired: Vec::new(),
                warning_accepted_us: None,
                is_excluded: rules.excludes(&self.tags),
                changed_us: anchor_us,
                rules,
            };
            *self.side(kind) = Some(cycle);
        }
        for (kind, _) in expected {
            let agent_has_written = self.agent_has_written;
            let mut policies = self.policies.values();
            let must = policies.all(|rules| rules.counts(kind, agent_has_written));
            self.expect_of(ViolationKind::Lost, !must, || {
                format!("no cycle of {kind:?} began")
            });
        }
    }
}
