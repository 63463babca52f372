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
        request.extensions_mut().insert(PeerIdentity { uris });
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
