//! How many entries may be with the handler at a time: as many as it bears.
//!
//! The window is judged each time that as many entries were answered as it holds. It grows when the calls took no
//! longer than their target. It shrinks when they took longer, for as long as that helps: a handler that is slow but not
//! busy answers no sooner when it is asked less. It is halved when a call fails for want of room or time. Smaller windows
//! make for fewer calls first, and for smaller batches then.
//!
//! The target also bounds how long those without a backlog wait behind those with one, in a handler that takes calls in
//! turn. So it is short.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::metrics::gauge::Gauge;
use tokio::time::Instant;

/// A window is made for at least so many calls, so that a batch that hangs doesn't keep the others out.
const CALLS_MIN: usize = 4;
/// The window grows by this part of itself, and by a batch at most.
const GROWTH: usize = 8;
/// The part of the window that is kept for shards without a backlog, so that they needn't wait for those that have one.
const RESERVE: usize = 8;
/// Slow calls shrink the window to at least this part, and at most that.
const SHRINK: std::ops::RangeInclusive<f64> = 0.5..=0.9;

/// The bounds of the window.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Most entries in a call.
    pub(crate) batch_max: usize,
    /// Most calls at a time.
    pub(crate) calls_max: usize,
    /// How long a call may take before it counts as slow.
    pub(crate) target: Duration,
}

impl Limits {
    fn largest(self) -> usize {
        self.batch_max * self.calls_max
    }

    /// A full batch's worth, in several smaller ones.
    fn smallest(self) -> usize {
        self.batch_max.min(self.largest())
    }
}

/// What may be claimed now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Room {
    /// Most entries in a call.
    pub(crate) batch: usize,
    /// Entries in all.
    pub(crate) free: usize,
    /// Entries from shards with a backlog.
    pub(crate) free_for_backlogs: usize,
}

#[derive(Debug)]
struct State {
    /// Entries that may be with the handler at a time.
    window: f64,
    in_flight: usize,
    /// The calls that these entries are in.
    calls: usize,
    /// Entries that claims under way may bring, and the calls that they would make.
    claimed: usize,
    claimed_calls: usize,
    /// Calls that began earlier say nothing of the present window.
    shrunk_at: Option<Instant>,
    /// The time that calls must take at most if shrinking the window has helped; none while they aren't slow.
    better_than: Option<Duration>,
    round: Round,
}

/// The answers since the window was last judged.
#[derive(Debug, Default)]
struct Round {
    calls: u32,
    entries: usize,
    took: Duration,
    /// Whether the window was made use of. Otherwise it says nothing of what the handler bears.
    was_busy: bool,
}

/// Sets the window by what becomes of the calls.
#[derive(Debug)]
pub(crate) struct Limiter {
    limits: Limits,
    state: Mutex<State>,
    gauge: Gauge,
}

impl Limiter {
    /// Begins with half of the largest window. The gauge shows the present one.
    pub(crate) fn new(limits: Limits, gauge: Gauge) -> Self {
        let window = (limits.largest() / 2).max(limits.smallest());
        let limiter = Self {
            limits,
            state: Mutex::new(State {
                window: as_float(window),
                in_flight: 0,
                calls: 0,
                claimed: 0,
                claimed_calls: 0,
                shrunk_at: None,
                better_than: None,
                round: Round::default(),
            }),
            gauge,
        };
        limiter.set(&mut limiter.lock(), as_float(window));
        limiter
    }

    pub(crate) fn room(&self) -> Room {
        let state = self.lock();
        let window = whole(state.window);
        let limits = self.limits;
        let calls = CALLS_MIN.min(limits.calls_max);
        let batch = (window / calls).clamp(1, limits.batch_max);
        let reserve = (window / RESERVE).min(window - batch);
        // Calls are bounded too: while a handler has no room for those that it was sent, however small, nothing is claimed.
        let calls_max = (window / limits.batch_max).clamp(calls, limits.calls_max);
        let reserved_call = usize::from(calls_max > 1);
        let free_beside = |entries: usize, calls: usize| {
            if state.calls + state.claimed_calls < calls {
                entries.saturating_sub(state.in_flight + state.claimed)
            } else {
                0
            }
        };
        Room {
            batch,
            free: free_beside(window, calls_max),
            free_for_backlogs: free_beside(window - reserve, calls_max - reserved_call),
        }
    }

    /// A claim for so many entries at most is under way.
    pub(crate) fn begin_claim(&self, entries: usize) {
        let mut state = self.lock();
        state.claimed += entries;
        state.claimed_calls += entries.div_ceil(self.limits.batch_max);
    }

    /// The claim has ended.
    pub(crate) fn end_claim(&self, entries: usize) {
        let mut state = self.lock();
        let calls = entries.div_ceil(self.limits.batch_max);
        state.claimed = state.claimed.saturating_sub(entries);
        state.claimed_calls = state.claimed_calls.saturating_sub(calls);
    }

    /// So many entries were claimed for a call.
    pub(crate) fn begin(&self, entries: usize) {
        let mut state = self.lock();
        state.in_flight += entries;
        state.calls += 1;
    }

    /// The entries of a call are done with, or given back.
    pub(crate) fn end(&self, entries: usize) {
        let mut state = self.lock();
        state.in_flight = state.in_flight.saturating_sub(entries);
        state.calls = state.calls.saturating_sub(1);
    }

    /// The handler answered for so many entries.
    pub(crate) fn answered(&self, entries: usize, sent_at: Instant, answered_at: Instant) {
        let mut state = self.lock();
        if !state.is_news(sent_at) {
            return;
        }
        let window = whole(state.window);
        let is_busy = 2 * state.in_flight >= window;
        let round = &mut state.round;
        round.calls += 1;
        round.entries += entries;
        round.took += answered_at.saturating_duration_since(sent_at);
        round.was_busy |= is_busy;
        if round.entries >= window {
            let round = std::mem::take(round);
            self.judge(&mut state, &round, answered_at);
        }
    }

    fn judge(&self, state: &mut State, round: &Round, now: Instant) {
        let target = self.limits.target;
        let mean = round.took / round.calls.max(1);
        if mean <= target {
            state.better_than = None;
            if round.was_busy {
                let step = (whole(state.window) / GROWTH).clamp(1, self.limits.batch_max);
                let window = state.window + as_float(step);
                self.set(state, window);
            }
        } else if state.better_than.is_none_or(|time| mean <= time) {
            let part = target
                .div_duration_f64(mean)
                .clamp(*SHRINK.start(), *SHRINK.end());
            state.better_than = Some(mean.mul_f64(f64::midpoint(1.0, part)));
            self.shrink(state, part, now);
        }
    }

    /// The handler had no room, gave no answer in time, or could not be reached.
    pub(crate) fn failed(&self, sent_at: Instant, failed_at: Instant) {
        let mut state = self.lock();
        if state.is_news(sent_at) {
            self.shrink(&mut state, *SHRINK.start(), failed_at);
        }
    }

    fn shrink(&self, state: &mut State, part: f64, now: Instant) {
        state.shrunk_at = Some(now);
        state.round = Round::default();
        let window = state.window * part;
        self.set(state, window);
    }

    fn set(&self, state: &mut State, window: f64) {
        let (smallest, largest) = (self.limits.smallest(), self.limits.largest());
        state.window = window.clamp(as_float(smallest), as_float(largest));
        self.gauge.set(crate::store::count(whole(state.window)));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether a call has seen the present window. Those that were out together when it shrank count once.
    fn is_news(&self, sent_at: Instant) -> bool {
        self.shrunk_at.is_none_or(|shrunk_at| sent_at >= shrunk_at)
    }
}

#[expect(clippy::cast_precision_loss, reason = "windows are small")]
fn as_float(entries: usize) -> f64 {
    entries as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "windows are small and above zero"
)]
fn whole(window: f64) -> usize {
    window as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: Duration = Duration::from_millis(200);

    fn limiter(batch_max: usize, calls_max: usize) -> Limiter {
        let limits = Limits {
            batch_max,
            calls_max,
            target: TARGET,
        };
        Limiter::new(limits, Gauge::default())
    }

    /// Fills the window with calls and lets the handler answer them one after the other: so much for each entry, after a
    /// wait that doesn't depend on them. Returns how long the last call took, and the entries a second.
    fn drain(limiter: &Limiter, rounds: usize, each: Duration, wait: Duration) -> (Duration, f64) {
        let mut now = limiter.lock().shrunk_at.unwrap_or_else(Instant::now);
        let mut last = (Duration::ZERO, 0.0);
        for _ in 0..rounds {
            let mut calls = Vec::new();
            while let room = limiter.room()
                && room.free >= room.batch
            {
                limiter.begin(room.batch);
                calls.push(room.batch);
            }
            let sent_at = now;
            now += wait;
            let total: usize = calls.iter().sum();
            for entries in calls {
                now += each.mul_f64(as_float(entries));
                limiter.answered(entries, sent_at, now);
                limiter.end(entries);
            }
            let took = now - sent_at;
            last = (took, as_float(total) / took.as_secs_f64());
        }
        last
    }

    #[test]
    fn a_quick_handler_gets_all_it_can_take() {
        let limiter = limiter(256, 16);
        drain(&limiter, 30, Duration::from_micros(5), Duration::ZERO);
        let room = limiter.room();
        assert_eq!((room.batch, room.free), (256, 16 * 256));
        assert_eq!(room.free_for_backlogs, 14 * 256);
    }

    #[test]
    fn a_busy_handler_is_asked_no_more_than_it_answers_in_time() {
        let limiter = limiter(256, 16);
        let each = Duration::from_micros(400);
        let (took, per_s) = drain(&limiter, 100, each, Duration::ZERO);
        // The last of them waits for all the others, and takes twice as long as they do on average.
        assert!((TARGET..TARGET * 5 / 2).contains(&took), "{took:?}");
        assert!(per_s > 2_490.0, "it is kept busy: {per_s}");
        assert!(limiter.room().free < 1_300, "{:?}", limiter.room());
        // When it becomes quicker, it is asked for more again.
        drain(&limiter, 100, each / 100, Duration::ZERO);
        assert_eq!(limiter.room().free, 16 * 256);
    }

    #[test]
    fn a_handler_that_is_slow_but_not_busy_is_not_starved() {
        let limiter = limiter(256, 16);
        let wait = Duration::from_secs(5);
        drain(&limiter, 50, Duration::from_nanos(1), wait);
        let room = limiter.room();
        assert!((512..=2_048).contains(&room.free), "{room:?}");
    }

    #[test]
    fn failures_halve_the_window_once_for_the_calls_that_were_out_together() {
        let limiter = limiter(256, 16);
        let sent_at = Instant::now();
        let later = sent_at + TARGET;
        for _ in 0..8 {
            limiter.failed(sent_at, later);
        }
        assert_eq!(limiter.room().free, 1_024);
        assert_eq!(limiter.room().batch, 256);
        for n in 1..20 {
            limiter.failed(later + TARGET * n, later + TARGET * n);
        }
        let room = limiter.room();
        assert_eq!(
            (room.batch, room.free, room.free_for_backlogs),
            (64, 256, 224)
        );
    }

    #[test]
    fn small_calls_that_hang_leave_no_room_either() {
        let limiter = limiter(256, 16);
        for _ in 0..7 {
            limiter.begin(1);
        }
        let room = limiter.room();
        assert_eq!((room.free, room.free_for_backlogs), (2_041, 0));
        limiter.begin(1);
        assert_eq!(limiter.room().free, 0);
        limiter.end(1);
        assert_eq!(limiter.room().free, 2_041);
    }

    #[test]
    fn the_smallest_window_is_one_entry() {
        let limiter = limiter(1, 1);
        limiter.failed(Instant::now(), Instant::now());
        let room = limiter.room();
        assert_eq!((room.batch, room.free, room.free_for_backlogs), (1, 1, 1));
        limiter.begin(1);
        assert_eq!(
            (limiter.room().free, limiter.room().free_for_backlogs),
            (0, 0)
        );
    }
}
