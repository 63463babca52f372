//! The pause of the automation, and what makes and keeps a ticket open.

use super::{InactivityClose, Model};
use crate::story::{Pause, TICKS_IN_SECOND, Ticks};
use crate::view::{Automation, Effect, State};

impl Model {
    /// Whatever makes or keeps a ticket open pauses the automation.
    pub(super) fn stand_open(&mut self, state: State, now: Ticks, effects: &mut Vec<Effect>) {
        self.is_open_as(state);
        let before = self.automation;
        self.automation = longer(before, paused(self.settings.automation_pause, now));
        // Where an instant alone moves, the event that moved it says enough.
        if !matches!(
            (before, self.automation),
            (Automation::Until(_), Automation::Until(_))
                | (Automation::UntilCompleted, Automation::UntilCompleted)
        ) {
            effects.push(self.automation_paused());
        }
    }

    fn is_open_as(&mut self, state: State) {
        self.state = state;
        self.is_unlinked = false;
        self.inactivity_close = None;
    }

    fn automation_paused(&self) -> Effect {
        Effect::AutomationPaused {
            until: match self.automation {
                Automation::Until(until) => Some(until),
                Automation::Running | Automation::UntilCompleted => None,
            },
        }
    }

    /// Somebody asks for a pause.
    pub(super) fn pause(&mut self, pause: Pause, now: Ticks, effects: &mut Vec<Effect>) {
        let before = self.automation;
        self.automation = longer(before, paused(pause, now));
        if self.automation != before {
            effects.push(self.automation_paused());
        }
    }

    /// A late reply supersedes a close.
    pub(super) fn close_never_was(
        &mut self,
        close: InactivityClose,
        now: Ticks,
        effects: &mut Vec<Effect>,
    ) {
        self.is_open_as(close.state_before);
        // The pause that the close ended goes on, unless it would be over by now.
        let going_on = match close.automation_before {
            Automation::Until(until) if until <= now => Automation::Running,
            lasting => lasting,
        };
        self.automation = longer(going_on, paused(self.settings.automation_pause, now));
        effects.push(self.automation_paused());
    }

    pub(super) fn resume_automation(&mut self, effects: &mut Vec<Effect>) {
        if self.automation != Automation::Running {
            self.automation = Automation::Running;
            effects.push(Effect::AutomationResumed);
        }
    }
}

fn paused(pause: Pause, now: Ticks) -> Automation {
    match pause {
        Pause::ForSeconds(seconds) => Automation::Until(now + seconds * TICKS_IN_SECOND),
        Pause::UntilCompleted => Automation::UntilCompleted,
    }
}

/// A pause is extended and never shortened.
fn longer(one: Automation, other: Automation) -> Automation {
    match (one, other) {
        (Automation::UntilCompleted, _) | (_, Automation::UntilCompleted) => {
            Automation::UntilCompleted
        }
        (Automation::Until(one), Automation::Until(other)) => Automation::Until(one.max(other)),
        (Automation::Running, longer) | (longer, Automation::Running) => longer,
    }
}
