//! Tasks in the background, none without an owner. The only place that spawns.

use std::error::Error;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use rand::Rng as _;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::status::chain;

const FIRST_RESTART: Duration = Duration::from_millis(100);
const SLOWEST_RESTART: Duration = Duration::from_secs(10);
/// A task that ran so long was well; its next failure begins with the shortest wait again.
const WELL_AFTER: Duration = Duration::from_mins(1);

/// Why a task ended.
pub type TaskError = Box<dyn Error + Send + Sync>;

/// What follows when a task ends or panics before shutdown. (Afterwards, ending is what it should do.)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnEnd {
    /// It is started again, after a wait that doubles from 100 ms to 10 s, with jitter.
    Restart,
    /// The service shuts down and [`Supervisor::shut_down`] returns the failure.
    FailService,
}

/// A background task that ended although it should not have.
#[derive(Debug, thiserror::Error)]
#[error("background task {task} ended")]
pub struct TaskFailed {
    /// The task's name.
    pub task: &'static str,
    /// Why; none if it just returned.
    #[source]
    pub source: Option<TaskError>,
}

/// Owns the background tasks of one service.
#[derive(Debug)]
pub struct Supervisor {
    service_name: &'static str,
    shutdown: CancellationToken,
    tasks: Mutex<JoinSet<()>>,
    failure: Arc<Mutex<Option<TaskFailed>>>,
}

impl Supervisor {
    /// A supervisor whose tasks end when `shutdown` is cancelled.
    pub fn new(service_name: &'static str, shutdown: &CancellationToken) -> Self {
        Self {
            service_name,
            // A child: a failing service ends itself, not the others of the process.
            shutdown: shutdown.child_token(),
            tasks: Mutex::default(),
            failure: Arc::default(),
        }
    }

    /// Cancelled when this service shuts down, by its owner or by the failure of a task. Give it to
    /// [`Server::run`](crate::Server::run) too.
    pub fn shutdown_token(&self) -> CancellationToken {
        self.shutdown.clone()
    }

    /// Starts a task. `start` makes the task's future from the token that asks it to end; it is called
    /// again at each restart.
    pub fn spawn<F, Fut>(&self, task: &'static str, on_end: OnEnd, start: F)
    where
        F: Fn(CancellationToken) -> Fut + Send + 'static,
        Fut: Future<Output = Result<(), TaskError>> + Send + 'static,
    {
        let span = tracing::info_span!("task", service = self.service_name, task);
        let shutdown = self.shutdown.clone();
        let failure = Arc::clone(&self.failure);
        let supervised = async move {
            let mut wait = FIRST_RESTART;
            loop {
                let started = Instant::now();
                let source = run_once(start(shutdown.clone())).await.err();
                if shutdown.is_cancelled() {
                    log_late_failure(source);
                    return;
                }
                if on_end == OnEnd::FailService {
                    let failed = TaskFailed { task, source };
                    tracing::error!(
                        error = chain(&failed),
                        "a background task failed the service"
                    );
                    lock(&failure).get_or_insert(failed);
                    shutdown.cancel();
                    return;
                }
                if started.elapsed() > WELL_AFTER {
                    wait = FIRST_RESTART;
                }
                let reason = source.map_or_else(|| "returned".to_owned(), |e| chain(&*e));
                tracing::warn!(reason, wait = ?wait, "a background task ended and is restarted");
                if shutdown
                    .run_until_cancelled(tokio::time::sleep(jittered(wait)))
                    .await
                    .is_none()
                {
                    return;
                }
                wait = (wait * 2).min(SLOWEST_RESTART);
            }
        };
        lock(&self.tasks).spawn(supervised.instrument(span));
    }

    /// Ends the service, if nothing else has, and waits for its tasks for at most `bound`; what still runs
    /// then is aborted. Returns the failure that ended the service, if one did.
    pub async fn shut_down(self, bound: Duration) -> Result<(), TaskFailed> {
        self.shutdown.cancel();
        let mut tasks = self
            .tasks
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        let ended =
            tokio::time::timeout(bound, async { while tasks.join_next().await.is_some() {} });
        if ended.await.is_err() {
            tracing::warn!(
                tasks = tasks.len(),
                "background tasks did not end in time and are aborted"
            );
            tasks.shutdown().await;
        }
        lock(&self.failure).take().map_or(Ok(()), Err)
    }
}

/// Runs the future that changes something to its end, even if the caller goes away: a client that hangs
/// up drops its handler at whatever point it has reached, also between a commit and what must follow it.
/// The span goes along. A panic in it goes on in the caller.
pub async fn commit_in_background<T: Send + 'static>(
    change: impl Future<Output = T> + Send + 'static,
) -> T {
    match spawn(change.in_current_span()).await {
        Ok(value) => value,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is going away, and this future with it.
            Err(_) => std::future::pending().await,
        },
    }
}

/// A task that ends, at the latest, with what owns it.
#[derive(Debug)]
pub(crate) struct Owned(JoinHandle<()>);

impl Drop for Owned {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Starts a task of something that is no service and has no supervisor, as a channel to a service.
pub(crate) fn spawn_owned(future: impl Future<Output = ()> + Send + 'static) -> Owned {
    Owned(spawn(future))
}

/// A panic is one more way to fail.
async fn run_once(task: impl Future<Output = Result<(), TaskError>>) -> Result<(), TaskError> {
    AssertUnwindSafe(task)
        .catch_unwind()
        .await
        .unwrap_or_else(|_| Err("it panicked".into()))
}

#[expect(
    clippy::disallowed_methods,
    reason = "its caller awaits or owns it, and a handler's end must not end it"
)]
fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    tokio::spawn(future)
}

fn log_late_failure(source: Option<TaskError>) {
    if let Some(error) = source {
        tracing::warn!(
            error = chain(&*error),
            "a background task failed while shutting down"
        );
    }
}

/// Between half and the whole of `wait`: tasks that failed together don't come back together.
pub(crate) fn jittered(wait: Duration) -> Duration {
    wait.mul_f64(rand::rng().random_range(0.5..=1.0))
}

/// A panic while one of these locks is held leaves nothing half-changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
