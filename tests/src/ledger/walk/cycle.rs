//! A running cycle as the events tell it, and when its stages are due.

use plazo_proto::ticketing::v1::{CycleKind, Stage};

use crate::desk::Rules;
use crate::truth::ceil_to_millis;

const SECOND_US: i64 = 1_000_000;

/// A running cycle.
#[derive(Debug)]
pub(super) struct Cycle {
    pub(super) number: i32,
    pub(super) kind: CycleKind,
    pub(super) anchor_us: i64,
    /// The version of the policy that it goes by, and what that says.
    pub(super) version: i64,
    pub(super) rules: Rules,
    pub(super) fired: Vec<Stage>,
    pub(super) warning_accepted_us: Option<i64>,
    /// A tag of the ticket keeps warning and close from acting.
    pub(super) is_excluded: bool,
    /// When settings or tags last changed what is due: what was due before could not act before that.
    pub(super) changed_us: i64,
}

impl Cycle {
    /// When a stage of the cycle is due; none for a close whose warning is not accepted, and for a stage that the
    /// policy lacks or a tag excludes. A warning that was accepted more than a second late moves the close.
    pub(super) fn due_us(&self, stage: Stage) -> Option<i64> {
        let alerts_s = match self.kind {
            CycleKind::CustomerSilent => {
                let stages = self.rules.stages;
                Some((stages.first_alert_s, stages.second_alert_s))
            }
            CycleKind::AgentSilent => self.rules.agent_alerts_s,
            CycleKind::CustomerWaits | CycleKind::Unspecified => None,
        };
        match stage {
            Stage::Unspecified => None,
            Stage::FirstAlert => Some(self.after_us(alerts_s?.0)),
            Stage::SecondAlert => Some(self.after_us(alerts_s?.1)),
            Stage::Warning => Some(self.after_us(self.warning_and_close_s()?.0)),
            Stage::Close => {
                let (warning_s, close_s) = self.warning_and_close_s()?;
                let accepted_us = self.warning_accepted_us?;
                let is_on_time = accepted_us <= self.after_us(warning_s) + SECOND_US;
                let gap_us = i64::from(close_s - warning_s) * SECOND_US;
                let moved_us = accepted_us + if is_on_time { 0 } else { gap_us };
                Some(self.after_us(close_s).max(ceil_to_millis(moved_us)))
            }
        }
    }

    /// The first instant at which a stage could act.
    pub(super) fn could_act_us(&self, stage: Stage) -> Option<i64> {
        Some(self.due_us(stage)?.max(self.changed_us))
    }

    /// When the warning is due, also where a tag excludes it for now.
    pub(super) fn warning_due_us(&self) -> Option<i64> {
        let (warning_s, _) = self.rules.stages.warning_and_close_s?;
        Some(self.after_us(warning_s))
    }

    fn warning_and_close_s(&self) -> Option<(i32, i32)> {
        let may_close = self.kind != CycleKind::AgentSilent && !self.is_excluded;
        self.rules.stages.warning_and_close_s.filter(|_| may_close)
    }

    fn after_us(&self, seconds: i32) -> i64 {
        ceil_to_millis(self.anchor_us) + i64::from(seconds) * SECOND_US
    }
}

pub(super) fn is_alert(stage: Stage) -> bool {
    matches!(stage, Stage::FirstAlert | Stage::SecondAlert)
}

/// Whose turn it is to write. Instants in microseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    Nobody,
    /// Opened, and nobody has written.
    Opened {
        at_us: i64,
    },
    /// An agent wrote last at this instant.
    Customer {
        last_us: i64,
    },
    /// The customer wrote: his first message without an answer, and his last.
    Agent {
        since_us: i64,
        last_us: i64,
    },
}

impl Turn {
    /// The turn when everything counts from zero again.
    pub(super) fn restarted(self, at_us: i64) -> Self {
        match self {
            Self::Nobody => Self::Nobody,
            Self::Opened { .. } => Self::Opened { at_us },
            Self::Customer { .. } => Self::Customer { last_us: at_us },
            Self::Agent { .. } => Self::Agent {
                since_us: at_us,
                last_us: at_us,
            },
        }
    }

    /// What counts in this turn, if the policy has something for it, and the anchors.
    pub(super) fn cycles(self) -> Vec<(CycleKind, i64)> {
        match self {
            Self::Nobody => Vec::new(),
            Self::Opened { at_us } => vec![(CycleKind::CustomerWaits, at_us)],
            Self::Customer { last_us } => vec![(CycleKind::CustomerSilent, last_us)],
            Self::Agent { since_us, last_us } => vec![
                (CycleKind::CustomerWaits, last_us),
                (CycleKind::AgentSilent, since_us),
            ],
        }
    }
}
