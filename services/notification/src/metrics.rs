//! The service's own metrics; README.md lists them.

use std::sync::atomic::AtomicU64;

use plazo_service::Metrics;

pub(crate) use crate::callbacks::metrics::CallbackMetrics;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

type Seconds = Gauge<f64, AtomicU64>;

/// Handles to the metrics; clones count together.
#[derive(Debug, Clone, Default)]
pub(crate) struct NotificationMetrics {
    accepted: Family<AcceptedLabels, Counter>,
    sent: Family<SentLabels, Counter>,
    pub(crate) cancelled: Counter,
    pub(crate) erased_rows: Counter,
    pub(crate) waiting: Gauge,
    pub(crate) uncertain: Gauge,
    pub(crate) accounts_stopped: Gauge,
    pub(crate) accounts_resting: Gauge,
    pub(crate) oldest_due_seconds: Seconds,
    reports: Family<OutcomeLabels, Counter>,
    pub(crate) reports_waiting: Gauge,
    pub(crate) report_lag_seconds: Seconds,
    pub(crate) feed_events: Counter,
    pub(crate) feed_lag_seconds: Seconds,
    pub(crate) feed_stopped: Gauge,
    pub(crate) callbacks: CallbackMetrics,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AcceptedLabels {
    source: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SentLabels {
    channel: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
}

/// By which way a message came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// `SendActiveMessages`.
    Call,
    /// The event stream.
    Feed,
}

impl NotificationMetrics {
    /// Registers all metrics with the service's registry.
    pub(crate) fn register(metrics: &mut Metrics) -> Self {
        let ours = Self::default();
        ours.show_labels();
        let registry = metrics.service_registry();
        registry.register("accepted", "Messages that came in", ours.accepted.clone());
        registry.register("sent", "Attempts to send a message", ours.sent.clone());
        registry.register(
            "cancelled",
            "Messages called off before they were sent",
            ours.cancelled.clone(),
        );
        registry.register(
            "erased_rows",
            "Rows with personal data that erasures changed or deleted",
            ours.erased_rows.clone(),
        );
        registry.register(
            "queue_messages",
            "Messages that wait to be sent",
            ours.waiting.clone(),
        );
        registry.register(
            "uncertain_messages",
            "Messages that a provider may or may not have taken, parked until it is known",
            ours.uncertain.clone(),
        );
        registry.register(
            "accounts_stopped",
            "Channel accounts that their providers refuse; their messages wait until somebody acts",
            ours.accounts_stopped.clone(),
        );
        registry.register(
            "accounts_resting",
            "Channel accounts whose providers are in trouble, so that their messages wait for a while",
            ours.accounts_resting.clone(),
        );
        registry.register(
            "oldest_due_seconds",
            "How long the message that is due longest has been due",
            ours.oldest_due_seconds.clone(),
        );
        registry.register(
            "reports",
            "Reports that ticketing answered",
            ours.reports.clone(),
        );
        registry.register(
            "reports_waiting",
            "Reports not yet answered",
            ours.reports_waiting.clone(),
        );
        registry.register(
            "report_lag_seconds",
            "Age of the oldest report not yet answered",
            ours.report_lag_seconds.clone(),
        );
        registry.register("feed_events", "Events applied", ours.feed_events.clone());
        registry.register(
            "feed_lag_seconds",
            "Age of the last event when it was applied",
            ours.feed_lag_seconds.clone(),
        );
        registry.register(
            "feed_stopped",
            "1 when the event stream can't be applied until somebody mends it",
            ours.feed_stopped.clone(),
        );
        ours.callbacks.register(registry);
        ours
    }

    /// Shows every series before its first event.
    fn show_labels(&self) {
        for source in ["call", "feed"] {
            for outcome in ["accepted", "duplicate", "invalid"] {
                let labels = AcceptedLabels { source, outcome };
                drop(self.accepted.get_or_create(&labels));
            }
        }
        for channel in ["log", "webhook", "whatsapp", "blip", "email"] {
            for outcome in ["delivered", "sent", "retry", "failed", "uncertain"] {
                drop(self.sent.get_or_create(&SentLabels { channel, outcome }));
            }
        }
        for outcome in ["taken", "known", "unknown_message", "invalid"] {
            drop(self.reports.get_or_create(&OutcomeLabels { outcome }));
        }
    }

    pub(crate) fn count_accepted(&self, source: Source, outcome: &'static str, count: usize) {
        let source = match source {
            Source::Call => "call",
            Source::Feed => "feed",
        };
        let labels = AcceptedLabels { source, outcome };
        self.accepted.get_or_create(&labels).inc_by(count as u64);
    }

    pub(crate) fn count_sent(&self, channel: &'static str, outcome: &'static str) {
        self.sent
            .get_or_create(&SentLabels { channel, outcome })
            .inc();
    }

    pub(crate) fn count_report(&self, outcome: &'static str) {
        self.reports.get_or_create(&OutcomeLabels { outcome }).inc();
    }
}
