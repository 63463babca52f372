//! How long a service that is known by its certificate may go on.

use std::time::Duration;

use jiff::Timestamp;
use plazo_service::access::PeerConfig;
use plazo_service::status::{reason_of, renewal_of};
use plazo_service::{AccessConfig, ServiceChannel};
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::rustls::pki_types::UnixTime;
use tonic::{Code, Status, Streaming};

use crate::calls::http_get;
use crate::certificates::Authority;
use crate::echo::{Running, call, text, try_watch};
use crate::tls::{BOUND, CLIENT, SERVER, channel, expecting, load};
use crate::tls_reload::{Process, figure};

/// Where [`CLIENT`] is the timer, whose streams go on for so long at most.
async fn start(authority: &Authority, peer_stream_max_age_ms: u64) -> Running {
    let listed = PeerConfig {
        identity: CLIENT.to_owned(),
        service: "timer".to_owned(),
        methods: vec!["/plazo.test.v1.Echo/*".to_owned()],
    };
    let access = AccessConfig {
        peers: vec![listed],
        peer_stream_max_age_ms,
        ..AccessConfig::default()
    };
    let tls = load(&authority.issue(SERVER), authority);
    Running::start_as(&tls, |_| {}, &access).await
}

async fn end_of(stream: &mut Streaming<String>) -> Status {
    let ended = timeout(BOUND, stream.message()).await.expect("it ends");
    ended.expect_err("before its time")
}

/// The stream, opened as soon as that can be done.
async fn open(channel: &ServiceChannel) -> Streaming<String> {
    let bound = Instant::now() + BOUND;
    loop {
        match try_watch(channel.clone(), "Watch", text("")).await {
            Ok(stream) => return stream,
            Err(status) => assert!(Instant::now() < bound, "{status:?}"),
        }
        sleep(Duration::from_millis(10)).await;
    }
}

async fn goes_on(stream: &mut Streaming<String>) -> bool {
    let silent = timeout(Duration::from_millis(100), stream.message()).await;
    silent.is_err()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_with_its_certificate_and_goes_on_with_the_next() {
    let ours = Authority::new("ours");
    let server = start(&ours, 3_600_000).await;
    let ends_at_s = UnixTime::now().as_secs() + 3;
    let first = ours.issue_until(CLIENT, Some(ends_at_s));
    let process = Process::new(&first, &[ours.pem()]);
    let known = channel(&process.tls, &expecting(&server, SERVER));
    let mut old = open(&known).await;
    let renewed = ours.issue(CLIENT);
    process.folder.replace(&renewed, &[ours.pem()]);
    let others = load(&renewed, &ours);
    let mut new = open(&channel(&others, &expecting(&server, SERVER))).await;

    let ended = end_of(&mut old).await;
    assert!(UnixTime::now().as_secs() >= ends_at_s, "not before");
    assert_eq!(ended.code(), Code::Unauthenticated);
    assert_eq!(reason_of(&ended).as_deref(), Some("CERTIFICATE_EXPIRED"));
    let wait = renewal_of(&ended).expect("it is told when to open it again");
    assert!(goes_on(&mut new).await, "its certificate has not ended");
    sleep(wait).await;
    // The old connection was closed, and the next shows the certificate that the process has by now.
    assert!(goes_on(&mut open(&known).await).await);
    assert!(goes_on(&mut new).await);
    let count = r#"plazo_access_streams_ended_total{reason="CERTIFICATE_EXPIRED"} "#;
    assert_eq!(figure(&server, count).await, 1);
}

#[tokio::test]
async fn a_connection_whose_certificate_has_ended_is_of_no_use() {
    let ours = Authority::new("ours");
    let server = start(&ours, 3_600_000).await;
    let ends_at_s = UnixTime::now().as_secs() + 2;
    let expiring = load(&ours.issue_until(CLIENT, Some(ends_at_s)), &ours);
    let known = channel(&expiring, &expecting(&server, SERVER));
    let mut codes = Vec::new();
    let bound = Instant::now() + BOUND;
    while codes.last() != Some(&Code::Unavailable) {
        assert!(Instant::now() < bound, "{codes:?}");
        let code = match call(known.clone(), "WhoAmI", text("")).await {
            Ok(_) => Code::Ok,
            Err(refused) => {
                let now = Timestamp::now().as_second();
                assert!(u64::try_from(now).expect("after 1970") >= ends_at_s);
                if refused.code() == Code::Unauthenticated {
                    assert_eq!(reason_of(&refused).as_deref(), Some("CERTIFICATE_EXPIRED"));
                }
                refused.code()
            }
        };
        codes.push(code);
        codes.dedup();
        sleep(Duration::from_millis(5)).await;
    }
    // Refused while it was open; then closed, and the handshake of the next one is refused.
    assert_eq!(codes, [Code::Ok, Code::Unauthenticated, Code::Unavailable]);
    let page = http_get(server.metrics_address, "/metrics").await;
    let refused = r#"plazo_access_refused_total{reason="CERTIFICATE_EXPIRED"}"#;
    assert!(page.contains(refused), "{page}");
}

#[tokio::test]
async fn a_stream_that_has_gone_on_for_long_is_due_and_can_be_opened_again() {
    let ours = Authority::new("ours");
    let server = start(&ours, 600).await;
    let client = load(&ours.issue(CLIENT), &ours);
    let known = channel(&client, &expecting(&server, SERVER));
    for round in 1..=3 {
        let begun = Instant::now();
        let mut stream = open(&known).await;
        let ended = end_of(&mut stream).await;
        assert!(begun.elapsed() >= Duration::from_millis(300), "not before");
        assert_eq!(ended.code(), Code::Unavailable);
        assert_eq!(reason_of(&ended).as_deref(), Some("STREAM_RENEWAL_DUE"));
        assert!(renewal_of(&ended).is_some_and(|wait| wait < Duration::from_secs(1)));
        let count = r#"plazo_access_streams_ended_total{reason="STREAM_RENEWAL_DUE"} "#;
        assert_eq!(figure(&server, count).await, round);
    }
}
