//! What came from providers, in numbers.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Handles to the metrics; clones count together.
#[derive(Debug, Clone, Default)]
pub(crate) struct CallbackMetrics {
    callbacks: Family<CallbackLabels, Counter>,
    items: Family<ItemLabels, Counter>,
    inbound: Family<OutcomeLabels, Counter>,
    pub(crate) inbound_waiting: Gauge,
    pub(crate) inbound_lag_seconds: Gauge<f64, AtomicU64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallbackLabels {
    channel: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ItemLabels {
    kind: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
}

impl CallbackMetrics {
    pub(crate) fn register(&self, registry: &mut Registry) {
        self.show_labels();
        registry.register(
            "callbacks",
            "Calls of providers that were answered",
            self.callbacks.clone(),
        );
        registry.register(
            "callback_items",
            "Statuses and messages that providers told",
            self.items.clone(),
        );
        registry.register(
            "inbound",
            "Messages of customers that ticketing answered for",
            self.inbound.clone(),
        );
        registry.register(
            "inbound_waiting",
            "Messages of customers not yet answered for",
            self.inbound_waiting.clone(),
        );
        registry.register(
            "inbound_lag_seconds",
            "Age of the oldest message of a customer not yet answered for",
            self.inbound_lag_seconds.clone(),
        );
    }

    /// Shows every series before its first event.
    fn show_labels(&self) {
        for channel in ["whatsapp", "blip"] {
            for outcome in ["taken", "refused", "failed"] {
                let labels = CallbackLabels { channel, outcome };
                drop(self.callbacks.get_or_create(&labels));
            }
        }
        for (kind, outcome) in [
            ("status", "taken"),
            ("status", "known"),
            ("status", "unmatched"),
            ("message", "taken"),
            ("message", "known"),
            ("other", "skipped"),
        ] {
            drop(self.items.get_or_create(&ItemLabels { kind, outcome }));
        }
        for outcome in ["recorded", "duplicate", "ignored", "invalid"] {
            drop(self.inbound.get_or_create(&OutcomeLabels { outcome }));
        }
    }

    /// `outcome`: `taken`, `refused` or `failed`.
    pub(crate) fn count_callback(&self, channel: &'static str, outcome: &'static str) {
        self.callbacks
            .get_or_create(&CallbackLabels { channel, outcome })
            .inc();
    }

    /// `kind`: `status`, `message` or `other`.
    pub(crate) fn count_items(&self, kind: &'static str, outcome: &'static str, count: usize) {
        if count > 0 {
            self.items
                .get_or_create(&ItemLabels { kind, outcome })
                .inc_by(count as u64);
        }
    }

    pub(crate) fn count_inbound(&self, outcome: &'static str) {
        self.inbound.get_or_create(&OutcomeLabels { outcome }).inc();
    }
}
