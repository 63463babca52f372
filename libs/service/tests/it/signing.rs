//! Tokens as issuers make them, and as others would like to; and a server of keys.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
    RsaKeyPair,
};
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use plazo_service::access::{IssuerConfig, TokenAlgorithm};
use serde_json::{Value, json};

use crate::echo::spawn;

pub(crate) const ISSUER: &str = "https://id.example";
pub(crate) const AUDIENCE: &str = "plazo";

/// A key of an issuer.
pub(crate) struct Signer {
    pub(crate) id: &'static str,
    pair: Pair,
}

enum Pair {
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
    Rsa(RsaKeyPair),
}

impl Signer {
    pub(crate) fn ec(id: &'static str) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
        Self {
            id,
            pair: Pair::Ec(pair),
        }
    }

    pub(crate) fn ed(id: &'static str) -> Self {
        let pair = Ed25519KeyPair::generate().expect("a key");
        Self {
            id,
            pair: Pair::Ed(pair),
        }
    }

    pub(crate) fn rsa(id: &'static str) -> Self {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).expect("a key");
        Self {
            id,
            pair: Pair::Rsa(pair),
        }
    }

    pub(crate) fn algorithm(&self) -> TokenAlgorithm {
        match self.pair {
            Pair::Ec(_) => TokenAlgorithm::Es256,
            Pair::Ed(_) => TokenAlgorithm::EdDsa,
            Pair::Rsa(_) => TokenAlgorithm::Rs256,
        }
    }

    fn algorithm_name(&self) -> &'static str {
        match self.pair {
            Pair::Ec(_) => "ES256",
            Pair::Ed(_) => "EdDSA",
            Pair::Rsa(_) => "RS256",
        }
    }

    /// The public key.
    pub(crate) fn jwk(&self) -> Value {
        let mut jwk = match &self.pair {
            Pair::Ec(pair) => {
                let point = pair.public_key().as_ref();
                json!({"kty": "EC", "crv": "P-256", "x": encode(&point[1..33]), "y": encode(&point[33..])})
            }
            Pair::Ed(pair) => {
                json!({"kty": "OKP", "crv": "Ed25519", "x": encode(pair.public_key().as_ref())})
            }
            Pair::Rsa(pair) => {
                let key = pair.public_key();
                let (n, e) = (key.modulus(), key.exponent());
                let (n, e) = (
                    n.big_endian_without_leading_zero(),
                    e.big_endian_without_leading_zero(),
                );
                json!({"kty": "RSA", "n": encode(n), "e": encode(e), "use": "sig"})
            }
        };
        jwk["kid"] = self.id.into();
        jwk
    }

    /// The bytes of the public key, which everybody knows.
    pub(crate) fn public_bytes(&self) -> Vec<u8> {
        match &self.pair {
            Pair::Ec(pair) => pair.public_key().as_ref().to_vec(),
            Pair::Ed(pair) => pair.public_key().as_ref().to_vec(),
            Pair::Rsa(pair) => pair.public_key().as_ref().to_vec(),
        }
    }

    /// A token with these claims.
    pub(crate) fn token(&self, claims: &Value) -> String {
        let header = json!({"alg": self.algorithm_name(), "kid": self.id, "typ": "JWT"});
        self.token_with(&header, claims)
    }

    /// A token with this header, whatever it says.
    pub(crate) fn token_with(&self, header: &Value, claims: &Value) -> String {
        let message = message(header, claims);
        let random = SystemRandom::new();
        let signature = match &self.pair {
            Pair::Ec(pair) => {
                let signature = pair.sign(&random, message.as_bytes()).expect("signed");
                signature.as_ref().to_vec()
            }
            Pair::Ed(pair) => pair.sign(message.as_bytes()).as_ref().to_vec(),
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(
                    &RSA_PKCS1_SHA256,
                    &random,
                    message.as_bytes(),
                    &mut signature,
                )
                .expect("signed");
                signature
            }
        };
        format!("{message}.{}", encode(&signature))
    }
}

/// What is signed of a token.
pub(crate) fn message(header: &Value, claims: &Value) -> String {
    let part = |json: &Value| encode(json.to_string().as_bytes());
    format!("{}.{}", part(header), part(claims))
}

pub(crate) fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub(crate) fn jwk_set(signers: &[&Signer]) -> String {
    let keys: Vec<_> = signers.iter().map(|signer| signer.jwk()).collect();
    json!({ "keys": keys }).to_string()
}

/// The claims of agent 12 of tenant 7, for an hour, who may attend tickets.
pub(crate) fn claims() -> Value {
    let now = jiff::Timestamp::now().as_second();
    json!({
        "iss": ISSUER, "aud": AUDIENCE, "sub": "ana", "iat": now, "nbf": now, "exp": now + 3_600,
        "plazo_tenant": 7, "plazo_actor": "agent/12", "plazo_permissions": ["tickets:attend"], "plazo_bots": [1],
    })
}

/// The same with another claim; `null` takes one away.
pub(crate) fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    if value.is_null() {
        claims.as_object_mut().expect("an object").remove(name);
    } else {
        claims[name] = value;
    }
    claims
}

pub(crate) fn issuer(keys: &str, signers: &[&Signer]) -> IssuerConfig {
    IssuerConfig {
        issuer: ISSUER.to_owned(),
        audience: AUDIENCE.to_owned(),
        algorithms: signers.iter().map(|signer| signer.algorithm()).collect(),
        keys: keys.to_owned(),
        leeway_s: 30,
    }
}

/// Serves a JWK set, or fails to.
#[derive(Clone)]
pub(crate) struct KeyServer {
    pub(crate) address: SocketAddr,
    state: Arc<KeyState>,
}

#[derive(Default)]
struct KeyState {
    /// None is answered 500.
    set: Mutex<Option<String>>,
    delay: Mutex<Duration>,
    hits: AtomicU32,
}

impl KeyServer {
    pub(crate) async fn start(set: Option<String>) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a free port");
        let address = listener.local_addr().expect("a bound socket");
        let state = Arc::new(KeyState {
            set: Mutex::new(set),
            ..KeyState::default()
        });
        let router = Router::new()
            .route("/keys", get(answer))
            .with_state(Arc::clone(&state));
        drop(spawn(async move { axum::serve(listener, router).await }));
        Self { address, state }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/keys", self.address)
    }

    pub(crate) fn set(&self, set: Option<String>) {
        *self
            .state
            .set
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = set;
    }

    pub(crate) fn delay(&self, delay: Duration) {
        *self
            .state
            .delay
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = delay;
    }

    pub(crate) fn hits(&self) -> u32 {
        self.state.hits.load(Ordering::SeqCst)
    }
}

async fn answer(State(state): State<Arc<KeyState>>) -> (StatusCode, String) {
    state.hits.fetch_add(1, Ordering::SeqCst);
    let delay = *state.delay.lock().unwrap_or_else(PoisonError::into_inner);
    tokio::time::sleep(delay).await;
    let set = state
        .set
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    match set {
        Some(set) => (StatusCode::OK, set),
        None => (StatusCode::INTERNAL_SERVER_ERROR, String::new()),
    }
}
