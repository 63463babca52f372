//! Sending what waits.
//!
//! Three parts run side by side: one claims messages that are due, one makes the attempts, one writes what came
//! of them, many at a time. A webhook is sent at least once: when the process dies between an attempt and the
//! commit of its outcome, the lease ends and the message is sent again under the same id. To other providers a message
//! goes out once: when its lease ends without an outcome it is parked as uncertain.

pub(crate) mod address;
mod blip;
mod channel;
mod email;
mod lanes;
mod pace;
pub(crate) mod parameters;
mod provider;
pub(crate) mod retry;
mod settling;
pub(crate) mod signing;
mod tidying;
mod webhook;
mod whatsapp;

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use plazo_service::status;
use sqlx::PgPool;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::accepting::Wakers;
use crate::backoff::Backoff;
use crate::config::Config;
use crate::credentials::Credentials;
use crate::fault::FaultPoint;
use crate::metrics::NotificationMetrics;
use crate::store::queue::{self, ClaimLimits, Claimed, Settlement};
use address::AddressPolicy;
use blip::BlipSender;
pub(crate) use channel::Outcome;
use channel::{Attempted, Channels, Health};
use email::EmailSender;
use lanes::{BreakerRules, Lanes, Slot};
pub use webhook::WebhookClientError;
pub(crate) use webhook::{SignedCall, WebhookSender};
use whatsapp::WhatsAppSender;

/// An attempt that has no answer after so long lets others have its place, so that endpoints which hang, however many
/// accounts they have, don't hold up the rest.
const SLOW_AFTER: Duration = Duration::from_secs(1);

/// So many times the places in flight are there for such attempts. When they are taken too, a slow attempt keeps its place.
const SLOW_PLACES: usize = 4;

/// What sends on each channel.
#[derive(Debug)]
pub(crate) struct Senders {
    webhook: WebhookSender,
    whatsapp: WhatsAppSender,
    blip: BlipSender,
    email: EmailSender,
}

impl Senders {
    pub(crate) fn new(
        config: &Config,
        credentials: &Credentials,
    ) -> Result<Self, WebhookClientError> {
        let webhook = WebhookSender::new(&config.webhook)?;
        Ok(Self {
            email: EmailSender::new(&config.email, webhook.policy(), credentials.clone()),
            webhook,
            whatsapp: WhatsAppSender::new(&config.whatsapp, credentials.clone())?,
            blip: BlipSender::new(&config.blip, credentials.clone())?,
        })
    }

    /// What calls endpoints.
    pub(crate) fn webhook(&self) -> &WebhookSender {
        &self.webhook
    }

    /// Where accounts may send.
    pub(crate) fn policy(&self) -> AddressPolicy {
        self.webhook.policy()
    }
}

/// Sends messages.
#[derive(Debug, Clone)]
pub(crate) struct Sender {
    pool: PgPool,
    wakers: Wakers,
    metrics: NotificationMetrics,
    channels: Arc<Channels>,
    max_in_flight: u32,
    max_per_account: u32,
    slow: Arc<Semaphore>,
    breaker: BreakerRules,
    lease: Duration,
    poll: Duration,
    after_claim: Arc<FaultPoint>,
    after_send: Arc<FaultPoint>,
    after_settle: Arc<FaultPoint>,
}

/// A claimed message with its place among those in flight.
#[derive(Debug)]
struct Job {
    claimed: Claimed,
    claimed_at: Instant,
    place: Place,
}

/// Held from the claim until the outcome is written.
#[derive(Debug)]
struct Place {
    permit: OwnedSemaphorePermit,
    slot: Slot,
}

impl Place {
    /// Makes room for another one, if there is a place among these slow ones. The account's own place stays taken.
    fn make_room(&mut self, slow: &Arc<Semaphore>) {
        if let Ok(permit) = Arc::clone(slow).try_acquire_owned() {
            self.permit = permit;
        }
    }
}

impl Sender {
    pub(crate) fn new(
        pool: PgPool,
        config: &Config,
        senders: Senders,
        wakers: Wakers,
        metrics: NotificationMetrics,
    ) -> Self {
        let (sender, fault) = (&config.sender, &config.fault);
        Self {
            pool,
            wakers,
            metrics,
            channels: Arc::new(Channels::new(senders, config)),
            max_in_flight: sender.max_in_flight,
            max_per_account: sender.max_in_flight_per_account,
            slow: Arc::new(Semaphore::new(SLOW_PLACES * sender.max_in_flight as usize)),
            breaker: BreakerRules::new(&config.providers),
            lease: config.lease(),
            poll: Duration::from_millis(sender.poll_ms),
            after_claim: Arc::new(FaultPoint::new("after_claim", fault.abort_after_claim)),
            after_send: Arc::new(FaultPoint::new("after_send", fault.abort_after_send)),
            after_settle: Arc::new(FaultPoint::new("after_settle", fault.abort_after_settle)),
        }
    }

    /// Sends until shutdown; then what was claimed is still sent and written.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        let capacity = self.max_in_flight as usize;
        // Never full: each entry holds one of the permits.
        let (jobs_in, jobs) = mpsc::channel(capacity);
        let (outcomes_in, outcomes) = mpsc::channel(capacity * (1 + SLOW_PLACES));
        tokio::join!(
            self.claim_until(shutdown.clone(), jobs_in),
            self.tidy_until(shutdown),
            self.attempt_all(jobs, outcomes_in),
            self.settle_all(outcomes),
        );
    }

    async fn claim_until(&self, shutdown: CancellationToken, jobs: mpsc::Sender<Job>) {
        let lanes = Lanes::new(self.max_per_account, self.breaker);
        let permits = Arc::new(Semaphore::new(self.max_in_flight as usize));
        let mut backoff = Backoff::new(50, 2_000);
        let mut after_account = -1;
        while !shutdown.is_cancelled() {
            // Waits until there is room for one at least.
            let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
                return;
            };
            drop(permit);
            let resting = i64::try_from(lanes.open_breakers()).unwrap_or(i64::MAX);
            self.metrics.accounts_resting.set(resting);
            let free = permits.available_permits().max(1);
            let limits = ClaimLimits {
                total: u32::try_from(free).unwrap_or(self.max_in_flight),
                per_account: self.max_per_account,
                room: lanes.room(Instant::now()),
                after_account,
                lease: self.lease,
            };
            let wait = match queue::claim(&self.pool, &limits).await {
                Ok(claimed) => {
                    backoff.reset();
                    if !claimed.is_empty() {
                        self.after_claim.pass();
                    }
                    let is_full = claimed.len() >= free;
                    let started_over = after_account == -1;
                    // The next claim goes on behind the last account, so that those with high ids get
                    // their turn however much the others have.
                    after_account = match claimed.iter().map(|one| one.channel_account_id).max() {
                        Some(last) if is_full => last,
                        _ => -1,
                    };
                    // After the query, so that no attempt is dated later than it was.
                    let claimed_at = Instant::now();
                    for claimed in claimed {
                        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
                            return;
                        };
                        let slot = lanes.take(claimed.channel_account_id);
                        let place = Place { permit, slot };
                        if jobs
                            .send(Job {
                                claimed,
                                claimed_at,
                                place,
                            })
                            .await
                            .is_err()
                        {
                            return;
                        }
                    }
                    if is_full || !started_over {
                        continue;
                    }
                    self.poll
                }
                Err(error) => {
                    tracing::warn!(error = status::chain(&error), "messages can't be claimed");
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
        outcomes: mpsc::Sender<(Settlement, Place)>,
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

    async fn attempt(&self, job: Job) -> (Settlement, Place) {
        let Job {
            claimed,
            claimed_at,
            mut place,
        } = job;
        let attempt = self.channels.attempt(&claimed, claimed_at, &self.metrics);
        let mut attempt = std::pin::pin!(attempt);
        let in_time = tokio::time::timeout(SLOW_AFTER, &mut attempt).await;
        let Attempted { settlement, health } = if let Ok(attempted) = in_time {
            attempted
        } else {
            place.make_room(&self.slow);
            attempt.await
        };
        match health {
            Health::Well => place.slot.succeeded(),
            Health::Ill => place.slot.failed(Instant::now()),
            Health::Unknown => {}
        }
        (settlement, place)
    }
}
