//! When a message is tried again.

use std::time::Duration;

use crate::config::SenderConfig;

/// The schedule of attempts.
#[derive(Debug, Clone)]
pub(super) struct Schedule {
    delays: Vec<Duration>,
    jitter: f64,
}

impl Schedule {
    pub(super) fn new(config: &SenderConfig) -> Self {
        let delays = config
            .retry_delays_ms
            .iter()
            .copied()
            .map(Duration::from_millis)
            .collect();
        Self {
            delays,
            jitter: config.retry_jitter,
        }
    }

    /// The wait after an attempt, by its number from 1; none after the last one. Never shorter than the schedule
    /// says, so that jitter brings nobody to the limits of a provider, nor than `at_least`.
    pub(super) fn wait_after(&self, attempt: i32, at_least: Duration) -> Option<Duration> {
        let index = usize::try_from(attempt).ok()?.checked_sub(1)?;
        let delay = self.delays.get(index)?;
        let stretch = 1.0 + self.jitter * rand::random::<f64>();
        Some(delay.mul_f64(stretch).max(at_least))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_follow_the_schedule_and_end() {
        let schedule = Schedule {
            delays: [5, 300].map(Duration::from_secs).to_vec(),
            jitter: 0.2,
        };
        for _ in 0..200 {
            let first = schedule
                .wait_after(1, Duration::ZERO)
                .expect("a second attempt")
                .as_secs_f64();
            assert!((5.0..=6.0).contains(&first), "{first}");
        }
        let asked = schedule.wait_after(1, Duration::from_secs(40));
        assert_eq!(asked, Some(Duration::from_secs(40)), "as the endpoint asks");
        let own = schedule
            .wait_after(2, Duration::from_secs(40))
            .expect("a third attempt");
        assert!(own >= Duration::from_mins(5), "{own:?}");
        assert_eq!(schedule.wait_after(3, Duration::ZERO), None);
        assert_eq!(schedule.wait_after(0, Duration::ZERO), None);
    }
}
