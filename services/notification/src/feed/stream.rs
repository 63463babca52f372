//! The event stream of ticketing, opened at a position.

use std::time::Duration;

use plazo_proto::ticketing::v1::feed_service_client::FeedServiceClient;
use plazo_proto::ticketing::v1::{StreamEventsRequest, StreamEventsResponse};
use plazo_service::{ServiceChannel, status};
use tonic::{Status, Streaming};

/// Batches of events from a position on.
#[derive(Debug)]
pub(crate) struct EventStream {
    stream: Streaming<StreamEventsResponse>,
    silence: Duration,
}

/// Why no batch comes.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StreamError {
    #[error("the event stream broke")]
    Broken(#[source] Box<Status>),
    #[error("the event stream was silent for too long")]
    Silent,
    #[error("the event stream ended")]
    Ended,
    /// Nothing is wrong: it may be opened again after this time.
    #[error("the event stream is due to be opened anew")]
    Renewal(Duration),
    /// Events after it were dropped, or it belongs to another copy of the database.
    #[error("the stored position can't be used")]
    Position(#[source] Box<Status>),
}

impl EventStream {
    /// Opens the stream; it fails when nothing comes for `silence`.
    pub(crate) async fn open(
        client: &FeedServiceClient<ServiceChannel>,
        position: &str,
        silence: Duration,
    ) -> Result<Self, StreamError> {
        let request = StreamEventsRequest {
            position: position.to_owned(),
        };
        let mut client = client.clone();
        let opened = within(silence, client.stream_events(request)).await?;
        let stream = opened.map_err(from_status)?.into_inner();
        Ok(Self { stream, silence })
    }

    /// The next batch; an empty one is a sign of life.
    pub(crate) async fn next(&mut self) -> Result<StreamEventsResponse, StreamError> {
        let next = within(self.silence, self.stream.message()).await?;
        let interrupted = |status| match status::renewal_of(&status) {
            Some(wait) => StreamError::Renewal(wait),
            None => from_status(status),
        };
        next.map_err(interrupted)?.ok_or(StreamError::Ended)
    }
}

async fn within<F: Future>(silence: Duration, future: F) -> Result<F::Output, StreamError> {
    tokio::time::timeout(silence, future)
        .await
        .map_err(|_| StreamError::Silent)
}

fn from_status(status: Status) -> StreamError {
    let reason = status::reason_of(&status);
    match reason.as_deref() {
        Some("POSITION_INVALID" | "FEED_REPLACED" | "POSITION_EXPIRED") => {
            StreamError::Position(Box::new(status))
        }
        _ => StreamError::Broken(Box::new(status)),
    }
}
