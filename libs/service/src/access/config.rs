//! The section `[access]`: who may call, and how much.

use std::net::SocketAddr;

use serde::Deserialize;

use super::algorithm::TokenAlgorithm;
use super::source::KeyLocation;
use crate::actor::is_service_name;
use crate::config::ConfigError;

/// Longer ones are mistakes.
const MAX_LEEWAY_S: u64 = 300;

/// The section `[access]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AccessConfig {
    /// Whether the metadata `plazo-actor` and so on make the actor of a call that has neither a token nor a known
    /// certificate. Absent: only when there are no issuers, and only on connections without TLS. Refused unless the server
    /// listens on a loopback address.
    pub believe_metadata: Option<bool>,
    /// Who makes tokens.
    pub issuers: Vec<IssuerConfig>,
    /// Which certificates are services of Plazo, and what they may call.
    pub peers: Vec<PeerConfig>,
    /// How long a stream of one of them goes on at most, in milliseconds: it ends between half of it and the whole, and may
    /// be opened again. 0 for as long as the certificate lasts.
    pub peer_stream_max_age_ms: u64,
    /// The longest token, in bytes.
    pub max_token_bytes: usize,
    /// How the issuers' keys are kept.
    pub keys: KeysConfig,
    /// How often agents, bots and administrators may call.
    pub limits: LimitsConfig,
}

impl Default for AccessConfig {
    fn default() -> Self {
        Self {
            believe_metadata: None,
            issuers: Vec::new(),
            peers: Vec::new(),
            peer_stream_max_age_ms: 3_600_000,
            max_token_bytes: 8 << 10,
            keys: KeysConfig::default(),
            limits: LimitsConfig::default(),
        }
    }
}

/// An entry of `[[access.issuers]]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IssuerConfig {
    /// The claim `iss`, letter by letter.
    pub issuer: String,
    /// What the claim `aud` is or holds.
    pub audience: String,
    /// The algorithms that are taken. Only asymmetric ones are known.
    pub algorithms: Vec<TokenAlgorithm>,
    /// Where the JWK set is: `file:///…`, `https://…`, or `http://…` on a loopback address.
    pub keys: String,
    /// How much the clocks may differ, in seconds.
    #[serde(default = "default_leeway_s")]
    pub leeway_s: u64,
}

const fn default_leeway_s() -> u64 {
    30
}

/// An entry of `[[access.peers]]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeerConfig {
    /// A URI SAN of its certificate, letter by letter.
    pub identity: String,
    /// The service's name: its calls are made by the actor `service/NAME`.
    pub service: String,
    /// What it may call: `/plazo.ticketing.v1.FeedService/StreamEvents`, or `/plazo.ticketing.v1.FeedService/*`.
    pub methods: Vec<String>,
}

/// The section `[access.keys]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KeysConfig {
    /// How often keys are fetched from a URL, in milliseconds.
    pub refresh_interval_ms: u64,
    /// How often a file of keys is looked at, in milliseconds.
    pub look_interval_ms: u64,
    /// How long the server waits at most for the first keys of each issuer before it says that it is ready, in
    /// milliseconds.
    pub first_keys_wait_ms: u64,
    /// How long a fetch may take, in milliseconds.
    pub fetch_timeout_ms: u64,
    /// A key that is not known makes the keys be fetched at once, but no more often than this, in milliseconds.
    pub unknown_key_interval_ms: u64,
    /// Keys that could not be fetched again for so long are no longer used, in milliseconds.
    pub max_age_ms: u64,
    /// The largest JWK set, in bytes.
    pub max_bytes: usize,
}

impl Default for KeysConfig {
    fn default() -> Self {
        Self {
            refresh_interval_ms: 300_000,
            look_interval_ms: 5_000,
            first_keys_wait_ms: 60_000,
            fetch_timeout_ms: 3_000,
            unknown_key_interval_ms: 10_000,
            max_age_ms: 86_400_000,
            max_bytes: 256 << 10,
        }
    }
}

/// The section `[access.limits]`. Each replica counts for itself. Services have no limit here.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsConfig {
    /// Calls a second of all actors of a tenant; 0: as many as they like.
    pub tenant_calls_per_s: u32,
    /// Calls that a tenant may make at once after a rest; 0: those of one second.
    pub tenant_burst: u32,
    /// Calls a second of one agent, bot or administrator; 0: as many as it likes.
    pub actor_calls_per_s: u32,
    /// Calls that an actor may make at once after a rest; 0: those of one second.
    pub actor_burst: u32,
    /// Tenants, and actors, whose calls are remembered. With more at a time, all are forgotten and begin anew.
    pub max_remembered: usize,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            tenant_calls_per_s: 0,
            tenant_burst: 0,
            actor_calls_per_s: 0,
            actor_burst: 0,
            max_remembered: 100_000,
        }
    }
}

impl AccessConfig {
    /// Refuses what can't be used, and what would let anybody in: another address than loopback without an issuer, or
    /// with metadata believed. `section` is the key of this section, `listen` where gRPC is served.
    pub fn validate(&self, section: &str, listen: SocketAddr) -> Result<(), ConfigError> {
        let section = Section(section);
        let is_loopback = listen.ip().to_canonical().is_loopback();
        section.check(
            is_loopback || !self.issuers.is_empty(),
            "issuers",
            format_args!("must name an issuer of tokens, as {listen} is not a loopback address"),
        )?;
        section.check(
            is_loopback || self.believe_metadata != Some(true),
            "believe_metadata",
            format_args!("must not be true, as {listen} is not a loopback address"),
        )?;
        section.check(
            self.max_token_bytes > 0,
            "max_token_bytes",
            "must be above zero",
        )?;
        for (index, issuer) in self.issuers.iter().enumerate() {
            issuer.validate(&section, index, &self.issuers[..index])?;
        }
        for (index, peer) in self.peers.iter().enumerate() {
            peer.validate(&section, index, &self.peers[..index])?;
        }
        self.keys.validate(&section)?;
        section.check(
            self.limits.max_remembered > 0,
            "limits.max_remembered",
            "must be above zero",
        )
    }
}

impl IssuerConfig {
    fn validate(
        &self,
        section: &Section<'_>,
        index: usize,
        before: &[Self],
    ) -> Result<(), ConfigError> {
        let key = |name: &str| format!("issuers[{index}].{name}");
        section.check(!self.issuer.is_empty(), &key("issuer"), "must not be empty")?;
        section.check(
            before.iter().all(|other| other.issuer != self.issuer),
            &key("issuer"),
            "is there twice",
        )?;
        section.check(
            !self.audience.is_empty(),
            &key("audience"),
            "must not be empty",
        )?;
        section.check(
            !self.algorithms.is_empty(),
            &key("algorithms"),
            "must name at least one",
        )?;
        section.check(
            self.leeway_s <= MAX_LEEWAY_S,
            &key("leeway_s"),
            format_args!("must be at most {MAX_LEEWAY_S}"),
        )?;
        match KeyLocation::parse(&self.keys) {
            Ok(_) => Ok(()),
            Err(problem) => section.check(false, &key("keys"), problem),
        }
    }
}

impl PeerConfig {
    fn validate(
        &self,
        section: &Section<'_>,
        index: usize,
        before: &[Self],
    ) -> Result<(), ConfigError> {
        let key = |name: &str| format!("peers[{index}].{name}");
        section.check(
            self.identity.contains("://"),
            &key("identity"),
            "must be a URI, as in spiffe://plazo/ns/plazo/sa/timer",
        )?;
        section.check(
            before.iter().all(|other| other.identity != self.identity),
            &key("identity"),
            "is there twice",
        )?;
        section.check(
            is_service_name(&self.service),
            &key("service"),
            "must be the name of a service: lower-case letters, digits, dashes",
        )?;
        for (at, method) in self.methods.iter().enumerate() {
            section.check(
                is_method_pattern(method),
                &key(&format!("methods[{at}]")),
                "must be /package.Service/Method or /package.Service/*",
            )?;
        }
        Ok(())
    }
}

/// `/package.Service/Method` or `/package.Service/*`.
fn is_method_pattern(text: &str) -> bool {
    let is_name = |c: char, more: &str| c.is_ascii_alphanumeric() || c == '_' || more.contains(c);
    let Some((service, method)) = text.strip_prefix('/').and_then(|rest| rest.split_once('/'))
    else {
        return false;
    };
    let is_service = !service.is_empty() && service.chars().all(|c| is_name(c, "."));
    let is_method = !method.is_empty() && method.chars().all(|c| is_name(c, ""));
    is_service && (method == "*" || is_method)
}

impl KeysConfig {
    fn validate(&self, section: &Section<'_>) -> Result<(), ConfigError> {
        for (name, is_zero) in [
            ("keys.refresh_interval_ms", self.refresh_interval_ms == 0),
            ("keys.look_interval_ms", self.look_interval_ms == 0),
            ("keys.fetch_timeout_ms", self.fetch_timeout_ms == 0),
            ("keys.max_bytes", self.max_bytes == 0),
        ] {
            section.check(!is_zero, name, "must be above zero")?;
        }
        let longest = self.refresh_interval_ms.max(self.look_interval_ms);
        section.check(
            self.max_age_ms > longest,
            "keys.max_age_ms",
            "must be above keys.refresh_interval_ms and keys.look_interval_ms",
        )
    }
}

/// The key of the section.
struct Section<'a>(&'a str);

impl Section<'_> {
    fn check(
        &self,
        holds: bool,
        key: &str,
        problem: impl std::fmt::Display,
    ) -> Result<(), ConfigError> {
        if holds {
            Ok(())
        } else {
            let key = format!("{}.{key}", self.0);
            Err(ConfigError::value(key, problem.to_string()))
        }
    }
}

#[cfg(test)]
mod tests;
