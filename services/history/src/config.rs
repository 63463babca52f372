//! The configuration of the history service. `config.default.toml` describes each key.

use std::time::Duration;

use plazo_service::{
    AccessConfig, ClientConfig, ConfigError, ServerConfig, ServiceConfig, TelemetryConfig,
    TlsConfig,
};
use serde::Deserialize;

/// The whole configuration.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where the service listens, and the limits of what it takes.
    pub server: ServerConfig,
    /// Who may call, and how much.
    #[serde(default)]
    pub access: AccessConfig,
    /// Who it is to others, and whom it believes; plain text if absent.
    pub tls: Option<TlsConfig>,
    /// Logs and traces.
    pub telemetry: TelemetryConfig,
    /// The service's own database.
    pub database: DatabaseConfig,
    /// How to reach ticketing, whose feed is consumed, and which sends what agents write.
    pub ticketing: ClientConfig,
    /// How the feed is consumed.
    pub feed: FeedConfig,
    /// How long tickets are kept.
    pub retention: RetentionConfig,
    /// First answers.
    pub requests: RequestsConfig,
    /// How far agents see.
    pub sight: SightConfig,
    /// Limits of reports.
    pub reports: ReportConfig,
}

/// The section `[database]`.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatabaseConfig {
    /// A `postgres://` URL, for background work. May hold a password, as the others may.
    pub url: String,
    /// A `postgres://` URL for requests; absent: `url`.
    pub request_url: Option<String>,
    /// A `postgres://` URL for migrations; absent: `url`.
    pub migration_url: Option<String>,
    /// Whether the service brings the schema up to date when it starts.
    pub migrate: bool,
    /// Connections for requests.
    pub read_connections: u32,
    /// Connections for reports.
    pub report_connections: u32,
    /// Connections for applying the feed.
    pub projection_connections: u32,
    /// How long a connection is waited for, in milliseconds.
    pub acquire_timeout_ms: u64,
    /// Calls that wait for a connection of one pool at the same time; others are refused at once.
    pub max_waiting: u32,
    /// The longest statement of a request, in milliseconds.
    pub read_statement_timeout_ms: u64,
    /// The longest statement of a report, in milliseconds.
    pub report_statement_timeout_ms: u64,
    /// The longest statement of the projection, in milliseconds.
    pub projection_statement_timeout_ms: u64,
    /// How long to wait for the lock on the feed's position, in milliseconds.
    pub lock_timeout_ms: u64,
    /// Idle connections are closed after so long, in milliseconds.
    pub idle_timeout_ms: u64,
    /// Connections are replaced at this age, in milliseconds.
    pub max_lifetime_ms: u64,
}

/// The section `[feed]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeedConfig {
    /// The wait before the stream is first opened again, in milliseconds; it doubles from there.
    pub first_backoff_ms: u64,
    /// The longest wait before the stream is opened again, in milliseconds.
    pub max_backoff_ms: u64,
    /// A stream that has sent nothing for so long is opened again, in milliseconds.
    pub silence_limit_ms: u64,
    /// How long the position must rest before a replica that was overtaken goes on, in milliseconds.
    pub standby_ms: u64,
}

/// The section `[retention]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetentionConfig {
    /// How long after its last close a ticket is kept, in days, where the tenant has set nothing else; 0 for ever.
    pub days: u32,
    /// How often what is too old is looked for, first answers too, in milliseconds.
    pub period_ms: u64,
    /// At most so many tickets are deleted at once.
    pub batch_tickets: u32,
}

/// The section `[requests]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestsConfig {
    /// How long the first answer to a request id is kept, in hours.
    pub keep_hours: u32,
}

/// The section `[sight]`: what holds for tenants that have set nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SightConfig {
    /// How far back agents see, in days.
    pub lookback_days: u32,
    /// How long after its close a ticket shows to agents, in minutes.
    pub show_delay_minutes: u32,
}

/// The section `[reports]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReportConfig {
    /// How many conversations the reports that are being made may hold together.
    pub max_conversations: u32,
}

impl ServiceConfig for Config {
    const NAME: &'static str = "history";
    const DEFAULTS: &'static str = include_str!("../config.default.toml");

    fn telemetry(&self) -> &TelemetryConfig {
        &self.telemetry
    }

    fn validate(&self) -> Result<(), ConfigError> {
        self.server.validate("server")?;
        self.access.validate("access", self.server.listen)?;
        TlsConfig::validate(self.tls.as_ref(), &self.server)?;
        self.ticketing.validate("ticketing")?;
        self.database.validate()?;
        self.feed.validate()?;
        self.reports.validate()?;
        self.retention.validate()?;
        above_zero("requests.keep_hours", u64::from(self.requests.keep_hours))?;
        above_zero("sight.lookback_days", u64::from(self.sight.lookback_days))
    }
}

impl SightConfig {
    pub(crate) fn lookback_seconds(self) -> i64 {
        i64::from(self.lookback_days) * 86_400
    }

    pub(crate) fn show_delay_seconds(self) -> i64 {
        i64::from(self.show_delay_minutes) * 60
    }
}

/// URLs may hold passwords, and are left out.
impl std::fmt::Debug for DatabaseConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DatabaseConfig")
            .field("migrate", &self.migrate)
            .finish_non_exhaustive()
    }
}

impl DatabaseConfig {
    fn validate(&self) -> Result<(), ConfigError> {
        for (key, value) in [
            (
                "database.read_connections",
                u64::from(self.read_connections),
            ),
            (
                "database.report_connections",
                u64::from(self.report_connections),
            ),
            (
                "database.report_statement_timeout_ms",
                self.report_statement_timeout_ms,
            ),
            (
                "database.projection_connections",
                u64::from(self.projection_connections),
            ),
            ("database.acquire_timeout_ms", self.acquire_timeout_ms),
            ("database.max_waiting", u64::from(self.max_waiting)),
            (
                "database.read_statement_timeout_ms",
                self.read_statement_timeout_ms,
            ),
            (
                "database.projection_statement_timeout_ms",
                self.projection_statement_timeout_ms,
            ),
            ("database.lock_timeout_ms", self.lock_timeout_ms),
            ("database.idle_timeout_ms", self.idle_timeout_ms),
            ("database.max_lifetime_ms", self.max_lifetime_ms),
        ] {
            above_zero(key, value)?;
        }
        Ok(())
    }
}

impl ReportConfig {
    /// More would not fit into any machine's memory, and must fit into the numbers of rows.
    const MOST: u32 = 1_000_000_000;

    fn validate(&self) -> Result<(), ConfigError> {
        let key = "reports.max_conversations";
        above_zero(key, u64::from(self.max_conversations))?;
        if self.max_conversations > Self::MOST {
            return Err(ConfigError::value(key, "must not be above 1000000000"));
        }
        Ok(())
    }
}

impl FeedConfig {
    fn validate(&self) -> Result<(), ConfigError> {
        above_zero("feed.first_backoff_ms", self.first_backoff_ms)?;
        above_zero("feed.silence_limit_ms", self.silence_limit_ms)?;
        above_zero("feed.standby_ms", self.standby_ms)?;
        if self.first_backoff_ms > self.max_backoff_ms {
            let problem = "must not be above feed.max_backoff_ms";
            return Err(ConfigError::value("feed.first_backoff_ms", problem));
        }
        Ok(())
    }

    pub(crate) fn first_backoff(&self) -> Duration {
        Duration::from_millis(self.first_backoff_ms)
    }

    pub(crate) fn max_backoff(&self) -> Duration {
        Duration::from_millis(self.max_backoff_ms)
    }

    pub(crate) fn silence_limit(&self) -> Duration {
        Duration::from_millis(self.silence_limit_ms)
    }

    pub(crate) fn standby(&self) -> Duration {
        Duration::from_millis(self.standby_ms)
    }
}

impl RetentionConfig {
    fn validate(&self) -> Result<(), ConfigError> {
        above_zero("retention.period_ms", self.period_ms)?;
        above_zero("retention.batch_tickets", u64::from(self.batch_tickets))
    }

    /// None: for ever.
    pub(crate) fn keep_days(&self) -> Option<i32> {
        (self.days > 0).then(|| i32::try_from(self.days).unwrap_or(i32::MAX))
    }

    pub(crate) fn period(&self) -> Duration {
        Duration::from_millis(self.period_ms)
    }
}

fn above_zero(key: &str, value: u64) -> Result<(), ConfigError> {
    if value == 0 {
        Err(ConfigError::value(key, "must be above zero"))
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use plazo_service::config::{ConfigSources, load};

    use super::*;

    #[test]
    fn the_default_file_is_whole_and_valid() {
        let config: Config = load(&ConfigSources::default()).expect("the defaults are valid");
        assert_eq!(config.feed.first_backoff(), Duration::from_millis(100));
        assert_eq!(config.sight.lookback_seconds(), 7_776_000);
        assert_eq!(config.sight.show_delay_seconds(), 10_800);
    }

    #[test]
    fn wrong_values_are_refused_by_key() {
        for (variable, key) in [
            (
                "PLAZO_HISTORY__FEED__FIRST_BACKOFF_MS",
                "feed.first_backoff_ms",
            ),
            ("PLAZO_HISTORY__SIGHT__LOOKBACK_DAYS", "sight.lookback_days"),
            ("PLAZO_HISTORY__REQUESTS__KEEP_HOURS", "requests.keep_hours"),
            (
                "PLAZO_HISTORY__DATABASE__READ_CONNECTIONS",
                "database.read_connections",
            ),
        ] {
            let mut sources = ConfigSources::default();
            sources
                .environment
                .insert(variable.to_owned(), "0".to_owned());
            let error = load::<Config>(&sources).expect_err("zero is no use");
            assert!(error.to_string().starts_with(key), "{error}");
        }
    }
}
