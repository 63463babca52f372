//! How long small batches wait for more work.

use std::time::Duration;

use tokio::time::Instant;

/// The rate of what falls due is counted over so long.
const WINDOW: Duration = Duration::from_millis(100);
/// So many ms of waiting for each entry that falls due in a ms. A round of claims costs about the same whatever it brings,
/// so the more falls due, the more a wait saves.
const MS_FOR_EACH_PER_MS: f64 = 2.0;

/// Says when the next small batch may be claimed: after the shortest wait where little falls due, and up to the longest
/// where much does.
#[derive(Debug)]
pub(super) struct Linger {
    shortest: Duration,
    longest: Duration,
    until: Option<Instant>,
    window_began: Instant,
    window_entries: usize,
    entries_per_ms: f64,
}

impl Linger {
    pub(super) fn new(shortest: Duration, longest: Duration) -> Self {
        Self {
            shortest,
            longest,
            until: None,
            window_began: Instant::now(),
            window_entries: 0,
            entries_per_ms: 0.0,
        }
    }

    /// A claim is sent. More may fall due while it is under way.
    pub(super) fn begin(&mut self, now: Instant) {
        self.count_window(now);
        self.until = Some(now + self.length());
    }

    /// A claim has brought so many entries.
    pub(super) fn claimed(&mut self, entries: usize) {
        self.window_entries += entries;
    }

    /// The next claim need not wait.
    pub(super) fn end(&mut self) {
        self.until = None;
    }

    /// What is left of the wait; zero if there is none.
    pub(super) fn left(&self, now: Instant) -> Duration {
        self.until
            .map_or(Duration::ZERO, |until| until.saturating_duration_since(now))
    }

    fn count_window(&mut self, now: Instant) {
        let lasted = now.saturating_duration_since(self.window_began);
        if lasted >= WINDOW {
            let entries = u32::try_from(self.window_entries).unwrap_or(u32::MAX);
            self.entries_per_ms = f64::from(entries) / (lasted.as_secs_f64() * 1_000.0);
            self.window_began = now;
            self.window_entries = 0;
        }
    }

    fn length(&self) -> Duration {
        let wanted_s = self.entries_per_ms * MS_FOR_EACH_PER_MS / 1_000.0;
        let wanted = Duration::try_from_secs_f64(wanted_s).unwrap_or(self.longest);
        wanted.clamp(self.shortest, self.longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn five_to_ten_ms() -> Linger {
        Linger::new(Duration::from_millis(5), Duration::from_millis(10))
    }

    /// The wait, in ms, after a second in which this many entries were claimed.
    fn ms_at(entries_per_s: usize) -> u128 {
        let mut linger = five_to_ten_ms();
        let mut now = linger.window_began;
        for _ in 0..100 {
            linger.claimed(entries_per_s / 100);
            now += Duration::from_millis(10);
            linger.begin(now);
        }
        linger.left(now).as_millis()
    }

    #[test]
    fn the_wait_grows_with_the_rate_and_has_bounds() {
        let waits = [0, 1_000, 4_000, 5_000, 1_000_000].map(ms_at);
        assert_eq!(waits, [5, 5, 8, 10, 10]);
    }

    #[test]
    fn it_falls_when_little_falls_due_again() {
        let mut linger = five_to_ten_ms();
        let first = linger.window_began + WINDOW;
        linger.claimed(100_000);
        linger.begin(first);
        assert_eq!(linger.left(first), Duration::from_millis(10));
        linger.end();
        assert_eq!(linger.left(first), Duration::ZERO);
        linger.begin(first + WINDOW);
        assert_eq!(linger.left(first + WINDOW), Duration::from_millis(5));
    }
}
