//! Health on a port of its own.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use plazo_service::{Tls, TlsConfig};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::certificates::{Authority, Folder};
use crate::echo::{Running, agent, call, spawn, text, wait_until};

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
