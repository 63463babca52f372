//! Does the steps of a schedule at their instants, whatever becomes of the calls before.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::schedule::{Schedule, Step};

/// A step that is done later than this after its instant is late: timers of the system are good to a millisecond or two.
const LATE_AFTER: Duration = Duration::from_millis(10);
/// So many ended calls are kept before they are looked at.
const ENDED_MAX: usize = 1_024;

/// How well the generator kept its schedule.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Kept {
    /// Steps that were done.
    pub(super) done: u64,
    /// Steps that were done more than 10 ms after their instant.
    pub(super) late: u64,
    /// The latest step, in milliseconds after its instant.
    pub(super) worst_ms: u64,
}

/// How steps are done.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// Most steps in one call.
    pub(super) batch: usize,
    /// Most calls at the same time. When all are out, the next one waits, and is late.
    pub(super) in_flight: usize,
}

/// Does all steps, until `stop` is cancelled, and waits for their calls. `act` does some steps, all of them at once; it
/// holds its permit until it has an answer.
pub(super) async fn drive<F, Fut>(
    schedule: &Schedule,
    start: Instant,
    pace: Pace,
    stop: &CancellationToken,
    act: F,
) -> Kept
where
    F: Fn(Vec<Step>, OwnedSemaphorePermit) -> Fut,
    Fut: Future<Output = ()> + Send + 'static,
{
    let slots = Arc::new(Semaphore::new(pace.in_flight));
    let mut calls = JoinSet::new();
    let mut kept = Kept::default();
    let mut rest = schedule.steps.as_slice();
    while let Some(first) = rest.first() {
        let wake = async {
            sleep_until(start + Duration::from_millis(first.at_ms.into())).await;
            Arc::clone(&slots).acquire_owned().await
        };
        // The semaphore is never closed.
        let Some(Ok(permit)) = stop.run_until_cancelled(wake).await else {
            break;
        };
        let now = start.elapsed();
        let due = rest
            .iter()
            .take(pace.batch)
            .take_while(|step| Duration::from_millis(step.at_ms.into()) <= now)
            .count();
        let (steps, later) = rest.split_at(due.max(1));
        rest = later;
        kept.note(steps, now);
        calls.spawn(act(steps.to_vec(), permit));
        if calls.len() > ENDED_MAX {
            while calls.try_join_next().is_some() {}
        }
    }
    let all_ended = async { while calls.join_next().await.is_some() {} };
    stop.run_until_cancelled(all_ended).await;
    kept
}

impl Kept {
    fn note(&mut self, steps: &[Step], now: Duration) {
        for step in steps {
            let late = now.saturating_sub(Duration::from_millis(step.at_ms.into()));
            self.done += 1;
            if late > LATE_AFTER {
                self.late += 1;
            }
            let late_ms = u64::try_from(late.as_millis()).unwrap_or(u64::MAX);
            self.worst_ms = self.worst_ms.max(late_ms);
        }
    }
}

#[cfg(test)]
mod tests;
