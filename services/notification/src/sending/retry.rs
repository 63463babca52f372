//! When a message is tried again.

use std::time::Duration;

use crate::config::{ProvidersConfig, SenderConfig};

/// The schedule of attempts.
#[derive(Debug, Clone)]
pub(crate) struct Schedule {
    delays: Vec<Duration>,
    jitter: f64,
    /// When the last delay repeats: how long after its beginning a message is given up.
    horizon: Option<Duration>,
}

impl Schedule {
    /// The schedule of Standard Webhooks: as many attempts as there are delays, and one.
    pub(crate) fn of_webhooks(config: &SenderConfig) -> Self {
        Self {
            delays: durations(&config.retry_delays_ms),
            jitter: config.retry_jitter,
            horizon: None,
        }
    }

    /// The schedule of all other channels: the last delay repeats until a message is given up.
    pub(crate) fn of_providers(config: &ProvidersConfig) -> Self {
        Self {
            delays: durations(&config.retry_delays_ms),
            jitter: config.retry_jitter,
            horizon: Some(Duration::from_secs(config.give_up_after_s)),
        }
    }

    /// Whether a message of this age is not even tried.
    pub(crate) fn is_over(&self, age: Duration) -> bool {
        self.horizon.is_some_and(|horizon| age >= horizon)
    }

    /// The wait after an attempt, by its number from 1, of a message of an age; none when it is given up. Never
    /// shorter than the schedule says, so that jitter brings nobody to the limits of a provider, nor than `at_least`.
    pub(crate) fn wait_after(
        &self,
        attempt: i32,
        age: Duration,
        at_least: Duration,
    ) -> Option<Duration> {
        let index = usize::try_from(attempt).ok()?.checked_sub(1)?;
        let index = match self.horizon {
            Some(_) => index.min(self.delays.len().checked_sub(1)?),
            None => index,
        };
        let delay = self.delays.get(index)?;
        let stretch = 1.0 + self.jitter * rand::random::<f64>();
        let wait = delay.mul_f64(stretch).max(at_least);
        (!self.is_over(age + wait)).then_some(wait)
    }
}

fn durations(delays_ms: &[u64]) -> Vec<Duration> {
    delays_ms
        .iter()
        .copied()
        .map(Duration::from_millis)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW: Duration = Duration::ZERO;

    fn schedule(horizon: Option<Duration>) -> Schedule {
        Schedule {
            delays: [5, 300].map(Duration::from_secs).to_vec(),
            jitter: 0.2,
            horizon,
        }
    }

    #[test]
    fn waits_follow_the_schedule_and_end() {
        let schedule = schedule(None);
        for _ in 0..200 {
            let first = schedule
                .wait_after(1, NEW, Duration::ZERO)
                .expect("a second attempt")
                .as_secs_f64();
            assert!((5.0..=6.0).contains(&first), "{first}");
        }
        let asked = schedule.wait_after(1, NEW, Duration::from_secs(40));
        assert_eq!(asked, Some(Duration::from_secs(40)), "as the endpoint asks");
        let own = schedule
            .wait_after(2, NEW, Duration::from_secs(40))
            .expect("a third attempt");
        assert!(own >= Duration::from_mins(5), "{own:?}");
        assert_eq!(schedule.wait_after(3, NEW, Duration::ZERO), None);
        assert_eq!(schedule.wait_after(0, NEW, Duration::ZERO), None);
        assert!(!schedule.is_over(Duration::from_hours(1_000)));
    }

    #[test]
    fn with_a_horizon_the_last_wait_repeats_until_then() {
        let schedule = schedule(Some(Duration::from_hours(1)));
        let wait = schedule.wait_after(50, Duration::from_mins(50), Duration::ZERO);
        assert!(wait.expect("still time") >= Duration::from_mins(5));
        let age = Duration::from_secs(3_600 - 299);
        assert_eq!(schedule.wait_after(50, age, Duration::ZERO), None);
        let asked = Duration::from_hours(2);
        assert_eq!(schedule.wait_after(1, NEW, asked), None, "later than ever");
        assert!(!schedule.is_over(age) && schedule.is_over(Duration::from_hours(1)));
    }
}
