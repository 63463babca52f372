//! The feed as a projection reads it: opened at the position of its tables, and applied batch by batch.

use std::ops::ControlFlow;
use std::time::Duration;

use plazo_proto::ticketing::v1::feed_service_client::FeedServiceClient;
use plazo_proto::ticketing::v1::snapshot_service_client::SnapshotServiceClient;
use plazo_proto::ticketing::v1::{
    GetCalendarVersionRequest, StreamEventsRequest, StreamEventsResponse, TicketEvent,
};
use plazo_service::ServiceChannel;
use plazo_service::status::{reason_of, renewal_of};
use tokio::time::{Instant, timeout};
use tonic::{Status, Streaming};

use crate::config::FeedConfig;
use crate::metrics::{BatchOutcome, ProjectionMetrics};
use crate::model::Refusal;
use crate::store::{Applied, ApplyError, ProjectionStore};

/// A stream that was silent for so long has nothing to tell: the tables are as new as the feed.
const IDLE_AFTER: Duration = Duration::from_secs(1);

/// Why a stream is no longer followed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Ended {
    #[error("the feed ended the stream")]
    Closed,
    #[error("the feed was silent for too long")]
    Silent,
    #[error("the feed failed")]
    Feed(#[source] Box<Status>),
    /// Nothing is wrong: it may be opened again after this time.
    #[error("the stream is due to be opened anew")]
    Renewal(Duration),
    #[error("the database failed")]
    Database(#[source] sqlx::Error),
    #[error("another replica applied the batch")]
    Superseded,
    #[error("the feed can't be applied")]
    Stopped(#[source] StopReason),
    #[error("ticketing refuses the stored position: {reason}")]
    PositionRefused {
        reason: String,
        #[source]
        status: Box<Status>,
    },
    #[error("the service shuts down")]
    Shutdown,
}

impl Ended {
    /// An event does not fit.
    pub(crate) fn refused(refusal: Refusal) -> Self {
        Self::Stopped(StopReason::Refused(refusal))
    }
}

/// Why the projection stops for good.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StopReason {
    #[error(transparent)]
    Refused(Refusal),
    #[error("the feed sent events without a position")]
    NoPosition,
}

/// Where a projection reads from, and where it writes to.
#[derive(Clone)]
pub(crate) struct Source {
    pub(crate) store: ProjectionStore,
    pub(crate) feed: FeedServiceClient<ServiceChannel>,
    pub(crate) snapshots: SnapshotServiceClient<ServiceChannel>,
    /// How long ticketing may take to begin a stream.
    pub(crate) open_timeout: Duration,
    pub(crate) config: FeedConfig,
    pub(crate) metrics: ProjectionMetrics,
}

/// An open stream and what was applied of it.
pub(crate) struct Follower<'a> {
    source: &'a Source,
    stream: Streaming<StreamEventsResponse>,
    position: String,
    heard_at: Instant,
}

impl Source {
    /// Opens the stream at the stored position.
    pub(crate) async fn open(&self) -> Result<Follower<'_>, Ended> {
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
            source: self,
            stream,
            position,
            heard_at: Instant::now(),
        })
    }

    /// Asks ticketing for the calendars that these events name and that are not known yet.
    pub(crate) async fn learn_calendars<'a>(
        &self,
        events: impl Iterator<Item = &'a TicketEvent>,
    ) -> Result<(), Ended> {
        let unknown = self.store.unknown_calendars(events).await;
        for key in unknown.map_err(Ended::Database)? {
            let request = GetCalendarVersionRequest {
                tenant_id: key.tenant_id,
                calendar_version: key.calendar_version,
            };
            let mut snapshots = self.snapshots.clone();
            let answer = timeout(self.open_timeout, snapshots.get_calendar_version(request)).await;
            let calendar = match answer {
                Err(_) => return Err(Ended::Silent),
                // What is not known to ticketing either is refused with the event that names it.
                Ok(Err(status)) if status.code() == tonic::Code::NotFound => continue,
                Ok(Err(status)) => return Err(Ended::Feed(Box::new(status))),
                Ok(Ok(response)) => response.into_inner().calendar.unwrap_or_default(),
            };
            let kept = self.store.keep_calendar(key, &calendar).await;
            kept.map_err(Ended::Database)?;
        }
        Ok(())
    }
}

impl Follower<'_> {
    /// Waits for the next batch. While none comes, the tables are as new as the feed.
    pub(super) async fn next_batch(
        &mut self,
        current_at: &mut Instant,
    ) -> Result<StreamEventsResponse, Ended> {
        loop {
            match self.next_or_idle().await? {
                Some(batch) => return Ok(batch),
                None => self.note_current(current_at),
            }
        }
    }

    /// The next batch; none when the feed was silent for a while: it has nothing more.
    pub(crate) async fn next_or_idle(&mut self) -> Result<Option<StreamEventsResponse>, Ended> {
        match timeout(IDLE_AFTER, self.stream.message()).await {
            Ok(Ok(Some(batch))) => {
                self.heard_at = Instant::now();
                Ok(Some(batch))
            }
            Ok(Ok(None)) => Err(Ended::Closed),
            Ok(Err(status)) => Err(interrupted_by(status)),
            Err(_) if self.heard_at.elapsed() > self.source.config.silence_limit() => {
                Err(Ended::Silent)
            }
            Err(_) => Ok(None),
        }
    }

    /// Applies a batch. Sets `current_at` to the instant at which the tables were as new as the feed.
    pub(crate) async fn take(
        &mut self,
        batch: StreamEventsResponse,
        current_at: &mut Instant,
    ) -> ControlFlow<Ended> {
        let metrics = &self.source.metrics;
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
        if let Err(ended) = self.source.learn_calendars(events.iter()).await {
            return ControlFlow::Break(ended);
        }
        let count = events.len();
        match self
            .source
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
            Err(ApplyError::Refused(refusal)) => ControlFlow::Break(Ended::refused(refusal)),
            Err(ApplyError::Database(error)) => ControlFlow::Break(Ended::Database(error)),
        }
    }

    fn note_current(&self, current_at: &mut Instant) {
        *current_at = Instant::now();
        self.source.metrics.lag.set(0.0);
    }
}

/// The same for a stream that was open: it may have ended in the course of things.
pub(crate) fn interrupted_by(status: Status) -> Ended {
    match renewal_of(&status) {
        Some(wait) => Ended::Renewal(wait),
        None => ended_by(status),
    }
}

/// The feed's reasons tell whether the same position may be asked for again; its codes alone don't.
pub(crate) fn ended_by(status: Status) -> Ended {
    match reason_of(&status) {
        Some(reason)
            if matches!(
                reason.as_str(),
                "POSITION_INVALID" | "FEED_REPLACED" | "POSITION_EXPIRED"
            ) =>
        {
            let status = Box::new(status);
            Ended::PositionRefused { reason, status }
        }
        _ => Ended::Feed(Box::new(status)),
    }
}
