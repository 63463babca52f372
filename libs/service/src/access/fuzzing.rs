//! What the fuzz targets of `tests/fuzz` reach of tokens, keys, certificates and deadlines. Nothing else uses it.

use std::time::Duration;

use jiff::Timestamp;

use super::algorithm::TokenAlgorithm;
use super::config::IssuerConfig;
use super::keys::KeySet;
use super::refusal::Refusal;
use super::token::Unverified;
use crate::actor::Actor;
use crate::peer::PeerIdentity;

/// The claim `iss` of tokens of a [`FuzzedIssuer`].
pub const ISSUER: &str = "https://id.example";
/// The claim `aud` of tokens of a [`FuzzedIssuer`].
pub const AUDIENCE: &str = "plazo";

/// An issuer with known keys, who signs with every algorithm.
#[derive(Debug)]
pub struct FuzzedIssuer {
    config: IssuerConfig,
    keys: KeySet,
}

/// What a token was taken for.
#[derive(Debug)]
pub struct Taken {
    /// Who has it.
    pub actor: Actor,
    /// When it is over, with the leeway of 30 s.
    pub ends_at: Timestamp,
}

impl FuzzedIssuer {
    /// With the keys of a JWK set, if there are any of use in it.
    pub fn new(jwk_set: &[u8]) -> Option<Self> {
        let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
        Some(Self {
            config: IssuerConfig {
                issuer: ISSUER.to_owned(),
                audience: AUDIENCE.to_owned(),
                algorithms: TokenAlgorithm::ALL.to_vec(),
                keys: String::new(),
                leeway_s: 30,
            },
            keys: KeySet::parse(jwk_set).ok()?,
        })
    }

    /// How many keys of use there are.
    pub fn key_count(&self) -> usize {
        self.keys.len()
    }

    /// Whether the token would be taken, or the reason of the refusal.
    pub fn check(&self, token: &str, now: Timestamp) -> Result<Taken, &'static str> {
        self.try_check(token, now)
            .map_err(|refusal| refusal.reason())
    }

    fn try_check(&self, token: &str, now: Timestamp) -> Result<Taken, Refusal> {
        let token = Unverified::parse(token)?;
        if token.issuer()? != self.config.issuer {
            return Err(Refusal::IssuerUnknown);
        }
        let algorithm = token.algorithm(&self.config)?;
        let checked = token.check(&self.config, algorithm, &self.keys, now)?;
        Ok(Taken {
            actor: checked.actor,
            ends_at: checked.ends_at,
        })
    }
}

/// Who shows this certificate, in DER.
pub fn read_certificate(der: &[u8]) -> Option<PeerIdentity> {
    crate::tls::peer_of(&der.into()).ok()
}

/// A `grpc-timeout`.
pub fn read_timeout(text: &str) -> Option<Duration> {
    crate::server::parse_timeout(text)
}
