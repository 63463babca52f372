//! The pause of the automation.

use jiff::Timestamp;

use crate::automation::{Automation, AutomationPause, PauseChange};
use crate::clock::Clock;

impl Clock {
    /// Pauses the automation at `now`, or extends a pause.
    pub fn pause_automation(&mut self, now: Timestamp, pause: AutomationPause) -> PauseChange {
        let before = self.state.automation;
        self.state.automation = before.paused(now, pause);
        self.set_next_due_at();
        PauseChange {
            before,
            after: self.state.automation,
        }
    }

    /// The close that ended the pause `ended` is superseded at `now`: what is left of that pause goes on, and the
    /// automation is paused anew as by [`Self::pause_automation`]. The longer of the two counts.
    pub fn restore_pause(
        &mut self,
        ended: Automation,
        now: Timestamp,
        pause: AutomationPause,
    ) -> PauseChange {
        let before = self.state.automation;
        if before == Automation::Running {
            self.state.automation = ended.left_at(now);
        }
        PauseChange {
            before,
            ..self.pause_automation(now, pause)
        }
    }

    /// Resumes the automation. Returns whether it was paused.
    pub fn resume_automation(&mut self) -> bool {
        let was_paused = self.state.automation != Automation::Running;
        self.state.automation = Automation::Running;
        self.set_next_due_at();
        was_paused
    }
}
