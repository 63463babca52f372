//! The configuration; see `config.default.toml` for what each key means.

mod checks;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use plazo_service::{
    AccessConfig, ClientConfig, ConfigError, ServerConfig, ServiceConfig, TelemetryConfig,
    TlsConfig,
};
use serde::Deserialize;

/// The configuration of the notification service.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where it listens, and limits.
    pub server: ServerConfig,
    /// Who may call, and how much.
    #[serde(default)]
    pub access: AccessConfig,
    /// Who it is to others, and whom it believes; plain text if absent.
    pub tls: Option<TlsConfig>,
    /// Logs and traces.
    pub telemetry: TelemetryConfig,
    /// Its PostgreSQL database.
    pub database: DatabaseConfig,
    /// How ticketing is called.
    pub ticketing: ClientConfig,
    /// The event stream of ticketing.
    pub feed: FeedConfig,
    /// How messages are sent, and sent again.
    pub sender: SenderConfig,
    /// Where the secrets of channel accounts are.
    pub credentials: CredentialsConfig,
    /// Whose certificates are trusted.
    pub trust: TrustConfig,
    /// What holds for all channels but webhooks and the log.
    pub providers: ProvidersConfig,
    /// The signed webhook channel.
    pub webhook: WebhookConfig,
    /// The WhatsApp channel.
    pub whatsapp: WhatsAppConfig,
    /// The Blip channel.
    pub blip: BlipConfig,
    /// The e-mail channel.
    pub email: EmailConfig,
    /// Where providers call back.
    pub callbacks: CallbacksConfig,
    /// How what customers write is handed to ticketing.
    pub inbound: OutboxConfig,
    /// How ticketing is told what became of messages.
    pub reporter: OutboxConfig,
    /// Webhook subscriptions to ticket events.
    pub subscriptions: SubscriptionsConfig,
    /// What is removed when it is old.
    pub purge: PurgeConfig,
    /// For fault tests.
    pub fault: FaultConfig,
}

/// The section `[database]`.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatabaseConfig {
    /// `postgres://…`, for background work. May hold a password, as the others may.
    pub url: String,
    /// `postgres://…` for requests; absent: `url`.
    pub request_url: Option<String>,
    /// `postgres://…` for migrations; absent: `url`.
    pub migration_url: Option<String>,
    /// Connections of this process for requests and callbacks.
    pub max_connections: u32,
    /// Its connections for background work and the calls of other services.
    pub background_connections: u32,
    /// How long a call waits for a free connection, in milliseconds.
    pub acquire_timeout_ms: u64,
    /// Calls that wait for a connection of one pool at the same time; others are refused at once.
    pub max_waiting: usize,
    /// A statement that takes longer is cancelled, in milliseconds.
    pub statement_timeout_ms: u64,
    /// Whether to bring the schema up to date at start.
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

/// The section `[feed]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeedConfig {
    /// Wait before the stream is opened again, in milliseconds; doubles.
    pub first_backoff_ms: u64,
    /// The longest such wait, in milliseconds.
    pub max_backoff_ms: u64,
    /// A stream that is silent for so long is opened anew, in milliseconds.
    pub silence_timeout_ms: u64,
}

/// The section `[sender]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SenderConfig {
    /// Messages that are being sent at the same time.
    pub max_in_flight: u32,
    /// The same for each channel account.
    pub max_in_flight_per_account: u32,
    /// How often the queue is looked at unasked, in milliseconds.
    pub poll_ms: u64,
    /// The lease beyond the time-out of an attempt, in milliseconds.
    pub lease_margin_ms: u64,
    /// How long a warning that came by a direct call waits at most for the feed, in milliseconds.
    pub warning_hold_ms: u64,
    /// Waits before the second and each further attempt, in milliseconds.
    pub retry_delays_ms: Vec<u64>,
    /// The random part by which a wait is made longer, at most; 0 to 1.
    pub retry_jitter: f64,
}

/// The section `[webhook]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookConfig {
    /// Until a connection stands, in milliseconds.
    pub connect_timeout_ms: u64,
    /// Until the answer is there, in milliseconds.
    pub request_timeout_ms: u64,
    /// No more of an answer is read, in bytes.
    pub max_response_bytes: usize,
    /// Whether endpoints may be in private networks.
    pub allow_private_networks: bool,
    /// Whether plain http will do.
    pub allow_http: bool,
}

/// The section `[credentials]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CredentialsConfig {
    /// The folder of the credentials' files; none for the environment alone.
    pub folder: Option<PathBuf>,
    /// How long a file that was read is used without another look, in milliseconds.
    pub recheck_ms: u64,
}

/// The section `[providers]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProvidersConfig {
    /// Waits before the second and each further attempt, in milliseconds; the last one repeats.
    pub retry_delays_ms: Vec<u64>,
    /// The random part by which a wait is made longer, at most; 0 to 1.
    pub retry_jitter: f64,
    /// A message that was not sent so long after it was accepted or resent has failed, in seconds.
    pub give_up_after_s: u64,
    /// Failures in a row of one account after which its other messages wait.
    pub breaker_failures: u32,
    /// The first such wait, in milliseconds; doubles.
    pub breaker_first_ms: u64,
    /// The longest such wait, in milliseconds.
    pub breaker_max_ms: u64,
}

/// The section `[trust]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustConfig {
    /// A file of certificates in PEM that are trusted besides those of the system.
    #[serde(default)]
    pub certificates_file: Option<PathBuf>,
}

/// The section `[whatsapp]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WhatsAppConfig {
    /// Where the Cloud API is, without a path's end.
    pub base_url: String,
    /// Its version, as it stands in paths.
    pub api_version: String,
    /// Until a connection stands, in milliseconds.
    pub connect_timeout_ms: u64,
    /// Until the answer is there, in milliseconds.
    pub request_timeout_ms: u64,
    /// No more of an answer is read, in bytes.
    pub max_response_bytes: usize,
    /// Messages of one number in a second.
    pub messages_per_second: u32,
    /// The least time between two messages of one number to one recipient, in milliseconds.
    pub recipient_interval_ms: u64,
}

/// The section `[blip]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlipConfig {
    /// Where the HTTP API is, with `{contract}` in place of the contract's id and without a path's end.
    pub base_url: String,
    /// Until a connection stands, in milliseconds.
    pub connect_timeout_ms: u64,
    /// Until the answer is there, in milliseconds.
    pub request_timeout_ms: u64,
    /// No more of an answer is read, in bytes.
    pub max_response_bytes: usize,
    /// Messages of one contract in a second.
    pub messages_per_second: u32,
}

impl BlipConfig {
    /// Stands for the contract's id in the base URL.
    pub(crate) const CONTRACT: &str = "{contract}";
}

/// The section `[email]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmailConfig {
    /// Whether accounts may name mail servers without TLS.
    pub allow_without_tls: bool,
    /// Until a connection stands, in milliseconds.
    pub connect_timeout_ms: u64,
    /// Until the server has taken a mail, the connection included, in milliseconds.
    pub request_timeout_ms: u64,
    /// Open connections that wait for their next mail, those of all accounts.
    pub max_idle_connections: usize,
    /// How long one waits, in milliseconds.
    pub idle_timeout_ms: u64,
    /// Mails of one account in a second.
    pub messages_per_second: u32,
}

/// The section `[callbacks]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallbacksConfig {
    /// Where HTTP is served for them; nowhere when absent.
    #[serde(default)]
    pub listen: Option<SocketAddr>,
    /// The largest body, in bytes.
    pub max_body_bytes: usize,
    /// A request that takes longer to arrive, or to be answered, is given up, in milliseconds.
    pub request_timeout_ms: u64,
    /// Connections at the same time; more wait to be taken.
    pub max_connections: usize,
}

/// The sections `[inbound]` and `[reporter]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutboxConfig {
    /// Messages in one call, 1 to 200; reports, 1 to 500.
    pub batch: u32,
    /// How often new ones are looked for unasked, in milliseconds.
    pub poll_ms: u64,
    /// Wait after a call that failed, in milliseconds; doubles.
    pub first_backoff_ms: u64,
    /// The longest such wait, in milliseconds.
    pub max_backoff_ms: u64,
}

/// The section `[subscriptions]`. The schedule of attempts is that of `[sender]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubscriptionsConfig {
    /// Events that are being sent at the same time.
    pub max_in_flight: u32,
    /// The same for each subscription.
    pub max_in_flight_per_subscription: u32,
    /// How often events and replays that can go on are looked for unasked, in milliseconds.
    pub poll_ms: u64,
    /// Events that may wait for a subscription.
    pub max_waiting: u32,
    /// How long delivered and failed events are kept, in days.
    pub settled_after_d: u32,
    /// How far back a replay may begin, in days.
    pub marks_after_d: u32,
}

/// The section `[purge]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PurgeConfig {
    /// How often, in seconds.
    pub interval_s: u64,
    /// Rows in one statement.
    pub batch: u32,
    /// How long first answers are kept, in hours.
    pub answered_requests_after_h: u32,
    /// How long attempts are kept, in days.
    pub attempts_after_d: u32,
    /// How long callbacks are known, so that their repetitions do nothing, in days.
    pub seen_callbacks_after_d: u32,
}

/// The section `[fault]`: each ends the process at the n-th time that a place is reached; 0 is never.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultConfig {
    /// Messages are claimed, and nothing is sent yet.
    pub abort_after_claim: u64,
    /// The outcomes of messages are written.
    pub abort_after_settle: u64,
    /// Messages are sent, and their outcomes are about to be written.
    pub abort_after_send: u64,
    /// The same with events for subscribers.
    pub abort_after_event_send: u64,
    /// A batch is about to be committed.
    pub abort_before_accept: u64,
    /// A batch is committed, and its caller not yet answered.
    pub abort_after_accept: u64,
}

impl ServiceConfig for Config {
    const NAME: &'static str = "notification";
    const DEFAULTS: &'static str = include_str!("../config.default.toml");

    fn telemetry(&self) -> &TelemetryConfig {
        &self.telemetry
    }

    fn validate(&self) -> Result<(), ConfigError> {
        self.check()
    }
}

impl Config {
    /// How long a sender may have a message without an outcome.
    pub(crate) fn lease(&self) -> Duration {
        let longest_ms = self
            .webhook
            .request_timeout_ms
            .max(self.whatsapp.request_timeout_ms)
            .max(self.blip.request_timeout_ms)
            .max(self.email.request_timeout_ms);
        Duration::from_millis(longest_ms + self.sender.lease_margin_ms)
    }
}

#[cfg(test)]
mod tests {
    use plazo_service::config::{ConfigSources, load};

    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        let config: Config = load(&ConfigSources::default()).expect("the defaults are valid");
        assert_eq!(config.sender.retry_delays_ms.len(), 9);
        assert!(!config.webhook.allow_private_networks && !config.webhook.allow_http);
    }

    #[test]
    fn a_wrong_value_is_named() {
        let mut sources = ConfigSources::default();
        sources.environment.insert(
            "PLAZO_NOTIFICATION__REPORTER__BATCH".to_owned(),
            "501".to_owned(),
        );
        let error = load::<Config>(&sources).expect_err("too large a batch");
        assert!(error.to_string().starts_with("reporter.batch"), "{error}");
    }
}
