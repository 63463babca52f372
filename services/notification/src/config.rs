//! The configuration; see `config.default.toml` for what each key means.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use plazo_service::{ClientConfig, ConfigError, ServerConfig, ServiceConfig, TelemetryConfig};
use serde::Deserialize;

/// The configuration of the notification service.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where it listens, and limits.
    pub server: ServerConfig,
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
    pub inbound: InboundConfig,
    /// How ticketing is told what became of messages.
    pub reporter: ReporterConfig,
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
    /// `postgres://…`. May hold a password.
    pub url: String,
    /// Connections of this process.
    pub max_connections: u32,
    /// How long a call waits for a free connection, in milliseconds.
    pub acquire_timeout_ms: u64,
    /// A statement that takes longer is cancelled, in milliseconds.
    pub statement_timeout_ms: u64,
    /// Whether to bring the schema up to date at start.
    pub migrate: bool,
}

/// The URL may hold a password, and is left out.
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

/// The section `[inbound]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InboundConfig {
    /// Messages in one call, 1 to 200.
    pub batch: u32,
    /// How often messages are looked for unasked, in milliseconds.
    pub poll_ms: u64,
    /// Wait after a call that failed, in milliseconds; doubles.
    pub first_backoff_ms: u64,
    /// The longest such wait, in milliseconds.
    pub max_backoff_ms: u64,
}

/// The section `[reporter]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReporterConfig {
    /// Reports in one call, 1 to 500.
    pub batch: u32,
    /// How often unanswered reports are looked for unasked, in milliseconds.
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
        self.server.validate("server")?;
        self.ticketing.validate("ticketing")?;
        let (sender, reporter) = (&self.sender, &self.reporter);
        self.subscriptions.validate()?;
        for (key, is_zero) in [
            (
                "database.max_connections",
                self.database.max_connections == 0,
            ),
            (
                "database.acquire_timeout_ms",
                self.database.acquire_timeout_ms == 0,
            ),
            (
                "database.statement_timeout_ms",
                self.database.statement_timeout_ms == 0,
            ),
            ("feed.first_backoff_ms", self.feed.first_backoff_ms == 0),
            ("feed.silence_timeout_ms", self.feed.silence_timeout_ms == 0),
            ("sender.max_in_flight", sender.max_in_flight == 0),
            (
                "sender.max_in_flight_per_account",
                sender.max_in_flight_per_account == 0,
            ),
            ("sender.poll_ms", sender.poll_ms == 0),
            ("sender.lease_margin_ms", sender.lease_margin_ms == 0),
            (
                "webhook.connect_timeout_ms",
                self.webhook.connect_timeout_ms == 0,
            ),
            (
                "webhook.request_timeout_ms",
                self.webhook.request_timeout_ms == 0,
            ),
            (
                "providers.retry_delays_ms",
                self.providers.retry_delays_ms.is_empty(),
            ),
            (
                "providers.give_up_after_s",
                self.providers.give_up_after_s == 0,
            ),
            (
                "providers.breaker_failures",
                self.providers.breaker_failures == 0,
            ),
            (
                "providers.breaker_first_ms",
                self.providers.breaker_first_ms == 0,
            ),
            ("reporter.poll_ms", reporter.poll_ms == 0),
            ("purge.interval_s", self.purge.interval_s == 0),
            ("purge.batch", self.purge.batch == 0),
        ]
        .into_iter()
        .chain(self.zeros_of_channels())
        {
            refuse_if(is_zero, key, "must be above zero")?;
        }
        refuse_if(
            !(1..=500).contains(&reporter.batch),
            "reporter.batch",
            "must be 1 to 500",
        )?;
        self.callbacks.validate()?;
        self.inbound.validate()?;
        let is_part = (0.0..=1.0).contains(&sender.retry_jitter);
        refuse_if(!is_part, "sender.retry_jitter", "must be from 0 to 1")?;
        let is_part = (0.0..=1.0).contains(&self.providers.retry_jitter);
        refuse_if(!is_part, "providers.retry_jitter", "must be from 0 to 1")?;
        refuse_if(
            !is_http_url(&self.whatsapp.base_url),
            "whatsapp.base_url",
            "must be an absolute http or https URL",
        )?;
        let blip_url = &self.blip.base_url;
        let has_contract = blip_url.contains(BlipConfig::CONTRACT);
        refuse_if(
            !has_contract || !is_http_url(&blip_url.replace(BlipConfig::CONTRACT, "contract")),
            "blip.base_url",
            "must be an absolute http or https URL with {contract} in it",
        )?;
        refuse_if(
            sender.retry_delays_ms.len() > 100,
            "sender.retry_delays_ms",
            "has more than 100 waits",
        )?;
        let connections = self.database.max_connections;
        // The feed, the reporter, the settler and what hands over what customers write hold one each while calls need some
        // too.
        refuse_if(
            connections < 5,
            "database.max_connections",
            "must be 5 or more",
        )
    }
}

impl Config {
    /// The numbers of the providers' sections that must be above zero, and whether they are zero.
    fn zeros_of_channels(&self) -> [(&'static str, bool); 9] {
        let (whatsapp, blip, email) = (&self.whatsapp, &self.blip, &self.email);
        [
            (
                "whatsapp.connect_timeout_ms",
                whatsapp.connect_timeout_ms == 0,
            ),
            (
                "whatsapp.request_timeout_ms",
                whatsapp.request_timeout_ms == 0,
            ),
            (
                "whatsapp.messages_per_second",
                whatsapp.messages_per_second == 0,
            ),
            ("blip.connect_timeout_ms", blip.connect_timeout_ms == 0),
            ("blip.request_timeout_ms", blip.request_timeout_ms == 0),
            ("blip.messages_per_second", blip.messages_per_second == 0),
            ("email.connect_timeout_ms", email.connect_timeout_ms == 0),
            ("email.request_timeout_ms", email.request_timeout_ms == 0),
            ("email.messages_per_second", email.messages_per_second == 0),
        ]
    }

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

impl CallbacksConfig {
    fn validate(&self) -> Result<(), ConfigError> {
        for (key, is_zero) in [
            ("callbacks.max_body_bytes", self.max_body_bytes == 0),
            ("callbacks.request_timeout_ms", self.request_timeout_ms == 0),
            ("callbacks.max_connections", self.max_connections == 0),
        ] {
            refuse_if(is_zero, key, "must be above zero")?;
        }
        Ok(())
    }
}

impl SubscriptionsConfig {
    fn validate(&self) -> Result<(), ConfigError> {
        for (key, is_zero) in [
            ("subscriptions.max_in_flight", self.max_in_flight == 0),
            (
                "subscriptions.max_in_flight_per_subscription",
                self.max_in_flight_per_subscription == 0,
            ),
            ("subscriptions.poll_ms", self.poll_ms == 0),
            ("subscriptions.max_waiting", self.max_waiting == 0),
        ] {
            refuse_if(is_zero, key, "must be above zero")?;
        }
        Ok(())
    }
}

impl InboundConfig {
    fn validate(&self) -> Result<(), ConfigError> {
        for (key, is_zero) in [
            ("inbound.poll_ms", self.poll_ms == 0),
            ("inbound.first_backoff_ms", self.first_backoff_ms == 0),
        ] {
            refuse_if(is_zero, key, "must be above zero")?;
        }
        let is_batch = (1..=200).contains(&self.batch);
        refuse_if(!is_batch, "inbound.batch", "must be 1 to 200")
    }
}

fn is_http_url(text: &str) -> bool {
    url::Url::parse(text)
        .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
}

fn refuse_if(wrong: bool, key: &str, problem: &str) -> Result<(), ConfigError> {
    if wrong {
        Err(ConfigError::value(key, problem))
    } else {
        Ok(())
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
