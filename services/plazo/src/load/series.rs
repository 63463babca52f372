//! What happened over time, in intervals of the same length.

use super::lateness::{LatenessUs, new_histogram, record};

/// Counts and lateness, interval by interval.
#[derive(Debug)]
pub(super) struct Series {
    interval_ms: u32,
    current: usize,
    histogram: LatenessUs,
    /// Intervals that are over, with the lateness of what was handled in them; until somebody takes them.
    finished: Vec<(usize, LatenessUs)>,
    armed: Vec<u32>,
    due: Vec<i32>,
}

impl Series {
    /// Nothing has happened yet. Intervals are above zero.
    pub(super) fn new(interval_ms: u32) -> Self {
        Self {
            interval_ms,
            current: 0,
            histogram: new_histogram(),
            finished: Vec::new(),
            armed: Vec::new(),
            due: Vec::new(),
        }
    }

    /// The length of an interval.
    pub(super) const fn interval_ms(&self) -> u32 {
        self.interval_ms
    }

    /// A ticket was handled.
    pub(super) fn handled(&mut self, at_ms: u32, late_us: i64) {
        self.advance(at_ms);
        record(&mut self.histogram, late_us);
    }

    /// Ends the intervals that are over by now.
    pub(super) fn advance(&mut self, now_ms: u32) {
        let index = self.index(now_ms);
        if index > self.current {
            if !self.histogram.is_empty() {
                let full = std::mem::replace(&mut self.histogram, new_histogram());
                self.finished.push((self.current, full));
            }
            self.current = index;
        }
    }

    /// An arm was sent.
    pub(super) fn armed(&mut self, at_ms: u32) {
        let index = self.index(at_ms);
        *slot(&mut self.armed, index) += 1;
    }

    /// A ticket will be due.
    pub(super) fn will_be_due(&mut self, due_ms: u32) {
        let index = self.index(due_ms);
        *slot(&mut self.due, index) += 1;
    }

    /// A ticket that was to be due will not be due then.
    pub(super) fn will_not_be_due(&mut self, due_ms: u32) {
        let index = self.index(due_ms);
        *slot(&mut self.due, index) -= 1;
    }

    /// The intervals that ended since the last call.
    pub(super) fn take_finished(&mut self) -> Vec<(usize, LatenessUs)> {
        std::mem::take(&mut self.finished)
    }

    /// How many were armed in each interval.
    pub(super) fn armed_counts(&self) -> &[u32] {
        &self.armed
    }

    /// How many were due in each interval.
    pub(super) fn due_counts(&self) -> &[i32] {
        &self.due
    }

    const fn index(&self, at_ms: u32) -> usize {
        (at_ms / self.interval_ms) as usize
    }
}

fn slot<T: Copy + Default>(counts: &mut Vec<T>, index: usize) -> &mut T {
    if index >= counts.len() {
        counts.resize(index + 1, T::default());
    }
    &mut counts[index]
}
