//! How much is measured.

use std::time::Duration;

use crate::Options;

/// How much is measured, and how often.
#[derive(Debug, Clone, Copy)]
pub(super) struct Effort {
    /// Rounds in which all sides take turns.
    pub(super) rounds: usize,
    /// How long messages are accepted, for each figure in each round.
    pub(super) accepting: Duration,
    /// Messages that are due at once, for many accounts.
    pub(super) due: usize,
    /// The same for one account.
    pub(super) due_of_one: usize,
    /// How long messages come at a steady rate, with all endpoints well, and with some that hang.
    pub(super) steady: Duration,
    pub(super) hanging: Duration,
    /// Messages that wait, the due ones included, and those.
    pub(super) waiting: usize,
    pub(super) waiting_due: usize,
}

impl Effort {
    pub(super) fn of(options: &Options) -> Self {
        if options.quick {
            Self {
                rounds: 3,
                accepting: Duration::from_millis(700),
                due: 5_000,
                due_of_one: 1_000,
                steady: Duration::from_secs(3),
                hanging: Duration::from_secs(3),
                waiting: 100_000,
                waiting_due: 2_000,
            }
        } else {
            Self {
                rounds: 3,
                accepting: Duration::from_millis(2_500),
                due: 20_000,
                due_of_one: 5_000,
                steady: Duration::from_secs(10),
                // Longer than an endpoint may take to answer, so that the time-outs and what follows are in it.
                hanging: Duration::from_secs(17),
                waiting: 1_000_000,
                waiting_due: 10_000,
            }
        }
    }
}
