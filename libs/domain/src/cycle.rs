//! One run of the inactivity clock: its stages, and the alert that shows.

use jiff::Timestamp;

use crate::code::stable_codes;

/// One step of a cycle, ordered by rank: where two fall on one instant, the higher acts alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// The yellow alert.
    FirstAlert,
    /// The red alert.
    SecondAlert,
    /// The warning to the customer.
    Warning,
    /// The close.
    Close,
}

stable_codes!(Stage {
    FirstAlert = 1,
    SecondAlert = 2,
    Warning = 3,
    Close = 4
});

impl Stage {
    /// All stages by rank, the lowest first.
    pub const ALL: [Self; 4] = [
        Self::FirstAlert,
        Self::SecondAlert,
        Self::Warning,
        Self::Close,
    ];

    const fn bit(self) -> i16 {
        1 << (self.code() - 1)
    }
}

/// The sign that a ticket shows for a customer who is silent, ordered: none, yellow, red.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Alert {
    /// No alert shows.
    #[default]
    None,
    /// The first alert was reached.
    Yellow,
    /// The second alert was reached.
    Red,
}

stable_codes!(Alert {
    None = 0,
    Yellow = 1,
    Red = 2
});

/// A set of stages, stored as bits: 1 first alert, 2 second alert, 4 warning, 8 close.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct StageSet(i16);

impl StageSet {
    /// The set without any stage.
    pub const EMPTY: Self = Self(0);

    /// The bits to store, 0 to 15.
    pub const fn to_bits(self) -> i16 {
        self.0
    }

    /// The set with these bits; none when a bit is set that stands for no stage.
    pub const fn from_bits(bits: i16) -> Option<Self> {
        if bits & !0b1111 == 0 {
            Some(Self(bits))
        } else {
            None
        }
    }

    /// Whether the stage is in the set.
    pub const fn contains(self, stage: Stage) -> bool {
        self.0 & stage.bit() != 0
    }

    /// Adds a stage; one that is there already changes nothing.
    pub const fn insert(&mut self, stage: Stage) {
        self.0 |= stage.bit();
    }
}

impl FromIterator<Stage> for StageSet {
    fn from_iter<I: IntoIterator<Item = Stage>>(stages: I) -> Self {
        let mut set = Self::EMPTY;
        for stage in stages {
            set.insert(stage);
        }
        set
    }
}

/// What a cycle is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CycleKind {
    /// An agent wrote and the customer is silent: alerts, warning and close.
    CustomerSilent,
    /// No agent has written yet, or the last word is the customer's, and the policy closes such tickets
    /// too: warning and close, no alerts.
    CustomerWaits,
    /// The customer waits for an agent: the alerts of the agent's side.
    AgentSilent,
}

stable_codes!(CycleKind {
    CustomerSilent = 1,
    CustomerWaits = 2,
    AgentSilent = 3
});

/// One run of the inactivity clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cycle {
    /// Number of the cycle in its ticket, from 1. Both sides take from one count.
    pub number: i32,
    /// What it is about.
    pub kind: CycleKind,
    /// The instant that all stages count from.
    pub anchor_at: Timestamp,
    /// The version of the policy that everything about this cycle is decided by: the one that was in
    /// force when it started, or that was applied to open tickets since.
    pub policy_version: i64,
    /// The stages that are over: they took effect, or were passed over because a higher one acted.
    pub done: StageSet,
    /// A tag of the ticket keeps it from being warned and closed.
    pub is_excluded: bool,
    /// When notification accepted the warning of this cycle, if it has.
    pub warning_accepted_at: Option<Timestamp>,
    /// When the warning of this cycle was delivered, or failed, if that is known. Never without
    /// `warning_accepted_at`.
    pub warning_settled_at: Option<Timestamp>,
    /// When applied settings, or the removal of a tag that excluded it, last changed what is due, if nothing was
    /// overdue at that moment. What they made due in the past could not act before.
    pub changed_at: Option<Timestamp>,
    /// When the cycle must next be looked at; none when nothing of it is pending.
    pub due_at: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_survives_storing() {
        let set: StageSet = [Stage::Warning, Stage::FirstAlert].into_iter().collect();
        assert_eq!(set.to_bits(), 5);
        assert_eq!(StageSet::from_bits(5), Some(set));
        assert!(set.contains(Stage::FirstAlert) && set.contains(Stage::Warning));
        assert!(!set.contains(Stage::SecondAlert) && !set.contains(Stage::Close));
        assert_eq!(StageSet::from_bits(16), None);
        assert_eq!(StageSet::from_bits(-1), None);
    }

    #[test]
    fn codes_are_those_of_the_proto() {
        assert_eq!(Stage::ALL.map(Stage::code), [1, 2, 3, 4]);
        assert_eq!(
            [Alert::None, Alert::Yellow, Alert::Red].map(Alert::code),
            [0, 1, 2]
        );
        assert_eq!(Stage::from_code(0), None);
        assert_eq!(Stage::from_code(4), Some(Stage::Close));
        assert_eq!(Alert::from_code(3), None);
        let kinds = [1, 2, 3, 4].map(CycleKind::from_code);
        assert_eq!(
            kinds,
            [
                Some(CycleKind::CustomerSilent),
                Some(CycleKind::CustomerWaits),
                Some(CycleKind::AgentSilent),
                None
            ]
        );
    }

    #[test]
    fn stages_and_alerts_are_ordered() {
        assert!(Stage::ALL.is_sorted());
        assert!(Alert::None < Alert::Yellow && Alert::Yellow < Alert::Red);
    }
}
