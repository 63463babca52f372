//! What every service with a database shows of it, under the prefix `plazo_database_`.

use std::sync::LazyLock;

use plazo_service::Metrics;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use sqlx::PgPool;

use crate::TenantPool;

/// Failures that callers were told of. One for the process, since an error is mapped far from any registry: where several
/// services share a process, each shows the sum.
static ERRORS: LazyLock<Family<KindLabel, Counter>> = LazyLock::new(|| {
    let errors = Family::<KindLabel, Counter>::default();
    for kind in Failure::ALL.map(Failure::label) {
        drop(errors.get_or_create(&KindLabel { kind }));
    }
    errors
});

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

#[derive(Debug, EncodeLabelSet)]
struct PoolLabel {
    pool: &'static str,
}

#[derive(Debug, EncodeLabelSet)]
struct ConnectionsLabel {
    pool: &'static str,
    state: &'static str,
}

/// How the database failed a call.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Failure {
    /// No connection was free, or the server takes no more.
    Busy,
    /// It is away, or a transaction lost against another one.
    Unavailable,
    /// A statement took too long.
    Timeout,
    /// Anything else: a mistake in the program, mostly.
    Other,
}

impl Failure {
    const ALL: [Self; 4] = [Self::Busy, Self::Unavailable, Self::Timeout, Self::Other];

    fn label(self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::Unavailable => "unavailable",
            Self::Timeout => "timeout",
            Self::Other => "other",
        }
    }

    pub(crate) fn count(self) {
        let kind = self.label();
        ERRORS.get_or_create(&KindLabel { kind }).inc();
    }
}

/// Rounds of housekeeping: old rows removed, partitions made and dropped. Clones count together.
#[derive(Debug, Clone, Default)]
pub struct HousekeepingMetrics {
    rounds: Family<OutcomeLabel, Counter>,
}

impl HousekeepingMetrics {
    /// A round ended, well or not.
    pub fn count<T, E>(&self, round: &Result<T, E>) {
        let outcome = if round.is_ok() { "done" } else { "failed" };
        self.rounds.get_or_create(&OutcomeLabel { outcome }).inc();
    }
}

/// A pool that is only counted.
#[derive(Debug)]
pub struct WatchedPool(PgPool);

impl From<&PgPool> for WatchedPool {
    fn from(pool: &PgPool) -> Self {
        Self(pool.clone())
    }
}

impl From<&TenantPool> for WatchedPool {
    fn from(pool: &TenantPool) -> Self {
        Self(pool.watched().clone())
    }
}

/// Shows pools by name, failures that callers were told of, and what is counted with the answer.
pub fn register_metrics<const N: usize>(
    metrics: &mut Metrics,
    pools: [(&'static str, WatchedPool); N],
) -> HousekeepingMetrics {
    let registry = metrics.shared_registry("database");
    registry.register(
        "errors",
        "Failures of the database that callers were told of",
        ERRORS.clone(),
    );
    let housekeeping = HousekeepingMetrics::default();
    for outcome in ["done", "failed"] {
        drop(housekeeping.rounds.get_or_create(&OutcomeLabel { outcome }));
    }
    registry.register(
        "housekeeping_rounds",
        "Rounds of housekeeping, by how they ended",
        housekeeping.rounds.clone(),
    );
    registry.register_collector(Box::new(Pools(pools.into())));
    housekeeping
}

/// Reads pools when they are asked for.
#[derive(Debug)]
struct Pools(Vec<(&'static str, WatchedPool)>);

impl Collector for Pools {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        let help = "Connections to the database";
        let mut connections =
            encoder.encode_descriptor("connections", help, None, MetricType::Gauge)?;
        for (pool, state, count) in self.0.iter().flat_map(|(name, WatchedPool(pool))| {
            let idle = i64::try_from(pool.num_idle()).unwrap_or(i64::MAX);
            let used = i64::from(pool.size()).saturating_sub(idle).max(0);
            [(*name, "idle", idle), (*name, "used", used)]
        }) {
            let labels = ConnectionsLabel { pool, state };
            ConstGauge::new(count).encode(connections.encode_family(&labels)?)?;
        }
        let help = "The most connections that a pool opens";
        let mut most =
            encoder.encode_descriptor("connections_max", help, None, MetricType::Gauge)?;
        for (name, WatchedPool(pool)) in &self.0 {
            let max = i64::from(pool.options().get_max_connections());
            ConstGauge::new(max).encode(most.encode_family(&PoolLabel { pool: name })?)?;
        }
        Ok(())
    }
}
