//! Who is let in over TLS, and who is believed.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use plazo_service::access::PeerConfig;
use plazo_service::{AccessConfig, Actor, ClientConfig, ServiceChannel, Tls, TlsConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::rustls::pki_types::UnixTime;
use tonic::Code;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use crate::calls::http_get;
use crate::certificates::{Authority, Folder, Issued};
use crate::echo::{Running, agent, call, text, wait_until};

pub(crate) const SERVER: &str = "spiffe://test/ns/test/sa/server";
pub(crate) const CLIENT: &str = "spiffe://test/ns/test/sa/client";
pub(crate) const BOUND: Duration = Duration::from_secs(10);

pub(crate) fn config(folder: &Folder) -> TlsConfig {
    TlsConfig::new(folder.certificate(), folder.key(), folder.roots())
}

pub(crate) fn load(issued: &Issued, roots: &Authority) -> Tls {
    let folder = Folder::new(issued, &[roots.pem()]);
    Tls::load(Some(&config(&folder))).expect("good files")
}

pub(crate) fn endpoint(server: &Running) -> ClientConfig {
    ClientConfig::new(format!("https://{}", server.address))
}

pub(crate) fn channel(tls: &Tls, config: &ClientConfig) -> ServiceChannel {
    tls.connect_lazy(config, Actor::service("test"))
        .expect("a valid address")
}

pub(crate) fn expecting(server: &Running, identity: &str) -> ClientConfig {
    ClientConfig {
        server_identity: Some(identity.to_owned()),
        ..endpoint(server)
    }
}

/// A channel of tonic's own, as a stranger would have it.
fn stranger(address: SocketAddr, roots: &Authority, identity: Option<&Issued>) -> Channel {
    let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(roots.pem()));
    if let Some(Issued { certificate, key }) = identity {
        tls = tls.identity(Identity::from_pem(certificate, key));
    }
    Endpoint::from_shared(format!("https://{address}"))
        .and_then(|endpoint| endpoint.tls_config(tls))
        .expect("a valid address")
        .connect_lazy()
}

#[tokio::test]
async fn both_sides_show_who_they_are() {
    let authority = Authority::new("ours");
    let server_tls = load(&authority.issue(SERVER), &authority);
    let client_tls = load(&authority.issue(CLIENT), &authority);
    let server = Running::start_over(&server_tls, |_| {}).await;
    // By its address, by its identity, and over several connections.
    for config in [
        endpoint(&server),
        expecting(&server, SERVER),
        ClientConfig {
            balance: true,
            ..expecting(&server, SERVER)
        },
    ] {
        let answer = call(channel(&client_tls, &config), "WhoIsThere", text("")).await;
        assert_eq!(
            answer.expect("let in"),
            format!("peer {CLIENT}"),
            "{config:?}"
        );
    }
    let plain = Running::start(|_| {}).await;
    let answer = call(plain.channel(agent()), "WhoIsThere", text("")).await;
    assert_eq!(answer.expect("let in"), "nobody");
}

#[tokio::test]
async fn a_client_without_a_good_certificate_is_refused() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let server_tls = load(&ours.issue(SERVER), &ours);
    let server = Running::start_over(&server_tls, |_| {}).await;
    let expired = ours.issue_until(CLIENT, Some(UnixTime::now().as_secs() - 60));
    for (what, identity) in [
        ("none", None),
        ("foreign", Some(theirs.issue(CLIENT))),
        ("expired", Some(expired)),
    ] {
        let request = agent().sign(text(""));
        let channel = stranger(server.address, &ours, identity.as_ref());
        let refused = call(channel, "WhoAmI", request).await;
        refused.expect_err(what);
    }
    assert_eq!(server.echo.calls.load(Ordering::SeqCst), 0);
    let good = stranger(server.address, &ours, Some(&ours.issue(CLIENT)));
    let answer = call(good, "WhoAmI", agent().sign(text(""))).await;
    answer.expect("it was the certificate");
    let page = http_get(server.metrics_address, "/metrics").await;
    for line in [
        "plazo_tls_handshakes_total{outcome=\"refused\"} 3",
        "plazo_tls_handshakes_total{outcome=\"done\"} 1",
    ] {
        assert!(page.contains(line), "{line} is not in\n{page}");
    }
}

#[tokio::test]
async fn where_a_certificate_is_not_required_one_that_is_shown_must_be_good() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let folder = Folder::new(&ours.issue(SERVER), &[ours.pem()]);
    let optional = TlsConfig {
        require_client_certificate: false,
        ..config(&folder)
    };
    let tls = Tls::load(Some(&optional)).expect("good files");
    let server = Running::start_over(&tls, |_| {}).await;
    let ask = |identity: Option<Issued>| {
        let channel = stranger(server.address, &ours, identity.as_ref());
        call(channel, "WhoIsThere", agent().sign(text("")))
    };
    assert_eq!(ask(None).await.expect("let in"), "peer ");
    let known = ask(Some(ours.issue(CLIENT))).await.expect("let in");
    assert_eq!(known, format!("peer {CLIENT}"));
    ask(Some(theirs.issue(CLIENT)))
        .await
        .expect_err("a foreign certificate");
}

#[tokio::test]
async fn a_listed_certificate_makes_the_actor_whatever_metadata_say() {
    let ours = Authority::new("ours");
    let server_tls = load(&ours.issue(SERVER), &ours);
    let listed = PeerConfig {
        identity: CLIENT.to_owned(),
        service: "timer".to_owned(),
        methods: vec!["/plazo.test.v1.Echo/WhoAmI".to_owned()],
    };
    let access = AccessConfig {
        peers: vec![listed],
        ..AccessConfig::default()
    };
    let server = Running::start_as(&server_tls, |_| {}, &access).await;
    let client_tls = load(&ours.issue(CLIENT), &ours);
    let listed = channel(&client_tls, &expecting(&server, SERVER));
    let answer = call(listed.clone(), "WhoAmI", agent().sign(text(""))).await;
    let answer = answer.expect("permitted");
    assert!(answer.starts_with("service/timer of 0"), "{answer}");
    let refused = call(listed, "Flaky", text("")).await;
    let refused = refused.expect_err("not in its list");
    assert_eq!(refused.code(), Code::PermissionDenied);

    let other_tls = load(&ours.issue("spiffe://test/ns/test/sa/other"), &ours);
    let other = channel(&other_tls, &expecting(&server, SERVER));
    let refused = call(other, "WhoAmI", agent().sign(text(""))).await;
    let refused = refused.expect_err("not listed");
    assert_eq!(refused.code(), Code::Unauthenticated);
}

#[tokio::test]
async fn a_server_that_is_not_the_one_is_not_called() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let client_tls = load(&ours.issue(CLIENT), &ours);
    let server_tls = load(&ours.issue(SERVER), &ours);
    let server = Running::start_over(&server_tls, |_| {}).await;
    // Its own certificate is not ours, but it would believe ours.
    let folder = Folder::new(&theirs.issue(SERVER), &[ours.pem()]);
    let foreign_tls = Tls::load(Some(&config(&folder))).expect("good files");
    let foreign = Running::start_over(&foreign_tls, |_| {}).await;
    // 127.0.0.1 is in its certificate, and 127.0.0.77 not.
    let elsewhere = Running::start_over(&server_tls, |config| {
        config.listen = SocketAddr::from(([127, 0, 0, 77], 0));
    })
    .await;
    let balanced = ClientConfig {
        balance: true,
        ..expecting(&server, "spiffe://test/ns/test/sa/serve")
    };
    for config in [
        expecting(&server, CLIENT),
        balanced,
        expecting(&foreign, SERVER),
        endpoint(&foreign),
        endpoint(&elsewhere),
    ] {
        let refused = call(channel(&client_tls, &config), "WhoAmI", text("")).await;
        let refused = refused.expect_err("not the one");
        assert_eq!(refused.code(), Code::Unavailable, "{config:?}");
    }
    for server in [&server, &foreign, &elsewhere] {
        assert_eq!(server.echo.calls.load(Ordering::SeqCst), 0);
    }
    let by_identity = channel(&client_tls, &expecting(&elsewhere, SERVER));
    let answer = call(by_identity, "WhoAmI", text("")).await;
    answer.expect("an identity stands for the name");
}

#[tokio::test]
async fn a_server_whose_certificate_has_expired_is_not_called() {
    let ours = Authority::new("ours");
    let client_tls = load(&ours.issue(CLIENT), &ours);
    let ends_at_s = UnixTime::now().as_secs() + 1;
    let server_tls = load(&ours.issue_until(SERVER, Some(ends_at_s)), &ours);
    let server = Running::start_over(&server_tls, |_| {}).await;
    wait_until("it has expired", || UnixTime::now().as_secs() > ends_at_s).await;
    for config in [endpoint(&server), expecting(&server, SERVER)] {
        let refused = call(channel(&client_tls, &config), "WhoAmI", text("")).await;
        refused.expect_err("expired");
    }
    assert_eq!(server.echo.calls.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn tls_is_not_made_up_where_there_is_none() {
    let config = ClientConfig::new("https://ticketing:5001");
    let refused = Tls::off().connect_lazy(&config, agent());
    let problem = refused.expect_err("no certificate").to_string();
    assert!(problem.contains("[tls]"), "{problem}");

    let authority = Authority::new("ours");
    let tls = load(&authority.issue(SERVER), &authority);
    let plain_server = Running::start(|_| {}).await;
    let status = call(channel(&tls, &endpoint(&plain_server)), "WhoAmI", text("")).await;
    assert_eq!(status.expect_err("plain text").code(), Code::Unavailable);
}

#[tokio::test]
async fn silent_clients_hold_up_nobody_and_the_oldest_gives_way() {
    let ours = Authority::new("ours");
    let tls = load(&ours.issue(SERVER), &ours);
    let server = Running::start_over(&tls, |config| {
        config.handshake_timeout_ms = 600_000;
        config.max_handshakes = 8;
    })
    .await;
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(
            TcpStream::connect(server.address)
                .await
                .expect("it listens"),
        );
    }
    let identified = channel(&tls, &expecting(&server, SERVER));
    let answer = timeout(BOUND, call(identified, "WhoAmI", text(""))).await;
    answer.expect("it is not held up").expect("let in");
    // The call was the twenty-first.
    let page = http_get(server.metrics_address, "/metrics").await;
    let line = "plazo_tls_handshakes_total{outcome=\"given_up\"} 13";
    assert!(page.contains(line), "{line} is not in\n{page}");
    let mut nothing = Vec::new();
    let oldest = timeout(BOUND, silent[0].read_to_end(&mut nothing)).await;
    let _ = oldest.expect("it was cut");
}

#[tokio::test]
async fn who_does_not_begin_is_cut_and_who_has_begun_is_not() {
    let ours = Authority::new("ours");
    for tls in [Tls::off(), load(&ours.issue(SERVER), &ours)] {
        let server = Running::start_over(&tls, |config| config.handshake_timeout_ms = 300).await;
        let begun = Instant::now();
        let mut silent = TcpStream::connect(server.address)
            .await
            .expect("it listens");
        let mut slow = TcpStream::connect(server.address)
            .await
            .expect("it listens");
        slow.write_all(if tls.is_on() { b"\x16" } else { b"PRI * HT" })
            .await
            .expect("it is open");
        let config = if tls.is_on() {
            expecting(&server, SERVER)
        } else {
            server.config()
        };
        let channel = channel(&tls, &config);
        call(channel.clone(), "WhoAmI", text(""))
            .await
            .expect("let in");
        for stream in [&mut silent, &mut slow] {
            let mut sent = Vec::new();
            let ended = timeout(BOUND, stream.read_to_end(&mut sent)).await;
            let _ = ended.expect("it is cut");
        }
        assert!(begun.elapsed() >= Duration::from_millis(300));
        // On the connection that it has: a new handshake would be counted.
        call(channel, "WhoAmI", text("")).await.expect("let in");
        if tls.is_on() {
            let page = http_get(server.metrics_address, "/metrics").await;
            for line in [
                "plazo_tls_handshakes_total{outcome=\"timed_out\"} 2",
                "plazo_tls_handshakes_total{outcome=\"done\"} 1",
            ] {
                assert!(page.contains(line), "{line} is not in\n{page}");
            }
        }
    }
}

#[test]
fn files_that_cannot_be_used_are_refused_with_their_key() {
    let ours = Authority::new("ours");
    let (good, other) = (ours.issue(SERVER), ours.issue(CLIENT));
    let with = |certificate: &str, key: &str| Issued {
        certificate: certificate.to_owned(),
        key: key.to_owned(),
    };
    let expired = ours.issue_until(SERVER, Some(UnixTime::now().as_secs() - 60));
    for (issued, roots, problem) in [
        (with("", &good.key), ours.pem(), "tls.certificate_file: "),
        (with(&good.certificate, "?"), ours.pem(), "tls.key_file: "),
        (
            with(&good.certificate, &other.key),
            ours.pem(),
            "tls.key_file: ",
        ),
        (good.clone(), "", "tls.roots_file: "),
        (expired, ours.pem(), "tls.certificate_file: has expired at "),
    ] {
        let folder = Folder::new(&issued, &[roots]);
        let error = Tls::load(Some(&config(&folder))).expect_err(problem);
        assert!(error.to_string().starts_with(problem), "{error}");
    }
    let nowhere = TlsConfig::new("/nowhere/tls.crt", "/nowhere/tls.key", "/nowhere/ca.crt");
    let error = Tls::load(Some(&nowhere)).expect_err("no files");
    assert!(error.to_string().contains("/nowhere/tls.crt"), "{error}");
}
