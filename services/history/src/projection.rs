//! The projection: follows ticketing's feed and applies it to the tables, each event once.
//!
//! The position lives in the database, in the transaction that applies a batch (see
//! [`ProjectionStore`](crate::store::ProjectionStore)). So a restart goes on where the tables are, and of several
//! replicas one applies a batch and the others notice and wait.

mod source;

use std::ops::ControlFlow;
use std::time::Duration;

use plazo_service::TaskError;
use plazo_service::status::chain;
use rand::Rng as _;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

pub(crate) use self::source::{Ended, Follower, Source, ended_by, interrupted_by};
use crate::metrics::BatchOutcome;
use crate::store::RebuildStore;

/// The name by which the health service tells of the projection. It is NOT_SERVING while the projection is stopped;
/// the service itself goes on showing what it has.
pub(crate) const HEALTH_NAME: &str = "plazo.history.v1.Projection";

/// How often a projection that waits for other tables looks for them, and shows how far it is behind.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What the projection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProjectionState {
    /// The stream is being opened, or the database is away.
    Connecting,
    /// Events are applied as they come.
    Following,
    /// Another replica applies them.
    Standby,
    /// It waits for tables that are built anew: what the feed has is not enough to go on.
    Rebuilding,
    /// It can't go on without somebody looking.
    Stopped,
}

impl ProjectionState {
    pub(crate) const ALL: [Self; 5] = [
        Self::Connecting,
        Self::Following,
        Self::Standby,
        Self::Rebuilding,
        Self::Stopped,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Following => "following",
            Self::Standby => "standby",
            Self::Rebuilding => "rebuilding",
            Self::Stopped => "stopped",
        }
    }
}

/// Follows the feed until shutdown.
pub(crate) struct Projection {
    pub(crate) source: Source,
    pub(crate) rebuilds: RebuildStore,
    pub(crate) health: HealthReporter,
}

impl Projection {
    /// Runs until `shutdown`. Never fails: what can be tried again is, and what can't is shown until somebody looks.
    pub(crate) async fn run(&self, shutdown: CancellationToken) -> Result<(), TaskError> {
        let mut backoff = self.source.config.first_backoff();
        let mut current_at = Instant::now();
        loop {
            self.show(ProjectionState::Connecting).await;
            let mut progressed = false;
            let ended = self
                .follow(&shutdown, &mut current_at, &mut progressed)
                .await;
            if progressed {
                backoff = self.source.config.first_backoff();
            }
            match ended {
                Ended::Shutdown => return Ok(()),
                Ended::Superseded => {
                    tracing::info!("another replica applies the feed; standing by");
                    self.source.metrics.count_batch(BatchOutcome::Superseded);
                    self.show(ProjectionState::Standby).await;
                    if shutdown
                        .run_until_cancelled(self.stand_by())
                        .await
                        .is_none()
                    {
                        return Ok(());
                    }
                    current_at = Instant::now();
                }
                Ended::Stopped(reason) => {
                    tracing::error!(
                        reason = chain(&reason),
                        "the projection has stopped; it needs somebody to look, and a restart or a rebuild"
                    );
                    self.show(ProjectionState::Stopped).await;
                    let waiting = self.wait_for_other_tables(current_at);
                    if shutdown.run_until_cancelled(waiting).await.is_none() {
                        return Ok(());
                    }
                }
                refused @ Ended::PositionRefused { .. } => {
                    tracing::warn!(
                        reason = chain(&refused),
                        "the feed does not go on from here; the projection is built anew"
                    );
                    self.show(ProjectionState::Rebuilding).await;
                    let waiting = self.want_other_tables(current_at);
                    if shutdown.run_until_cancelled(waiting).await.is_none() {
                        return Ok(());
                    }
                }
                Ended::Renewal(wait) => {
                    tracing::debug!("the feed is opened anew");
                    if shutdown.run_until_cancelled(sleep(wait)).await.is_none() {
                        return Ok(());
                    }
                }
                retriable => {
                    self.source.metrics.reconnects.inc();
                    self.source
                        .metrics
                        .lag
                        .set(current_at.elapsed().as_secs_f64());
                    let wait = spread(backoff, 0.5, 1.0);
                    if shutdown.run_until_cancelled(sleep(wait)).await.is_none() {
                        // Both ends go at the same time: nothing to complain of.
                        return Ok(());
                    }
                    tracing::warn!(reason = chain(&retriable), "the feed is opened again");
                    backoff = (backoff * 2).min(self.source.config.max_backoff());
                }
            }
        }
    }

    /// Opens the stream at the stored position and applies it until something ends it. Sets `current_at` whenever
    /// the tables are as new as the feed, and `progressed` once something was
    /// applied.
    async fn follow(
        &self,
        shutdown: &CancellationToken,
        current_at: &mut Instant,
        progressed: &mut bool,
    ) -> Ended {
        let opened = match shutdown.run_until_cancelled(self.source.open()).await {
            None => return Ended::Shutdown,
            Some(Err(ended)) => return ended,
            Some(Ok(opened)) => opened,
        };
        self.show(ProjectionState::Following).await;
        let mut follower: Follower<'_> = opened;
        loop {
            // A batch that is being applied is finished: only waiting is given up.
            let batch = match shutdown
                .run_until_cancelled(follower.next_batch(current_at))
                .await
            {
                None => return Ended::Shutdown,
                Some(Err(ended)) => return ended,
                Some(Ok(batch)) => batch,
            };
            match follower.take(batch, current_at).await {
                ControlFlow::Continue(()) => *progressed = true,
                ControlFlow::Break(ended) => return ended,
            }
        }
    }

    /// Returns when the position has rested for the stand-by time: whoever moved it is idle, or gone.
    async fn stand_by(&self) {
        let mut seen = None;
        loop {
            match self.source.store.position().await {
                Ok(position) if seen.as_ref() == Some(&position) => return,
                Ok(position) => seen = Some(position),
                Err(error) => {
                    tracing::warn!(
                        error = chain(&error),
                        "the feed's position could not be read"
                    );
                }
            }
            sleep(spread(self.source.config.standby(), 1.0, 1.5)).await;
        }
    }

    /// Has the tables built anew, and returns when they are there.
    async fn want_other_tables(&self, current_at: Instant) {
        while let Err(error) = self.rebuilds.want().await {
            tracing::warn!(error = chain(&error), "the rebuild could not be asked for");
            sleep(LOOK_EVERY).await;
        }
        self.wait_for_other_tables(current_at).await;
    }

    /// Returns when the tables are others: somebody changed their position.
    async fn wait_for_other_tables(&self, current_at: Instant) {
        let mut seen = None;
        loop {
            self.source
                .metrics
                .lag
                .set(current_at.elapsed().as_secs_f64());
            // A database that is away tells nothing.
            if let Ok(state) = self.rebuilds.state().await {
                let now = (state.position, state.changed_at);
                if *seen.get_or_insert_with(|| now.clone()) != now {
                    return;
                }
            }
            sleep(LOOK_EVERY).await;
        }
    }

    async fn show(&self, state: ProjectionState) {
        self.source.metrics.show_state(state);
        let status = match state {
            ProjectionState::Stopped => ServingStatus::NotServing,
            _ => ServingStatus::Serving,
        };
        self.health.set_service_status(HEALTH_NAME, status).await;
    }
}

/// The wait times a random factor, so that replicas don't move in step.
fn spread(wait: Duration, least: f64, most: f64) -> Duration {
    wait.mul_f64(rand::rng().random_range(least..=most))
}
