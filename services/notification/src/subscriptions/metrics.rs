//! Metrics of subscriptions; README.md lists them.

use std::sync::atomic::AtomicU64;

use plazo_service::Metrics;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use crate::store::deliveries::EventStats;

type Seconds = Gauge<f64, AtomicU64>;

/// Handles to the metrics; clones count together.
#[derive(Debug, Clone, Default)]
pub(crate) struct EventMetrics {
    attempts: Family<OutcomeLabels, Counter>,
    queued: Family<SourceLabels, Counter>,
    waiting: Gauge,
    oldest_due_seconds: Seconds,
    paused: Gauge,
    behind: Gauge,
    pub(super) feed_lag_seconds: Seconds,
    pub(super) feed_stopped: Gauge,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SourceLabels {
    source: &'static str,
}

impl EventMetrics {
    /// Registers all metrics with the service's registry.
    pub(crate) fn register(metrics: &mut Metrics) -> Self {
        let ours = Self::default();
        for outcome in ["delivered", "retry", "failed"] {
            drop(ours.attempts.get_or_create(&OutcomeLabels { outcome }));
        }
        for source in ["live", "replay"] {
            drop(ours.queued.get_or_create(&SourceLabels { source }));
        }
        let registry = metrics.service_registry();
        registry.register(
            "event_attempts",
            "Attempts to deliver an event to a subscriber",
            ours.attempts.clone(),
        );
        registry.register(
            "events_queued",
            "Events queued for subscribers",
            ours.queued.clone(),
        );
        registry.register(
            "events_waiting",
            "Events that wait for subscribers",
            ours.waiting.clone(),
        );
        registry.register(
            "events_oldest_due_seconds",
            "How long the event that is due longest has been due",
            ours.oldest_due_seconds.clone(),
        );
        registry.register(
            "subscriptions_paused",
            "Subscriptions that are paused",
            ours.paused.clone(),
        );
        registry.register(
            "subscriptions_behind",
            "Subscriptions that missed events and have not caught up",
            ours.behind.clone(),
        );
        registry.register(
            "event_feed_lag_seconds",
            "Age of the last event when it was queued for subscribers",
            ours.feed_lag_seconds.clone(),
        );
        registry.register(
            "event_feed_stopped",
            "1 when events are not queued for subscribers until somebody mends it",
            ours.feed_stopped.clone(),
        );
        ours
    }

    pub(super) fn count_attempt(&self, outcome: &'static str) {
        self.attempts
            .get_or_create(&OutcomeLabels { outcome })
            .inc();
    }

    pub(super) fn count_queued(&self, source: &'static str, queued: i64) {
        self.queued
            .get_or_create(&SourceLabels { source })
            .inc_by(queued.unsigned_abs());
    }

    pub(crate) fn set(&self, stats: &EventStats) {
        self.waiting.set(stats.waiting);
        self.oldest_due_seconds.set(stats.oldest_due_secs);
        self.paused.set(stats.paused);
        self.behind.set(stats.behind);
    }
}
