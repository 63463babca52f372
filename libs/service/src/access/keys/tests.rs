use serde_json::json;

use super::*;

/// A point of P-256, and one of Ed25519, from RFC 7515 and RFC 8037.
const EC: (&str, &str) = (
    "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
);
const ED: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";

fn set(keys: &serde_json::Value) -> Result<KeySet, KeySetError> {
    KeySet::parse(json!({ "keys": keys }).to_string().as_bytes())
}

fn rsa(modulus_bytes: usize) -> serde_json::Value {
    use base64::Engine as _;
    let modulus =
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(vec![0xc1; modulus_bytes]);
    json!({"kty": "RSA", "n": modulus, "e": "AQAB", "kid": "rsa"})
}

#[test]
fn a_key_serves_the_algorithms_of_its_kind_alone() {
    let keys = set(&json!([
        {"kty": "EC", "crv": "P-256", "x": EC.0, "y": EC.1, "kid": "ec"},
        {"kty": "OKP", "crv": "Ed25519", "x": ED, "kid": "ed"},
        rsa(256),
    ]))
    .expect("a set");
    for algorithm in TokenAlgorithm::ALL {
        let found: Vec<_> = ["ec", "ed", "rsa"]
            .into_iter()
            .filter(|id| keys.find(Some(id), algorithm).is_some())
            .collect();
        let expected = match algorithm {
            TokenAlgorithm::Es256 => vec!["ec"],
            TokenAlgorithm::Es384 => vec![],
            TokenAlgorithm::EdDsa => vec!["ed"],
            _ => vec!["rsa"],
        };
        assert_eq!(found, expected, "{algorithm:?}");
    }
    let mut bound = rsa(256);
    bound["alg"] = "PS256".into();
    let keys = set(&json!([bound])).expect("a set");
    assert!(keys.find(Some("rsa"), TokenAlgorithm::Ps256).is_some());
    assert!(keys.find(Some("rsa"), TokenAlgorithm::Rs256).is_none());
}

#[test]
fn a_token_without_a_key_id_has_the_only_key_that_fits() {
    let ec = json!({"kty": "EC", "crv": "P-256", "x": EC.0, "y": EC.1, "kid": "ec"});
    let one = set(&json!([ec, rsa(256)])).expect("a set");
    assert!(one.find(None, TokenAlgorithm::Es256).is_some());
    assert!(one.find(Some("else"), TokenAlgorithm::Es256).is_none());
    let two = set(&json!([ec, ec])).expect("a set");
    assert!(two.find(None, TokenAlgorithm::Es256).is_none());
}

#[test]
fn keys_that_are_no_use_are_left_out() {
    for useless in [
        json!({"kty": "oct", "k": "c2VjcmV0"}),
        json!({"kty": "EC", "crv": "P-256", "x": EC.0, "y": EC.1, "use": "enc"}),
        json!({"kty": "EC", "crv": "P-256", "x": EC.0, "y": EC.1, "key_ops": ["sign"]}),
        json!({"kty": "EC", "crv": "P-256", "x": EC.0, "y": EC.1, "alg": "ECDH-ES"}),
        json!({"kty": "EC", "crv": "P-256", "x": EC.0, "y": EC.1, "alg": "HS256"}),
        json!({"kty": "EC", "crv": "P-256", "x": EC.0, "y": "AAAA"}),
        json!({"kty": "EC", "crv": "secp256k1", "x": EC.0, "y": EC.1}),
        json!({"kty": "OKP", "crv": "Ed448", "x": ED}),
        json!({"kty": "OKP", "crv": "Ed25519", "x": "AAAA"}),
        rsa(128),
        rsa(2_048),
        json!({"kty": "RSA", "n": "***", "e": "AQAB"}),
        json!({"kid": "without a type"}),
        json!("no key"),
    ] {
        let outcome = set(&json!([useless]));
        assert!(matches!(outcome, Err(KeySetError::Unusable)), "{useless}");
        let ed = json!({"kty": "OKP", "crv": "Ed25519", "x": ED});
        let beside = set(&json!([useless, ed])).expect("the other one is good");
        assert_eq!(beside.keys.len(), 1, "{useless}");
    }
}

#[test]
fn what_is_no_set_is_refused() {
    for bytes in ["", "{", "[]", "{}", r#"{"keys": {}}"#, "\u{0}"] {
        let outcome = KeySet::parse(bytes.as_bytes());
        assert!(
            matches!(outcome, Err(KeySetError::Malformed(_))),
            "{bytes:?}"
        );
    }
    let many: Vec<_> = (0..=MAX_KEYS).map(|_| rsa(256)).collect();
    assert!(matches!(set(&json!(many)), Err(KeySetError::TooMany)));
}
