//! What ticketing counts. Prefix `plazo_ticketing_`; labels are bounded.

use std::sync::atomic::AtomicU64;

use jiff::Timestamp;
use plazo_domain::{Advance, Outcome, Stage};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::firing::Handled;

/// From a millisecond to ten minutes.
const LATENESS_BUCKETS: [f64; 14] = [
    0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 120.0, 600.0,
];

/// A gauge of seconds.
pub type SecondsGauge = Gauge<f64, AtomicU64>;

const OUTCOMES: [&str; 6] = ["fired", "already", "not_due", "stale", "busy", "error"];
const STAGES: [&str; 4] = ["first_alert", "second_alert", "warning", "close"];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StageLabel {
    stage: &'static str,
}

/// The firing path.
#[derive(Debug, Clone)]
pub struct FiringMetrics {
    handled: Family<OutcomeLabel, Counter>,
    stages: Family<StageLabel, Counter>,
    early: Counter,
    lateness: Histogram,
}

impl FiringMetrics {
    /// Registers them.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            handled: Family::default(),
            stages: Family::default(),
            early: Counter::default(),
            lateness: Histogram::new(LATENESS_BUCKETS),
        };
        for outcome in OUTCOMES {
            drop(metrics.handled.get_or_create(&OutcomeLabel { outcome }));
        }
        for stage in STAGES {
            drop(metrics.stages.get_or_create(&StageLabel { stage }));
        }
        registry.register(
            "handled",
            "Due tickets that were looked at, by outcome",
            metrics.handled.clone(),
        );
        registry.register(
            "stages_fired",
            "Stages that took effect",
            metrics.stages.clone(),
        );
        registry.register(
            "early_stages",
            "Stages that took effect before their deadline, which none may: each is a bug",
            metrics.early.clone(),
        );
        registry.register(
            "stage_lateness_seconds",
            "Time to a stage's effect from its deadline, or from the change of settings or tags that made it due later",
            metrics.lateness.clone(),
        );
        metrics
    }

    pub(crate) fn count(&self, handled: &[Handled]) {
        for one in handled {
            let outcome = match one {
                Handled::Looked {
                    outcome: Outcome::Fired,
                    ..
                } => "fired",
                Handled::Looked {
                    outcome: Outcome::Already,
                    ..
                } => "already",
                Handled::Looked {
                    outcome: Outcome::NotDue,
                    ..
                } => "not_due",
                Handled::Stale => "stale",
                Handled::Busy => "busy",
                Handled::Failed(_) => "error",
            };
            self.handled.get_or_create(&OutcomeLabel { outcome }).inc();
        }
    }

    pub(crate) fn observe(&self, advance: &Advance, now: Timestamp) {
        for fired in advance.stages() {
            let stage = match fired.stage {
                Stage::FirstAlert => "first_alert",
                Stage::SecondAlert => "second_alert",
                Stage::Warning => "warning",
                Stage::Close => "close",
            };
            self.stages.get_or_create(&StageLabel { stage }).inc();
            if now < fired.due_at {
                self.early.inc();
            }
            self.lateness
                .observe(now.duration_since(fired.could_act_at).as_secs_f64());
        }
    }
}

/// The relay and the nets under it.
#[derive(Debug, Clone)]
pub struct RelayMetrics {
    /// Tickets that were armed.
    pub armed: Counter,
    /// For how long the relay has had tickets that it could not hand over; 0 when it is up to date.
    pub lag: SecondsGauge,
    /// Entries that the timer had lost and the sweep brought back.
    pub repaired: Counter,
    /// Tickets that are overdue by more than the grace, as of the last sweep.
    pub overdue: Gauge,
}

impl RelayMetrics {
    /// Registers them.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            armed: Counter::default(),
            lag: SecondsGauge::default(),
            repaired: Counter::default(),
            overdue: Gauge::default(),
        };
        registry.register(
            "relay_armed",
            "Tickets handed to the timer",
            metrics.armed.clone(),
        );
        registry.register(
            "relay_lag_seconds",
            "How long the relay has been behind; 0 when it is not",
            metrics.lag.clone(),
        );
        registry.register(
            "repaired",
            "Entries that the timer had lost; outside of a rebuild each is a bug",
            metrics.repaired.clone(),
        );
        registry.register(
            "overdue_tickets",
            "Tickets overdue by more than the sweep's grace",
            metrics.overdue.clone(),
        );
        metrics
    }
}

/// Policies that are applied to open tickets.
#[derive(Debug, Clone)]
pub struct ApplyingMetrics {
    /// Open tickets that a policy was applied to and that changed.
    pub tickets: Counter,
}

impl ApplyingMetrics {
    /// Registers them.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            tickets: Counter::default(),
        };
        registry.register(
            "policies_applied",
            "Open tickets that a policy was applied to",
            metrics.tickets.clone(),
        );
        metrics
    }
}

/// Erasing personal data.
#[derive(Debug, Clone)]
pub struct ErasingMetrics {
    /// Rows that were changed or deleted.
    pub rows: Counter,
    /// Erasures that are not done in this service.
    pub running: Gauge,
}

impl ErasingMetrics {
    /// Registers them.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            rows: Counter::default(),
            running: Gauge::default(),
        };
        registry.register(
            "erased_rows",
            "Rows with personal data that erasures changed or deleted",
            metrics.rows.clone(),
        );
        registry.register(
            "running_erasures",
            "Erasures of personal data that are not done in this service",
            metrics.running.clone(),
        );
        metrics
    }
}

/// The event feed and live watching.
#[derive(Debug, Clone)]
pub struct FeedMetrics {
    /// Events sent to consumers.
    pub streamed: Counter,
    /// Consumers and watchers that are connected.
    pub streams: Gauge,
    /// Watchers that are connected.
    pub watchers: Gauge,
    /// Tickets that all watchers hold, counted for each.
    pub watched_tickets: Gauge,
    /// Watchers that were cut off because they read too slowly.
    pub slow_watchers: Counter,
    /// Watchers that were refused because there were too many.
    pub refused_watchers: Counter,
    /// Changed tickets that were read for watchers, however many watch.
    pub watch_changes: Counter,
    /// Changes that were sent to watchers, counted for each.
    pub watch_updates: Counter,
    /// Watchers that got a snapshot.
    pub watch_snapshots: Counter,
    /// Watchers that went on from a position.
    pub watch_resumes: Counter,
    /// For how long the hub has had changes that it could not tell; 0 when it is up to date.
    pub watch_lag: SecondsGauge,
    /// Age of the oldest event that readers can't see yet.
    pub lag: SecondsGauge,
}

impl FeedMetrics {
    /// Registers them.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            streamed: Counter::default(),
            streams: Gauge::default(),
            watchers: Gauge::default(),
            watched_tickets: Gauge::default(),
            slow_watchers: Counter::default(),
            refused_watchers: Counter::default(),
            watch_changes: Counter::default(),
            watch_updates: Counter::default(),
            watch_snapshots: Counter::default(),
            watch_resumes: Counter::default(),
            watch_lag: SecondsGauge::default(),
            lag: SecondsGauge::default(),
        };
        metrics.register_watching(registry);
        registry.register(
            "feed_events",
            "Events sent to consumers",
            metrics.streamed.clone(),
        );
        registry.register(
            "streams",
            "Open event streams and watchers",
            metrics.streams.clone(),
        );
        registry.register(
            "feed_lag_seconds",
            "Age of the oldest event that waits for an older transaction to end",
            metrics.lag.clone(),
        );
        metrics
    }

    fn register_watching(&self, registry: &mut Registry) {
        registry.register("watchers", "Open live views", self.watchers.clone());
        registry.register(
            "watched_tickets",
            "Tickets in live views, counted for each view",
            self.watched_tickets.clone(),
        );
        for (name, help, counter) in [
            (
                "slow_watchers",
                "Watchers cut off because they read too slowly",
                &self.slow_watchers,
            ),
            (
                "refused_watchers",
                "Watchers refused because there were too many",
                &self.refused_watchers,
            ),
            (
                "watch_changes",
                "Changed tickets read for watchers, once however many watch",
                &self.watch_changes,
            ),
            (
                "watch_updates",
                "Changes sent to watchers, counted for each",
                &self.watch_updates,
            ),
            (
                "watch_snapshots",
                "Watchers that got a snapshot",
                &self.watch_snapshots,
            ),
            (
                "watch_resumes",
                "Watchers that went on from a position",
                &self.watch_resumes,
            ),
        ] {
            registry.register(name, help, counter.clone());
        }
        registry.register(
            "watch_lag_seconds",
            "How long watchers have been behind; 0 when they are not",
            self.watch_lag.clone(),
        );
    }
}

#[cfg(test)]
mod tests {
    use plazo_domain::{Alert, CycleKind, Effect, FiredStage};

    use super::*;

    #[test]
    fn a_stage_is_late_from_when_it_could_act() {
        let at = |second| Timestamp::from_second(second).expect("in range");
        let mut registry = Registry::default();
        let metrics = FiringMetrics::register(&mut registry);
        let advance = Advance {
            outcome: Outcome::Fired,
            effects: vec![Effect::Stage(FiredStage {
                cycle: 1,
                kind: CycleKind::CustomerSilent,
                policy_version: 1,
                stage: Stage::FirstAlert,
                due_at: at(0),
                could_act_at: at(100),
                alert: Alert::Yellow,
            })],
            closed: None,
        };
        metrics.observe(&advance, at(103));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("written");
        assert!(text.contains("stage_lateness_seconds_sum 3.0"), "{text}");
        assert!(text.contains("early_stages_total 0"), "{text}");
        metrics.observe(&advance, at(-1));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("written");
        assert!(text.contains("early_stages_total 1"), "{text}");
    }
}
