//! Delivering events.
//!
//! As messages are sent (see [`crate::sending`]): one part claims, one makes the attempts, one writes what came of them. An
//! event comes at least once: when the process dies between an attempt and the commit of its outcome, the lease ends and
//! the event goes out again under the same id.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use jiff::SignedDuration;
use plazo_service::status;
use sqlx::PgPool;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::in_flight::{InFlight, Slot};
use super::{EventMetrics, EventWakers, webhook_id};
use crate::backoff::Backoff;
use crate::config::Config;
use crate::fault::FaultPoint;
use crate::sending::retry::Schedule;
use crate::sending::{Outcome, SignedCall, WebhookSender};
use crate::store::deliveries::{self, ClaimedEvent, EventClaimLimits, EventSettlement, state};
use crate::store::subscriptions;

/// Outcomes in one transaction.
const BATCH: usize = 256;

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
    max_in_flight: u32,
    max_per_subscription: u32,
    lease: Duration,
    poll: Duration,
    after_send: Arc<FaultPoint>,
}

/// A claimed event with its place among those in flight.
#[derive(Debug)]
struct Job {
    claimed: ClaimedEvent,
    claimed_at: Instant,
    place: Place,
}

/// Held from the claim until the outcome is written.
#[derive(Debug)]
struct Place {
    _permit: OwnedSemaphorePermit,
    _slot: Slot,
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
            max_in_flight: subscriptions.max_in_flight,
            max_per_subscription: subscriptions.max_in_flight_per_subscription,
            lease: config.lease(),
            poll: Duration::from_millis(subscriptions.poll_ms),
            after_send: Arc::new(fault),
        }
    }

    /// Sends until shutdown; then what was claimed is still sent and written.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        let capacity = self.max_in_flight as usize;
        // Never full: each entry holds one of the permits.
        let (jobs_in, jobs) = mpsc::channel(capacity);
        let (outcomes_in, outcomes) = mpsc::channel(capacity);
        tokio::join!(
            self.claim_until(shutdown, jobs_in),
            self.attempt_all(jobs, outcomes_in),
            self.settle_all(outcomes),
        );
    }

    async fn claim_until(&self, shutdown: CancellationToken, jobs: mpsc::Sender<Job>) {
        let in_flight = InFlight::new(self.max_per_subscription);
        let permits = Arc::new(Semaphore::new(self.max_in_flight as usize));
        let mut backoff = Backoff::new(50, 2_000);
        let mut after_subscription = -1;
        while !shutdown.is_cancelled() {
            // Waits until there is room for one at least.
            let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
                return;
            };
            drop(permit);
            let free = permits.available_permits().max(1);
            let limits = EventClaimLimits {
                total: u32::try_from(free).unwrap_or(self.max_in_flight),
                per_subscription: self.max_per_subscription,
                room: in_flight.room(),
                after_subscription,
                lease: self.lease,
            };
            let wait = match deliveries::claim(&self.pool, &limits).await {
                Ok(claimed) => {
                    backoff.reset();
                    let is_full = claimed.len() >= free;
                    let started_over = after_subscription == -1;
                    // The next claim goes on behind the last subscription, so that each gets its turn.
                    after_subscription = match claimed.iter().map(|one| one.subscription_id).max() {
                        Some(last) if is_full => last,
                        _ => -1,
                    };
                    // After the query, so that no attempt is dated later than it was.
                    let claimed_at = Instant::now();
                    for claimed in claimed {
                        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
                            return;
                        };
                        let place = Place {
                            _permit: permit,
                            _slot: in_flight.take(claimed.subscription_id),
                        };
                        let job = Job {
                            claimed,
                            claimed_at,
                            place,
                        };
                        if jobs.send(job).await.is_err() {
                            return;
                        }
                    }
                    if is_full || !started_over {
                        continue;
                    }
                    self.poll
                }
                Err(error) => {
                    tracing::warn!(error = status::chain(&error), "events can't be claimed");
                    backoff.next()
                }
            };
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = self.wakers.sender.notified() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    async fn attempt_all(
        &self,
        mut jobs: mpsc::Receiver<Job>,
        outcomes: mpsc::Sender<(EventSettlement, Place)>,
    ) {
        let mut in_flight = FuturesUnordered::new();
        loop {
            tokio::select! {
                Some(outcome) = in_flight.next() => {
                    if outcomes.send(outcome).await.is_err() {
                        return;
                    }
                }
                job = jobs.recv() => match job {
                    Some(job) => in_flight.push(self.attempt(job)),
                    None => break,
                }
            }
        }
        while let Some(outcome) = in_flight.next().await {
            if outcomes.send(outcome).await.is_err() {
                return;
            }
        }
    }

    async fn attempt(&self, job: Job) -> (EventSettlement, Place) {
        let Job {
            claimed,
            claimed_at,
            place,
        } = job;
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
        (settlement, place)
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

    /// Writes outcomes until no more come. One that can't be written is kept and written later; when that takes longer
    /// than its lease, the event is sent again.
    async fn settle_all(&self, mut outcomes: mpsc::Receiver<(EventSettlement, Place)>) {
        let mut batch = Vec::with_capacity(BATCH);
        let mut backoff = Backoff::new(20, 1_000);
        while outcomes.recv_many(&mut batch, BATCH).await > 0 {
            let settlements: Vec<_> = batch
                .iter()
                .map(|(settlement, _)| settlement.clone())
                .collect();
            while let Err(error) = self.settle(&settlements).await {
                tracing::warn!(
                    error = status::chain(&error),
                    "outcomes of events can't be written yet"
                );
                tokio::time::sleep(backoff.next()).await;
            }
            backoff.reset();
            // Gives their places back: a subscription that was full may have more, and so may a ticket.
            batch.clear();
            self.wakers.sender.notify_one();
            self.wakers.replays.notify_one();
        }
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
}
