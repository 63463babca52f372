//! Waits that double.

use std::time::Duration;

/// Waits that double from the first to the longest, each between half and the whole of its length, so that
/// those who failed together don't come back together.
#[derive(Debug)]
pub(crate) struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    /// Starts with `first_ms`, ends with `longest_ms`.
    pub(crate) fn new(first_ms: u64, longest_ms: u64) -> Self {
        let first = Duration::from_millis(first_ms);
        Self {
            first,
            longest: Duration::from_millis(longest_ms).max(first),
            next: first,
        }
    }

    /// The next wait.
    pub(crate) fn next(&mut self) -> Duration {
        let wait = self.next;
        self.next = (wait * 2).min(self.longest);
        wait.mul_f64(rand::random_range(0.5..=1.0))
    }

    /// After a success.
    pub(crate) fn reset(&mut self) {
        self.next = self.first;
    }
}
