//! Sending what waits.
//!
//! Three parts run side by side: one claims messages that are due, one makes the attempts, one writes what came
//! of them, many at a time. A webhook is sent at least once: when the process dies between an attempt and the
//! commit of its outcome, the lease ends and the message is sent again under the same id. To other providers a message
//! goes out once: when its lease ends without an outcome it is parked as uncertain.

pub(crate) mod address;
mod blip;
pub(crate) mod channel;
mod email;
mod lanes;
mod pace;
pub(crate) mod parameters;
mod provider;
pub(crate) mod retry;
mod roots;
mod settling;
pub(crate) mod signing;
mod tidying;
mod webhook;
pub(crate) mod whatsapp;

use std::sync::Arc;
use std::time::Duration;

use sqlx::PgPool;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::accepting::Wakers;
use crate::config::Config;
use crate::credentials::Credentials;
use crate::fault::FaultPoint;
use crate::metrics::NotificationMetrics;
use crate::pipeline::{self, Rhythm, Work};
use crate::store::queue::{self, ClaimLimits, Claimed, Settlement};
use address::AddressPolicy;
use blip::BlipSender;
pub(crate) use channel::Outcome;
use channel::{Attempted, Channels, Health};
use email::EmailSender;
pub(crate) use email::is_mail_address;
use lanes::{BreakerRules, Lanes, Slot};
pub(crate) use roots::Roots;
pub use webhook::WebhookClientError;
pub(crate) use webhook::{SignedCall, WebhookSender};
use whatsapp::WhatsAppSender;

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
        roots: &Roots,
    ) -> Result<Self, WebhookClientError> {
        let webhook = WebhookSender::new(&config.webhook, roots)?;
        let policy = webhook.policy();
        Ok(Self {
            webhook,
            whatsapp: WhatsAppSender::new(&config.whatsapp, credentials.clone(), roots)?,
            blip: BlipSender::new(&config.blip, credentials.clone(), roots)?,
            email: EmailSender::new(&config.email, policy, credentials.clone(), roots),
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
    lanes: Lanes,
    max_per_account: u32,
    rhythm: Rhythm,
    lease: Duration,
    after_claim: Arc<FaultPoint>,
    after_send: Arc<FaultPoint>,
    after_settle: Arc<FaultPoint>,
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
        let breaker = BreakerRules::new(&config.providers);
        Self {
            pool,
            wakers,
            metrics,
            channels: Arc::new(Channels::new(senders, config)),
            lanes: Lanes::new(sender.max_in_flight_per_account, breaker),
            max_per_account: sender.max_in_flight_per_account,
            rhythm: Rhythm {
                max_in_flight: sender.max_in_flight,
                poll: Duration::from_millis(sender.poll_ms),
            },
            lease: config.lease(),
            after_claim: Arc::new(FaultPoint::new("after_claim", fault.abort_after_claim)),
            after_send: Arc::new(FaultPoint::new("after_send", fault.abort_after_send)),
            after_settle: Arc::new(FaultPoint::new("after_settle", fault.abort_after_settle)),
        }
    }

    /// Sends until shutdown; then what was claimed is still sent and written.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        tokio::join!(
            pipeline::run(&self, self.rhythm, &self.wakers.sender, shutdown.clone()),
            self.tidy_until(shutdown),
        );
    }
}

impl Work for Sender {
    const WHAT: &'static str = "messages";
    type Claimed = Claimed;
    type Settlement = Settlement;
    type Slot = Slot;

    async fn claim(&self, total: u32, after_lane: i64) -> Result<Vec<Claimed>, sqlx::Error> {
        let resting = i64::try_from(self.lanes.open_breakers()).unwrap_or(i64::MAX);
        self.metrics.accounts_resting.set(resting);
        let limits = ClaimLimits {
            total,
            per_account: self.max_per_account,
            room: self.lanes.room(Instant::now()),
            after_account: after_lane,
            lease: self.lease,
        };
        let claimed = queue::claim(&self.pool, &limits).await?;
        if !claimed.is_empty() {
            self.after_claim.pass();
        }
        Ok(claimed)
    }

    fn enter(&self, claimed: &Claimed) -> (i64, Slot) {
        let account_id = claimed.channel_account_id;
        (account_id, self.lanes.take(account_id))
    }

    async fn attempt(&self, claimed: Claimed, claimed_at: Instant, slot: &Slot) -> Settlement {
        let Attempted { settlement, health } = self
            .channels
            .attempt(&claimed, claimed_at, &self.metrics)
            .await;
        match health {
            Health::Well => slot.succeeded(),
            Health::Ill => slot.failed(Instant::now()),
            Health::Unknown => {}
        }
        settlement
    }

    async fn settle(&self, settlements: &[Settlement]) -> Result<(), sqlx::Error> {
        self.write(settlements).await
    }

    fn wake(&self) {
        self.wakers.wake();
    }
}
