//! Health on a port of its own.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use plazo_service::{AccessConfig, Tls, TlsConfig};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::access::bearing;
use crate::calls::http_get;
use crate::certificates::{Authority, Folder};
use crate::echo::{Running, agent, call, spawn, text, wait_until};
use crate::signing::{KeyServer, Signer, claims, issuer, jwk_set};

fn plain(address: SocketAddr) -> Channel {
    Endpoint::from_shared(format!("http://{address}"))
        .expect("a valid address")
        .connect_lazy()
}

async fn ask(channel: &Channel, service: &str) -> Result<i32, Code> {
    let request = HealthCheckRequest {
        service: service.to_owned(),
    };
    let answer = HealthClient::new(channel.clone()).check(request).await;
    answer
        .map(|answer| answer.into_inner().status)
        .map_err(|status| status.code())
}

fn anywhere() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

#[tokio::test]
async fn probes_need_no_certificate_and_find_nothing_but_health() {
    let authority = Authority::new("ours");
    let folder = Folder::new(&authority.issue("spiffe://test/server"), &[authority.pem()]);
    let config = TlsConfig::new(folder.certificate(), folder.key(), folder.roots());
    let tls = Tls::load(Some(&config)).expect("good files");
    let server = Running::start_over(&tls, |config| config.health_listen = Some(anywhere())).await;
    let probe = plain(server.health_address.expect("configured"));
    for service in ["live", "ready", ""] {
        assert_eq!(ask(&probe, service).await, Ok(1), "{service:?}");
    }
    assert_eq!(ask(&probe, "plazo.test.v1.Echo").await, Err(Code::NotFound));
    let request = agent().sign(text(""));
    let refused = call(probe, "WhoAmI", request).await.expect_err("not there");
    assert_eq!(refused.code(), Code::Unimplemented);
    let plain_text = call(plain(server.address), "WhoAmI", agent().sign(text(""))).await;
    plain_text.expect_err("the other port is for TLS alone");
    assert_eq!(server.echo.calls.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn what_shuts_down_is_alive_but_not_ready() {
    let server = Running::start(|config| {
        config.health_listen = Some(anywhere());
        config.shutdown_grace_ms = 60_000;
    })
    .await;
    let probe = plain(server.health_address.expect("configured"));
    let request = Request::new(HealthCheckRequest {
        service: "ready".to_owned(),
    });
    let mut watched = HealthClient::new(probe.clone())
        .watch(request)
        .await
        .expect("it serves")
        .into_inner();
    let first = watched.message().await.expect("it serves");
    assert_eq!(first.map(|answer| answer.status), Some(1));
    let _held = spawn(call(server.channel(agent()), "Hang", text("")));
    let running = server.echo.running.clone();
    wait_until("the handler runs", || running.load(Ordering::SeqCst) == 1).await;

    server.shutdown.cancel();
    let second = watched.message().await.expect("it still serves health");
    assert_eq!(second.map(|answer| answer.status), Some(2), "NOT_SERVING");
    assert_eq!(ask(&probe, "ready").await, Ok(2));
    assert_eq!(ask(&probe, "live").await, Ok(1), "a restart would not help");
}

/// A server that has not got the keys of its issuer yet, and waits for so long until it is ready all the same.
async fn without_keys(
    source: &KeyServer,
    signer: &Signer,
    first_keys_wait_ms: u64,
) -> (Running, Channel) {
    let mut access = AccessConfig {
        issuers: vec![issuer(&source.url(), &[signer])],
        ..AccessConfig::default()
    };
    access.keys.first_keys_wait_ms = first_keys_wait_ms;
    let server =
        Running::start_with(|config| config.health_listen = Some(anywhere()), &access).await;
    let probe = plain(server.health_address.expect("configured"));
    (server, probe)
}

async fn until_ready(probe: &Channel) {
    let bound = Instant::now() + Duration::from_secs(10);
    while ask(probe, "ready").await != Ok(1) {
        assert!(Instant::now() < bound, "it is not ready");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn who_has_never_had_the_keys_of_an_issuer_is_not_ready() {
    let signer = Signer::ec("key");
    let source = KeyServer::start(None).await;
    let (server, probe) = without_keys(&source, &signer, 600_000).await;
    for (service, status) in [("live", 1), ("ready", 2), ("", 2)] {
        assert_eq!(ask(&probe, service).await, Ok(status), "{service:?}");
    }
    let main = plain(server.address);
    for service in ["", "plazo.test.v1.Echo"] {
        assert_eq!(ask(&main, service).await, Ok(2), "{service:?}");
    }
    let age = r#"plazo_access_keys_age_seconds{issuer="https://id.example"} "#;
    let page = http_get(server.metrics_address, "/metrics").await;
    assert!(page.contains(age), "{age} is not in\n{page}");

    source.set(Some(jwk_set(&[&signer])));
    until_ready(&probe).await;
    assert_eq!(ask(&main, "plazo.test.v1.Echo").await, Ok(1));
    let token = signer.token(&claims());
    let answer = call(server.bare_channel(), "WhoAmI", bearing(&token)).await;
    answer.expect("its tokens are taken");
    server.shutdown.cancel();
}

#[tokio::test]
async fn an_issuer_that_stays_away_does_not_keep_a_server_from_being_ready() {
    let signer = Signer::ec("key");
    let source = KeyServer::start(None).await;
    let begun = Instant::now();
    let (_server, probe) = without_keys(&source, &signer, 500).await;
    assert_eq!(ask(&probe, "ready").await, Ok(2));
    until_ready(&probe).await;
    assert!(begun.elapsed() >= Duration::from_millis(500), "not before");
}

#[tokio::test]
async fn who_shuts_down_does_not_become_ready() {
    let signer = Signer::ec("key");
    let source = KeyServer::start(None).await;
    let (server, probe) = without_keys(&source, &signer, 300).await;
    let request = Request::new(HealthCheckRequest {
        service: "ready".to_owned(),
    });
    let watched = HealthClient::new(probe).watch(request).await;
    let mut watched = watched.expect("it serves").into_inner();
    let first = watched.message().await.expect("it serves");
    assert_eq!(first.map(|answer| answer.status), Some(2));
    server.shutdown.cancel();
    // What was there is told, and then the server is gone.
    let rest = timeout(Duration::from_secs(10), async {
        while let Ok(Some(answer)) = watched.message().await {
            assert_ne!(answer.status, 1, "it is not ready");
        }
    });
    rest.await.expect("the server ends");
}

#[tokio::test]
async fn the_connections_are_bounded_and_silent_ones_make_way() {
    let server = Running::start(|config| config.health_listen = Some(anywhere())).await;
    let address = server.health_address.expect("configured");
    let mut silent = Vec::new();
    for _ in 0..64 {
        silent.push(TcpStream::connect(address).await.expect("it listens"));
    }
    let bound = Duration::from_secs(10);
    let begun = Instant::now();
    let late = plain(address);
    let answer = timeout(bound, ask(&late, "live")).await;
    assert_eq!(answer.expect("silent ones are cut"), Ok(1));
    assert!(begun.elapsed() > Duration::from_secs(1), "not before");
    for mut stream in silent {
        let mut sent = Vec::new();
        // Its settings, and then the end.
        let ended = timeout(bound, stream.read_to_end(&mut sent)).await;
        let _ = ended.expect("each is cut");
    }
}
