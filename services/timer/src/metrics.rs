//! The metrics of the timer. The prefix `plazo_timer_`, and `_total` after counters, come by themselves.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use plazo_proto::timer::v1::HandleOutcome;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use tonic::Code;

use crate::dispatch::code_label;
use crate::guard::Loss;
use crate::store::StoreError;

/// What a handler that is down, busy or in error answers. Other codes appear with their first call.
const HANDLER_CODES: [Code; 7] = [
    Code::Cancelled,
    Code::Unknown,
    Code::DeadlineExceeded,
    Code::ResourceExhausted,
    Code::Internal,
    Code::Unavailable,
    Code::Unauthenticated,
];

type Seconds = Gauge<f64, AtomicU64>;

/// The metrics of the timer. Clones share their values.
#[derive(Debug, Clone)]
pub(crate) struct TimerMetrics {
    /// From the due instant to the handler's answer; first looks only.
    pub(crate) lateness: Histogram,
    /// From the due instant to the claim; first looks only.
    pub(crate) claim_lateness: Histogram,
    /// Entries that are due and wait.
    pub(crate) overdue: Gauge,
    /// Entries whose generation was no longer the ticket's.
    pub(crate) stale: Counter,
    fired: Family<OutcomeLabel, Counter>,
    /// Entries that may be with the handler at a time.
    pub(crate) dispatch_window: Gauge,
    /// Shards that this replica claims from.
    pub(crate) owned_shards: Gauge,
    /// Claims from shards of other replicas, which were behind.
    pub(crate) taken_over: Counter,
    /// Rebuilds that were finished, by shard.
    pub(crate) rebuilds: Counter,
    /// Rebuilds that could not end because their mark was gone, by shard.
    pub(crate) overtaken_rebuilds: Counter,
    losses: Family<CauseLabel, Counter>,
    /// How long rebuilds took.
    pub(crate) rebuild_duration: Histogram,
    repaired: Family<CauseLabel, Counter>,
    /// Entries in quarantine.
    pub(crate) quarantined: Gauge,
    /// The handler's clock minus that of Redis.
    pub(crate) clock_skew: Seconds,
    redis_errors: Family<KindLabel, Counter>,
    /// Shards that are left alone because their Redis gives no answers.
    pub(crate) open_shards: Gauge,
    /// Whether a master would lose entries by its settings: 1 or 0.
    pub(crate) redis_unsafe: Gauge,
    /// Entries that are being handled.
    pub(crate) in_flight: Gauge,
    /// Batches claimed.
    pub(crate) claims: Counter,
    /// Leases ended by an answer.
    pub(crate) acks: Counter,
    /// Leases that ended by themselves, and whose entries were taken back.
    pub(crate) ended_leases: Counter,
    /// Entries of claims whose answers were lost, which were given back.
    pub(crate) given_back: Counter,
    /// Entries armed.
    pub(crate) armed: Counter,
    handler_failures: Family<KindLabel, Counter>,
    notification_failures: Counter,
}

/// Why entries were repaired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RepairCause {
    /// A rebuild after Redis may have lost something.
    Rebuild,
    /// The owner's search for lost deadlines: means a bug.
    Sweep,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CauseLabel {
    cause: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

impl TimerMetrics {
    /// Makes the metrics and registers them.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            lateness: lateness_histogram(),
            claim_lateness: lateness_histogram(),
            overdue: Gauge::default(),
            stale: Counter::default(),
            fired: Family::default(),
            dispatch_window: Gauge::default(),
            owned_shards: Gauge::default(),
            taken_over: Counter::default(),
            rebuilds: Counter::default(),
            overtaken_rebuilds: Counter::default(),
            losses: Family::default(),
            rebuild_duration: Histogram::new([
                0.01, 0.05, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 30.0, 60.0, 300.0,
            ]),
            repaired: Family::default(),
            quarantined: Gauge::default(),
            clock_skew: Seconds::default(),
            redis_errors: Family::default(),
            open_shards: Gauge::default(),
            redis_unsafe: Gauge::default(),
            in_flight: Gauge::default(),
            claims: Counter::default(),
            acks: Counter::default(),
            ended_leases: Counter::default(),
            given_back: Counter::default(),
            armed: Counter::default(),
            handler_failures: Family::default(),
            notification_failures: Counter::default(),
        };
        metrics.show_labels();
        metrics.register_work(registry);
        metrics.register_health(registry);
        metrics
    }

    /// Shows every series before its first event.
    fn show_labels(&self) {
        for outcome in ["fired", "already", "not_due", "stale", "busy", "error"] {
            drop(self.fired.get_or_create(&OutcomeLabel { outcome }));
        }
        for cause in ["rebuild", "sweep"] {
            drop(self.repaired.get_or_create(&CauseLabel { cause }));
        }
        for cause in Loss::ALL.map(Loss::label) {
            drop(self.losses.get_or_create(&CauseLabel { cause }));
        }
        for code in HANDLER_CODES {
            let kind = code_label(code);
            drop(self.handler_failures.get_or_create(&KindLabel { kind }));
        }
        for kind in StoreError::KINDS {
            drop(self.redis_errors.get_or_create(&KindLabel { kind }));
        }
    }

    fn register_work(&self, registry: &mut Registry) {
        registry.register_with_unit(
            "lateness",
            "From the due instant to the answer, first looks only",
            Unit::Seconds,
            self.lateness.clone(),
        );
        registry.register_with_unit(
            "claim_lateness",
            "From the due instant to the claim, first looks only",
            Unit::Seconds,
            self.claim_lateness.clone(),
        );
        registry.register(
            "stale",
            "Entries of generations that were over",
            self.stale.clone(),
        );
        registry.register("fired", "Entries handled, by outcome", self.fired.clone());
        registry.register(
            "in_flight",
            "Entries that are being handled",
            self.in_flight.clone(),
        );
        registry.register(
            "dispatch_window",
            "Entries that may be with the handler at a time",
            self.dispatch_window.clone(),
        );
        registry.register(
            "owned_shards",
            "Shards that this replica claims from",
            self.owned_shards.clone(),
        );
        registry.register(
            "taken_over",
            "Claims from shards of other replicas, which were behind",
            self.taken_over.clone(),
        );
        registry.register("claims", "Batches claimed", self.claims.clone());
        registry.register("acks", "Leases ended by an answer", self.acks.clone());
        registry.register("armed", "Entries armed", self.armed.clone());
    }

    fn register_health(&self, registry: &mut Registry) {
        registry.register(
            "overdue_tickets",
            "Entries that are due and wait to be claimed",
            self.overdue.clone(),
        );
        registry.register(
            "rebuild",
            "Shards whose rebuild was finished",
            self.rebuilds.clone(),
        );
        registry.register(
            "overtaken_rebuild",
            "Shards whose rebuild started over, because Redis lost its mark",
            self.overtaken_rebuilds.clone(),
        );
        registry.register(
            "suspected_loss",
            "Shards of which Redis may have lost something, by cause",
            self.losses.clone(),
        );
        registry.register_with_unit(
            "rebuild_duration",
            "How long rebuilds took",
            Unit::Seconds,
            self.rebuild_duration.clone(),
        );
        registry.register(
            "repaired",
            "Entries that were missing",
            self.repaired.clone(),
        );
        registry.register(
            "quarantined_tickets",
            "Entries given up",
            self.quarantined.clone(),
        );
        registry.register_with_unit(
            "clock_skew",
            "The handler's clock minus that of Redis",
            Unit::Seconds,
            self.clock_skew.clone(),
        );
        registry.register(
            "redis_errors",
            "Failed calls of Redis",
            self.redis_errors.clone(),
        );
        registry.register(
            "open_shards",
            "Shards that are left alone because their Redis gives no answers",
            self.open_shards.clone(),
        );
        registry.register(
            "redis_unsafe",
            "1 while a Redis has another eviction policy than noeviction, else 0",
            self.redis_unsafe.clone(),
        );
        registry.register(
            "ended_leases",
            "Leases that ended without an answer",
            self.ended_leases.clone(),
        );
        registry.register(
            "given_back",
            "Entries taken by claims whose answers were lost, and given back",
            self.given_back.clone(),
        );
        registry.register(
            "handler_failures",
            "Failed calls of the handler, by gRPC code",
            self.handler_failures.clone(),
        );
        registry.register(
            "notification_failures",
            "Batches of active messages that could not be handed over",
            self.notification_failures.clone(),
        );
    }

    /// An entry was handled.
    pub(crate) fn handled(&self, outcome: HandleOutcome, count: u64) {
        let outcome = match outcome {
            HandleOutcome::Fired => "fired",
            HandleOutcome::Already => "already",
            HandleOutcome::NotDue => "not_due",
            HandleOutcome::Stale => "stale",
            HandleOutcome::Busy => "busy",
            HandleOutcome::Error | HandleOutcome::Unspecified => "error",
        };
        self.fired
            .get_or_create(&OutcomeLabel { outcome })
            .inc_by(count);
    }

    /// Redis may have lost something of so many shards.
    pub(crate) fn suspected_loss(&self, cause: &'static str, count: u64) {
        self.losses
            .get_or_create(&CauseLabel { cause })
            .inc_by(count);
    }

    /// Entries were missing.
    pub(crate) fn repaired(&self, cause: RepairCause, count: i64) {
        let cause = match cause {
            RepairCause::Rebuild => "rebuild",
            RepairCause::Sweep => "sweep",
        };
        self.repaired
            .get_or_create(&CauseLabel { cause })
            .inc_by(count.unsigned_abs());
    }

    /// A call of Redis failed.
    pub(crate) fn redis_error(&self, kind: &'static str) {
        self.redis_errors.get_or_create(&KindLabel { kind }).inc();
    }

    /// A call of the handler failed.
    pub(crate) fn handler_failed(&self, kind: &'static str) {
        self.handler_failures
            .get_or_create(&KindLabel { kind })
            .inc();
    }

    /// Messages could not be handed over.
    pub(crate) fn notification_failed(&self) {
        self.notification_failures.inc();
    }
}

/// A time span in microseconds, as a histogram takes it. Never below zero.
pub(crate) fn seconds(micros: i64) -> f64 {
    Duration::from_micros(u64::try_from(micros).unwrap_or(0)).as_secs_f64()
}

/// From a millisecond to ten minutes.
fn lateness_histogram() -> Histogram {
    Histogram::new([
        0.001, 0.002, 0.005, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
        60.0, 600.0,
    ])
}
