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

pub(crate) mod following;
pub(crate) mod plan;
pub(crate) mod stream;

use std::time::Duration;

use plazo_proto::ticketing::v1::StreamEventsResponse;
use plazo_proto::ticketing::v1::feed_service_client::FeedServiceClient;
use plazo_service::ServiceChannel;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::accepting::{self, Wakers};
use crate::config::FeedConfig;
use crate::message::from_proto_time;
use crate::metrics::{NotificationMetrics, Source};
use crate::store::messages::{self, Incoming};
use crate::store::ticket_positions::FeedKind;
use crate::store::{erasing, feed as store, reports, ticket_positions};
use following::{FollowError, Follower, follow};
use plan::Plan;

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

impl FeedConsumer {
    /// Consumes until shutdown. When it has to stop, messages still come by calls.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        follow(&self, &self.client, &self.config, shutdown).await;
    }
}

impl Follower for FeedConsumer {
    const PURPOSE: &'static str = "active messages";

    async fn position(&self) -> Result<String, sqlx::Error> {
        store::position(&self.pool).await
    }

    fn show_stopped(&self, is_stopped: bool) {
        self.metrics.feed_stopped.set(i64::from(is_stopped));
    }

    fn show_lag(&self, lag: Duration) {
        self.metrics.feed_lag_seconds.set(lag.as_secs_f64());
    }

    async fn apply(&self, position: &str, batch: &StreamEventsResponse) -> Result<(), FollowError> {
        let mut transaction = self.pool.begin().await?;
        let Some(now) = store::advance(&mut transaction, position, &batch.position).await? else {
            return Err(FollowError::Overtaken);
        };
        let tickets = plan::tickets_of(&batch.events);
        let before = ticket_positions::find(&mut transaction, FeedKind::Messages, &tickets).await?;
        let plan = Plan::new(&batch.events, &before)?;
        ticket_positions::keep(&mut transaction, FeedKind::Messages, &plan.ticket_positions)
            .await?;

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
