//! Whether the bot is silent because people are in charge.

use jiff::Timestamp;

use crate::instant::plus_millis;
use crate::time_value::TimeValue;

/// For how long the automation pauses when people take over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AutomationPause {
    /// For so long after the last thing that pauses it.
    For(TimeValue),
    /// Until the ticket is completed.
    UntilCompleted,
}

/// The bot's automation in one ticket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Automation {
    /// The bot answers.
    #[default]
    Running,
    /// The bot is silent until this instant, in whole milliseconds.
    PausedUntil(Timestamp),
    /// The bot is silent until the ticket is completed.
    PausedUntilCompleted,
}

/// What pausing did to the automation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PauseChange {
    /// As it was.
    pub before: Automation,
    /// As it is.
    pub after: Automation,
}

impl PauseChange {
    /// Whether anything changed: a pause began, or lasts longer than before.
    pub fn is_any(self) -> bool {
        self.before != self.after
    }

    /// Whether more changed than an instant: a pause began, or one with an end lasts until the ticket is completed
    /// now. At most twice in a pause, however often it is extended.
    pub fn is_of_kind(self) -> bool {
        self.before.code() != self.after.code()
    }
}

impl Automation {
    /// The stable number of the kind, the same as in `proto/`.
    pub const fn code(self) -> i16 {
        match self {
            Self::Running => 1,
            Self::PausedUntil(_) => 2,
            Self::PausedUntilCompleted => 3,
        }
    }

    /// When it resumes by itself, if it does.
    pub const fn resumes_at(self) -> Option<Timestamp> {
        match self {
            Self::PausedUntil(at) => Some(at),
            Self::Running | Self::PausedUntilCompleted => None,
        }
    }

    /// As it was stored: [`Automation::code`] and [`Automation::resumes_at`]. None when they don't go together.
    pub const fn from_parts(code: i16, resumes_at: Option<Timestamp>) -> Option<Self> {
        match (code, resumes_at) {
            (1, None) => Some(Self::Running),
            (2, Some(at)) => Some(Self::PausedUntil(at)),
            (3, None) => Some(Self::PausedUntilCompleted),
            _ => None,
        }
    }

    /// What is left of it at `now`: a pause whose end has come is over.
    #[must_use]
    pub(crate) fn left_at(self, now: Timestamp) -> Self {
        if self.resumes_at().is_some_and(|at| at <= now) {
            Self::Running
        } else {
            self
        }
    }

    /// Paused at `now`: extends a pause and never shortens one.
    #[must_use]
    pub(crate) fn paused(self, now: Timestamp, pause: AutomationPause) -> Self {
        match (self, pause) {
            (Self::PausedUntilCompleted, _) | (_, AutomationPause::UntilCompleted) => {
                Self::PausedUntilCompleted
            }
            (_, AutomationPause::For(length)) => {
                let until = plus_millis(now, length.as_millis());
                Self::PausedUntil(self.resumes_at().map_or(until, |before| before.max(until)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time_value::TimeUnit;

    #[test]
    fn a_pause_is_extended_and_never_shortened() {
        let at = |second| Timestamp::from_second(second).expect("in range");
        let pause = |minutes| {
            AutomationPause::For(TimeValue::new(minutes, TimeUnit::Minute).expect("valid"))
        };
        let hour = Automation::Running.paused(at(0), pause(60));
        assert_eq!(hour, Automation::PausedUntil(at(3_600)));
        assert_eq!(hour.paused(at(60), pause(1)), hour);
        assert_eq!(
            hour.paused(at(60), pause(60)),
            Automation::PausedUntil(at(3_660))
        );
        let completed = hour.paused(at(60), AutomationPause::UntilCompleted);
        assert_eq!(completed, Automation::PausedUntilCompleted);
        assert_eq!(completed.paused(at(60), pause(60)), completed);
    }

    #[test]
    fn it_survives_storing() {
        let at = Timestamp::from_second(7).expect("in range");
        for automation in [
            Automation::Running,
            Automation::PausedUntil(at),
            Automation::PausedUntilCompleted,
        ] {
            let (code, resumes_at) = (automation.code(), automation.resumes_at());
            assert_eq!(Automation::from_parts(code, resumes_at), Some(automation));
        }
        assert_eq!(Automation::from_parts(1, Some(at)), None);
        assert_eq!(Automation::from_parts(2, None), None);
        assert_eq!(Automation::from_parts(0, None), None);
    }
}
