//! When the stages of a cycle are due.

use jiff::Timestamp;

use crate::cycle::{Cycle, Stage};
use crate::instant::{ceil_to_millis, plus_millis};
use crate::policy::InactivityPolicy;

/// How long after its deadline a warning may be accepted without moving the close, in milliseconds.
pub const ON_TIME_TOLERANCE_MS: i64 = 1_000;

/// When a close is due, as far as the acceptance of its warning is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseAt {
    /// Due at this instant.
    At(Timestamp),
    /// Not due before notification has accepted the warning.
    AfterWarning {
        /// When the warning is due.
        warning_due_at: Timestamp,
        /// When the close is due if the warning is accepted on time.
        configured_at: Timestamp,
        /// The time from the acceptance to the close if the acceptance is late, in milliseconds.
        gap_ms: i64,
    },
}

impl CloseAt {
    /// The instant of the close if it is known.
    pub const fn known(self) -> Option<Timestamp> {
        match self {
            Self::At(at) => Some(at),
            Self::AfterWarning { .. } => None,
        }
    }

    /// The instant of the close, or the earliest that is still possible when a warning that was not
    /// accepted before `now` is accepted at `now` or later. Never falls as `now` grows.
    pub fn earliest(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(at) => at,
            Self::AfterWarning {
                warning_due_at,
                configured_at,
                gap_ms,
            } => close_after_acceptance(warning_due_at, configured_at, gap_ms, now),
        }
    }
}

/// When the close is due if the warning is accepted at `accepted_at`.
fn close_after_acceptance(
    warning_due_at: Timestamp,
    configured_at: Timestamp,
    gap_ms: i64,
    accepted_at: Timestamp,
) -> Timestamp {
    let is_on_time = accepted_at <= plus_millis(warning_due_at, ON_TIME_TOLERANCE_MS);
    let not_before = if is_on_time {
        ceil_to_millis(accepted_at)
    } else {
        plus_millis(accepted_at, gap_ms)
    };
    not_before.max(configured_at)
}

/// A stage and its instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlannedStage {
    /// The stage.
    pub stage: Stage,
    /// When it is due, in whole milliseconds.
    pub due_at: Timestamp,
}

/// The stages of one cycle with their instants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    // By rank.
    before_close: Vec<PlannedStage>,
    close: Option<CloseAt>,
}

impl Plan {
    /// The close, if the policy has one.
    pub const fn close(&self) -> Option<CloseAt> {
        self.close
    }

    /// The stages as seen at `now`, by due instant. A close that waits for its warning stands at the
    /// earliest instant that is still possible. A stage that falls on the same instant as a higher one
    /// is left out; for the close its effective instant counts, so that a red alert at 30 s stays when
    /// the close, configured for 30 s too, has moved to 32 s.
    pub fn stages(&self, now: Timestamp) -> Vec<PlannedStage> {
        let mut by_rank = self.before_close.clone();
        by_rank.extend(self.close.map(|close| PlannedStage {
            stage: Stage::Close,
            due_at: close.earliest(now),
        }));
        let mut stages: Vec<PlannedStage> = Vec::with_capacity(by_rank.len());
        for higher in by_rank {
            stages.retain(|lower| lower.due_at != higher.due_at);
            stages.push(higher);
        }
        stages.sort_by_key(|planned| planned.due_at);
        stages
    }
}

/// Plans the stages of `cycle`, all counted from its anchor, rounded up to whole milliseconds.
///
/// `policy` is the one of the cycle's version, and is valid ([`InactivityPolicy::check`]).
pub fn plan(cycle: &Cycle, policy: &InactivityPolicy) -> Plan {
    let due = |stage, time: crate::TimeValue| PlannedStage {
        stage,
        due_at: plus_millis(cycle.anchor_at, time.as_millis()),
    };
    let mut before_close = Vec::with_capacity(3);
    if let Some(alerts) = &policy.alerts {
        before_close.push(due(Stage::FirstAlert, alerts.first));
        before_close.push(due(Stage::SecondAlert, alerts.second));
    }
    let warning = policy
        .warning
        .as_ref()
        .map(|warning| due(Stage::Warning, warning.after));
    before_close.extend(warning);

    let close = policy.auto_close.as_ref().map(|auto_close| {
        let configured_at = due(Stage::Close, auto_close.after).due_at;
        let Some(warning) = warning else {
            return CloseAt::At(configured_at);
        };
        let warning_due_at = warning.due_at;
        let gap_ms = policy.warning_gap_ms().unwrap_or(0);
        match cycle.warning_accepted_at {
            Some(accepted_at) => CloseAt::At(close_after_acceptance(
                warning_due_at,
                configured_at,
                gap_ms,
                accepted_at,
            )),
            None => CloseAt::AfterWarning {
                warning_due_at,
                configured_at,
                gap_ms,
            },
        }
    });
    Plan {
        before_close,
        close,
    }
}
