//! What notification reports about warnings.

use jiff::Timestamp;

use crate::clock::{Clock, due_at};
use crate::cycle::Stage;
use crate::policy::InactivityPolicy;

/// What became of a warning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WarningReport {
    /// Notification has stored it, and will send it.
    Accepted,
    /// It was delivered, or has failed for good.
    Settled,
}

impl Clock {
    /// Notification reports at `now` what became of the warning of cycle number `cycle` at `at`. `policy` is
    /// the one of the running cycle's version.
    ///
    /// Returns whether that was news: only for the running cycle, whose warning has gone out. What was
    /// settled was accepted, also when the report of that comes later. Reports may come twice and in any
    /// order: the earliest instant counts. An instant in the future or before the warning was due is moved
    /// to `now` or to that due instant.
    ///
    /// A report that comes late can bring the close forward, which raises the generation.
    pub fn warning_reported(
        &mut self,
        cycle: i32,
        report: WarningReport,
        at: Timestamp,
        now: Timestamp,
        policy: &InactivityPolicy,
    ) -> bool {
        let Some(running) = self.state.cycle.as_mut() else {
            return false;
        };
        let is_about_it = running.number == cycle && running.done.contains(Stage::Warning);
        if !is_about_it {
            return false;
        }
        let due_ms = policy.warning.as_ref().map_or(0, |it| it.after.as_millis());
        let warning_due_at = policy.instant_after(running.anchor_at, due_ms);
        let at = at.max(warning_due_at).min(now);
        let before = *running;
        let earliest = |known: Option<Timestamp>| Some(known.map_or(at, |known| known.min(at)));
        running.warning_accepted_at = earliest(running.warning_accepted_at);
        if report == WarningReport::Settled {
            running.warning_settled_at = earliest(running.warning_settled_at);
        }
        if *running == before {
            return false;
        }
        running.due_at = due_at(running, policy, now);
        self.set_next_due_at();
        true
    }
}
