//! What is counted of access.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::end::EndReason;

/// `plazo_access_refused_total` by reason; `plazo_access_streams_ended_total` by reason; `plazo_access_key_refreshes_total` by issuer and outcome, and
/// `plazo_access_keys_age_seconds` by issuer. Issuers are those of the configuration.
#[derive(Debug, Clone)]
pub(crate) struct AccessMetrics {
    refused: Family<ReasonLabels, Counter>,
    streams_ended: Family<ReasonLabels, Counter>,
    refreshes: Family<RefreshLabels, Counter>,
    age: Family<IssuerLabels, Gauge<f64, AtomicU64>>,
}

/// What came of fetching an issuer's keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RefreshOutcome {
    /// They are others than before.
    Changed,
    /// They are the same.
    Unchanged,
    /// They could not be fetched; the ones before are kept.
    Failed,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefreshLabels {
    issuer: Arc<str>,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct IssuerLabels {
    issuer: Arc<str>,
}

impl AccessMetrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let refused = Family::default();
        registry.register(
            "refused",
            "Calls that were refused before their handler, by reason",
            refused.clone(),
        );
        let streams_ended = Family::default();
        for reason in EndReason::ALL {
            let reason = reason.name();
            drop(streams_ended.get_or_create(&ReasonLabels { reason }));
        }
        registry.register(
            "streams_ended",
            "Streams that ended with what let them in, by reason",
            streams_ended.clone(),
        );
        let refreshes = Family::default();
        registry.register(
            "key_refreshes",
            "Fetches of an issuer's keys",
            refreshes.clone(),
        );
        let age = Family::default();
        registry.register(
            "keys_age_seconds",
            "Time since an issuer's keys were last fetched, or since the start if they never were",
            age.clone(),
        );
        Self {
            refused,
            streams_ended,
            refreshes,
            age,
        }
    }

    pub(super) fn refused(&self, reason: &'static str) {
        self.refused.get_or_create(&ReasonLabels { reason }).inc();
    }

    pub(crate) fn stream_ended(&self, reason: EndReason) {
        let reason = reason.name();
        self.streams_ended
            .get_or_create(&ReasonLabels { reason })
            .inc();
    }

    pub(super) fn refreshed(&self, issuer: &Arc<str>, outcome: RefreshOutcome) {
        let labels = RefreshLabels {
            issuer: Arc::clone(issuer),
            outcome: match outcome {
                RefreshOutcome::Changed => "changed",
                RefreshOutcome::Unchanged => "unchanged",
                RefreshOutcome::Failed => "failed",
            },
        };
        self.refreshes.get_or_create(&labels).inc();
    }

    pub(super) fn age(&self, issuer: &Arc<str>, age: Duration) {
        let labels = IssuerLabels {
            issuer: Arc::clone(issuer),
        };
        self.age.get_or_create(&labels).set(age.as_secs_f64());
    }
}
