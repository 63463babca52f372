//! The conversations of the demo and what must follow, word for word from the table of examples in the product's
//! description. Nothing here is computed by the rules that the demo checks.
//!
//! All instants are seconds from the ticket's opening, before the demo divides them by its speed.

mod list;

use std::fmt;

pub use list::SCENARIOS;

/// Seconds after the anchor at which the stages of every conversation are due.
pub const FIRST_ALERT_S: u32 = 10;
/// See [`FIRST_ALERT_S`].
pub const SECOND_ALERT_S: u32 = 20;
/// See [`FIRST_ALERT_S`].
pub const WARNING_S: u32 = 25;
/// See [`FIRST_ALERT_S`].
pub const CLOSE_S: u32 = 30;

/// One conversation: who takes part, what is written when, and what must follow.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    /// What `--only` takes: lower-case words and dashes.
    pub name: &'static str,
    /// The example as the product's description writes it.
    pub example: &'static str,
    /// Whether the first unanswered message counts, instead of the last.
    pub counts_from_first_message: bool,
    /// The agent's name.
    pub agent: &'static str,
    /// The customer's name.
    pub customer: &'static str,
    /// The customer's phone number, made up.
    pub phone: &'static str,
    /// The queue's name.
    pub queue: &'static str,
    /// The text of the warning, with placeholders.
    pub warning: &'static str,
    /// The highest speed at which it is still the same conversation.
    pub max_speed: u32,
    /// What is done, by time.
    pub steps: &'static [Step],
    /// What must follow, by time, and nothing else.
    pub expected: &'static [Expected],
    /// Whether the ticket is closed at the end; otherwise it is open and shows no alert.
    pub ends_closed: bool,
}

/// Something that is done in a conversation.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    /// Seconds from the opening.
    pub at_s: u32,
    /// What is done, and by whom.
    pub act: Act,
    /// What is written; the reason of a hold; the tag.
    pub text: &'static str,
}

/// What is done in a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// The agent writes to the customer.
    Agent,
    /// The customer writes.
    Customer,
    /// The system writes to the customer.
    System,
    /// The agent writes a note for other agents.
    Note,
    /// The agent puts the ticket on hold.
    Hold,
    /// The agent ends the hold.
    Resume,
    /// The agent transfers the ticket to its queue.
    Transfer,
    /// The agent adds the tag that keeps a ticket from being warned and closed.
    AddTag,
    /// The agent removes it.
    RemoveTag,
    /// An administrator doubles all times of the policy, for new cycles.
    DoubleSettings,
    /// The same, for open tickets too.
    ApplyDoubledSettings,
}

/// Something that must follow.
#[derive(Debug, Clone, Copy)]
pub struct Expected {
    /// Seconds from the opening.
    pub at_s: u32,
    /// The step that it counts from: seconds of that step from the opening.
    pub counts_from_s: u32,
    /// The step that began its cycle.
    pub cycle_from_s: u32,
    /// What ticketing says about when it was due, counted from the step that began the cycle. None where something else
    /// than a step decides.
    pub deadline_s: Option<u32>,
    /// What.
    pub effect: Effect,
    /// The alert that shows from then on.
    pub alert: Alert,
}

/// What the demo looks out for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Effect {
    /// The first alert.
    FirstAlert,
    /// The second alert.
    SecondAlert,
    /// The warning.
    Warning,
    /// The close.
    Close,
    /// The alert is removed: the customer wrote, or the ticket was put on hold or transferred.
    Cleared,
}

/// The alert that a ticket shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alert {
    /// None.
    None,
    /// Yellow.
    Yellow,
    /// Red.
    Red,
}

impl Effect {
    /// The word of the table of examples.
    pub const fn word(self) -> &'static str {
        match self {
            Self::FirstAlert => "yellow",
            Self::SecondAlert => "red",
            Self::Warning => "warning",
            Self::Close => "closed",
            Self::Cleared => "cleared",
        }
    }
}

/// The word of the table of examples.
impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

impl fmt::Display for Alert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::None => "none",
            Self::Yellow => "yellow",
            Self::Red => "red",
        })
    }
}

impl Scenario {
    /// How fast it is played in a demo of this speed.
    pub fn speed(&self, of_demo: u32) -> u32 {
        of_demo.min(self.max_speed)
    }

    /// The last instant that matters: what was armed by any step would have fired by then. Seconds from the opening.
    pub fn last_s(&self) -> u32 {
        let arms = |step: &&Step| {
            !matches!(
                step.act,
                Act::AddTag | Act::RemoveTag | Act::DoubleSettings | Act::ApplyDoubledSettings
            )
        };
        let arming = self.steps.iter().filter(arms);
        let last_step_s = arming.map(|step| step.at_s).max().unwrap_or(0);
        let last_effect_s = self
            .expected
            .iter()
            .map(|effect| effect.at_s)
            .max()
            .unwrap_or(0);
        last_effect_s.max(last_step_s + CLOSE_S)
    }
}

/// The tag that keeps a ticket from being warned and closed.
pub const EXCLUDED_TAG: &str = "aguardando-peça";

const PORTUGUESE: &str = "{{contact_name}}, ainda está aí? Encerro em {{time_left}}.";
const SPANISH: &str = "{{contact_name}}, ¿sigue ahí? Cierro en {{time_left}}.";

const fn agent(at_s: u32, text: &'static str) -> Step {
    Step {
        at_s,
        act: Act::Agent,
        text,
    }
}

const fn customer(at_s: u32, text: &'static str) -> Step {
    Step {
        at_s,
        act: Act::Customer,
        text,
    }
}

const fn done(at_s: u32, act: Act, text: &'static str) -> Step {
    Step { at_s, act, text }
}

const fn yellow(at_s: u32, counts_from_s: u32) -> Expected {
    Expected {
        at_s,
        counts_from_s,
        cycle_from_s: counts_from_s,
        deadline_s: Some(at_s),
        effect: Effect::FirstAlert,
        alert: Alert::Yellow,
    }
}

/// A first alert in a cycle that began while red showed: red stays.
const fn yellow_under_red(at_s: u32, counts_from_s: u32) -> Expected {
    Expected {
        at_s,
        counts_from_s,
        cycle_from_s: counts_from_s,
        deadline_s: Some(at_s),
        effect: Effect::FirstAlert,
        alert: Alert::Red,
    }
}

const fn red(at_s: u32, counts_from_s: u32) -> Expected {
    Expected {
        at_s,
        counts_from_s,
        cycle_from_s: counts_from_s,
        deadline_s: Some(at_s),
        effect: Effect::SecondAlert,
        alert: Alert::Red,
    }
}

const fn warning(at_s: u32, counts_from_s: u32) -> Expected {
    Expected {
        at_s,
        counts_from_s,
        cycle_from_s: counts_from_s,
        deadline_s: Some(at_s),
        effect: Effect::Warning,
        alert: Alert::Red,
    }
}

const fn closed(at_s: u32, counts_from_s: u32) -> Expected {
    Expected {
        at_s,
        counts_from_s,
        cycle_from_s: counts_from_s,
        deadline_s: Some(at_s),
        effect: Effect::Close,
        alert: Alert::None,
    }
}

const fn cleared(at_s: u32) -> Expected {
    Expected {
        at_s,
        counts_from_s: at_s,
        cycle_from_s: at_s,
        deadline_s: None,
        effect: Effect::Cleared,
        alert: Alert::None,
    }
}

/// A warning that goes out late, at a step that allows it; it was due before, in the cycle of the first message.
const fn warning_once_allowed(at_s: u32, deadline_s: u32) -> Expected {
    Expected {
        at_s,
        counts_from_s: at_s,
        cycle_from_s: 0,
        deadline_s: Some(deadline_s),
        effect: Effect::Warning,
        alert: Alert::Red,
    }
}

/// A close that counts from its late warning, which goes out at a step; in the cycle of the first message.
const fn closed_after_warning(at_s: u32, warned_s: u32) -> Expected {
    Expected {
        at_s,
        counts_from_s: warned_s,
        cycle_from_s: 0,
        deadline_s: None,
        effect: Effect::Close,
        alert: Alert::None,
    }
}
