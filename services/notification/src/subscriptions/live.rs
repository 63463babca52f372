//! The live feed: each event is queued for the subscriptions that want it, once.

use std::time::Duration;

use jiff::Timestamp;
use plazo_proto::ticketing::v1::feed_service_client::FeedServiceClient;
use plazo_proto::ticketing::v1::{StreamEventsResponse, TicketEvent};
use plazo_service::ServiceChannel;
use sqlx::{PgConnection, PgPool};
use tokio_util::sync::CancellationToken;

use super::{EventMetrics, EventWakers, fan_out};
use crate::config::FeedConfig;
use crate::feed::following::{FollowError, Follower, follow};
use crate::feed::plan;
use crate::message::from_proto_time;
use crate::store::event_feed::Place;
use crate::store::subscriptions::Subscription;
use crate::store::ticket_positions::FeedKind;
use crate::store::{deliveries, event_feed, replays, subscriptions, ticket_positions};

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

impl LiveFeed {
    /// Follows the stream until shutdown. When events are missing it stops and says so.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        follow(&self, &self.client, &self.config, shutdown).await;
    }
}

impl Follower for LiveFeed {
    const PURPOSE: &'static str = "webhook subscriptions";

    async fn position(&self) -> Result<String, sqlx::Error> {
        Ok(event_feed::place(&self.pool).await?.position)
    }

    fn show_stopped(&self, is_stopped: bool) {
        self.metrics.feed_stopped.set(i64::from(is_stopped));
    }

    fn show_lag(&self, lag: Duration) {
        self.metrics.feed_lag_seconds.set(lag.as_secs_f64());
    }

    async fn apply(&self, position: &str, batch: &StreamEventsResponse) -> Result<(), FollowError> {
        let mut transaction = self.pool.begin().await?;
        let place = event_feed::lock_place(&mut transaction).await?;
        if place.position != position {
            return Err(FollowError::Overtaken);
        }
        let tickets = plan::tickets_of(&batch.events);
        let before =
            ticket_positions::find(&mut transaction, FeedKind::Subscriptions, &tickets).await?;
        let after = plan::follow(&batch.events, &before)?;
        ticket_positions::keep(&mut transaction, FeedKind::Subscriptions, &after).await?;

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
}

impl LiveFeed {
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
