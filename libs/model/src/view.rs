//! What a stranger can see of a ticket.

use crate::story::Ticks;

/// WAITING, OPEN or CLOSED.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Open, nobody assigned.
    Waiting,
    /// Open.
    Open,
    /// Closed.
    Closed,
}

/// An alert that shows, the higher the greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Alert {
    /// None.
    No,
    /// The first.
    Yellow,
    /// The second.
    Red,
}

/// What a cycle is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// An agent wrote, the customer is silent.
    CustomerSilent,
    /// The options of rule 7: a ticket without an agent's message, or whose last word is the customer's.
    CustomerWaits,
    /// The agent's side.
    AgentSilent,
}

/// A step of a cycle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Yellow.
    First,
    /// Red.
    Second,
    /// The warning to the customer.
    Warning,
    /// The close.
    Close,
}

/// Who closed a ticket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Closer {
    /// An agent completed it.
    Agent,
    /// It was unlinked while it was open.
    Unlinking,
    /// The customer's inactivity.
    Inactivity,
}

/// The bot's automation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Automation {
    /// The bot answers.
    Running,
    /// It is silent until this tick.
    Until(Ticks),
    /// It is silent until the ticket is completed.
    UntilCompleted,
}

/// A running cycle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cycle {
    /// Its number in the ticket.
    pub number: i32,
    /// What it is about.
    pub kind: Kind,
    /// What its stages count from.
    pub anchor: Ticks,
    /// The version of its policy.
    pub policy_version: i64,
}

/// Something that took effect. The order says nothing: effects of one moment are compared sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// A hold ended.
    HoldEnded {
        /// For one that reached its maximum length: when. None: something else ended it.
        expired: Option<Ticks>,
    },
    /// A cycle began.
    Started {
        /// Its number in the ticket.
        cycle: i32,
        /// What it is about.
        kind: Kind,
        /// What its stages count from.
        anchor: Ticks,
        /// The version of its policy.
        policy_version: i64,
    },
    /// A stage took effect.
    Fired {
        /// The number of its cycle.
        cycle: i32,
        /// What that is about.
        kind: Kind,
        /// The version of the policy that it goes by.
        policy_version: i64,
        /// The stage.
        stage: Stage,
        /// When it was due.
        due: Ticks,
        /// When it could first act: it is late from then on. After `due` only where settings or tags made it due later.
        could_act: Ticks,
        /// The alert that shows after it on the cycle's side.
        alert: Alert,
    },
    /// The alert about the customer that showed is gone.
    Cleared(Alert),
    /// The alert of the agent's side that showed is gone.
    AgentAlertCleared(Alert),
    /// The ticket was closed.
    Closed(Closer),
    /// The close before this is superseded by a late reply.
    Superseded,
    /// The automation was paused, or somebody extended its pause. Where a message or the like extends a pause that has
    /// an end, that is no effect of its own.
    AutomationPaused {
        /// Until when; none for until the ticket is completed.
        until: Option<Ticks>,
    },
    /// The automation resumed.
    AutomationResumed,
}

/// What can be read of a ticket at any time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// Where it stands.
    pub state: State,
    /// Closed and hidden.
    pub is_unlinked: bool,
    /// While it is on hold: since when, however often the hold was changed.
    pub hold_since: Option<Ticks>,
    /// While it is on hold: when that ends by itself.
    pub hold_until: Option<Ticks>,
    /// The alert about the customer.
    pub alert: Alert,
    /// The alert of the agent's side.
    pub agent_alert: Alert,
    /// The running cycle about the customer.
    pub cycle: Option<Cycle>,
    /// The running cycle of the agent's side.
    pub agent_cycle: Option<Cycle>,
    /// The bot's automation.
    pub automation: Automation,
}
