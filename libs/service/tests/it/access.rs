//! Who is let in, and what the others are told.

use std::io::Write as _;
use std::sync::atomic::Ordering;
use std::time::Duration;

use plazo_service::access::{AccessConfig, LimitsConfig};
use plazo_service::metrics::Metrics;
use plazo_service::status::{reason_of, retry_after_of};
use plazo_service::{Listeners, Server, ServerConfig, ServerError};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Status};

use crate::calls::http_get;
use crate::echo::{Echo, PERMISSIONS, Running, agent, call, descriptors, path, text};
use crate::signing::{ISSUER, Signer, claims, encode, issuer, jwk_set, message, with};

/// A server with one issuer, whose keys are in a file.
struct Guarded {
    server: Running,
    ec: Signer,
    rsa: Signer,
    _file: tempfile::NamedTempFile,
}

impl Guarded {
    async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    async fn start_with(change: impl FnOnce(&mut AccessConfig)) -> Self {
        let (ec, rsa) = (Signer::ec("ec"), Signer::rsa("rsa"));
        let file = key_file(&jwk_set(&[&ec, &rsa]));
        let mut access = AccessConfig {
            issuers: vec![issuer(&url_of(&file), &[&ec, &rsa])],
            ..AccessConfig::default()
        };
        change(&mut access);
        Self {
            server: Running::start_with(|_| {}, &access).await,
            ec,
            rsa,
            _file: file,
        }
    }

    async fn call(&self, method: &str, token: &str) -> Result<String, Status> {
        call(self.server.bare_channel(), method, bearing(token)).await
    }

    /// Refused with this code and reason, without reaching the handler.
    async fn refuses(&self, token: &str, code: Code, reason: &str) {
        let refused = self.call("WhoAmI", token).await;
        let refused = refused.expect_err(reason);
        let answered = (refused.code(), reason_of(&refused));
        assert_eq!(answered, (code, Some(reason.to_owned())), "{refused:?}");
        assert!(!refused.message().contains(token), "the token is repeated");
        assert_eq!(self.server.echo.calls.load(Ordering::SeqCst), 0);
    }
}

pub(crate) fn key_file(set: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(set.as_bytes()).expect("written");
    file
}

pub(crate) fn url_of(file: &tempfile::NamedTempFile) -> String {
    format!("file://{}", file.path().display())
}

pub(crate) fn bearing(token: &str) -> Request<String> {
    with_authorization(text(""), &format!("Bearer {token}"))
}

fn with_authorization(mut request: Request<String>, value: &str) -> Request<String> {
    let value = value.parse().expect("a header value");
    request.metadata_mut().append("authorization", value);
    request
}

#[tokio::test]
async fn a_token_makes_the_actor_that_it_names() {
    let guarded = Guarded::start().await;
    for (claims, who) in [
        (claims(), "agent/12 of 7"),
        (with("plazo_actor", "bot/3".into()), "bot/3 of 7"),
        (
            with("plazo_actor", "administrator/1".into()),
            "administrator/1 of 7",
        ),
        (with("aud", json!(["else", "plazo"])), "agent/12 of 7"),
        (with("nbf", Value::Null), "agent/12 of 7"),
        (with("iat", Value::Null), "agent/12 of 7"),
    ] {
        for signer in [&guarded.ec, &guarded.rsa] {
            let answer = guarded.call("WhoAmI", &signer.token(&claims)).await;
            let answer = answer.expect("it is let in");
            assert!(answer.starts_with(who), "{answer}");
        }
    }
    let token = guarded.ec.token(&claims());
    let refused = guarded.call("Settings", &token).await;
    let refused = refused.expect_err("it may attend tickets, and nothing else");
    assert_eq!(refused.code(), Code::PermissionDenied);
}

#[tokio::test]
async fn any_spelling_of_bearer_will_do_and_no_other_scheme() {
    let guarded = Guarded::start().await;
    let token = guarded.ec.token(&claims());
    let channel = guarded.server.bare_channel();
    for scheme in ["bearer", "BEARER", "Bearer "] {
        let request = with_authorization(text(""), &format!("{scheme} {token}"));
        let answer = call(channel.clone(), "WhoAmI", request).await;
        assert!(answer.is_ok(), "{scheme}: {answer:?}");
    }
    for value in [
        format!("Basic {token}"),
        token.clone(),
        String::new(),
        "Bearer".into(),
    ] {
        let request = with_authorization(text(""), &value);
        let refused = call(channel.clone(), "WhoAmI", request).await;
        let refused = refused.expect_err("no bearer token");
        assert_eq!(reason_of(&refused).as_deref(), Some("TOKEN_MALFORMED"));
    }
    let twice = with_authorization(bearing(&token), &format!("Bearer {token}"));
    let refused = call(channel, "WhoAmI", twice).await.expect_err("twice");
    assert_eq!(reason_of(&refused).as_deref(), Some("TOKEN_MALFORMED"));
}

#[tokio::test]
async fn each_bad_claim_is_refused_by_its_reason() {
    let guarded = Guarded::start().await;
    let now = jiff::Timestamp::now().as_second();
    let table = [
        ("iss", json!("https://elsewhere.example"), "ISSUER_UNKNOWN"),
        ("iss", json!(format!("{ISSUER}/")), "ISSUER_UNKNOWN"),
        ("iss", json!([ISSUER]), "CLAIM_INVALID"),
        ("iss", Value::Null, "CLAIM_INVALID"),
        ("aud", json!("else"), "AUDIENCE_WRONG"),
        ("aud", json!(["else"]), "AUDIENCE_WRONG"),
        ("aud", json!([]), "AUDIENCE_WRONG"),
        ("aud", Value::Null, "CLAIM_INVALID"),
        ("exp", json!(now - 31), "TOKEN_EXPIRED"),
        ("exp", json!(-1), "TOKEN_EXPIRED"),
        ("exp", json!("never"), "CLAIM_INVALID"),
        ("exp", Value::Null, "CLAIM_INVALID"),
        ("nbf", json!(now + 60), "TOKEN_NOT_YET_VALID"),
        ("nbf", json!("now"), "CLAIM_INVALID"),
        ("sub", Value::Null, "CLAIM_INVALID"),
        ("plazo_tenant", Value::Null, "CLAIM_INVALID"),
        ("plazo_tenant", json!(0), "CLAIM_INVALID"),
        ("plazo_tenant", json!("7"), "CLAIM_INVALID"),
        ("plazo_tenant", json!(7.5), "CLAIM_INVALID"),
        ("plazo_actor", Value::Null, "CLAIM_INVALID"),
        ("plazo_actor", json!("service/timer"), "CLAIM_INVALID"),
        ("plazo_actor", json!("agent/0"), "CLAIM_INVALID"),
        ("plazo_actor", json!("root/1"), "CLAIM_INVALID"),
        (
            "plazo_permissions",
            json!("tickets:attend"),
            "CLAIM_INVALID",
        ),
        ("plazo_permissions", json!(["all"]), "CLAIM_INVALID"),
        (
            "plazo_permissions",
            json!(["tickets:attend", "service"]),
            "CLAIM_INVALID",
        ),
        ("plazo_bots", json!("1,2"), "CLAIM_INVALID"),
        ("plazo_bots", json!([0]), "CLAIM_INVALID"),
    ];
    for (claim, value, reason) in table {
        let token = guarded.ec.token(&with(claim, value));
        guarded.refuses(&token, Code::Unauthenticated, reason).await;
    }
    let page = http_get(guarded.server.metrics_address, "/metrics").await;
    let line = r#"plazo_access_refused_total{reason="ISSUER_UNKNOWN"} 2"#;
    assert!(page.contains(line), "{line} is not in\n{page}");
}

#[tokio::test]
async fn nobody_else_can_sign() {
    let guarded = Guarded::start().await;
    let good = claims();
    let stranger = Signer::ec("ec");
    guarded
        .refuses(
            &stranger.token(&good),
            Code::Unauthenticated,
            "SIGNATURE_WRONG",
        )
        .await;

    // No signature at all, and a header that says so.
    for name in ["none", "None", "NONE"] {
        let unsigned = format!("{}.", message(&json!({"alg": name, "kid": "ec"}), &good));
        guarded
            .refuses(&unsigned, Code::Unauthenticated, "ALGORITHM_REFUSED")
            .await;
    }
    let unsigned = format!("{}.", message(&json!({"alg": "ES256", "kid": "ec"}), &good));
    guarded
        .refuses(&unsigned, Code::Unauthenticated, "SIGNATURE_WRONG")
        .await;

    // What everybody knows, the public key, as the secret of a symmetric signature.
    for signer in [&guarded.ec, &guarded.rsa] {
        let confused = message(&json!({"alg": "HS256", "kid": signer.id}), &good);
        let secret =
            aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &signer.public_bytes());
        let tag = aws_lc_rs::hmac::sign(&secret, confused.as_bytes());
        let confused = format!("{confused}.{}", encode(tag.as_ref()));
        guarded
            .refuses(&confused, Code::Unauthenticated, "ALGORITHM_REFUSED")
            .await;
    }

    // The key of one algorithm is none of another's.
    let crossed = guarded
        .ec
        .token_with(&json!({"alg": "RS256", "kid": "ec"}), &good);
    guarded
        .refuses(&crossed, Code::Unauthenticated, "KEY_UNKNOWN")
        .await;

    // Changed after it was signed.
    let token = guarded.ec.token(&good);
    let signature = token.rsplit('.').next().expect("three parts");
    let header = json!({"alg": "ES256", "kid": "ec", "typ": "JWT"});
    let richer = message(&header, &with("plazo_tenant", json!(8)));
    guarded
        .refuses(
            &format!("{richer}.{signature}"),
            Code::Unauthenticated,
            "SIGNATURE_WRONG",
        )
        .await;
}

#[tokio::test]
async fn an_algorithm_that_the_issuer_does_not_use_is_refused() {
    let guarded = Guarded::start_with(|access| {
        access.issuers[0]
            .algorithms
            .retain(|algorithm| *algorithm == plazo_service::access::TokenAlgorithm::Es256);
    })
    .await;
    let token = guarded.rsa.token(&claims());
    guarded
        .refuses(&token, Code::Unauthenticated, "ALGORITHM_REFUSED")
        .await;
    let token = guarded.ec.token(&claims());
    guarded.call("WhoAmI", &token).await.expect("it is let in");
}

#[tokio::test]
async fn what_is_no_token_of_ours_is_refused() {
    let guarded = Guarded::start_with(|access| access.max_token_bytes = 1_000).await;
    let good = claims();
    let headers = [
        json!({"alg": "ES256", "kid": "ec", "crit": ["exp"]}),
        json!({"alg": "ES256", "kid": "ec", "typ": "logout+jwt"}),
        json!({"kid": "ec"}),
        json!(["ES256"]),
    ];
    let token = guarded.ec.token(&good);
    let mut tokens: Vec<_> = headers
        .iter()
        .map(|header| guarded.ec.token_with(header, &good))
        .collect();
    tokens.extend([
        "x".to_owned(),
        "..".to_owned(),
        "a.b.c".to_owned(),
        format!("{token}.{token}"),
        token.replacen('.', "=.", 1),
        guarded.ec.token(&json!(["no", "object"])),
        guarded.ec.token(&with("padding", "x".repeat(1_000).into())),
    ]);
    for token in tokens {
        guarded
            .refuses(&token, Code::Unauthenticated, "TOKEN_MALFORMED")
            .await;
    }
    guarded.call("WhoAmI", &token).await.expect("it is let in");
}

#[tokio::test]
async fn without_a_token_nobody_is_let_in_whatever_the_metadata_say() {
    let guarded = Guarded::start().await;
    let signed = agent().sign(text(""));
    let refused = call(guarded.server.bare_channel(), "WhoAmI", signed).await;
    let refused = refused.expect_err("metadata are not believed");
    let answered = (refused.code(), reason_of(&refused));
    assert_eq!(
        answered,
        (Code::Unauthenticated, Some("TOKEN_MISSING".into()))
    );
    // Strangers don't learn what is there.
    let refused = call(guarded.server.bare_channel(), "NoSuchMethod", text("")).await;
    assert_eq!(
        refused.expect_err("a stranger").code(),
        Code::Unauthenticated
    );
    assert_eq!(guarded.server.echo.calls.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_token_counts_for_more_than_metadata_that_are_believed() {
    let guarded = Guarded::start_with(|access| access.believe_metadata = Some(true)).await;
    let channel = guarded.server.bare_channel();
    let mut service = plazo_service::Actor::service("timer").sign(text(""));
    let answer = call(channel.clone(), "WhoAmI", agent().sign(text(""))).await;
    assert!(answer.expect("believed").starts_with("agent/12"));

    let token = guarded.ec.token(&claims());
    service = with_authorization(service, &format!("Bearer {token}"));
    let answer = call(channel.clone(), "WhoAmI", service).await;
    assert!(answer.expect("the token's").starts_with("agent/12 of 7"));
    // A token that is no good does not fall back to metadata.
    let bad = with_authorization(agent().sign(text("")), "Bearer a.b.c");
    let refused = call(channel, "WhoAmI", bad).await.expect_err("a bad token");
    assert_eq!(reason_of(&refused).as_deref(), Some("TOKEN_MALFORMED"));
}

#[tokio::test]
async fn each_issuer_signs_for_itself() {
    let (one, other) = (Signer::ed("key"), Signer::ed("key"));
    let (one_file, other_file) = (key_file(&jwk_set(&[&one])), key_file(&jwk_set(&[&other])));
    let mut second = issuer(&url_of(&other_file), &[&other]);
    second.issuer = "https://second.example".to_owned();
    second.audience = "second".to_owned();
    let access = AccessConfig {
        issuers: vec![issuer(&url_of(&one_file), &[&one]), second],
        ..AccessConfig::default()
    };
    let server = Running::start_with(|_| {}, &access).await;
    let mut of_second = with("iss", "https://second.example".into());
    of_second["aud"] = "second".into();
    for (token, reason) in [
        (one.token(&claims()), None),
        (other.token(&of_second), None),
        (other.token(&claims()), Some("SIGNATURE_WRONG")),
        (one.token(&of_second), Some("SIGNATURE_WRONG")),
        (
            other.token(&with("iss", "https://second.example".into())),
            Some("AUDIENCE_WRONG"),
        ),
    ] {
        let answer = call(server.bare_channel(), "WhoAmI", bearing(&token)).await;
        let refused = answer.err().and_then(|refused| reason_of(&refused));
        assert_eq!(refused.as_deref(), reason);
    }
}

#[tokio::test]
async fn who_calls_too_often_is_told_when_to_come_back() {
    let guarded = Guarded::start_with(|access| {
        access.limits = LimitsConfig {
            actor_calls_per_s: 1,
            actor_burst: 3,
            ..LimitsConfig::default()
        };
    })
    .await;
    let token = guarded.ec.token(&claims());
    for _ in 0..3 {
        guarded
            .call("WhoAmI", &token)
            .await
            .expect("within the burst");
    }
    // A call that it may not make does not count.
    guarded.call("Settings", &token).await.expect_err("denied");
    let refused = guarded.call("WhoAmI", &token).await.expect_err("too often");
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert_eq!(reason_of(&refused).as_deref(), Some("ACTOR_RATE_LIMITED"));
    let wait = retry_after_of(&refused).expect("RetryInfo");
    assert!(
        !wait.is_zero() && wait <= Duration::from_secs(1),
        "{wait:?}"
    );
    let other = guarded.ec.token(&with("plazo_actor", "agent/13".into()));
    guarded.call("WhoAmI", &other).await.expect("another actor");
}

#[tokio::test]
async fn a_stream_ends_with_its_token() {
    let guarded = Guarded::start_with(|access| access.issuers[0].leeway_s = 0).await;
    let now = jiff::Timestamp::now().as_second();
    let token = guarded.ec.token(&with("exp", json!(now + 2)));
    let mut client = tonic::client::Grpc::new(guarded.server.bare_channel());
    client.ready().await.expect("a channel");
    let codec = tonic_prost::ProstCodec::<String, String>::default();
    let stream = client.server_streaming(bearing(&token), path("Watch"), codec);
    let mut messages = stream.await.expect("it is let in").into_inner();
    messages.message().await.expect("the first message");
    let ended = tokio::time::timeout(Duration::from_secs(10), messages.message());
    let ended = ended
        .await
        .expect("the stream ends")
        .expect_err("its token is over");
    assert_eq!(ended.code(), Code::Unauthenticated);
    assert_eq!(reason_of(&ended).as_deref(), Some("TOKEN_EXPIRED"));
}

#[tokio::test]
async fn only_a_loopback_address_is_served_without_an_issuer() {
    let config = ServerConfig {
        listen: "0.0.0.0:0".parse().expect("an address"),
        ..ServerConfig::default()
    };
    let believing = AccessConfig {
        believe_metadata: Some(true),
        ..AccessConfig::default()
    };
    for access in [AccessConfig::default(), believing] {
        let listeners = Listeners::bind(&config).await.expect("a free port");
        let outcome = Server::new(&config, Metrics::new("test"), descriptors(), PERMISSIONS)
            .access(&access)
            .add_service(Echo::default())
            .run(listeners, CancellationToken::new())
            .await;
        let Err(ServerError::Access(error)) = outcome else {
            panic!("{outcome:?}");
        };
        assert!(error.to_string().starts_with("access.issuers: "), "{error}");
    }
}

#[tokio::test]
async fn a_file_of_keys_must_be_there_and_hold_some() {
    let empty = key_file(r#"{"keys": []}"#);
    let symmetric = key_file(r#"{"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "ec"}]}"#);
    let broken = key_file("{");
    let signer = Signer::ec("ec");
    for keys in [
        url_of(&empty),
        url_of(&symmetric),
        url_of(&broken),
        "file:///no/such/file".into(),
    ] {
        let access = AccessConfig {
            issuers: vec![issuer(&keys, &[&signer])],
            ..AccessConfig::default()
        };
        let config = ServerConfig::default();
        let listeners = Listeners::bind(&config).await.expect("a free port");
        let outcome = Server::new(&config, Metrics::new("test"), descriptors(), PERMISSIONS)
            .access(&access)
            .add_service(Echo::default())
            .run(listeners, CancellationToken::new())
            .await;
        let Err(ServerError::Access(error)) = outcome else {
            panic!("{outcome:?}");
        };
        let error = error.to_string();
        assert!(error.starts_with("access.issuers[0].keys: "), "{error}");
    }
}
