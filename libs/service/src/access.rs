//! Who may call, checked before any handler runs. In this order:
//!
//! 1. `authorization: Bearer TOKEN`: a JWT of a known issuer makes an agent, a bot or an administrator, never a service.
//! 2. A client certificate in `[[access.peers]]` makes the service that it names, for the methods that it lists.
//! 3. The metadata `plazo-actor` and so on make any actor, if they are believed: on loopback addresses only.
//!
//! Whoever has none of these is UNAUTHENTICATED. A token that is no good is refused, whatever else the call has. Once the
//! actor is made, token and metadata are taken out of the request.
//!
//! ```text
//! { "iss": "https://id.example", "aud": "plazo", "exp": 1767225600, "nbf": …, "iat": …, "sub": "ana",
//!   "plazo_tenant": 7, "plazo_actor": "agent/12",
//!   "plazo_permissions": ["tickets:attend", "history:view"], "plazo_bots": [1, 2] }
//! ```
//!
//! `nbf`, `iat`, `plazo_permissions` and `plazo_bots` may be absent; the last means none then, and all for administrators.
//! `plazo_bots` may be `"*"` too.
//!
//! A connection whose client certificate has ended since it was made is of no use, whatever its calls hold: they are
//! refused, and the connection is closed a moment later, so that the client makes another.
//!
//! Reasons of refusals, in the `ErrorInfo` of each: UNAUTHENTICATED with `TOKEN_MISSING`, `TOKEN_MALFORMED`,
//! `ISSUER_UNKNOWN`, `ALGORITHM_REFUSED`, `KEY_UNKNOWN`, `SIGNATURE_WRONG`, `AUDIENCE_WRONG`, `TOKEN_EXPIRED`,
//! `TOKEN_NOT_YET_VALID`, `CLAIM_INVALID`, `CERTIFICATE_EXPIRED`, `ACTOR_MISSING` and `ACTOR_INVALID` (metadata); UNAVAILABLE
//! with `KEYS_UNAVAILABLE`; PERMISSION_DENIED with `PERMISSION_DENIED`; UNIMPLEMENTED with `METHOD_UNKNOWN`;
//! RESOURCE_EXHAUSTED with `ACTOR_RATE_LIMITED` and `TENANT_RATE_LIMITED`, and with the time until there is room again.
//!
//! A stream ends with what let it in: UNAUTHENTICATED with `TOKEN_EXPIRED` or `CERTIFICATE_EXPIRED`. That of a service known by
//! its certificate also ends when it has gone on for `access.peer_stream_max_age_ms`, so that the service is looked at again:
//! UNAVAILABLE with `STREAM_RENEWAL_DUE`. Who opens it again goes on from where it was, as after every other end
//! ([`renewal_of`](crate::status::renewal_of)).

mod algorithm;
mod claims;
mod config;
mod end;
#[doc(hidden)]
pub mod fuzzing;
mod keeper;
mod keys;
mod limits;
mod metrics;
mod peers;
mod refusal;
mod source;
mod token;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use futures::future::join_all;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use http::request::Parts;
use jiff::Timestamp;

use crate::actor::{Actor, MethodPermissions};
use crate::config::ConfigError;
use crate::peer::PeerIdentity;
use crate::status::chain;
use keeper::KeyKeeper;
use limits::Limits;
use peers::Peers;
use source::{KeyLocation, Source};
use token::{Issuer, Unverified};

pub use algorithm::TokenAlgorithm;
pub use config::{AccessConfig, IssuerConfig, KeysConfig, LimitsConfig, PeerConfig};
pub(crate) use end::{AccessEnd, EndReason};
pub(crate) use metrics::AccessMetrics;
pub(crate) use refusal::Refusal;

/// Callers that have rested are forgotten so often.
const TIDY_PERIOD: Duration = Duration::from_secs(5);
/// The key of the section in a service's configuration.
const SECTION: &str = "access";
/// What a log line tells at most of a name that others made up, in characters.
const MAX_LOGGED_CHARS: usize = 120;

/// Who may call one server.
#[derive(Debug)]
pub(crate) struct Access {
    issuers: Vec<Issuer>,
    peers: Peers,
    believe_metadata: Option<bool>,
    peer_stream_max_age: Duration,
    first_keys_wait: Duration,
    max_token_bytes: usize,
    limits: Limits,
    metrics: AccessMetrics,
}

/// Who makes a call, and until when they may go on with it.
#[derive(Debug)]
pub(crate) struct Admitted {
    pub(crate) actor: Actor,
    /// When a stream ends.
    pub(crate) end: Option<AccessEnd>,
}

impl Access {
    /// Checks the configuration against where the server really listens and what it serves, and fetches the keys of the
    /// issuers, each within a bound.
    pub(crate) async fn start(
        config: &AccessConfig,
        listen: SocketAddr,
        served: MethodPermissions,
        metrics: AccessMetrics,
    ) -> Result<Self, ConfigError> {
        config.validate(SECTION, listen)?;
        // Features of other crates in the program must not decide it.
        let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
        let starting = config.issuers.iter().enumerate().map(|(index, issuer)| {
            let metrics = metrics.clone();
            async move {
                start_issuer(issuer, &config.keys, metrics)
                    .await
                    .map_err(|problem| {
                        let key = format!("{SECTION}.issuers[{index}].keys");
                        ConfigError::value(key, problem)
                    })
            }
        });
        let issuers = join_all(starting)
            .await
            .into_iter()
            .collect::<Result<_, _>>()?;
        Ok(Self {
            issuers,
            peers: Peers::new(&config.peers, served, SECTION)?,
            believe_metadata: config.believe_metadata,
            peer_stream_max_age: Duration::from_millis(config.peer_stream_max_age_ms),
            first_keys_wait: Duration::from_millis(config.keys.first_keys_wait_ms),
            max_token_bytes: config.max_token_bytes,
            limits: Limits::new(&config.limits),
            metrics,
        })
    }

    /// Keeps the issuers' keys, until it is dropped.
    pub(crate) async fn keep(&self) -> Infallible {
        let keys = join_all(self.issuers.iter().map(|issuer| issuer.keys.keep()));
        let tidying = async {
            let mut period = tokio::time::interval(TIDY_PERIOD);
            loop {
                period.tick().await;
                self.limits.tidy();
            }
        };
        futures::future::join(keys, tidying).await.1
    }

    /// Whether the keys of each issuer were fetched at least once.
    pub(crate) fn has_keys(&self) -> bool {
        self.issuers.iter().all(|issuer| issuer.keys.has_keys())
    }

    /// Returns when the keys of each issuer were fetched at least once, or after the time of the configuration: an issuer
    /// that is away must not keep from work who does not need it.
    pub(crate) async fn wait_for_keys(&self) {
        let all = join_all(
            self.issuers
                .iter()
                .map(|issuer| issuer.keys.wait_for_keys()),
        );
        if tokio::time::timeout(self.first_keys_wait, all)
            .await
            .is_ok()
        {
            return;
        }
        for issuer in self.issuers.iter().filter(|issuer| !issuer.keys.has_keys()) {
            tracing::warn!(
                issuer = issuer.name(),
                "an issuer's keys could not be fetched since the start, and its tokens are refused; the others are served"
            );
        }
    }

    /// Makes the actor of a call, and takes from the request what it was made of. The actor's permissions have not been
    /// looked at yet.
    pub(crate) async fn identify(&self, request: &mut Parts) -> Result<Admitted, Refusal> {
        let admitted = self.find_actor(request).await;
        Actor::remove(&mut request.headers);
        request.headers.remove(AUTHORIZATION);
        admitted
    }

    /// Counts a call of an actor that may make it.
    pub(crate) fn count(&self, actor: &Actor) -> Result<(), Refusal> {
        self.limits.check(actor)
    }

    /// Counts and logs a refusal: what is wrong with the call, what was called, and which certificate could not call it,
    /// but nothing of what the call holds.
    pub(crate) fn note(&self, refusal: &Refusal, request: &Parts) {
        let reason = refusal.reason();
        self.metrics.refused(reason);
        let path = printable(request.uri.path());
        let peer = request.extensions.get::<PeerIdentity>();
        let peer = peer
            .filter(|peer| refusal.concerns_peer() && !peer.uris.is_empty())
            .map(|peer| printable(&peer.uris.join(" ")));
        tracing::info!(
            target: "plazo_access", reason, claim = refusal.claim(), path, peer, "call refused"
        );
    }

    async fn find_actor(&self, request: &Parts) -> Result<Admitted, Refusal> {
        let peer = request.extensions.get::<PeerIdentity>();
        if peer.is_some_and(|peer| peer.has_expired(Timestamp::now())) {
            return Err(Refusal::CertificateExpired);
        }
        if let Some(token) = self.bearer(&request.headers)? {
            let token = Unverified::parse(token)?;
            let name = token.issuer()?;
            let issuer = self.issuers.iter().find(|issuer| issuer.name() == name);
            let issuer = issuer.ok_or(Refusal::IssuerUnknown)?;
            let checked = issuer.check(&token, Timestamp::now()).await?;
            return Ok(Admitted {
                actor: checked.actor,
                end: AccessEnd::of_token(checked.ends_at),
            });
        }
        if let Some(peer) = peer
            && let Some(known) = self.peers.find(peer)
        {
            let actor = known.actor(request.uri.path())?;
            let end = AccessEnd::of_peer(peer.not_after, self.peer_stream_max_age);
            return Ok(Admitted { actor, end });
        }
        let is_believed = self
            .believe_metadata
            .unwrap_or(self.issuers.is_empty() && peer.is_none());
        if !is_believed {
            return Err(Refusal::TokenMissing);
        }
        let actor = Actor::read(&request.headers).map_err(Refusal::Metadata)?;
        Ok(Admitted { actor, end: None })
    }

    /// The token of a request, if it has one.
    fn bearer<'a>(&self, headers: &'a HeaderMap) -> Result<Option<&'a str>, Refusal> {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let Some(value) = values.next() else {
            return Ok(None);
        };
        if values.next().is_some() {
            return Err(Refusal::TokenMalformed("must be there once"));
        }
        if value.len() > self.max_token_bytes {
            return Err(Refusal::TokenMalformed("has a token that is too long"));
        }
        value
            .to_str()
            .ok()
            .and_then(|text| text.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| Some(token.trim_matches(' ')))
            .ok_or(Refusal::TokenMalformed("must be 'Bearer …'"))
    }
}

async fn start_issuer(
    issuer: &IssuerConfig,
    keys: &KeysConfig,
    metrics: AccessMetrics,
) -> Result<Issuer, String> {
    let location = KeyLocation::parse(&issuer.keys)?;
    let source = Source::new(location, keys).map_err(|error| chain(&error))?;
    let keeper = KeyKeeper::new(&issuer.issuer, source, keys, metrics);
    keeper.start().await.map_err(|error| chain(&error))?;
    Ok(Issuer::new(issuer, keeper))
}

/// A name that a stranger may have made up, so that it can stand in a log line: bounded, and of visible ASCII alone.
fn printable(name: &str) -> String {
    let shown = name.chars().map(|letter| match letter {
        '!'..='~' | ' ' => letter,
        _ => '?',
    });
    let mut shown: String = shown.take(MAX_LOGGED_CHARS).collect();
    if name.chars().nth(MAX_LOGGED_CHARS).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests;
