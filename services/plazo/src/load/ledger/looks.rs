//! Looks of the timer that brought nothing, and which of them it must answer for.

use tonic::Status;

/// So many are kept to be judged. What is beyond counts as wrong.
const KEPT_MAX: usize = 100_000;
/// A fault is felt a little before it is seen, and for a while after it.
const FAULT_MARGIN_US: i64 = 5_000_000;

/// What the timer asked beyond what it had to.
#[derive(Debug, Default)]
pub(in crate::load) struct Looks {
    /// Tickets that are not of this load.
    pub(in crate::load) foreign: u64,
    /// Generations that are over.
    pub(in crate::load) stale: u64,
    /// Tickets whose customer has answered.
    pub(in crate::load) ended: u64,
    /// Asked before the ticket was due, because it was postponed since.
    pub(in crate::load) postponed: u64,
    /// Asked before the instant that the timer was told, in microseconds: how much earlier.
    early_us: Kept<i64>,
    /// Asked again after it was handled: when it was handled first, and when it was asked again.
    again_us: Kept<(i64, i64)>,
}

/// Instants at which something was not as usual, in Unix microseconds.
#[derive(Debug, Default)]
pub(in crate::load) struct Faults {
    seen_us: Vec<i64>,
    /// The first call that failed, and how.
    pub(in crate::load) first_failure: Option<String>,
    /// Pages that the timer has read to rebuild its entries.
    pub(in crate::load) rebuild_pages: u64,
}

#[derive(Debug)]
struct Kept<T> {
    kept: Vec<T>,
    dropped: u64,
}

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self {
            kept: Vec::new(),
            dropped: 0,
        }
    }
}

impl<T> Kept<T> {
    fn push(&mut self, value: T) {
        if self.kept.len() < KEPT_MAX {
            self.kept.push(value);
        } else {
            self.dropped += 1;
        }
    }

    fn len(&self) -> u64 {
        self.kept.len() as u64 + self.dropped
    }
}

impl Faults {
    /// Something was not as usual. Instants come in their order, more or less.
    pub(in crate::load) fn add(&mut self, at_us: i64) {
        // A second look is within seconds of its fault; so one a second is enough.
        if self
            .seen_us
            .last()
            .is_none_or(|last| at_us - last > 500_000)
        {
            self.seen_us.push(at_us);
        }
    }

    /// A call has failed.
    pub(in crate::load) fn failed(&mut self, at_us: i64, call: &str, status: &Status) {
        self.add(at_us);
        if self.first_failure.is_none() {
            let failure = format!("{call}: {}: {}", status.code(), status.message());
            self.first_failure = Some(failure);
        }
    }

    fn explain(&self, from_us: i64, to_us: i64) -> bool {
        let range = from_us - FAULT_MARGIN_US..=to_us + FAULT_MARGIN_US;
        self.seen_us.iter().any(|at_us| range.contains(at_us))
    }
}

impl Looks {
    pub(super) fn early(&mut self, earlier_us: i64) {
        self.early_us.push(earlier_us);
    }

    pub(super) fn again(&mut self, first_us: i64, again_us: i64) {
        self.again_us.push((first_us, again_us));
    }

    /// Looks before the instant that the timer was told, by more than its clock may be ahead of ours; and all others
    /// before it.
    pub(in crate::load) fn judge_early(&self, clock_ahead_us: i64) -> (u64, u64) {
        let is_wrong = |earlier_us: &&i64| **earlier_us > clock_ahead_us;
        let wrong =
            self.early_us.kept.iter().filter(is_wrong).count() as u64 + self.early_us.dropped;
        (wrong, self.early_us.len() - wrong)
    }

    /// Second looks without a reason, and those with one: a fault at about that time, or a lease that had its time.
    pub(in crate::load) fn judge_again(&self, faults: &Faults, lease_us: i64) -> (u64, u64) {
        let is_wrong = |(first_us, again_us): &&(i64, i64)| {
            again_us - first_us < lease_us && !faults.explain(*first_us, *again_us)
        };
        let wrong =
            self.again_us.kept.iter().filter(is_wrong).count() as u64 + self.again_us.dropped;
        (wrong, self.again_us.len() - wrong)
    }
}
