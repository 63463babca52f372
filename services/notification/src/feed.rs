//! Consuming ticketing's event stream.
//!
//! The feed does two things. It brings the messages that the direct call did not (the same key is one
//! message), and it calls off warnings and closing texts that a later event has made pointless.
//!
//! **Which messages an event calls off.** An answer, a close, a hold or a transfer calls off warnings, a policy that ends
//! a cycle the warning of that cycle, a reopening closing texts. Events of a ticket come in the order of `ticket_seq`, and the request
//! of a message is one of them. So when an event is applied, the messages that were asked for before it are
//! exactly those whose request the feed has already shown, and these alone carry a `requested_seq`:
//!
//! * A direct call that comes after the event finds the message stored, under its key, and cancelled.
//! * A warning of a later cycle that a direct call brings before the feed has come so far has no
//!   `requested_seq` yet, and an older event does not touch it.
//! * A warning that a direct call brings is held until the feed has shown its request, for a short time at most, and
//!   a batch of events is applied as a whole: an answer that is known when the feed gets there is in time.

pub(crate) mod plan;
pub(crate) mod stream;

use std::time::Duration;

use plazo_proto::ticketing::v1::StreamEventsResponse;
use plazo_proto::ticketing::v1::feed_service_client::FeedServiceClient;
use plazo_service::{ServiceChannel, status};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::accepting::{self, Wakers};
use crate::backoff::Backoff;
use crate::config::FeedConfig;
use crate::message::from_proto_time;
use crate::metrics::{NotificationMetrics, Source};
use crate::store::messages::{self, Incoming};
use crate::store::{erasing, feed as store, reports};
use plan::{Plan, SequenceBroken};
use stream::{EventStream, StreamError};

/// A batch that loses against another transaction is tried so often in all before the stream is opened anew.
const MAX_ATTEMPTS: u32 = 4;

/// How long a replica rests after another one was faster, so that one of them does the work.
const OTHER_REPLICA_REST: Duration = Duration::from_secs(2);

/// Applies the event stream.
#[derive(Debug, Clone)]
pub(crate) struct FeedConsumer {
    pub(crate) pool: PgPool,
    pub(crate) client: FeedServiceClient<ServiceChannel>,
    pub(crate) config: FeedConfig,
    pub(crate) warning_hold: Duration,
    pub(crate) wakers: Wakers,
    pub(crate) metrics: NotificationMetrics,
}

/// Why the stream was left.
#[derive(Debug, thiserror::Error)]
enum FeedError {
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

impl FeedError {
    fn is_lasting(&self) -> bool {
        matches!(
            self,
            Self::Stream(StreamError::Position(_)) | Self::Sequence(_)
        )
    }
}

impl FeedConsumer {
    /// Consumes until shutdown. When events are missing it stops and says so; messages still come by calls.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        let mut backoff = Backoff::new(self.config.first_backoff_ms, self.config.max_backoff_ms);
        self.metrics.feed_stopped.set(0);
        loop {
            let error = tokio::select! {
                () = shutdown.cancelled() => return,
                error = self.consume(&mut backoff) => error,
            };
            if error.is_lasting() {
                self.metrics.feed_stopped.set(1);
                tracing::error!(
                    error = status::chain(&error),
                    "the event stream is no longer applied: nothing is called off, and messages come by \
                     calls alone, until the cause is mended and the service started again"
                );
                shutdown.cancelled().await;
                return;
            }
            let wait = match error {
                FeedError::Overtaken => OTHER_REPLICA_REST,
                _ => backoff.next(),
            };
            if shutdown
                .run_until_cancelled(tokio::time::sleep(wait))
                .await
                .is_none()
            {
                // Both ends go at the same time: nothing to complain of.
                return;
            }
            tracing::warn!(
                error = status::chain(&error),
                "the event stream is opened again"
            );
        }
    }

    /// Opens the stream at the stored position and applies it until something fails.
    async fn consume(&self, backoff: &mut Backoff) -> FeedError {
        let mut position = match store::position(&self.pool).await {
            Ok(position) => position,
            Err(error) => return error.into(),
        };
        let silence = Duration::from_millis(self.config.silence_timeout_ms);
        let mut stream = match EventStream::open(&self.client, &position, silence).await {
            Ok(stream) => stream,
            Err(error) => return error.into(),
        };
        loop {
            let batch = match stream.next().await {
                Ok(batch) => batch,
                Err(error) => return error.into(),
            };
            backoff.reset();
            if let Err(error) = self.apply(&position, &batch).await {
                return error;
            }
            position = batch.position;
        }
    }

    /// Applies a batch that follows `position`, as a whole.
    async fn apply(&self, position: &str, batch: &StreamEventsResponse) -> Result<(), FeedError> {
        if batch.events.is_empty() {
            self.metrics.feed_lag_seconds.set(0.0);
            if batch.position == position {
                return Ok(());
            }
        }
        let mut attempt = 1;
        loop {
            match self.apply_once(position, batch).await {
                Err(FeedError::Database(error))
                    if plazo_database::is_conflict(&error) && attempt < MAX_ATTEMPTS =>
                {
                    attempt += 1;
                }
                outcome => return outcome,
            }
        }
    }

    async fn apply_once(
        &self,
        position: &str,
        batch: &StreamEventsResponse,
    ) -> Result<(), FeedError> {
        let mut transaction = self.pool.begin().await?;
        let Some(now) = store::advance(&mut transaction, position, &batch.position).await? else {
            return Err(FeedError::Overtaken);
        };
        let tickets = plan::tickets_of(&batch.events);
        let before = store::ticket_positions(&mut transaction, &tickets).await?;
        let plan = Plan::new(&batch.events, &before)?;
        store::keep_ticket_positions(&mut transaction, &plan.ticket_positions).await?;

        let mut accepted = Vec::new();
        if !plan.requested.is_empty() {
            let incoming: Vec<_> = plan
                .requested
                .iter()
                .map(|(message, seq)| Incoming {
                    message,
                    requested_seq: Some(*seq),
                })
                .collect();
            accepted = messages::accept(&mut transaction, &incoming, self.warning_hold).await?;
            let known = plan
                .requested
                .iter()
                .zip(&accepted)
                .filter(|(_, accepted)| !accepted.is_new);
            let shown: Vec<_> = known
                .map(|((message, seq), _)| {
                    (message.tenant_id, message.idempotency_key.clone(), *seq)
                })
                .collect();
            if !shown.is_empty() {
                store::mark_requested(&mut transaction, &shown).await?;
            }
        }
        if !plan.refused.is_empty() {
            reports::add_refused(&mut transaction, &plan.refused, "MESSAGE_INVALID").await?;
        }
        let mut cancelled = 0;
        if !plan.call_offs.is_empty() {
            cancelled = store::call_off(&mut transaction, &plan.call_offs).await?;
        }
        if !plan.erased.is_empty() {
            erasing::note(&mut transaction, &plan.erased).await?;
        }
        transaction.commit().await?;

        if !plan.erased.is_empty() {
            self.wakers.eraser.notify_one();
        }
        if !accepted.is_empty() || !plan.refused.is_empty() || cancelled > 0 {
            self.wakers.wake();
        }
        accepting::count(&self.metrics, Source::Feed, &accepted);
        self.metrics
            .count_accepted(Source::Feed, "invalid", plan.refused.len());
        self.metrics.cancelled.inc_by(cancelled.unsigned_abs());
        self.metrics.feed_events.inc_by(batch.events.len() as u64);
        let last = batch
            .events
            .last()
            .and_then(|event| event.event_time.as_ref());
        if let Some(event_at) = last.and_then(from_proto_time) {
            let lag = now.duration_since(event_at).as_secs_f64().max(0.0);
            self.metrics.feed_lag_seconds.set(lag);
        }
        Ok(())
    }
}
