//! The live feed: each event is queued for the subscriptions that want it, once.

use std::time::Duration;

use jiff::Timestamp;
use plazo_proto::ticketing::v1::feed_service_client::FeedServiceClient;
use plazo_proto::ticketing::v1::{StreamEventsResponse, TicketEvent};
use plazo_service::{ServiceChannel, status};
use sqlx::{PgConnection, PgPool};
use tokio_util::sync::CancellationToken;

use super::{EventMetrics, EventWakers, fan_out};
use crate::backoff::Backoff;
use crate::config::FeedConfig;
use crate::feed::plan::{self, SequenceBroken};
use crate::feed::stream::{EventStream, StreamError};
use crate::message::from_proto_time;
use crate::store::event_feed::Place;
use crate::store::subscriptions::Subscription;
use crate::store::{deliveries, event_feed, replays, subscriptions};

/// A batch that loses against another transaction is tried so often in all before the stream is opened anew.
const MAX_ATTEMPTS: u32 = 4;

/// How long a replica rests after another one was faster, so that one of them does the work.
const OTHER_REPLICA_REST: Duration = Duration::from_secs(2);

/// Follows the event stream for subscribers.
#[derive(Debug, Clone)]
pub(crate) struct LiveFeed {
    pub(crate) pool: PgPool,
    pub(crate) client: FeedServiceClient<ServiceChannel>,
    pub(crate) config: FeedConfig,
    /// A subscription for which more than this would wait is passed by until it has caught up.
    pub(crate) max_waiting: u32,
    pub(crate) wakers: EventWakers,
    pub(crate) metrics: EventMetrics,
}

/// Why the stream was left.
#[derive(Debug, thiserror::Error)]
enum LiveFeedError {
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

impl LiveFeedError {
    fn is_lasting(&self) -> bool {
        matches!(
            self,
            Self::Stream(StreamError::Position(_)) | Self::Sequence(_)
        )
    }
}

impl LiveFeed {
    /// Follows the stream until shutdown. When events are missing it stops and says so.
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
                    "no more events are queued for webhook subscriptions, until the cause is mended and the \
                     service started again"
                );
                shutdown.cancelled().await;
                return;
            }
            let wait = match error {
                LiveFeedError::Overtaken => OTHER_REPLICA_REST,
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
                "the event stream for webhook subscriptions is opened again"
            );
        }
    }

    async fn consume(&self, backoff: &mut Backoff) -> LiveFeedError {
        match self.follow(backoff).await {
            Err(error) => error,
            Ok(never) => match never {},
        }
    }

    /// Opens the stream at the stored position and applies it until something fails.
    async fn follow(
        &self,
        backoff: &mut Backoff,
    ) -> Result<std::convert::Infallible, LiveFeedError> {
        let mut position = event_feed::place(&self.pool).await?.position;
        let silence = Duration::from_millis(self.config.silence_timeout_ms);
        let mut stream = EventStream::open(&self.client, &position, silence).await?;
        loop {
            let batch = stream.next().await?;
            backoff.reset();
            self.apply(&position, &batch).await?;
            position = batch.position;
        }
    }

    /// Applies a batch that follows `position`, as a whole.
    async fn apply(
        &self,
        position: &str,
        batch: &StreamEventsResponse,
    ) -> Result<(), LiveFeedError> {
        if batch.events.is_empty() {
            self.metrics.feed_lag_seconds.set(0.0);
            if batch.position == position {
                return Ok(());
            }
        }
        let mut attempt = 1;
        loop {
            match self.apply_once(position, batch).await {
                Err(LiveFeedError::Database(error))
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
    ) -> Result<(), LiveFeedError> {
        let mut transaction = self.pool.begin().await?;
        let place = event_feed::lock_place(&mut transaction).await?;
        if place.position != position {
            return Err(LiveFeedError::Overtaken);
        }
        let tickets = plan::tickets_of(&batch.events);
        let before = event_feed::ticket_positions(&mut transaction, &tickets).await?;
        let after = plan::follow(&batch.events, &before)?;
        event_feed::keep_ticket_positions(&mut transaction, &after).await?;

        let queued = self.queue(&mut transaction, &place, &batch.events).await?;
        event_feed::mark(&mut transaction, queued > 0).await?;
        let events = i64::try_from(batch.events.len()).unwrap_or(i64::MAX);
        let newest_at = newest(&batch.events);
        let now = event_feed::advance(&mut transaction, &batch.position, events, newest_at).await?;
        transaction.commit().await?;

        if queued > 0 {
            self.wakers.sender.notify_one();
            self.metrics.count_queued("live", queued);
        }
        if let Some(newest_at) = newest_at {
            let lag = now.duration_since(newest_at).as_secs_f64().max(0.0);
            self.metrics.feed_lag_seconds.set(lag);
        }
        Ok(())
    }

    /// Queues the events that stand behind `place`; how many deliveries that makes.
    async fn queue(
        &self,
        transaction: &mut PgConnection,
        place: &Place,
        events: &[TicketEvent],
    ) -> Result<i64, sqlx::Error> {
        let mut tenants: Vec<i64> = events.iter().map(|event| event.tenant_id).collect();
        tenants.sort_unstable();
        tenants.dedup();
        let mut all = Vec::new();
        for subscription in subscriptions::lock_of_tenants(transaction, &tenants).await? {
            if subscription.is_behind || !fan_out::wants_any(&subscription, events) {
                continue;
            }
            if subscription.paused_reason.is_empty() {
                let wanted = fan_out::deliveries(&subscription, events, place.events);
                let would_wait = subscription.waiting.unsigned_abs() + wanted.len() as u64;
                if would_wait <= u64::from(self.max_waiting) {
                    all.extend(wanted);
                    continue;
                }
            }
            fall_behind(transaction, &subscription, place).await?;
        }
        if all.is_empty() {
            return Ok(0);
        }
        deliveries::enqueue(transaction, &all, None).await
    }
}

/// From this place on, the subscription misses events, and is led back from here later.
async fn fall_behind(
    transaction: &mut PgConnection,
    subscription: &Subscription,
    place: &Place,
) -> Result<(), sqlx::Error> {
    let (tenant_id, subscription_id) = (subscription.tenant_id, subscription.subscription_id);
    if subscription.paused_reason.is_empty() {
        tracing::warn!(
            tenant_id,
            subscription_id,
            waiting = subscription.waiting,
            "too many events wait for a webhook subscription: it gets the next ones when it has caught up"
        );
    }
    subscriptions::set_behind(transaction, tenant_id, subscription_id, true).await?;
    replays::create_catch_up(transaction, tenant_id, subscription_id, place).await
}

fn newest(events: &[TicketEvent]) -> Option<Timestamp> {
    let times = events.iter().filter_map(|event| event.event_time.as_ref());
    times.filter_map(from_proto_time).max()
}
