//! What a change of a clock tells: cycles that began, alerts that went, holds that ended.

use jiff::Timestamp;

use crate::automation::Automation;
use crate::cycle::{Alert, CycleKind};

/// A cycle that was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StartedCycle {
    /// Its number in the ticket.
    pub number: i32,
    /// What it is about.
    pub kind: CycleKind,
    /// What its stages count from.
    pub anchor_at: Timestamp,
    /// The version of its policy.
    pub policy_version: i64,
}

/// The alerts that were removed; [`Alert::None`] where none showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Removed {
    /// The alert about the customer.
    pub alert: Alert,
    /// The alert of the agent's side.
    pub agent_alert: Alert,
}

impl Removed {
    /// Whether any alert was removed.
    pub fn is_any(self) -> bool {
        self != Self::default()
    }
}

/// A hold that ended with a message, or that a message found over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedHold {
    /// When it would have ended by itself; not after the message where that found it over.
    pub due_at: Timestamp,
    /// The cycles that began with the end of a hold that was over, even if the message ended them again. None began where
    /// the message itself ended the hold.
    pub started: Vec<StartedCycle>,
}

/// What a message did to the clocks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Change {
    /// The hold that ended before anything else.
    pub hold_ended: Option<EndedHold>,
    /// The cycles that began with the message, by number.
    pub started: Vec<StartedCycle>,
    /// The alerts that went.
    pub removed: Removed,
}

/// What a close or a transfer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ended {
    /// The alerts that went.
    pub removed: Removed,
    /// The hold that ended: when it would have ended by itself.
    pub hold_ended: Option<Timestamp>,
    /// The pause of the automation that ended, which then resumed; [`Automation::Running`] when none did.
    pub pause: Automation,
}

impl Ended {
    /// Whether the automation resumed.
    pub fn is_automation_resumed(self) -> bool {
        self.pause != Automation::Running
    }
}
