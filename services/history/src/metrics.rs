//! The service's own metrics.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use crate::projection::ProjectionState;

/// How the projection fares.
#[derive(Debug, Clone, Default)]
pub(crate) struct ProjectionMetrics {
    /// Age of the last event applied when it was applied; 0 while the stream has nothing more; time since the stream
    /// was last heard of while it is away.
    pub(crate) lag: Gauge<f64, AtomicU64>,
    /// Events applied.
    pub(crate) events: Counter,
    batches: Family<BatchLabels, Counter>,
    states: Family<StateLabels, Gauge>,
    /// Streams that ended and are opened again.
    pub(crate) reconnects: Counter,
}

/// What became of a batch.
#[derive(Debug, Clone, Copy)]
pub(crate) enum BatchOutcome {
    /// Applied here.
    Applied,
    /// The stream's own repetition of a batch that was applied.
    Repeated,
    /// Somebody else was faster.
    Superseded,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BatchLabels {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabels {
    state: &'static str,
}

impl ProjectionMetrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register_with_unit(
            "feed_lag",
            "Age of the last event applied; 0 when there is nothing to apply",
            Unit::Seconds,
            metrics.lag.clone(),
        );
        registry.register("feed_events", "Events applied", metrics.events.clone());
        registry.register(
            "feed_batches",
            "Batches by what became of them",
            metrics.batches.clone(),
        );
        registry.register(
            "feed_reconnects",
            "Streams that broke",
            metrics.reconnects.clone(),
        );
        registry.register(
            "projection_state",
            "1 for the state that the projection is in; `stopped` needs somebody to look",
            metrics.states.clone(),
        );
        metrics.show_state(ProjectionState::Connecting);
        metrics
    }

    pub(crate) fn count_batch(&self, outcome: BatchOutcome) {
        let outcome = match outcome {
            BatchOutcome::Applied => "applied",
            BatchOutcome::Repeated => "repeated",
            BatchOutcome::Superseded => "superseded",
        };
        self.batches.get_or_create(&BatchLabels { outcome }).inc();
    }

    pub(crate) fn show_state(&self, current: ProjectionState) {
        for state in ProjectionState::ALL {
            let labels = StateLabels {
                state: state.name(),
            };
            self.states
                .get_or_create(&labels)
                .set(i64::from(state == current));
        }
    }
}
