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

/// How the building of a new projection fares.
#[derive(Debug, Clone, Default)]
pub(crate) struct RebuildMetrics {
    /// 1 while this replica builds.
    pub(crate) is_running: Gauge,
    /// Tickets of the snapshot that were taken in.
    pub(crate) tickets: Gauge,
    /// Projections that were built and serve.
    pub(crate) done: Counter,
    /// Rounds that ended before that.
    pub(crate) failures: Counter,
}

/// What was taken away.
#[derive(Debug, Clone, Default)]
pub(crate) struct RetentionMetrics {
    pub(crate) tickets: Counter,
    pub(crate) contacts: Counter,
    pub(crate) partitions: Counter,
    /// Erasures that ticketing has not been told of.
    pub(crate) unreported_erasures: Gauge,
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

impl RebuildMetrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "rebuild_running",
            "1 while this replica builds the projection anew",
            metrics.is_running.clone(),
        );
        registry.register(
            "rebuild_tickets",
            "Tickets of the snapshot that the rebuild has taken in",
            metrics.tickets.clone(),
        );
        registry.register(
            "rebuilds",
            "Projections that were built anew and serve",
            metrics.done.clone(),
        );
        registry.register(
            "rebuild_failures",
            "Attempts at a rebuild that ended early",
            metrics.failures.clone(),
        );
        metrics
    }
}

impl RetentionMetrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "forgotten_tickets",
            "Tickets that were deleted after their time of keeping",
            metrics.tickets.clone(),
        );
        registry.register(
            "forgotten_contacts",
            "Contacts that were deleted with their last ticket",
            metrics.contacts.clone(),
        );
        registry.register(
            "dropped_partitions",
            "Partitions of tickets that were dropped whole",
            metrics.partitions.clone(),
        );
        registry.register(
            "unreported_erasures",
            "Erasures that were carried out and that ticketing has not been told of",
            metrics.unreported_erasures.clone(),
        );
        metrics
    }
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
        for outcome in ["applied", "repeated", "superseded"] {
            drop(metrics.batches.get_or_create(&BatchLabels { outcome }));
        }
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
