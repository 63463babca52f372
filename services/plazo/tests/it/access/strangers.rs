//! Callers who don't say who they are, or say it in a way that nobody believes.

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use plazo::issuer::{AUDIENCE, DevelopmentIssuer, ISSUER, TokenRequest};
use plazo_service::{ActorKind, BotScope};
use serde_json::{Value, json};

use super::desk::{Caller, Desk, TENANT, outside_rights, service_metadata};
use super::foreigners::settled;
use super::requests;
use super::rows::changed;
use super::things::Secrets;
use super::wire::Answer;
use super::world::{Needs, World};

/// Whoever is not known is told so, whatever he asks for.
pub(super) async fn get_nothing(desk: &Desk, folder: &Path, world: &World, secrets: &Secrets) {
    let tokens = tokens(folder);
    let metadata = service_metadata();
    let before = settled(desk).await;
    let mut problems = Vec::new();
    for call in requests::all() {
        let things = world.things(desk, Needs::Shared).await;
        let message = call.message(&things);
        let mut check = |case: &str, reason: &str, answer: Answer| {
            let told = secrets.told(&answer.bytes(), &message);
            let expected = format!("UNAUTHENTICATED:{reason}");
            if answer.outcome() != expected || !told.is_empty() {
                let name = &call.name;
                problems.push(format!(
                    "{name}, {case}: must be answered {expected}: {answer:?}"
                ));
            }
        };
        for (case, reason, caller) in &tokens {
            let answer = desk.call(call.path(), message.clone(), caller).await;
            check(case, reason, answer);
        }
        let answer = desk
            .call_with(call.path(), message.clone(), &metadata)
            .await;
        check("metadata of a service", "TOKEN_MISSING", answer);
    }
    assert!(problems.is_empty(), "{problems:#?}");
    let changes = changed(&before, &settled(desk).await, None);
    assert!(changes.is_empty(), "strangers changed {changes:?}");
}

/// What is wrong with each, the reason for which it is refused, and the caller.
fn tokens(folder: &Path) -> Vec<(&'static str, &'static str, Caller)> {
    let key = std::fs::read(folder.join("issuer/key.der")).expect("the key");
    let key = EncodingKey::from_ec_der(&key);
    let now = Timestamp::now().as_second();
    let good = json!({
        "iss": ISSUER, "aud": AUDIENCE, "sub": "a", "exp": now + 600, "plazo_tenant": TENANT,
        "plazo_actor": "administrator/1", "plazo_bots": "*",
        "plazo_permissions": outside_rights().iter().map(|it| it.name()).collect::<Vec<_>>(),
    });
    let signed = |claims: &Value| {
        let token = jsonwebtoken::encode(&Header::new(Algorithm::ES256), claims, &key);
        Caller::Token(token.expect("it is signed"))
    };
    let with = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        signed(&claims)
    };
    let symmetric = EncodingKey::from_secret(b"the public key, say");
    let symmetric = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &good, &symmetric);
    let symmetric = Caller::Token(symmetric.expect("it is signed"));
    let stranger = tempfile::tempdir().expect("a folder");
    let stranger = DevelopmentIssuer::open_or_make(stranger.path()).expect("an issuer");
    let request = TokenRequest {
        tenant_id: TENANT,
        kind: ActorKind::Administrator(1),
        permissions: outside_rights(),
        bots: Some(BotScope::All),
        ttl: Duration::from_hours(1),
    };
    let stranger = stranger.token(&request, Timestamp::now());
    let stranger = Caller::Token(stranger.expect("it is signed"));
    let issuer = with("iss", "https://id.example".into());
    let early = with("nbf", json!(now + 60));
    let service = with("plazo_actor", "service/timer".into());
    let permission = with("plazo_permissions", json!(["service"]));
    vec![
        ("no token", "TOKEN_MISSING", Caller::Nobody),
        ("a wrong issuer", "ISSUER_UNKNOWN", issuer),
        (
            "a wrong audience",
            "AUDIENCE_WRONG",
            with("aud", "else".into()),
        ),
        ("a wrong algorithm", "ALGORITHM_REFUSED", symmetric),
        (
            "an expired token",
            "TOKEN_EXPIRED",
            with("exp", json!(now - 60)),
        ),
        ("a token for later", "TOKEN_NOT_YET_VALID", early),
        ("a token of a service", "CLAIM_INVALID", service),
        (
            "a token with a service's right",
            "CLAIM_INVALID",
            permission,
        ),
        ("another's key", "KEY_UNKNOWN", stranger),
    ]
}
