//! Delivering events.
//!
//! As messages are sent (see [`crate::sending`]): one part claims, one makes the attempts, one writes what came of them. An
//! event comes at least once: when the process dies between an attempt and the commit of its outcome, the lease ends and
//! the event goes out again under the same id.

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use sqlx::PgPool;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::in_flight::{InFlight, Slot};
use super::{EventMetrics, EventWakers, webhook_id};
use crate::config::Config;
use crate::fault::FaultPoint;
use crate::pipeline::{self, Rhythm, Work};
use crate::sending::retry::Schedule;
use crate::sending::{Outcome, SignedCall, WebhookSender};
use crate::store::deliveries::{self, ClaimedEvent, EventClaimLimits, EventSettlement, state};
use crate::store::subscriptions;

/// An endpoint that asks to be left alone is, with all its events, but not for longer. The event itself waits as long as
/// was asked.
const REST_MAX: Duration = Duration::from_hours(1);

/// Delivers events.
#[derive(Debug, Clone)]
pub(crate) struct EventSender {
    pool: PgPool,
    webhook: WebhookSender,
    schedule: Schedule,
    wakers: EventWakers,
    metrics: EventMetrics,
    in_flight: InFlight,
    max_per_subscription: u32,
    rhythm: Rhythm,
    lease: Duration,
    after_send: Arc<FaultPoint>,
}

impl EventSender {
    pub(crate) fn new(
        pool: PgPool,
        config: &Config,
        webhook: WebhookSender,
        wakers: EventWakers,
        metrics: EventMetrics,
    ) -> Self {
        let subscriptions = &config.subscriptions;
        let fault = FaultPoint::new("after_event_send", config.fault.abort_after_event_send);
        Self {
            pool,
            webhook,
            schedule: Schedule::of_webhooks(&config.sender),
            wakers,
            metrics,
            in_flight: InFlight::new(subscriptions.max_in_flight_per_subscription),
            max_per_subscription: subscriptions.max_in_flight_per_subscription,
            rhythm: Rhythm {
                max_in_flight: subscriptions.max_in_flight,
                poll: Duration::from_millis(subscriptions.poll_ms),
            },
            lease: config.lease(),
            after_send: Arc::new(fault),
        }
    }

    /// Sends until shutdown; then what was claimed is still sent and written.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        pipeline::run(&self, self.rhythm, &self.wakers.sender, shutdown).await;
    }

    /// What follows from an attempt.
    fn judge(&self, settlement: &mut EventSettlement, round_attempts: i32, outcome: Outcome) {
        let (reason, at_least) = match outcome {
            Outcome::Delivered | Outcome::Sent { .. } => return,
            Outcome::Failed { reason } => {
                settlement.outcome = reason;
                settlement.new_state = state::FAILED;
                return;
            }
            // The event waits for somebody to enable the subscription again.
            Outcome::Gone => {
                "ENDPOINT_GONE".clone_into(&mut settlement.outcome);
                settlement.new_state = state::WAITING;
                settlement.is_gone = true;
                return;
            }
            Outcome::Retry { reason, at_least } | Outcome::RetryOne { reason, at_least } => {
                (reason, at_least)
            }
            // Not of a webhook, which may be called twice.
            Outcome::Uncertain { reason } | Outcome::StopAccount { reason } => {
                (reason, Duration::ZERO)
            }
            Outcome::PutOff { wait } => ("PUT_OFF".to_owned(), wait),
        };
        settlement.outcome = reason;
        settlement.rest = at_least.min(REST_MAX);
        match self
            .schedule
            .wait_after(round_attempts, Duration::ZERO, at_least)
        {
            None => settlement.new_state = state::FAILED,
            Some(wait) => {
                settlement.new_state = state::WAITING;
                settlement.retry_after = wait;
            }
        }
    }
}

impl Work for EventSender {
    const WHAT: &'static str = "events";
    type Claimed = ClaimedEvent;
    type Settlement = EventSettlement;
    type Slot = Slot;

    async fn claim(&self, total: u32, after_lane: i64) -> Result<Vec<ClaimedEvent>, sqlx::Error> {
        let limits = EventClaimLimits {
            total,
            per_subscription: self.max_per_subscription,
            room: self.in_flight.room(),
            after_subscription: after_lane,
            lease: self.lease,
        };
        deliveries::claim(&self.pool, &limits).await
    }

    fn enter(&self, claimed: &ClaimedEvent) -> (i64, Slot) {
        let subscription_id = claimed.subscription_id;
        (subscription_id, self.in_flight.take(subscription_id))
    }

    async fn attempt(
        &self,
        claimed: ClaimedEvent,
        claimed_at: Instant,
        _slot: &Slot,
    ) -> EventSettlement {
        let since_claim = SignedDuration::try_from(claimed_at.elapsed()).unwrap_or_default();
        let attempt_at = claimed.now.checked_add(since_claim).unwrap_or(claimed.now);
        let call = SignedCall {
            url: &claimed.webhook_url,
            secrets: std::iter::once(&claimed.signing_secret)
                .chain(&claimed.previous_secret)
                .map(Vec::as_slice)
                .collect(),
            id: webhook_id(claimed.event_id),
            body: claimed.body.clone().into_bytes(),
        };
        let began = Instant::now();
        let (outcome, http_status) = self.webhook.post(call, attempt_at).await;
        let mut settlement = EventSettlement {
            tenant_id: claimed.tenant_id,
            subscription_id: claimed.subscription_id,
            event_id: claimed.event_id,
            attempt: claimed.attempts,
            attempt_at,
            duration: began.elapsed(),
            http_status,
            outcome: "OK".to_owned(),
            new_state: state::DELIVERED,
            retry_after: Duration::ZERO,
            rest: Duration::ZERO,
            is_gone: false,
        };
        self.judge(&mut settlement, claimed.round_attempts, outcome);
        self.metrics.count_attempt(match settlement.new_state {
            state::DELIVERED => "delivered",
            state::FAILED => "failed",
            _ => "retry",
        });
        settlement
    }

    async fn settle(&self, settlements: &[EventSettlement]) -> Result<(), sqlx::Error> {
        let mut ids: Vec<_> = settlements
            .iter()
            .map(|one| (one.tenant_id, one.subscription_id))
            .collect();
        ids.sort_unstable();
        ids.dedup();
        let (tenant_ids, subscription_ids): (Vec<i64>, Vec<i64>) = ids.into_iter().unzip();
        let mut transaction = self.pool.begin().await?;
        subscriptions::lock_all(&mut transaction, &tenant_ids, &subscription_ids).await?;
        deliveries::settle(&mut transaction, settlements).await?;
        self.after_send.pass();
        transaction.commit().await?;
        for gone in settlements.iter().filter(|one| one.is_gone) {
            tracing::warn!(
                tenant_id = gone.tenant_id,
                subscription_id = gone.subscription_id,
                "an endpoint answered that it is gone; its subscription is paused"
            );
        }
        Ok(())
    }

    /// A ticket may have its next event, too.
    fn wake(&self) {
        self.wakers.sender.notify_one();
        self.wakers.replays.notify_one();
    }
}
