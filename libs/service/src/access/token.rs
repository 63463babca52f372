//! A token (RFC 7519, signed and in its compact form), checked.

use jiff::Timestamp;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::algorithm::TokenAlgorithm;
use super::claims::Claims;
use super::config::IssuerConfig;
use super::keeper::KeyKeeper;
use super::keys::{KeySet, decode};
use super::refusal::Refusal;
use crate::actor::Actor;

/// Other kinds (a log-out, a proof of possession) are signed by the same keys and mean other things.
const TYPES: [&str; 3] = ["jwt", "at+jwt", "application/at+jwt"];

/// Somebody who makes tokens.
#[derive(Debug)]
pub(super) struct Issuer {
    config: IssuerConfig,
    pub(super) keys: KeyKeeper,
}

/// What a token says.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) actor: Actor,
    /// When the token is no longer valid, leeway included.
    pub(super) ends_at: Timestamp,
}

/// The header. What it says of keys (`jwk`, `jku`, `x5u`) is not looked at: the keys are the issuer's.
#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
    crit: Option<IgnoredAny>,
}

/// The parts of a token, of which nothing is known to be true.
pub(super) struct Unverified<'a> {
    /// Header and claims as they were signed.
    message: &'a str,
    signature: &'a str,
    header: Header,
    claims: Claims,
}

impl<'a> Unverified<'a> {
    pub(super) fn parse(token: &'a str) -> Result<Self, Refusal> {
        let no_token = || Refusal::TokenMalformed("must have a signed token of three parts");
        let (message, signature) = token.rsplit_once('.').ok_or_else(no_token)?;
        let (header, claims) = message.split_once('.').ok_or_else(no_token)?;
        if claims.contains('.') {
            return Err(no_token());
        }
        let header: Header = decode(header)
            .and_then(|json| serde_json::from_slice(&json).ok())
            .ok_or(Refusal::TokenMalformed("has a token without a header"))?;
        let is_of_known_type = header
            .typ
            .as_ref()
            .is_none_or(|typ| TYPES.contains(&typ.to_ascii_lowercase().as_str()));
        if !is_of_known_type {
            return Err(Refusal::TokenMalformed("has a token of another type"));
        }
        if header.crit.is_some() {
            return Err(Refusal::TokenMalformed(
                "has a token with critical extensions, of which none is known here",
            ));
        }
        let claims = decode(claims).ok_or_else(no_token)?;
        Ok(Self {
            message,
            signature,
            header,
            claims: Claims::parse(&claims)?,
        })
    }

    /// The issuer that made it, if it says the truth.
    pub(super) fn issuer(&self) -> Result<&str, Refusal> {
        self.claims.issuer()
    }

    /// How it is signed, if its issuer signs so.
    pub(super) fn algorithm(&self, issuer: &IssuerConfig) -> Result<TokenAlgorithm, Refusal> {
        TokenAlgorithm::find(&self.header.alg)
            .filter(|algorithm| issuer.algorithms.contains(algorithm))
            .ok_or(Refusal::AlgorithmRefused)
    }

    /// Checks it with keys that are known.
    pub(super) fn check(
        &self,
        issuer: &IssuerConfig,
        algorithm: TokenAlgorithm,
        keys: &KeySet,
        now: Timestamp,
    ) -> Result<Checked, Refusal> {
        let key = keys
            .find(self.header.kid.as_deref(), algorithm)
            .ok_or(Refusal::KeyUnknown)?;
        let message = self.message.as_bytes();
        let is_genuine =
            jsonwebtoken::crypto::verify(self.signature, message, key, algorithm.to_library());
        if !is_genuine.unwrap_or(false) {
            return Err(Refusal::SignatureWrong);
        }
        // From here on the token says the truth.
        self.claims.check_audience(&issuer.audience)?;
        let leeway_ms = i64::try_from(issuer.leeway_s.saturating_mul(1_000));
        let leeway_ms = leeway_ms.unwrap_or(i64::MAX);
        let ends_at_ms = self.claims.check_time(now.as_millisecond(), leeway_ms)?;
        Ok(Checked {
            actor: self.claims.actor()?,
            ends_at: Timestamp::from_millisecond(ends_at_ms).unwrap_or(Timestamp::MAX),
        })
    }
}

impl Issuer {
    pub(super) fn new(config: &IssuerConfig, keys: KeyKeeper) -> Self {
        Self {
            config: config.clone(),
            keys,
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.config.issuer
    }

    /// Checks a token that says that it is of this issuer. Waits for keys only when it names one that is not known.
    pub(super) async fn check(
        &self,
        token: &Unverified<'_>,
        now: Timestamp,
    ) -> Result<Checked, Refusal> {
        let algorithm = token.algorithm(&self.config)?;
        let keys = self
            .keys
            .with(token.header.kid.as_deref(), algorithm)
            .await?;
        token.check(&self.config, algorithm, &keys, now)
    }
}
