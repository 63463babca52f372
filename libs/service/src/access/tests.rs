//! What the layer makes of certificates and metadata. Tokens are tried over real sockets.

use http::Request;

use super::*;
use crate::actor::{ActorKind, Permission};
use crate::metrics::Metrics;

const SERVED: MethodPermissions = &[
    ("/plazo.test.v1.Handler/Handle", &[Permission::Service]),
    ("/plazo.test.v1.Handler/List", &[Permission::Service]),
    ("/plazo.test.v1.Feed/Stream", &[Permission::Service]),
];
const TIMER: &str = "spiffe://plazo/ns/plazo/sa/timer";

fn config(methods: &[&str]) -> AccessConfig {
    AccessConfig {
        peers: vec![PeerConfig {
            identity: TIMER.to_owned(),
            service: "timer".to_owned(),
            methods: methods.iter().map(|&text| text.to_owned()).collect(),
        }],
        ..AccessConfig::default()
    }
}

async fn start(config: &AccessConfig) -> Result<Access, ConfigError> {
    let listen = SocketAddr::from(([127, 0, 0, 1], 1));
    Access::start(config, listen, SERVED, Metrics::new("test").access).await
}

/// A request of a peer (none: no TLS) with the metadata of a service.
fn request(path: &str, uris: Option<&[&str]>) -> Parts {
    let mut request = Request::get(path).body(()).expect("a request");
    Actor::service("intruder").write(request.headers_mut());
    if let Some(uris) = uris {
        let uris = uris.iter().map(|&uri| uri.to_owned()).collect();
        request.extensions_mut().insert(PeerIdentity {
            uris,
            not_after: Some(Timestamp::MAX),
        });
    }
    request.into_parts().0
}

#[tokio::test]
async fn a_known_certificate_makes_its_service_whatever_the_metadata_say() {
    let access = start(&config(&["/plazo.test.v1.Handler/*"]))
        .await
        .expect("good");
    for uris in [[TIMER].as_slice(), &["https://else.example", TIMER]] {
        let mut parts = request("/plazo.test.v1.Handler/Handle", Some(uris));
        let admitted = access.identify(&mut parts).await.expect("it is known");
        assert_eq!(admitted.actor, Actor::service("timer"));
        assert!(parts.headers.is_empty(), "{:?}", parts.headers);
    }
}

#[tokio::test]
async fn a_service_may_call_what_is_listed_for_it_and_nothing_else() {
    for (methods, path, is_permitted) in [
        (
            ["/plazo.test.v1.Handler/*"],
            "/plazo.test.v1.Handler/List",
            true,
        ),
        (
            ["/plazo.test.v1.Handler/*"],
            "/plazo.test.v1.Feed/Stream",
            false,
        ),
        (
            ["/plazo.test.v1.Handler/*"],
            "/plazo.test.v1.Handler",
            false,
        ),
        (
            ["/plazo.test.v1.Handler/*"],
            "/plazo.test.v1.HandlerX/List",
            false,
        ),
        (
            ["/plazo.test.v1.Handler/List"],
            "/plazo.test.v1.Handler/List",
            true,
        ),
        (
            ["/plazo.test.v1.Handler/List"],
            "/plazo.test.v1.Handler/ListX",
            false,
        ),
        (
            ["/plazo.test.v1.Handler/List"],
            "/plazo.test.v1.Handler/Handle",
            false,
        ),
    ] {
        let access = start(&config(&methods)).await.expect("good");
        let outcome = access.identify(&mut request(path, Some(&[TIMER]))).await;
        match outcome {
            Ok(_) => assert!(is_permitted, "{path}"),
            Err(Refusal::PermissionDenied) => assert!(!is_permitted, "{path}"),
            Err(other) => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn an_unknown_certificate_is_nobody() {
    let access = start(&config(&["/plazo.test.v1.Handler/*"]))
        .await
        .expect("good");
    let strangers: [&[&str]; 4] = [
        &[],
        &["spiffe://plazo/ns/plazo/sa/gateway"],
        &["spiffe://plazo/ns/plazo/sa/timer/x"],
        &["spiffe://other/ns/plazo/sa/timer"],
    ];
    for uris in strangers {
        let mut parts = request("/plazo.test.v1.Handler/Handle", Some(uris));
        let outcome = access.identify(&mut parts).await;
        assert!(
            matches!(outcome, Err(Refusal::TokenMissing)),
            "{uris:?} {outcome:?}"
        );
    }
}

#[tokio::test]
async fn metadata_are_believed_without_tls_and_where_the_configuration_says_so() {
    let path = "/plazo.test.v1.Handler/Handle";
    for (believe, uris, is_believed) in [
        (None, None, true),
        (None, Some([].as_slice()), false),
        (Some(true), Some([].as_slice()), true),
        (Some(false), None, false),
    ] {
        let mut config = config(&["/plazo.test.v1.Handler/*"]);
        config.believe_metadata = believe;
        let access = start(&config).await.expect("good");
        let mut parts = request(path, uris);
        let outcome = access.identify(&mut parts).await;
        assert_eq!(outcome.is_ok(), is_believed, "{believe:?} {uris:?}");
        if let Ok(admitted) = outcome {
            assert_eq!(
                admitted.actor.kind,
                ActorKind::Service("intruder".to_owned())
            );
        }
        assert!(parts.headers.is_empty(), "what made the actor is taken out");
    }
}

#[tokio::test]
async fn a_certificate_that_has_ended_lets_nobody_in_whatever_else_the_call_has() {
    let mut config = config(&["/plazo.test.v1.Handler/*"]);
    config.believe_metadata = Some(true);
    let access = start(&config).await.expect("good");
    for uris in [[TIMER].as_slice(), &[]] {
        let mut parts = request("/plazo.test.v1.Handler/Handle", Some(uris));
        let peer = parts.extensions.get_mut::<PeerIdentity>();
        peer.expect("it came over TLS").not_after = Some(Timestamp::UNIX_EPOCH);
        let outcome = access.identify(&mut parts).await;
        assert!(
            matches!(outcome, Err(Refusal::CertificateExpired)),
            "{outcome:?}"
        );
    }
}

/// What is logged of a refusal.
fn line_of(access: &Access, refusal: &Refusal, request: &Parts) -> serde_json::Value {
    #[derive(Clone, Default)]
    struct Lines(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

    impl std::io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("nobody panics").extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .json()
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::with_default(subscriber, || access.note(refusal, request));
    let written = lines.0.lock().expect("nobody panics").clone();
    let line: serde_json::Value = serde_json::from_slice(&written).expect("one line of JSON");
    line["fields"].clone()
}

#[tokio::test]
async fn a_refusal_is_logged_with_what_was_called_and_the_certificate_that_could_not() {
    let access = start(&config(&["/plazo.test.v1.Handler/*"]))
        .await
        .expect("good");
    let path = "/plazo.test.v1.Feed/Stream";
    let timer = request(path, Some(&["https://else.example", TIMER]));
    let logged = line_of(&access, &Refusal::PermissionDenied, &timer);
    assert_eq!(logged["reason"], "PERMISSION_DENIED");
    assert_eq!(logged["path"], path);
    assert_eq!(logged["peer"], format!("https://else.example {TIMER}"));
    let logged = line_of(&access, &Refusal::TokenMissing, &timer);
    assert_eq!(logged["peer"], format!("https://else.example {TIMER}"));

    // Of a token that is no good, the certificate is the gateway's.
    let logged = line_of(&access, &Refusal::TokenExpired, &timer);
    assert!(logged.get("peer").is_none(), "{logged}");
    for uris in [None, Some([].as_slice())] {
        let logged = line_of(&access, &Refusal::TokenMissing, &request(path, uris));
        assert!(logged.get("peer").is_none(), "{logged}");
    }
}

#[tokio::test]
async fn what_strangers_make_up_is_cut_short_in_the_log() {
    let access = start(&config(&[])).await.expect("good");
    let long = format!("/{}", "x".repeat(5_000));
    let names = ["spiffe://plazo/\u{1b}[31mred".to_owned(), "y".repeat(5_000)];
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let logged = line_of(
        &access,
        &Refusal::TokenMissing,
        &request(&long, Some(&names)),
    );
    let shown = logged["path"].as_str().expect("a text");
    assert_eq!(shown.chars().count(), MAX_LOGGED_CHARS + 1);
    assert!(shown.starts_with("/xxx") && shown.ends_with('…'));
    let shown = logged["peer"].as_str().expect("a text");
    assert_eq!(shown.chars().count(), MAX_LOGGED_CHARS + 1);
    assert!(shown.starts_with("spiffe://plazo/?[31mred yyy"), "{shown}");
}

#[tokio::test]
async fn a_pattern_for_what_is_not_served_is_a_mistake() {
    for methods in [
        ["/plazo.test.v1.Handlers/*"],
        ["/plazo.test.v1.Handler/Handel"],
    ] {
        let error = start(&config(&methods)).await.expect_err("a mistake");
        let error = error.to_string();
        assert!(error.starts_with("access.peers[0].methods[0]: "), "{error}");
    }
}
