//! Targets for what strangers send to be let in: tokens, keys, certificates, and metadata.

use std::sync::LazyLock;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use plazo_service::access::fuzzing::{FuzzedIssuer, Taken, read_certificate, read_timeout};
use plazo_service::{ActorKind, BotScope, Permission, parse_request_id};
use serde_json::{Value, json};

use crate::targets::{halves, text};

/// The issuer whose tokens are tried, and the key that it signs with. The key is the same in all runs: so are those
/// tokens among the seeds that are genuine.
static ISSUER: LazyLock<(FuzzedIssuer, Ed25519KeyPair)> = LazyLock::new(|| {
    let key = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("a seed");
    let set = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "fuzz", "x": public(&key)}]});
    let issuer = FuzzedIssuer::new(set.to_string().as_bytes()).expect("a key of use");
    (issuer, key)
});

fn public(key: &Ed25519KeyPair) -> String {
    URL_SAFE_NO_PAD.encode(key.public_key())
}

/// The instant at which tokens are looked at: in 2027.
fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).expect("an instant")
}

fn signature(message: &str) -> String {
    let (_, key) = &*ISSUER;
    URL_SAFE_NO_PAD.encode(key.sign(message.as_bytes()))
}

fn signed(header: &[u8], claims: &[u8]) -> String {
    let [header, claims] = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part));
    let message = format!("{header}.{claims}");
    let signature = signature(&message);
    format!("{message}.{signature}")
}

/// Tokens as they come, and claims that are signed here, after a header and a NUL if there is one. What the key has not
/// signed is never taken; what it has signed makes nobody more than a caller from outside, and not for ever.
pub(crate) fn jwts(bytes: &[u8]) {
    let (issuer, _) = &*ISSUER;
    if let Some(token) = text(bytes)
        && issuer.check(token, now()).is_ok()
    {
        let (message, shown) = token.rsplit_once('.').expect("it has parts");
        assert_eq!(shown, signature(message));
    }
    let (header, claims) = match halves(bytes) {
        (claims, []) => (br#"{"alg":"EdDSA","kid":"fuzz"}"#.as_slice(), claims),
        parts => parts,
    };
    let token = signed(header, claims);
    let Ok(taken) = issuer.check(&token, now()) else {
        return;
    };
    check_taken(&taken);
    // What a header has beside these may be more than a value can hold.
    if let Ok(header) = serde_json::from_slice::<Value>(header) {
        assert_eq!(header["alg"], "EdDSA");
        assert!(header["kid"].is_null() || header["kid"] == "fuzz");
    }

    // Of another message, however alike, the signature is wrong.
    let (message, shown) = token.rsplit_once('.').expect("it has parts");
    let other = signed(br#"{"alg":"EdDSA"}"#, b"{}");
    let (_, foreign) = other.rsplit_once('.').expect("it has parts");
    let forged = issuer.check(&format!("{message}.{foreign}"), now());
    assert_eq!(forged.map(|_| ()), Err("SIGNATURE_WRONG"));
    let more = [claims, b" "].concat();
    let message = message.split_once('.').map(|(header, _)| header);
    let longer = format!(
        "{}.{}.{shown}",
        message.unwrap_or_default(),
        URL_SAFE_NO_PAD.encode(more)
    );
    let forged = issuer.check(&longer, now());
    assert_eq!(forged.map(|_| ()), Err("SIGNATURE_WRONG"));
}

fn check_taken(taken: &Taken) {
    let actor = &taken.actor;
    assert!(taken.ends_at > now());
    assert!(actor.tenant_id > 0);
    assert!(!matches!(actor.kind, ActorKind::Service(_)));
    assert!(!actor.permissions.contains(Permission::Service));
    if let BotScope::Only(bots) = &actor.bots {
        assert!(bots.iter().all(|id| *id > 0) && bots.is_sorted());
    }
}

/// JWK sets. A set has as many keys as it has room for, and takes tokens of its own keys alone.
pub(crate) fn jwk_sets(bytes: &[u8]) {
    let Some(issuer) = FuzzedIssuer::new(bytes) else {
        return;
    };
    // What a set has beside its keys may be more than a value can hold.
    let Ok(set) = serde_json::from_slice::<Value>(bytes) else {
        return;
    };
    let listed = set["keys"].as_array().expect("it was read");
    assert!((1..=100).contains(&issuer.key_count()));
    assert!(issuer.key_count() <= listed.len());

    let (_, key) = &*ISSUER;
    let claims = json!({
        "iss": plazo_service::access::fuzzing::ISSUER, "aud": plazo_service::access::fuzzing::AUDIENCE, "sub": "ana",
        "exp": 1_900_000_000, "plazo_tenant": 7, "plazo_actor": "agent/12",
    });
    let claims = claims.to_string();
    for header in [
        json!({"alg": "EdDSA", "kid": "fuzz"}),
        json!({"alg": "EdDSA"}),
    ] {
        let token = signed(header.to_string().as_bytes(), claims.as_bytes());
        if issuer.check(&token, now()).is_ok() {
            assert!(listed.iter().any(|jwk| jwk["x"] == public(key)));
        }
    }
    for algorithm in ["none", "HS256", "RS256", "ES256"] {
        let header = json!({"alg": algorithm, "kid": "fuzz"}).to_string();
        let token = signed(header.as_bytes(), claims.as_bytes());
        assert!(issuer.check(&token, now()).is_err(), "{algorithm}");
    }
}

/// Certificates in DER, which are read once they are verified: of a client that is known, say.
pub(crate) fn certificates(bytes: &[u8]) {
    let Some(peer) = read_certificate(bytes) else {
        return;
    };
    assert!(peer.uris.iter().all(|uri| uri.is_ascii()));
    let not_after = peer.not_after.expect("each certificate ends");
    assert!(!peer.has_expired(not_after));
    assert!(not_after == Timestamp::MAX || peer.has_expired(Timestamp::MAX));
}

/// Deadlines and request ids.
pub(crate) fn metadata(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    if let Some(timeout) = read_timeout(text) {
        assert!(text.len() <= 9);
        assert!(timeout.as_secs() <= 99_999_999 * 3_600);
        assert!(read_timeout(&format!("0{text}")).is_none_or(|same| same == timeout));
    }
    if let Ok(Some(id)) = parse_request_id(text) {
        assert_eq!(parse_request_id(&id.to_string()), Ok(Some(id)));
        assert!(id.simple().to_string().eq_ignore_ascii_case(&digits(text)));
    }
}

/// The digits of a UUID, whatever stands around them.
fn digits(text: &str) -> String {
    let bare = text.strip_prefix("urn:uuid:").unwrap_or(text);
    bare.chars().filter(char::is_ascii_hexdigit).collect()
}
