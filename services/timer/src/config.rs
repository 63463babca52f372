//! The configuration of the timer. `config.default.toml` says what each key means.

use std::time::Duration;

use plazo_service::config::ConfigError;
use plazo_service::{
    AccessConfig, ClientConfig, ServerConfig, ServiceConfig, TelemetryConfig, TlsConfig,
};
use serde::Deserialize;

use crate::shard::Layout;
use crate::store::Target;

/// The configuration of the timer.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where it listens, and the limits of what it takes.
    #[serde(default)]
    pub server: ServerConfig,
    /// Who may call, and how much.
    #[serde(default)]
    pub access: AccessConfig,
    /// Who it is to others, and whom it believes; plain text if absent.
    pub tls: Option<TlsConfig>,
    /// Logs and traces.
    #[serde(default)]
    pub telemetry: TelemetryConfig,
    /// Where the entries are kept.
    pub redis: RedisConfig,
    /// The owner of the tickets.
    pub handler: ClientConfig,
    /// What takes the active messages.
    pub notification: ClientConfig,
    /// Claiming and dispatching.
    pub timer: TimerConfig,
    /// Heartbeats, epoch and rebuilds.
    pub guard: GuardConfig,
    /// Failpoints for fault tests.
    #[serde(default)]
    pub fault: FaultConfig,
}

/// The section `[redis]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedisConfig {
    /// `redis://host:port/database`, `redis+unix:///path`, `redis+sentinel://host:port,…/master-name[/database]` or
    /// `redis+cluster://host:port,…`; with `user:password@` before the hosts.
    pub url: String,
    /// How long a connection may take to come about, in milliseconds.
    pub connect_timeout_ms: u64,
    /// How long an answer may take, in milliseconds.
    pub response_timeout_ms: u64,
    /// How long the start waits for Redis, in milliseconds.
    pub start_timeout_ms: u64,
    /// How often sentinels or nodes are asked who serves what, in milliseconds, when nothing points to a change.
    pub topology_interval_ms: u64,
    /// Failures in a row after which a shard is left alone for a while.
    pub breaker_failures: u32,
    /// How long it is left alone at first, in milliseconds; that doubles with each probe that fails.
    pub breaker_rest_ms: u64,
    /// The longest that it is left alone, in milliseconds.
    pub breaker_rest_max_ms: u64,
}

impl RedisConfig {
    /// What the URL names, or what is wrong with it.
    pub(crate) fn target(&self) -> Result<Target, &'static str> {
        Target::parse(&self.url)
    }

    fn validate(&self) -> Result<(), ConfigError> {
        if let Err(problem) = self.target() {
            return Err(ConfigError::value("redis.url", problem));
        }
        for (key, value) in [
            ("redis.connect_timeout_ms", self.connect_timeout_ms),
            ("redis.response_timeout_ms", self.response_timeout_ms),
            ("redis.topology_interval_ms", self.topology_interval_ms),
            ("redis.breaker_failures", u64::from(self.breaker_failures)),
            ("redis.breaker_rest_ms", self.breaker_rest_ms),
        ] {
            check(value > 0, key, "must be above zero")?;
        }
        let is_rest = (self.breaker_rest_ms..=10_000).contains(&self.breaker_rest_max_ms);
        check(
            is_rest,
            "redis.breaker_rest_max_ms",
            "must be at least redis.breaker_rest_ms, and at most 10,000",
        )
    }
}

/// The section `[timer]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimerConfig {
    /// Keeps installations apart in one Redis: 1 to 64 letters, digits, `-` and `_`.
    pub namespace: String,
    /// Number of shards, 1 to 1,000, a multiple of `lanes`.
    pub shards: u16,
    /// Number of lanes.
    pub lanes: u16,
    /// Length of a lease, in milliseconds.
    pub lease_ms: u64,
    /// What the lease must last beyond all deadlines, in milliseconds.
    pub lease_margin_ms: u64,
    /// Most tickets in one lease and in one call, 1 to 1,000.
    pub batch_limit: usize,
    /// Most calls of the handler at the same time.
    pub dispatch_slots: usize,
    /// A call of the handler that takes longer is slow, in milliseconds.
    pub target_call_ms: u64,
    /// How long a small batch waits for more work where little falls due, in milliseconds.
    pub linger_ms: u64,
    /// The same where much falls due, in milliseconds.
    pub linger_max_ms: u64,
    /// How often Redis is looked at, in milliseconds.
    pub look_interval_ms: u64,
    /// A shard of another replica whose first entry has been due for longer is claimed from, in milliseconds.
    pub take_over_ms: u64,
    /// Failed attempts after which a ticket goes into quarantine.
    pub failed_attempts_max: u32,
    /// The wait after the first failed attempt, in milliseconds; it doubles from there.
    pub failure_backoff_ms: u64,
    /// The longest wait after a failed attempt, in milliseconds.
    pub failure_backoff_max_ms: u64,
    /// Time until a ticket in quarantine is tried again, in milliseconds.
    pub quarantine_retry_ms: u64,
    /// A shard whose first entry has been due for longer has a backlog, in milliseconds.
    pub repair_grace_ms: u64,
}

/// The section `[guard]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuardConfig {
    /// How often the epoch is checked, in milliseconds.
    pub interval_ms: u64,
    /// A replica that was silent for so long is taken for dead, in milliseconds.
    pub replica_alive_ms: u64,
    /// How often the settings of each Redis are checked, in milliseconds.
    pub settings_interval_ms: u64,
    /// Tickets on one page of a rebuild, 1 to 10,000.
    pub rebuild_page_size: i32,
    /// Deadline of one page, in milliseconds.
    pub rebuild_page_timeout_ms: u64,
    /// The wait before the second attempt of a rebuild, in milliseconds; it doubles from there.
    pub rebuild_backoff_ms: u64,
    /// The longest wait between attempts, in milliseconds.
    pub rebuild_backoff_max_ms: u64,
}

/// The section `[fault]`: for fault tests only. Each makes the process end as kill -9 would.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FaultConfig {
    /// After this many claims that brought something, before their dispatch.
    pub abort_after_claim: Option<u64>,
    /// After this many dispatches, before their ack.
    pub abort_before_ack: Option<u64>,
}

impl TimerConfig {
    /// Shards and lanes. One shard if they don't fit, which `validate` refuses.
    pub(crate) fn layout(&self) -> Layout {
        Layout::new(self.shards, self.lanes).unwrap_or(Layout::SINGLE)
    }

    pub(crate) fn lease(&self) -> Duration {
        Duration::from_millis(self.lease_ms)
    }

    fn validate(&self) -> Result<(), ConfigError> {
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let is_namespace =
            (1..=64).contains(&self.namespace.len()) && self.namespace.chars().all(is_name);
        check(
            is_namespace,
            "timer.namespace",
            "must be 1 to 64 letters, digits, - and _",
        )?;
        let is_layout = self.shards <= 1_000 && Layout::new(self.shards, self.lanes).is_some();
        check(
            is_layout,
            "timer.shards",
            "must be 1 to 1,000 and a multiple of timer.lanes",
        )?;
        let is_limit = (1..=1_000).contains(&self.batch_limit);
        check(is_limit, "timer.batch_limit", "must be 1 to 1,000")?;
        let is_slots = (1..=1_000).contains(&self.dispatch_slots);
        check(is_slots, "timer.dispatch_slots", "must be 1 to 1,000")?;
        let is_look = (1..=1_000).contains(&self.look_interval_ms);
        check(is_look, "timer.look_interval_ms", "must be 1 to 1,000")?;
        let is_target = (1..=60_000).contains(&self.target_call_ms);
        check(is_target, "timer.target_call_ms", "must be 1 to 60,000")?;
        let is_take_over = (100..=60_000).contains(&self.take_over_ms);
        check(is_take_over, "timer.take_over_ms", "must be 100 to 60,000")?;
        check(
            self.linger_max_ms <= 100,
            "timer.linger_max_ms",
            "must be at most 100",
        )?;
        check(
            self.linger_ms <= self.linger_max_ms,
            "timer.linger_ms",
            "must not be above timer.linger_max_ms",
        )?;
        let is_attempts = (1..=1_000).contains(&self.failed_attempts_max);
        check(
            is_attempts,
            "timer.failed_attempts_max",
            "must be 1 to 1,000",
        )?;
        check(
            self.failure_backoff_ms > 0,
            "timer.failure_backoff_ms",
            "must be above zero",
        )?;
        check(
            self.quarantine_retry_ms > 0,
            "timer.quarantine_retry_ms",
            "must be above zero",
        )?;
        let is_grace = self.repair_grace_ms > self.lease_ms;
        check(
            is_grace,
            "timer.repair_grace_ms",
            "must be longer than timer.lease_ms",
        )
    }
}

impl GuardConfig {
    fn validate(&self) -> Result<(), ConfigError> {
        let is_interval = (1..=10_000).contains(&self.interval_ms);
        check(is_interval, "guard.interval_ms", "must be 1 to 10,000")?;
        let is_alive = self.replica_alive_ms >= 2 * self.interval_ms;
        check(
            is_alive,
            "guard.replica_alive_ms",
            "must be at least twice guard.interval_ms",
        )?;
        check(
            self.settings_interval_ms > 0,
            "guard.settings_interval_ms",
            "must be above zero",
        )?;
        let is_page = (1..=10_000).contains(&self.rebuild_page_size);
        check(is_page, "guard.rebuild_page_size", "must be 1 to 10,000")?;
        let is_timeout = self.rebuild_page_timeout_ms > 0;
        check(
            is_timeout,
            "guard.rebuild_page_timeout_ms",
            "must be above zero",
        )?;
        check(
            self.rebuild_backoff_ms > 0,
            "guard.rebuild_backoff_ms",
            "must be above zero",
        )
    }
}

impl ServiceConfig for Config {
    const NAME: &'static str = "timer";
    const DEFAULTS: &'static str = include_str!("../config.default.toml");

    fn telemetry(&self) -> &TelemetryConfig {
        &self.telemetry
    }

    fn validate(&self) -> Result<(), ConfigError> {
        self.server.validate("server")?;
        self.access.validate("access", self.server.listen)?;
        TlsConfig::validate(self.tls.as_ref(), &self.server)?;
        self.handler.validate("handler")?;
        self.notification.validate("notification")?;
        self.redis.validate()?;
        self.timer.validate()?;
        self.guard.validate()?;

        // A batch must be answered, or given back, before somebody else may claim it: otherwise a slow handler would
        // get the same tickets again and again.
        let attempts = |client: &ClientConfig| {
            client
                .request_timeout_ms
                .saturating_mul(u64::from(client.max_attempts))
        };
        let needed_ms = attempts(&self.handler)
            .saturating_add(attempts(&self.notification))
            .saturating_add(self.timer.lease_margin_ms);
        let problem = format!(
            "must be longer than {needed_ms}: all attempts at the handler and at notification, and timer.lease_margin_ms"
        );
        check(self.timer.lease_ms > needed_ms, "timer.lease_ms", &problem)
    }
}

fn check(is_valid: bool, key: &str, problem: &str) -> Result<(), ConfigError> {
    if is_valid {
        Ok(())
    } else {
        Err(ConfigError::value(key, problem))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(changes: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let environment = changes
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let sources = plazo_service::config::ConfigSources {
            file: None,
            environment: environment.collect(),
        };
        plazo_service::config::load(&sources)
    }

    #[test]
    fn the_defaults_are_valid() {
        load(&[]).expect("the defaults are valid");
    }

    #[test]
    fn bad_values_are_named() {
        for (variable, value, key) in [
            ("PLAZO_TIMER__TIMER__NAMESPACE", "a{b}", "timer.namespace"),
            ("PLAZO_TIMER__TIMER__LANES", "3", "timer.shards"),
            (
                "PLAZO_TIMER__TIMER__BATCH_LIMIT",
                "1001",
                "timer.batch_limit",
            ),
            ("PLAZO_TIMER__TIMER__LEASE_MS", "28000", "timer.lease_ms"),
            (
                "PLAZO_TIMER__TIMER__REPAIR_GRACE_MS",
                "30000",
                "timer.repair_grace_ms",
            ),
            (
                "PLAZO_TIMER__TIMER__TAKE_OVER_MS",
                "99",
                "timer.take_over_ms",
            ),
            (
                "PLAZO_TIMER__TIMER__TARGET_CALL_MS",
                "0",
                "timer.target_call_ms",
            ),
            ("PLAZO_TIMER__REDIS__URL", "http://localhost", "redis.url"),
            (
                "PLAZO_TIMER__REDIS__URL",
                "redis+sentinel://localhost",
                "redis.url",
            ),
            (
                "PLAZO_TIMER__REDIS__BREAKER_REST_MAX_MS",
                "1",
                "redis.breaker_rest_max_ms",
            ),
            (
                "PLAZO_TIMER__HANDLER__ENDPOINT",
                "nowhere",
                "handler.endpoint",
            ),
        ] {
            let error = load(&[(variable, value)]).expect_err(key);
            assert!(error.to_string().starts_with(key), "{error}");
        }
    }
}
