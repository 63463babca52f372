//! When the stages of a cycle are due.

use jiff::Timestamp;

use crate::cycle::{Cycle, CycleKind, Stage};
use crate::instant::{ceil_to_millis, plus_millis};
use crate::policy::InactivityPolicy;

/// How long after its deadline a warning may be accepted without moving the close, in milliseconds.
pub const ON_TIME_TOLERANCE_MS: i64 = 1_000;

/// A stage and its instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlannedStage {
    /// The stage.
    pub stage: Stage,
    /// When it is due, in whole milliseconds.
    pub due_at: Timestamp,
}

/// The stages of one cycle with their instants.
#[derive(Debug, Clone)]
pub struct Plan<'a> {
    policy: &'a InactivityPolicy,
    // By rank.
    before_close: Vec<PlannedStage>,
    close: Option<Close>,
}

/// The close of a cycle.
#[derive(Debug, Clone, Copy)]
enum Close {
    /// Due at this instant.
    At(Timestamp),
    /// Not due before notification has accepted the warning.
    AfterWarning(WarnedClose),
}

/// What the instant of a close that is preceded by a warning depends on.
#[derive(Debug, Clone, Copy)]
struct WarnedClose {
    warning_due_at: Timestamp,
    /// When the close is due if the warning goes out on time.
    configured_at: Timestamp,
    /// The time from a late warning to the close, in milliseconds.
    gap_ms: i64,
}

impl WarnedClose {
    /// When the close is due if its warning went out at `warned_at`: accepted, or delivered where that
    /// counts.
    fn when_warned(self, policy: &InactivityPolicy, warned_at: Timestamp) -> Timestamp {
        let is_on_time = warned_at <= plus_millis(self.warning_due_at, ON_TIME_TOLERANCE_MS);
        let not_before = if is_on_time {
            ceil_to_millis(warned_at)
        } else {
            policy.instant_after(warned_at, self.gap_ms)
        };
        not_before.max(self.configured_at)
    }
}

impl Plan<'_> {
    /// The instant of the close, if there is a close and its instant is known.
    pub const fn close_at(&self) -> Option<Timestamp> {
        match self.close {
            Some(Close::At(at)) => Some(at),
            Some(Close::AfterWarning(_)) | None => None,
        }
    }

    /// Whether there is a close, and nothing but the acceptance of its warning tells when.
    pub const fn awaits_acceptance(&self) -> bool {
        matches!(self.close, Some(Close::AfterWarning(_)))
    }

    /// What is over once `acting`, an alert or the warning, acts: lower stages on the same instant, and below the second
    /// alert the first.
    pub(crate) fn gives_way_to(&self, acting: PlannedStage) -> impl Iterator<Item = Stage> {
        let lower = self.before_close.iter();
        lower
            .filter(move |lower| {
                let is_alert_below =
                    (lower.stage, acting.stage) == (Stage::FirstAlert, Stage::SecondAlert);
                is_alert_below || (lower.stage < acting.stage && lower.due_at == acting.due_at)
            })
            .map(|lower| lower.stage)
    }

    /// The stages as seen at `now`, by due instant. A close that waits for its warning stands at the
    /// earliest instant that is still possible, which never falls as `now` grows. A stage that falls on
    /// the same instant as a higher one is left out; for the close its effective instant counts, so that
    /// a red alert at 30 s stays when the close, configured for 30 s too, has moved to 32 s.
    pub fn stages(&self, now: Timestamp) -> Vec<PlannedStage> {
        let mut by_rank = self.before_close.clone();
        by_rank.extend(self.close.map(|close| PlannedStage {
            stage: Stage::Close,
            due_at: match close {
                Close::At(at) => at,
                Close::AfterWarning(close) => close.when_warned(self.policy, now),
            },
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
pub fn plan<'a>(cycle: &Cycle, policy: &'a InactivityPolicy) -> Plan<'a> {
    let due = |stage, time: crate::TimeValue| PlannedStage {
        stage,
        due_at: policy.instant_after(cycle.anchor_at, time.as_millis()),
    };
    let alerts = match cycle.kind {
        CycleKind::CustomerSilent => policy.alerts,
        CycleKind::CustomerWaits => None,
        CycleKind::AgentSilent => policy.agent_alerts,
    };
    let may_close = cycle.kind != CycleKind::AgentSilent && !cycle.is_excluded;
    let mut before_close = Vec::with_capacity(3);
    if let Some(alerts) = alerts {
        before_close.push(due(Stage::FirstAlert, alerts.first));
        before_close.push(due(Stage::SecondAlert, alerts.second));
    }
    let warning = policy
        .warning
        .as_ref()
        .filter(|_| may_close)
        .map(|warning| due(Stage::Warning, warning.after));
    before_close.extend(warning);

    let auto_close = policy.auto_close.as_ref().filter(|_| may_close);
    let close = auto_close.map(|auto_close| {
        let configured_at = due(Stage::Close, auto_close.after).due_at;
        let Some(warning) = warning else {
            return Close::At(configured_at);
        };
        let close = WarnedClose {
            warning_due_at: warning.due_at,
            configured_at,
            gap_ms: policy.warning_gap_ms().unwrap_or(0),
        };
        match warned_at(cycle, policy) {
            Some(warned_at) => Close::At(close.when_warned(policy, warned_at)),
            None => Close::AfterWarning(close),
        }
    });
    Plan {
        policy,
        before_close,
        close,
    }
}

/// When the warning of a cycle counts as out, as far as is known. Where the delivery counts, a warning that was
/// accepted is out when it is delivered or has failed, and at the latest after the longest wait.
fn warned_at(cycle: &Cycle, policy: &InactivityPolicy) -> Option<Timestamp> {
    let accepted_at = cycle.warning_accepted_at?;
    let max_wait = policy.auto_close.as_ref()?.max_delivery_wait;
    let Some(max_wait) = max_wait else {
        return Some(accepted_at);
    };
    let latest = plus_millis(accepted_at, max_wait.as_millis());
    Some(cycle.warning_settled_at.map_or(latest, |at| at.min(latest)))
}
