//! The configuration of ticketing. Every key stands with its default and a comment in `config.default.toml`.

use std::fmt;

use plazo_service::{
    AccessConfig, ClientConfig, ConfigError, ServerConfig, ServiceConfig, TelemetryConfig,
    TlsConfig,
};
use serde::Deserialize;

/// See `config.default.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where it listens, and its limits.
    pub server: ServerConfig,
    /// Who may call, and how much.
    #[serde(default)]
    pub access: AccessConfig,
    /// Who it is to others, and whom it believes; plain text if absent.
    pub tls: Option<TlsConfig>,
    /// Logs and traces.
    pub telemetry: TelemetryConfig,
    /// PostgreSQL.
    pub database: DatabaseConfig,
    /// The timer service.
    pub timer: ClientConfig,
    /// From dirty rows to the timer.
    pub relay: RelayConfig,
    /// The search for lost deadlines.
    pub sweep: SweepConfig,
    /// The event feed.
    pub feed: FeedConfig,
    /// Snapshots for consumers that begin anew.
    pub snapshot: SnapshotConfig,
    /// The live view.
    pub watch: WatchConfig,
    /// First answers that are kept for repeated requests.
    pub requests: RequestsConfig,
}

/// PostgreSQL.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatabaseConfig {
    /// `postgres://…`, for background work.
    pub url: String,
    /// `postgres://…` for requests; absent: `url`.
    pub request_url: Option<String>,
    /// `postgres://…` for migrations; absent: `url`.
    pub migration_url: Option<String>,
    /// The most connections that this process opens for requests.
    pub max_connections: u32,
    /// The most that it opens for background work and the calls of other services.
    pub background_connections: u32,
    /// How long a call waits for a free connection.
    pub acquire_timeout_ms: u64,
    /// How many calls wait for one at a time; others are refused at once.
    pub max_waiting: usize,
    /// How long one statement may take.
    pub statement_timeout_ms: u64,
    /// Whether to bring the schema up to date at start. In production a job does it, and this service refuses
    /// a schema that it does not know.
    pub migrate: bool,
}

/// URLs may hold passwords, and are left out.
impl fmt::Debug for DatabaseConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatabaseConfig")
            .field("max_connections", &self.max_connections)
            .field("migrate", &self.migrate)
            .finish_non_exhaustive()
    }
}

/// The relay.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RelayConfig {
    /// Tickets a call, 1 to 1,000.
    pub batch: u32,
    /// How often to look for changes that other replicas committed.
    pub poll_ms: u64,
    /// How long the timer may take.
    pub arm_timeout_ms: u64,
    /// The longest wait before trying again while the timer is away.
    pub max_backoff_ms: u64,
}

/// The overdue sweep.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SweepConfig {
    /// How often to look.
    pub period_ms: u64,
    /// How long overdue. Longer than the timer's lease.
    pub grace_ms: u64,
    /// The most tickets to check at once, 1 to 1,000.
    pub batch: u32,
}

/// The event feed.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeedConfig {
    /// How often partitions are made ahead and old ones dropped.
    pub maintenance_period_ms: u64,
    /// How long events are kept; 0 for ever.
    pub retention_days: u32,
}

/// Snapshots.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnapshotConfig {
    /// The most at the same time.
    pub max_streams: u32,
    /// A reader that takes nothing for so long gives way to another.
    pub max_idle_ms: u64,
}

/// The live view.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WatchConfig {
    /// The most watchers at the same time.
    pub max_watchers: u32,
    /// Tickets that may wait for a watcher before it is cut off.
    pub backlog: u32,
    /// The most tickets that one watcher holds.
    pub max_tickets_each: u32,
    /// The most tickets that all watchers hold, counted for each.
    pub max_tickets_in_all: u32,
    /// Watchers that read from the database at the same time. Below `database.max_connections`.
    pub max_readers: u32,
}

/// First answers.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestsConfig {
    /// How long they are kept.
    pub keep_hours: u32,
}

impl ServiceConfig for Config {
    const NAME: &'static str = "ticketing";
    const DEFAULTS: &'static str = include_str!("../config.default.toml");

    fn telemetry(&self) -> &TelemetryConfig {
        &self.telemetry
    }

    fn validate(&self) -> Result<(), ConfigError> {
        self.server.validate("server")?;
        self.access.validate("access", self.server.listen)?;
        TlsConfig::validate(self.tls.as_ref(), &self.server)?;
        self.timer.validate("timer")?;
        require(!self.database.url.is_empty(), "database.url", "must be set")?;
        require(
            self.database.max_connections >= 2,
            "database.max_connections",
            "must be at least 2",
        )?;
        // Each open event stream and each background task takes one now and then, beside the calls.
        require(
            self.database.background_connections >= 2,
            "database.background_connections",
            "must be at least 2",
        )?;
        require(
            self.database.acquire_timeout_ms > 0,
            "database.acquire_timeout_ms",
            "must be above zero",
        )?;
        require(
            self.database.max_waiting > 0,
            "database.max_waiting",
            "must be above zero",
        )?;
        require(
            self.database.statement_timeout_ms > 0,
            "database.statement_timeout_ms",
            "must be above zero",
        )?;
        let batch = 1..=1_000;
        require(
            batch.contains(&self.relay.batch),
            "relay.batch",
            "must be from 1 to 1000",
        )?;
        require(
            self.relay.poll_ms > 0,
            "relay.poll_ms",
            "must be above zero",
        )?;
        require(
            self.relay.arm_timeout_ms > 0,
            "relay.arm_timeout_ms",
            "must be above zero",
        )?;
        require(
            self.relay.max_backoff_ms > 0,
            "relay.max_backoff_ms",
            "must be above zero",
        )?;
        require(
            batch.contains(&self.sweep.batch),
            "sweep.batch",
            "must be from 1 to 1000",
        )?;
        require(
            self.sweep.period_ms > 0,
            "sweep.period_ms",
            "must be above zero",
        )?;
        require(
            self.sweep.grace_ms > 0,
            "sweep.grace_ms",
            "must be above zero",
        )?;
        require(
            self.feed.maintenance_period_ms > 0,
            "feed.maintenance_period_ms",
            "must be above zero",
        )?;
        require(
            self.snapshot.max_streams > 0,
            "snapshot.max_streams",
            "must be above zero",
        )?;
        require(
            self.snapshot.max_idle_ms > 0,
            "snapshot.max_idle_ms",
            "must be above zero",
        )?;
        self.watch.validate(self.database.max_connections)?;
        require(
            self.requests.keep_hours > 0,
            "requests.keep_hours",
            "must be above zero",
        )
    }
}

impl WatchConfig {
    fn validate(&self, max_connections: u32) -> Result<(), ConfigError> {
        for (value, key) in [
            (self.max_watchers, "watch.max_watchers"),
            (self.backlog, "watch.backlog"),
            (self.max_tickets_each, "watch.max_tickets_each"),
            (self.max_tickets_in_all, "watch.max_tickets_in_all"),
            (self.max_readers, "watch.max_readers"),
        ] {
            require(value > 0, key, "must be above zero")?;
        }
        require(
            self.max_readers < max_connections,
            "watch.max_readers",
            "must be below database.max_connections",
        )
    }
}

fn require(holds: bool, key: &str, problem: &str) -> Result<(), ConfigError> {
    if holds {
        Ok(())
    } else {
        Err(ConfigError::value(key, problem))
    }
}
