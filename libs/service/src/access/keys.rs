//! The public keys of an issuer: a JWK set (RFC 7517).

use jsonwebtoken::DecodingKey;
use serde::Deserialize;

use super::algorithm::TokenAlgorithm;

/// No issuer has more; and a token without a key id is not to be tried with each.
const MAX_KEYS: usize = 100;
/// Moduli of 2,048 to 8,192 bits.
const RSA_MODULUS_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;

/// Why a JWK set can't be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeySetError {
    #[error("it is no JWK set: line {}, column {}", .0.line(), .0.column())]
    Malformed(serde_json::Error),
    #[error("it has more than {MAX_KEYS} keys")]
    TooMany,
    #[error("no key in it can check a signature")]
    Unusable,
}

/// Keys that can check signatures.
#[derive(Debug)]
pub(super) struct KeySet {
    keys: Vec<VerifyingKey>,
}

#[derive(Debug)]
struct VerifyingKey {
    id: Option<String>,
    /// What it may be used for. A key is never used with another algorithm than its own kind's.
    algorithms: Vec<TokenAlgorithm>,
    key: DecodingKey,
}

impl KeySet {
    /// Reads a JWK set. Keys that are of no use here are left out: symmetric ones, those for encryption, those of
    /// unknown kinds, and those that are too short.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, KeySetError> {
        let set: JwkSet = serde_json::from_slice(bytes).map_err(KeySetError::Malformed)?;
        if set.keys.len() > MAX_KEYS {
            return Err(KeySetError::TooMany);
        }
        let keys: Vec<_> = set
            .keys
            .into_iter()
            .filter_map(|key| serde_json::from_value(key).ok())
            .filter_map(VerifyingKey::of)
            .collect();
        if keys.is_empty() {
            return Err(KeySetError::Unusable);
        }
        Ok(Self { keys })
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// The key of a token: by its id, or, for a token that names none, the only one that fits.
    pub(super) fn find(&self, id: Option<&str>, algorithm: TokenAlgorithm) -> Option<&DecodingKey> {
        let mut fitting = self.keys.iter().filter(|key| {
            key.algorithms.contains(&algorithm) && (id.is_none() || key.id.as_deref() == id)
        });
        let found = fitting.next()?;
        fitting.next().is_none().then_some(&found.key)
    }
}

#[derive(Deserialize)]
struct JwkSet {
    keys: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl VerifyingKey {
    fn of(jwk: Jwk) -> Option<Self> {
        let is_for_signatures = jwk.usage.as_deref().is_none_or(|usage| usage == "sig");
        let may_verify = jwk
            .key_ops
            .as_ref()
            .is_none_or(|operations| operations.iter().any(|operation| operation == "verify"));
        let algorithms = algorithms_of(&jwk);
        if !is_for_signatures || !may_verify || algorithms.is_empty() {
            return None;
        }
        let key = decoding_key(&jwk)?;
        Some(Self {
            id: jwk.kid,
            algorithms,
            key,
        })
    }
}

fn algorithms_of(jwk: &Jwk) -> Vec<TokenAlgorithm> {
    TokenAlgorithm::ALL
        .into_iter()
        .filter(|algorithm| {
            let (kind, curve) = algorithm.key_type();
            let is_of_curve = curve.is_none() || curve == jwk.crv.as_deref();
            let is_its_own = jwk.alg.as_deref().is_none_or(|own| own == algorithm.name());
            kind == jwk.kty && is_of_curve && is_its_own
        })
        .collect()
}

fn decoding_key(jwk: &Jwk) -> Option<DecodingKey> {
    match jwk.kty.as_str() {
        "RSA" => {
            let modulus = decode(jwk.n.as_deref()?)?;
            let exponent = decode(jwk.e.as_deref()?)?;
            RSA_MODULUS_BYTES
                .contains(&modulus.len())
                .then(|| DecodingKey::from_rsa_raw_components(&modulus, &exponent))
        }
        "EC" => {
            let (x, y) = (jwk.x.as_deref()?, jwk.y.as_deref()?);
            let bytes = if jwk.crv.as_deref() == Some("P-256") {
                32
            } else {
                48
            };
            let fits = |coordinate| decode(coordinate).is_some_and(|it| it.len() == bytes);
            let is_point = fits(x) && fits(y);
            is_point
                .then(|| DecodingKey::from_ec_components(x, y).ok())
                .flatten()
        }
        "OKP" => {
            let x = jwk.x.as_deref()?;
            let is_key = decode(x).is_some_and(|key| key.len() == 32);
            is_key
                .then(|| DecodingKey::from_ed_components(x).ok())
                .flatten()
        }
        _ => None,
    }
}

/// Base64 for URLs, without padding.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(text)
        .ok()
}

#[cfg(test)]
mod tests;
