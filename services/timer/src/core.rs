//! What the parts of a running timer share.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use plazo_proto::notification::v1::notification_service_client::NotificationServiceClient;
use plazo_proto::timer::v1::ticket_handler_service_client::TicketHandlerServiceClient;
use plazo_service::config::ConfigError;
use plazo_service::{Actor, ServiceChannel, ServiceConfig, Tls};
use rand::Rng as _;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::clock::RedisClock;
use crate::config::Config;
use crate::dispatch::{Limiter, Limits};
use crate::fault::Faults;
use crate::metrics::TimerMetrics;
use crate::ownership::Ownership;
use crate::rebuild::Marked;
use crate::shard::Shard;
use crate::store::{ClaimRules, Store};

/// What the parts of a running timer share.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) config: Config,
    pub(crate) store: Store,
    pub(crate) metrics: TimerMetrics,
    pub(crate) clock: RedisClock,
    pub(crate) wake: Wake,
    pub(crate) ownership: Ownership,
    pub(crate) limiter: Limiter,
    pub(crate) faults: Faults,
    pub(crate) handler: TicketHandlerServiceClient<ServiceChannel>,
    pub(crate) notification: NotificationServiceClient<ServiceChannel>,
    /// After a failed call, notification is not called until then.
    pub(crate) notification_rests_until: Mutex<Option<Instant>>,
    /// Batches that the handler has answered: what tells a poison ticket from a handler that is down.
    pub(crate) answered_batches: AtomicU64,
    /// Shards that are being rebuilt by this replica.
    pub(crate) marked: Marked,
    /// Unique for each start of a process.
    pub(crate) replica_id: String,
    claim_number: AtomicU64,
    /// For each shard whether it may hold failed or quarantined members, as of the guard's last look.
    has_failures: Vec<AtomicBool>,
}

impl Core {
    pub(crate) fn new(
        config: Config,
        tls: &Tls,
        store: Store,
        metrics: TimerMetrics,
    ) -> Result<Self, ConfigError> {
        let actor = || Actor::service(Config::NAME);
        let handler = tls.connect_lazy(&config.handler, actor())?;
        let notification = tls.connect_lazy(&config.notification, actor())?;
        let shard_count = usize::from(store.layout().shard_count());
        let limits = Limits {
            batch_max: config.timer.batch_limit,
            calls_max: config.timer.dispatch_slots,
            target: Duration::from_millis(config.timer.target_call_ms),
        };
        Ok(Self {
            clock: RedisClock::new(),
            wake: Wake::new(shard_count),
            ownership: Ownership::new(shard_count),
            limiter: Limiter::new(limits, metrics.dispatch_window.clone()),
            faults: Faults::new(&config.fault),
            handler: TicketHandlerServiceClient::new(handler)
                .max_decoding_message_size(config.handler.max_message_bytes)
                .max_encoding_message_size(config.handler.max_message_bytes),
            notification: NotificationServiceClient::new(notification)
                .max_decoding_message_size(config.notification.max_message_bytes)
                .max_encoding_message_size(config.notification.max_message_bytes),
            notification_rests_until: Mutex::new(None),
            answered_batches: AtomicU64::new(0),
            marked: Marked::default(),
            replica_id: format!("{:016x}", rand::rng().random::<u64>()),
            claim_number: AtomicU64::new(0),
            has_failures: (0..shard_count).map(|_| AtomicBool::new(true)).collect(),
            config,
            store,
            metrics,
        })
    }

    /// An id for a claim that nobody has used before.
    pub(crate) fn next_claim_id(&self) -> String {
        format!(
            "{}:{}",
            self.replica_id,
            self.claim_number.fetch_add(1, Ordering::Relaxed)
        )
    }

    pub(crate) fn claim_rules(&self) -> ClaimRules {
        ClaimRules {
            lease_ms: self.config.timer.lease_ms,
            attempts_max: self.config.timer.failed_attempts_max,
            quarantine_retry_ms: self.config.timer.quarantine_retry_ms,
        }
    }

    /// There is an entry in this shard that is due at this instant, in Unix milliseconds. When the shard is another
    /// replica's, that one finds it at its next look.
    pub(crate) fn hint(&self, shard: Shard, due_ms: i64) {
        if self.ownership.owns(shard) {
            self.wake.hint(shard, due_ms);
        }
    }

    /// Whether a shard may hold failed or quarantined members. It may be a moment late to say so: then what is kept of
    /// a removed generation goes when it is tried again.
    pub(crate) fn has_failures(&self, shard: Shard) -> bool {
        self.has_failures[shard.index()].load(Ordering::Relaxed)
    }

    pub(crate) fn set_has_failures(&self, shard: Shard, has_failures: bool) {
        self.has_failures[shard.index()].store(has_failures, Ordering::Relaxed);
    }
}

/// Wakes the claim loop for what is due earlier than it knows.
#[derive(Debug)]
pub(crate) struct Wake {
    notify: Notify,
    /// For each shard the earliest instant heard of since the loop last took it, in Unix milliseconds.
    earliest_ms: Vec<AtomicI64>,
    has_hints: AtomicBool,
    /// The loop sleeps until then; the lowest number while it doesn't sleep, or won't be woken.
    sleeping_until_ms: AtomicI64,
}

impl Wake {
    fn new(shard_count: usize) -> Self {
        Self {
            notify: Notify::new(),
            earliest_ms: (0..shard_count).map(|_| AtomicI64::new(i64::MAX)).collect(),
            has_hints: AtomicBool::new(false),
            sleeping_until_ms: AtomicI64::new(i64::MIN),
        }
    }

    /// There is an entry in this shard that is due at this instant, in Unix milliseconds.
    fn hint(&self, shard: Shard, due_ms: i64) {
        self.earliest_ms[shard.index()].fetch_min(due_ms, Ordering::SeqCst);
        self.has_hints.store(true, Ordering::SeqCst);
        if due_ms < self.sleeping_until_ms.load(Ordering::SeqCst) {
            self.notify.notify_one();
        }
    }

    /// Hands over the hints since the last call.
    pub(crate) fn take(&self, mut each: impl FnMut(usize, i64)) {
        if !self.has_hints.swap(false, Ordering::SeqCst) {
            return;
        }
        for (index, earliest) in self.earliest_ms.iter().enumerate() {
            let due_ms = earliest.swap(i64::MAX, Ordering::SeqCst);
            if due_ms != i64::MAX {
                each(index, due_ms);
            }
        }
    }

    /// Waits for a hint of something due before the instant, in Unix milliseconds. Returns at once if one came since
    /// they were last taken. Never returns by itself.
    pub(crate) async fn earlier_than(&self, until_ms: i64) {
        self.sleeping_until_ms.store(until_ms, Ordering::SeqCst);
        let _awake = AwakeAgain(&self.sleeping_until_ms);
        // In this order a hint is seen here, or sees the instant: none is slept through.
        if self
            .earliest_ms
            .iter()
            .any(|due_ms| due_ms.load(Ordering::SeqCst) < until_ms)
        {
            return;
        }
        self.notify.notified().await;
    }
}

/// The loop can also be woken by something else, and then hints need not wake it.
struct AwakeAgain<'a>(&'a AtomicI64);

impl Drop for AwakeAgain<'_> {
    fn drop(&mut self) {
        self.0.store(i64::MIN, Ordering::SeqCst);
    }
}
