//! The projection: follows ticketing's feed and applies it to the tables, each event once.
//!
//! The position lives in the database, in the transaction that applies a batch (see
//! [`ProjectionStore`](crate::store::ProjectionStore)). So a restart goes on where the tables are, and of several
//! replicas one applies a batch and the others notice and wait.

use std::ops::ControlFlow;
use std::time::Duration;

use plazo_proto::ticketing::v1::feed_service_client::FeedServiceClient;
use plazo_proto::ticketing::v1::{StreamEventsRequest, StreamEventsResponse};
use plazo_service::status::{chain, reason_of};
use plazo_service::{ServiceChannel, TaskError};
use rand::Rng as _;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::config::FeedConfig;
use crate::metrics::{BatchOutcome, ProjectionMetrics};
use crate::model::Refusal;
use crate::store::{Applied, ApplyError, ProjectionStore};

/// The name by which the health service tells of the projection. It is NOT_SERVING while the projection is stopped;
/// the service itself goes on showing what it has.
pub(crate) const HEALTH_NAME: &str = "plazo.history.v1.Projection";

/// A stream that was silent for so long has nothing to tell: the tables are as new as the feed.
const IDLE_AFTER: Duration = Duration::from_secs(1);

/// What the projection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProjectionState {
    /// The stream is being opened, or the database is away.
    Connecting,
    /// Events are applied as they come.
    Following,
    /// Another replica applies them.
    Standby,
    /// It can't go on without somebody looking.
    Stopped,
}

impl ProjectionState {
    pub(crate) const ALL: [Self; 4] = [
        Self::Connecting,
        Self::Following,
        Self::Standby,
        Self::Stopped,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Following => "following",
            Self::Standby => "standby",
            Self::Stopped => "stopped",
        }
    }
}

/// Why a stream is no longer followed.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("the feed ended the stream")]
    Closed,
    #[error("the feed was silent for too long")]
    Silent,
    #[error("the feed failed")]
    Feed(#[source] Box<Status>),
    #[error("the database failed")]
    Database(#[source] sqlx::Error),
    #[error("another replica applied the batch")]
    Superseded,
    #[error("the feed can't be applied")]
    Stopped(#[source] StopReason),
    #[error("the service shuts down")]
    Shutdown,
}

/// Why the projection stops for good.
#[derive(Debug, thiserror::Error)]
enum StopReason {
    #[error(transparent)]
    Refused(Refusal),
    #[error("the feed sent events without a position")]
    NoPosition,
    #[error("ticketing refuses the stored position: {reason}")]
    PositionRefused {
        reason: String,
        #[source]
        status: Box<Status>,
    },
}

/// Follows the feed until shutdown.
pub(crate) struct Projection {
    pub(crate) store: ProjectionStore,
    pub(crate) feed: FeedServiceClient<ServiceChannel>,
    /// How long ticketing may take to begin the stream.
    pub(crate) open_timeout: Duration,
    pub(crate) config: FeedConfig,
    pub(crate) metrics: ProjectionMetrics,
    pub(crate) health: HealthReporter,
}

/// An open stream and what was applied of it.
struct Follower<'a> {
    projection: &'a Projection,
    stream: Streaming<StreamEventsResponse>,
    position: String,
    heard_at: Instant,
}

impl Projection {
    /// Runs until `shutdown`. Never fails: what can be tried again is, and what can't is shown until somebody looks.
    pub(crate) async fn run(&self, shutdown: CancellationToken) -> Result<(), TaskError> {
        let mut backoff = self.config.first_backoff();
        let mut current_at = Instant::now();
        loop {
            self.show(ProjectionState::Connecting).await;
            let mut progressed = false;
            let ended = self
                .follow(&shutdown, &mut current_at, &mut progressed)
                .await;
            if progressed {
                backoff = self.config.first_backoff();
            }
            match ended {
                Ended::Shutdown => return Ok(()),
                Ended::Superseded => {
                    tracing::info!("another replica applies the feed; standing by");
                    self.metrics.count_batch(BatchOutcome::Superseded);
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
                        "the projection has stopped; it needs somebody to look, and a restart"
                    );
                    self.show(ProjectionState::Stopped).await;
                    self.grow_lag_until(&shutdown, current_at).await;
                    return Ok(());
                }
                retriable => {
                    self.metrics.reconnects.inc();
                    self.metrics.lag.set(current_at.elapsed().as_secs_f64());
                    let wait = spread(backoff, 0.5, 1.0);
                    if shutdown.run_until_cancelled(sleep(wait)).await.is_none() {
                        // Both ends go at the same time: nothing to complain of.
                        return Ok(());
                    }
                    tracing::warn!(reason = chain(&retriable), "the feed is opened again");
                    backoff = (backoff * 2).min(self.config.max_backoff());
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
        let opened = match shutdown.run_until_cancelled(self.open()).await {
            None => return Ended::Shutdown,
            Some(Err(ended)) => return ended,
            Some(Ok(opened)) => opened,
        };
        self.show(ProjectionState::Following).await;
        let mut follower = opened;
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

    async fn open(&self) -> Result<Follower<'_>, Ended> {
        let position = self.store.position().await.map_err(Ended::Database)?;
        let request = StreamEventsRequest {
            position: position.clone(),
        };
        let mut feed = self.feed.clone();
        let stream = match timeout(self.open_timeout, feed.stream_events(request)).await {
            Err(_) => return Err(Ended::Silent),
            Ok(Err(status)) => return Err(ended_by(status)),
            Ok(Ok(response)) => response.into_inner(),
        };
        Ok(Follower {
            projection: self,
            stream,
            position,
            heard_at: Instant::now(),
        })
    }

    /// Returns when the position has rested for the stand-by time: whoever moved it is idle, or gone.
    async fn stand_by(&self) {
        let mut seen = None;
        loop {
            match self.store.position().await {
                Ok(position) if seen.as_ref() == Some(&position) => return,
                Ok(position) => seen = Some(position),
                Err(error) => {
                    tracing::warn!(
                        error = chain(&error),
                        "the feed's position could not be read"
                    );
                }
            }
            sleep(spread(self.config.standby(), 1.0, 1.5)).await;
        }
    }

    async fn grow_lag_until(&self, shutdown: &CancellationToken, current_at: Instant) {
        while shutdown
            .run_until_cancelled(sleep(IDLE_AFTER))
            .await
            .is_some()
        {
            self.metrics.lag.set(current_at.elapsed().as_secs_f64());
        }
    }

    async fn show(&self, state: ProjectionState) {
        self.metrics.show_state(state);
        let status = match state {
            ProjectionState::Stopped => ServingStatus::NotServing,
            _ => ServingStatus::Serving,
        };
        self.health.set_service_status(HEALTH_NAME, status).await;
    }
}

impl Follower<'_> {
    /// Waits for the next batch. While none comes, the tables are as new as the feed.
    async fn next_batch(
        &mut self,
        current_at: &mut Instant,
    ) -> Result<StreamEventsResponse, Ended> {
        loop {
            match timeout(IDLE_AFTER, self.stream.message()).await {
                Ok(Ok(Some(batch))) => {
                    self.heard_at = Instant::now();
                    return Ok(batch);
                }
                Ok(Ok(None)) => return Err(Ended::Closed),
                Ok(Err(status)) => return Err(ended_by(status)),
                Err(_) if self.heard_at.elapsed() > self.projection.config.silence_limit() => {
                    return Err(Ended::Silent);
                }
                Err(_) => self.note_current(current_at),
            }
        }
    }

    async fn take(
        &mut self,
        batch: StreamEventsResponse,
        current_at: &mut Instant,
    ) -> ControlFlow<Ended> {
        let metrics = &self.projection.metrics;
        let StreamEventsResponse { events, position } = batch;
        if position.is_empty() && !events.is_empty() {
            return ControlFlow::Break(Ended::Stopped(StopReason::NoPosition));
        }
        if position.is_empty() || position == self.position {
            // A sign of life, or a batch that was sent twice: what leads to this position is applied.
            if events.is_empty() {
                self.note_current(current_at);
            } else {
                metrics.count_batch(BatchOutcome::Repeated);
            }
            return ControlFlow::Continue(());
        }
        let count = events.len();
        match self
            .projection
            .store
            .apply_batch(&self.position, events, &position)
            .await
        {
            Ok(Applied::Done { seconds_behind }) => {
                self.position = position;
                metrics
                    .events
                    .inc_by(u64::try_from(count).unwrap_or(u64::MAX));
                metrics.count_batch(BatchOutcome::Applied);
                match seconds_behind {
                    Some(seconds) => {
                        // Clocks differ a little; nothing is applied before it happened.
                        let behind = Duration::try_from_secs_f64(seconds).unwrap_or_default();
                        metrics.lag.set(behind.as_secs_f64());
                        let now = Instant::now();
                        *current_at = now.checked_sub(behind).unwrap_or(now);
                    }
                    None => self.note_current(current_at),
                }
                ControlFlow::Continue(())
            }
            Ok(Applied::Superseded) => ControlFlow::Break(Ended::Superseded),
            Err(ApplyError::Refused(refusal)) => {
                ControlFlow::Break(Ended::Stopped(StopReason::Refused(refusal)))
            }
            Err(ApplyError::Database(error)) => ControlFlow::Break(Ended::Database(error)),
        }
    }

    fn note_current(&self, current_at: &mut Instant) {
        *current_at = Instant::now();
        self.projection.metrics.lag.set(0.0);
    }
}

/// The feed's reasons tell whether the same position may be asked for again; its codes alone don't.
fn ended_by(status: Status) -> Ended {
    match reason_of(&status) {
        Some(reason)
            if matches!(
                reason.as_str(),
                "POSITION_INVALID" | "FEED_REPLACED" | "POSITION_EXPIRED"
            ) =>
        {
            let status = Box::new(status);
            Ended::Stopped(StopReason::PositionRefused { reason, status })
        }
        _ => Ended::Feed(Box::new(status)),
    }
}

/// The wait times a random factor, so that replicas don't move in step.
fn spread(wait: Duration, least: f64, most: f64) -> Duration {
    wait.mul_f64(rand::rng().random_range(least..=most))
}
