//! Many callers for a while.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

/// Counts from then on, so that connections and caches are warm.
const WARM_UP: Duration = Duration::from_millis(300);

/// Somebody who does the same thing over and over.
pub(crate) trait Caller: Send + 'static {
    /// Does it once, and says how many things were done.
    fn step(&mut self) -> impl Future<Output = u64> + Send;
}

/// How much was done.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Done {
    /// Things.
    pub(crate) count: u64,
    /// In so many seconds.
    pub(crate) seconds: f64,
}

impl Done {
    /// Things a second.
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    pub(crate) fn per_s(self) -> f64 {
        self.count as f64 / self.seconds
    }
}

/// Lets all callers work side by side for a while, and gives them back. `started` is called when counting begins.
pub(crate) async fn side_by_side<C: Caller>(
    callers: Vec<C>,
    duration: Duration,
    started: impl FnOnce(),
) -> (Done, Vec<C>) {
    let count = Arc::new(AtomicU64::new(0));
    let stop = Arc::new(AtomicBool::new(false));
    let mut tasks = JoinSet::new();
    for mut caller in callers {
        let (count, stop) = (Arc::clone(&count), Arc::clone(&stop));
        tasks.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                count.fetch_add(caller.step().await, Ordering::Relaxed);
            }
            caller
        });
    }
    tokio::time::sleep(WARM_UP).await;
    started();
    let (begin, count_before) = (Instant::now(), count.load(Ordering::Relaxed));
    tokio::time::sleep(duration).await;
    let done = Done {
        count: count.load(Ordering::Relaxed) - count_before,
        seconds: begin.elapsed().as_secs_f64(),
    };
    stop.store(true, Ordering::Relaxed);
    (done, tasks.join_all().await)
}

/// Lets all callers work side by side until none has anything left to do, and gives them back: a step that does nothing
/// is a caller's last.
pub(crate) async fn until_done<C: Caller>(callers: Vec<C>) -> (Done, Vec<C>) {
    let begin = Instant::now();
    let mut tasks = JoinSet::new();
    for mut caller in callers {
        tasks.spawn(async move {
            let mut count = 0;
            loop {
                match caller.step().await {
                    0 => return (count, caller),
                    done => count += done,
                }
            }
        });
    }
    let ended = tasks.join_all().await;
    let seconds = begin.elapsed().as_secs_f64();
    let (counts, callers): (Vec<u64>, Vec<C>) = ended.into_iter().unzip();
    let count = counts.into_iter().sum();
    (Done { count, seconds }, callers)
}
