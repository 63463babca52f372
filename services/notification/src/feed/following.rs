//! Following the event stream, batch by batch, across failures.

use std::convert::Infallible;
use std::time::Duration;

use plazo_proto::ticketing::v1::StreamEventsResponse;
use plazo_proto::ticketing::v1::feed_service_client::FeedServiceClient;
use plazo_service::{ServiceChannel, status};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::plan::SequenceBroken;
use super::stream::{EventStream, StreamError};
use crate::backoff::Backoff;
use crate::config::FeedConfig;

/// A batch that loses against another transaction is tried so often in all before the stream is opened anew.
const MAX_ATTEMPTS: u32 = 4;

/// How long a replica rests after another one was faster, so that one of them does the work.
const OTHER_REPLICA_REST: Duration = Duration::from_secs(2);

/// Who applies the event stream, and keeps the position in the transaction that applies a batch.
pub(crate) trait Follower {
    /// What becomes of the events, for the log.
    const PURPOSE: &'static str;

    /// The position after the last event that was applied; empty at the beginning.
    fn position(&self) -> impl Future<Output = Result<String, sqlx::Error>> + Send;

    /// Applies a batch that follows `position`, as a whole.
    fn apply(
        &self,
        position: &str,
        batch: &StreamEventsResponse,
    ) -> impl Future<Output = Result<(), FollowError>> + Send;

    /// Shows whether the stream is no longer followed.
    fn show_stopped(&self, is_stopped: bool);

    /// Shows how far what is applied lies behind: zero when nothing waits; while the stream is away, for how long nothing
    /// was heard of it.
    fn show_lag(&self, lag: Duration);
}

/// Why the stream was left.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FollowError {
    #[error(transparent)]
    Stream(#[from] StreamError),
    #[error("database")]
    Database(#[from] sqlx::Error),
    #[error("another replica has applied these events")]
    Overtaken,
    /// Going on would lose events: somebody must look.
    #[error(transparent)]
    Sequence(#[from] SequenceBroken),
}

impl FollowError {
    fn is_lasting(&self) -> bool {
        matches!(
            self,
            Self::Stream(StreamError::Position(_)) | Self::Sequence(_)
        )
    }
}

/// Follows the stream until shutdown. When events are missing it stops and says so.
pub(crate) async fn follow<F: Follower>(
    follower: &F,
    client: &FeedServiceClient<ServiceChannel>,
    config: &FeedConfig,
    shutdown: CancellationToken,
) {
    let mut backoff = Backoff::new(config.first_backoff_ms, config.max_backoff_ms);
    follower.show_stopped(false);
    let mut heard_at = Instant::now();
    loop {
        let error = tokio::select! {
            () = shutdown.cancelled() => return,
            error = until_error(follower, client, config, &mut backoff, &mut heard_at) => error,
        };
        if error.is_lasting() {
            follower.show_stopped(true);
            tracing::error!(
                error = status::chain(&error),
                purpose = F::PURPOSE,
                "the event stream is no longer applied, until the cause is mended and the service started again"
            );
            shutdown.cancelled().await;
            return;
        }
        let wait = match error {
            FollowError::Overtaken => OTHER_REPLICA_REST,
            FollowError::Stream(StreamError::Renewal(wait)) => wait,
            _ => {
                follower.show_lag(heard_at.elapsed());
                backoff.next()
            }
        };
        if shutdown
            .run_until_cancelled(tokio::time::sleep(wait))
            .await
            .is_none()
        {
            // Both ends go at the same time: nothing to complain of.
            return;
        }
        if let FollowError::Stream(StreamError::Renewal(_)) = error {
            tracing::debug!(purpose = F::PURPOSE, "the event stream is opened anew");
            continue;
        }
        tracing::warn!(
            error = status::chain(&error),
            purpose = F::PURPOSE,
            "the event stream is opened again"
        );
    }
}

async fn until_error<F: Follower>(
    follower: &F,
    client: &FeedServiceClient<ServiceChannel>,
    config: &FeedConfig,
    backoff: &mut Backoff,
    heard_at: &mut Instant,
) -> FollowError {
    match consume(follower, client, config, backoff, heard_at).await {
        Err(error) => error,
        Ok(never) => match never {},
    }
}

/// Opens the stream at the stored position and applies it until something fails.
async fn consume<F: Follower>(
    follower: &F,
    client: &FeedServiceClient<ServiceChannel>,
    config: &FeedConfig,
    backoff: &mut Backoff,
    heard_at: &mut Instant,
) -> Result<Infallible, FollowError> {
    let mut position = follower.position().await?;
    let silence = Duration::from_millis(config.silence_timeout_ms);
    let mut stream = EventStream::open(client, &position, silence).await?;
    loop {
        let batch = stream.next().await?;
        backoff.reset();
        *heard_at = Instant::now();
        if batch.events.is_empty() {
            follower.show_lag(Duration::ZERO);
        }
        if !batch.events.is_empty() || batch.position != position {
            apply(follower, &position, &batch).await?;
        }
        position = batch.position;
    }
}

async fn apply<F: Follower>(
    follower: &F,
    position: &str,
    batch: &StreamEventsResponse,
) -> Result<(), FollowError> {
    let mut attempt = 1;
    loop {
        match follower.apply(position, batch).await {
            Err(FollowError::Database(error))
                if plazo_database::is_conflict(&error) && attempt < MAX_ATTEMPTS =>
            {
                attempt += 1;
            }
            outcome => return outcome,
        }
    }
}
