//! The sections that every service's configuration has. Each key has a default, so that a new key
//! breaks no file; the commented default files repeat them for people to see.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde::Deserialize;

use super::ConfigError;

/// The section `[server]`: where a service listens, and the limits of what it takes.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerConfig {
    /// Where gRPC is served. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where `/metrics` and `/healthz` are served over HTTP/1; nowhere if absent.
    pub metrics_listen: Option<SocketAddr>,
    /// Where health alone is served, in plain text for probes; nowhere if absent.
    pub health_listen: Option<SocketAddr>,
    /// Whether `listen` may be an address that other machines reach although there is no section `[tls]`.
    pub plain_text: bool,
    /// Whether the server describes its services to tools like grpcurl.
    pub reflection: bool,
    /// The largest request or response message, in bytes.
    pub max_message_bytes: usize,
    /// The largest set of request headers, in bytes.
    pub max_header_bytes: u32,
    /// Calls at the same time on one connection, streams among them; a client's further ones wait, or go over another
    /// connection.
    pub max_concurrent_streams: u32,
    /// Connections at the same time; further ones are closed at once.
    pub max_connections: usize,
    /// Deadline of a unary call whose caller gave none, in milliseconds.
    pub default_deadline_ms: u64,
    /// The longest deadline that a unary call gets, in milliseconds.
    pub max_deadline_ms: u64,
    /// A silent connection is pinged this often, in milliseconds.
    pub keepalive_interval_ms: u64,
    /// A connection that does not answer a ping for so long is dropped, in milliseconds.
    pub keepalive_timeout_ms: u64,
    /// A new connection has so long for its TLS handshake and the first bytes of HTTP/2, in milliseconds.
    pub handshake_timeout_ms: u64,
    /// TLS handshakes at the same time. When there are more, the oldest is given up.
    pub max_handshakes: usize,
    /// A connection of this age, in milliseconds and give or take a tenth, is told to go away; its calls and streams end
    /// as they would. 0 for never.
    pub max_connection_age_ms: u64,
    /// How long calls may go on after shutdown has begun, in milliseconds. Streams end at once.
    pub shutdown_grace_ms: u64,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            metrics_listen: None,
            health_listen: None,
            plain_text: false,
            reflection: false,
            max_message_bytes: 4 << 20,
            max_header_bytes: 16 << 10,
            max_concurrent_streams: 256,
            max_connections: 10_000,
            default_deadline_ms: 10_000,
            max_deadline_ms: 60_000,
            keepalive_interval_ms: 10_000,
            keepalive_timeout_ms: 10_000,
            handshake_timeout_ms: 5_000,
            max_handshakes: 1_024,
            max_connection_age_ms: 0,
            shutdown_grace_ms: 5_000,
        }
    }
}

impl ServerConfig {
    /// Refuses zeros and a default deadline above the longest one. `section` is the key of this section.
    pub fn validate(&self, section: &str) -> Result<(), ConfigError> {
        for (key, is_zero) in [
            ("max_message_bytes", self.max_message_bytes == 0),
            ("max_header_bytes", self.max_header_bytes == 0),
            ("max_concurrent_streams", self.max_concurrent_streams == 0),
            ("max_connections", self.max_connections == 0),
            ("default_deadline_ms", self.default_deadline_ms == 0),
            ("keepalive_interval_ms", self.keepalive_interval_ms == 0),
            ("keepalive_timeout_ms", self.keepalive_timeout_ms == 0),
            ("handshake_timeout_ms", self.handshake_timeout_ms == 0),
            ("max_handshakes", self.max_handshakes == 0),
        ] {
            refuse_if(is_zero, section, key, "must be above zero")?;
        }
        let too_long = self.default_deadline_ms > self.max_deadline_ms;
        refuse_if(
            too_long,
            section,
            "default_deadline_ms",
            "must not be above max_deadline_ms",
        )
    }
}

/// The section `[telemetry]`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TelemetryConfig {
    /// How log lines are written, to standard error.
    pub log_format: LogFormat,
    /// Which log lines are written, as in `info,plazo_ticketing=debug`. The log of requests has the target
    /// `plazo_request`.
    pub log_filter: String,
    /// Where traces are sent by OTLP over gRPC, as in `http://collector:4317`; nowhere if absent.
    pub otlp_endpoint: Option<String>,
    /// The part of the traces that begin here which is sent, from 0 to 1. A trace that began elsewhere
    /// is sent if its beginner sends it.
    pub trace_sample_ratio: f64,
    /// Tells replicas of one service apart in traces; the host's name, say.
    pub service_instance: Option<String>,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self {
            log_format: LogFormat::Json,
            log_filter: "info".to_owned(),
            otlp_endpoint: None,
            trace_sample_ratio: 1.0,
            service_instance: None,
        }
    }
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people at a terminal.
    Text,
}

/// A section that says how to call another service, as in `[ticketing]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClientConfig {
    /// The other service's address, as in `http://ticketing:5001`; with `https`, as whom and whom to believe is in the
    /// section `[tls]`.
    pub endpoint: String,
    /// The URI that must be among the alternative names of the server's certificate, as in
    /// `spiffe://plazo/ns/plazo/sa/ticketing`. If absent, the endpoint's host must be.
    pub server_identity: Option<String>,
    /// Whether to look up all addresses of the endpoint's host and spread calls over them.
    pub balance: bool,
    /// How often the addresses are looked up, in milliseconds; also when a connection fails.
    pub resolve_interval_ms: u64,
    /// How long a connection may take to come about, in milliseconds.
    pub connect_timeout_ms: u64,
    /// Deadline of a unary call that is given none, in milliseconds.
    pub request_timeout_ms: u64,
    /// A silent connection is pinged this often, in milliseconds.
    pub keepalive_interval_ms: u64,
    /// A connection that does not answer a ping for so long is dropped, in milliseconds.
    pub keepalive_timeout_ms: u64,
    /// The largest request or response message, in bytes.
    pub max_message_bytes: usize,
    /// How often a call that answers UNAVAILABLE is sent in all.
    pub max_attempts: u32,
    /// The wait before the second attempt, in milliseconds; it doubles from there, with jitter.
    pub first_backoff_ms: u64,
    /// The longest wait between attempts, in milliseconds.
    pub max_backoff_ms: u64,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            endpoint: String::new(),
            server_identity: None,
            balance: false,
            resolve_interval_ms: 5_000,
            connect_timeout_ms: 1_000,
            request_timeout_ms: 5_000,
            keepalive_interval_ms: 10_000,
            keepalive_timeout_ms: 10_000,
            max_message_bytes: 4 << 20,
            max_attempts: 6,
            first_backoff_ms: 20,
            max_backoff_ms: 1_000,
        }
    }
}

impl ClientConfig {
    /// A client of `endpoint` with the defaults.
    pub fn new(endpoint: impl Into<String>) -> Self {
        Self {
            endpoint: endpoint.into(),
            ..Self::default()
        }
    }

    /// Refuses zeros and an endpoint that is no address. `section` is the key of this section.
    pub fn validate(&self, section: &str) -> Result<(), ConfigError> {
        for (key, is_zero) in [
            ("resolve_interval_ms", self.resolve_interval_ms == 0),
            ("connect_timeout_ms", self.connect_timeout_ms == 0),
            ("request_timeout_ms", self.request_timeout_ms == 0),
            ("keepalive_interval_ms", self.keepalive_interval_ms == 0),
            ("keepalive_timeout_ms", self.keepalive_timeout_ms == 0),
            ("max_message_bytes", self.max_message_bytes == 0),
            ("max_attempts", self.max_attempts == 0),
            ("first_backoff_ms", self.first_backoff_ms == 0),
        ] {
            refuse_if(is_zero, section, key, "must be above zero")?;
        }
        let uri = self.endpoint.parse::<http::Uri>().ok();
        let is_address = uri
            .as_ref()
            .is_some_and(|uri| uri.scheme().is_some() && uri.host().is_some());
        refuse_if(
            !is_address,
            section,
            "endpoint",
            "must be an address like http://host:port",
        )?;
        let is_plain = uri.is_none_or(|uri| uri.scheme_str() != Some("https"));
        refuse_if(
            is_plain && self.server_identity.is_some(),
            section,
            "server_identity",
            "can only be verified of an endpoint that begins with https",
        )
    }

    /// Deadline of a unary call that is given none.
    pub fn request_timeout(&self) -> Duration {
        Duration::from_millis(self.request_timeout_ms)
    }
}

fn refuse_if(wrong: bool, section: &str, key: &str, problem: &str) -> Result<(), ConfigError> {
    if wrong {
        Err(ConfigError::value(format!("{section}.{key}"), problem))
    } else {
        Ok(())
    }
}
