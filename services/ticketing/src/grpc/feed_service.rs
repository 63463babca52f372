//! `plazo.ticketing.v1.FeedService`: all events, in order, for other services.

use std::time::Duration;

use async_stream::try_stream;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use plazo_proto::ticketing::v1::feed_service_server::FeedService as Api;
use plazo_proto::ticketing::v1::{StreamEventsRequest, StreamEventsResponse};
use plazo_service::status::{self, FieldViolations};
use tokio::time::Instant;
use tonic::{Code, Request, Response, Status};

use crate::changes::Changes;
use crate::feed::{self, FeedIdentity, POLL, Position, PositionError};
use crate::metrics::FeedMetrics;

/// An idle stream sends an empty batch so often: a sign of life, with the position that was reached.
const SIGN_OF_LIFE: Duration = Duration::from_secs(5);

/// The event feed.
#[derive(Debug, Clone)]
pub struct FeedService {
    changes: Changes,
    metrics: FeedMetrics,
}

impl FeedService {
    /// Wiring.
    pub fn new(changes: Changes, metrics: FeedMetrics) -> Self {
        Self { changes, metrics }
    }

    async fn start(&self, text: &str, feed: &FeedIdentity) -> Result<Position, Status> {
        if text.is_empty() {
            return Ok(feed::beginning(self.changes.pool()).await?);
        }
        let position = Position::parse(text, feed).map_err(refuse)?;
        // As after a restore of an older state, which keeps the identity.
        if position > feed::end(self.changes.pool()).await? {
            return Err(refuse(PositionError::OtherFeed));
        }
        if position < feed::beginning(self.changes.pool()).await? {
            return Err(status::with_reason(
                Code::OutOfRange,
                "POSITION_EXPIRED",
                "events after this position were dropped: start anew",
            ));
        }
        Ok(position)
    }
}

fn refuse(error: PositionError) -> Status {
    match error {
        PositionError::Invalid => {
            let mut violations = FieldViolations::new();
            violations.add(
                "position",
                "must be the position of a batch of this stream, or empty",
            );
            status::invalid_with("POSITION_INVALID", violations)
        }
        PositionError::OtherFeed => status::failed_precondition(
            "FEED_REPLACED",
            "feed",
            "the position belongs to another copy of the database: start anew",
        ),
    }
}

#[tonic::async_trait]
impl Api for FeedService {
    type StreamEventsStream = BoxStream<'static, Result<StreamEventsResponse, Status>>;

    async fn stream_events(
        &self,
        request: Request<StreamEventsRequest>,
    ) -> Result<Response<Self::StreamEventsStream>, Status> {
        let feed = feed::identity(self.changes.pool()).await?;
        let mut position = self.start(&request.into_inner().position, &feed).await?;
        let changes = self.changes.clone();
        let metrics = self.metrics.clone();
        let stream = try_stream! {
            let mut committed = changes.committed();
            let mut last_sent = Instant::now();
            loop {
                committed.mark_unchanged();
                let batch = feed::read(changes.pool(), position).await?;
                position = batch.position;
                if !batch.events.is_empty() || last_sent.elapsed() >= SIGN_OF_LIFE {
                    metrics.streamed.inc_by(batch.events.len() as u64);
                    last_sent = Instant::now();
                    yield StreamEventsResponse {
                        events: batch.events,
                        position: position.write(&feed),
                    };
                }
                if !batch.more {
                    tokio::select! {
                        _ = committed.changed() => {}
                        () = tokio::time::sleep(POLL) => {}
                    }
                }
            }
        };
        Ok(Response::new(stream.boxed()))
    }
}
