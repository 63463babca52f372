//! Calls to a service of several addresses.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use plazo_service::client::Resolve;
use plazo_service::{ClientConfig, Deadline, Retry, ServiceChannel, Tls};
use tokio::net::TcpListener;
use tokio::time::{Instant, timeout};
use tonic::Code;

use crate::certificates::{Authority, Folder};
use crate::echo::{Running, agent, call, text, try_watch, watch};
use crate::tls::{self, SERVER};
use crate::tls_reload::figure;

/// What the name service says.
#[derive(Clone, Default)]
struct Names(Arc<Mutex<BTreeSet<SocketAddr>>>);

impl Names {
    fn of(servers: &[&Running]) -> Self {
        let names = Self::default();
        for server in servers {
            names.add(server.address);
        }
        names
    }

    fn add(&self, address: SocketAddr) {
        self.0.lock().expect("no panic").insert(address);
    }

    fn remove(&self, address: SocketAddr) {
        self.0.lock().expect("no panic").remove(&address);
    }

    fn resolve(&self) -> Resolve {
        let names = self.clone();
        Arc::new(move || {
            let addresses = names.0.lock().expect("no panic").iter().copied().collect();
            Box::pin(async move { Ok(addresses) })
        })
    }

    fn channel(&self) -> ServiceChannel {
        self.channel_over(&Tls::off(), ClientConfig::new("http://echo:5001"))
    }

    fn channel_over(&self, tls: &Tls, config: ClientConfig) -> ServiceChannel {
        let config = ClientConfig {
            resolve_interval_ms: 50,
            ..config
        };
        tls.connect_resolved(&config, agent(), self.resolve())
            .expect("a valid address")
    }
}

async fn server_at(last: u8) -> Running {
    Running::start(|config| {
        config.listen = SocketAddr::from(([127, 0, 0, last], 0));
        config.shutdown_grace_ms = 60_000;
    })
    .await
}

fn calls(server: &Running) -> u32 {
    server.echo.calls.load(Ordering::SeqCst)
}

async fn call_once(channel: &ServiceChannel, attempts: u32) {
    let retry = Retry::new(&ClientConfig {
        max_attempts: attempts,
        ..ClientConfig::default()
    });
    let answer = retry.unavailable(Deadline::NONE, || call(channel.clone(), "WhoAmI", text("")));
    answer.await.expect("no call fails");
}

/// Calls, none of which may fail, until the condition holds. One that meets the end of a connection may need a second
/// attempt.
async fn call_until(
    channel: &ServiceChannel,
    attempts: u32,
    what: &str,
    condition: impl Fn() -> bool,
) {
    let bound = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < bound, "called in vain until {what}");
        let four = std::array::from_fn::<_, 4, _>(|_| call_once(channel, attempts));
        futures::future::join_all(four).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_go_to_all_addresses_and_none_fails_when_one_ends_and_another_comes() {
    let (one, two, three) = tokio::join!(server_at(1), server_at(2), server_at(3));
    let names = Names::of(&[&one, &two, &three]);
    let channel = names.channel();
    let spread = || [&one, &two, &three].iter().all(|server| calls(server) > 20);
    call_until(&channel, 1, "all are called", spread).await;

    // Its port is closed, and the name service does not know yet.
    two.shutdown.cancel();
    let before = calls(&one) + calls(&three);
    call_until(&channel, 2, "others take over", || {
        calls(&one) + calls(&three) > before + 200
    })
    .await;
    timeout(Duration::from_secs(5), two.ended)
        .await
        .expect("nothing holds it")
        .expect("no panic")
        .expect("a clean end");

    let four = server_at(4).await;
    names.remove(two.address);
    names.add(four.address);
    call_until(&channel, 1, "the new one is called", || calls(&four) > 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_nobody_listens_at_fails_no_call() {
    let server = server_at(1).await;
    let names = Names::of(&[&server]);
    let closed = TcpListener::bind("127.0.0.2:0").await.expect("a free port");
    names.add(closed.local_addr().expect("a bound socket"));
    drop(closed);
    let channel = names.channel();
    call_until(&channel, 1, "it is called", || calls(&server) > 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_has_gone_is_drained_and_not_cut() {
    let (one, two) = tokio::join!(server_at(1), server_at(2));
    let names = Names::of(&[&one]);
    let channel = names.channel();
    let mut stream = watch(channel.clone(), "Watch", text("")).await;
    names.add(two.address);
    call_until(&channel, 1, "both are called", || calls(&two) > 10).await;
    names.remove(one.address);

    // Once the change is known, the first is called no more.
    let mut seen = calls(&one);
    let bound = Instant::now() + Duration::from_secs(10);
    loop {
        // At the same time, as the stream counts for load: of calls one by one, all would go to the second.
        let many = std::array::from_fn::<_, 50, _>(|_| call_once(&channel, 1));
        futures::future::join_all(many).await;
        if calls(&one) == seen {
            break;
        }
        seen = calls(&one);
        assert!(Instant::now() < bound, "it is still called");
    }
    let silent = timeout(Duration::from_millis(300), stream.message()).await;
    silent.expect_err("the stream goes on");
    one.shutdown.cancel();
    let ended = stream.message().await.expect_err("its server ends it");
    assert_eq!(ended.code(), Code::Unavailable);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_nobody_there_a_call_fails_in_time_and_the_next_finds_who_came() {
    let names = Names::default();
    let channel = names.channel();
    let begun = Instant::now();
    let status = call(channel.clone(), "WhoAmI", text(""))
        .await
        .expect_err("nobody");
    assert_eq!(status.code(), Code::Unavailable);
    assert!(
        begun.elapsed() < Duration::from_secs(4),
        "the time to connect"
    );

    let mut hurried = text("");
    hurried.set_timeout(Duration::from_millis(20));
    let status = call(channel.clone(), "WhoAmI", hurried)
        .await
        .expect_err("nobody");
    assert_eq!(status.code(), Code::DeadlineExceeded);

    let server = server_at(1).await;
    names.add(server.address);
    let bound = Instant::now() + Duration::from_secs(10);
    while call(channel.clone(), "WhoAmI", text("")).await.is_err() {
        assert!(Instant::now() < bound, "it is not found");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_meanwhile_does_not_fail_with_the_first_look_ups() {
    let server = server_at(1).await;
    let names = Names::default();
    let config = ClientConfig {
        connect_timeout_ms: 900,
        ..ClientConfig::new("http://echo:5001")
    };
    let channel = Tls::off()
        .connect_resolved(&config, agent(), names.resolve())
        .expect("a valid address");
    let late = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        names.add(server.address);
    };
    tokio::join!(call_once(&channel, 1), late);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_of_age_are_replaced_without_a_failed_call() {
    let authority = Authority::new("ours");
    let folder = Folder::new(&authority.issue(SERVER), &[authority.pem()]);
    let tls = Tls::load(Some(&tls::config(&folder))).expect("good files");
    let server = Running::start_over(&tls, |config| {
        config.max_connection_age_ms = 50;
        config.shutdown_grace_ms = 60_000;
    })
    .await;
    let names = Names::of(&[&server]);
    let config = ClientConfig {
        server_identity: Some(SERVER.to_owned()),
        ..ClientConfig::new("https://echo:5001")
    };
    let channel = names.channel_over(&tls, config);
    // Streams hold the old connections open.
    let mut streams = Vec::new();
    let done = "plazo_tls_handshakes_total{outcome=\"done\"} ";
    let bound = Instant::now() + Duration::from_secs(10);
    let (mut failures, mut connections) = (0, 1);
    while connections < 11 {
        assert!(Instant::now() < bound, "no eleven connections");
        match try_watch(channel.clone(), "Watch", text("")).await {
            Ok(stream) => streams.push(stream),
            Err(_) => failures += 1,
        }
        for _ in 0..10 {
            let answer = call(channel.clone(), "WhoAmI", text("")).await;
            failures += u32::from(answer.is_err());
        }
        connections = figure(&server, done).await;
    }
    // Those that had not been sent went to the next connection. One on its way in that very moment is the caller's to
    // send again, as it is told.
    assert!(
        failures < 4,
        "{failures} calls failed at the ends of connections"
    );
    let others = futures::future::join_all(streams.iter_mut().map(tonic::Streaming::message));
    let silent = timeout(Duration::from_millis(100), others).await;
    silent.expect_err("no stream has ended");
}
