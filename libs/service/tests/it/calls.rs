//! What the layers make of a call.

use std::sync::atomic::Ordering;
use std::time::Duration;

use plazo_service::metrics::Metrics;
use plazo_service::status::{reason_of, violations_of};
use plazo_service::{
    Actor, Listeners, MethodPermissions, Permission, Server, ServerConfig, ServerError,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_util::sync::CancellationToken;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::echo::{Echo, Running, agent, call, descriptors, text, wait_until, watch};

#[tokio::test]
async fn the_handler_sees_the_actor_and_what_is_left_of_the_deadline() {
    let server = Running::start(|_| {}).await;
    let mut request = text("");
    request.set_timeout(Duration::from_secs(3));
    let answer = call(server.channel(agent()), "WhoAmI", request)
        .await
        .expect("permitted");
    let left_ms: u64 = answer
        .strip_prefix("agent/12 of 7 for ")
        .and_then(|left| left.parse().ok())
        .unwrap_or_else(|| panic!("unexpected answer {answer}"));
    assert!((1..=3_000).contains(&left_ms), "{left_ms} ms left");
}

#[tokio::test]
async fn a_request_can_be_signed_by_another_actor_than_the_channel_s() {
    let server = Running::start(|_| {}).await;
    let request = agent().sign(text(""));
    let answer = call(server.channel(Actor::service("timer")), "WhoAmI", request).await;
    assert!(answer.expect("permitted").starts_with("agent/12 of 7"));
}

#[tokio::test]
async fn a_call_without_an_actor_is_refused_and_the_key_is_named() {
    let server = Running::start(|_| {}).await;
    let status = call(server.bare_channel(), "WhoAmI", text(""))
        .await
        .expect_err("no actor");
    assert_eq!(status.code(), Code::Unauthenticated);
    assert_eq!(reason_of(&status).as_deref(), Some("ACTOR_MISSING"));
    assert!(
        status.message().contains("plazo-actor"),
        "{}",
        status.message()
    );
    assert_eq!(
        server.echo.calls.load(Ordering::SeqCst),
        0,
        "the handler must not run"
    );
}

#[tokio::test]
async fn what_is_not_permitted_is_denied_and_what_is_not_there_unimplemented() {
    let server = Running::start(|_| {}).await;
    let channel = server.channel(agent());
    for (method, code, reason) in [
        ("Settings", Code::PermissionDenied, "PERMISSION_DENIED"),
        ("NoSuchMethod", Code::Unimplemented, "METHOD_UNKNOWN"),
        ("settings", Code::Unimplemented, "METHOD_UNKNOWN"),
        ("Settings/", Code::Unimplemented, "METHOD_UNKNOWN"),
    ] {
        let refused = call(channel.clone(), method, text(""));
        let refused = refused.await.expect_err("not permitted or not there");
        assert_eq!(refused.code(), code, "{method}");
        assert_eq!(reason_of(&refused).as_deref(), Some(reason), "{method}");
    }
    // Strangers don't learn what is there.
    let unknown = call(server.bare_channel(), "NoSuchMethod", text(""));
    let refused = unknown.await.expect_err("no actor");
    assert_eq!(refused.code(), Code::Unauthenticated);
    assert_eq!(
        server.echo.calls.load(Ordering::SeqCst),
        0,
        "the handler must not run"
    );
}

#[tokio::test]
async fn health_needs_no_actor_and_knows_each_service() {
    let server = Running::start(|_| {}).await;
    let mut health = HealthClient::new(server.bare_channel());
    for service in ["", "plazo.test.v1.Echo"] {
        let request = HealthCheckRequest {
            service: service.to_owned(),
        };
        let answer = health.check(request).await.expect("health is open to all");
        assert_eq!(answer.into_inner().status, 1, "{service:?} is serving");
    }
}

#[tokio::test]
async fn a_passed_deadline_is_deadline_exceeded_whoever_set_it() {
    let server = Running::start(|config| {
        config.default_deadline_ms = 100;
        config.max_deadline_ms = 200;
    })
    .await;
    let signed = || agent().sign(text(""));

    let by_default = call(server.bare_channel(), "Hang", signed()).await;
    let mut too_long = signed();
    too_long.set_timeout(Duration::from_hours(1));
    let capped = call(server.bare_channel(), "Hang", too_long).await;
    for outcome in [by_default, capped] {
        let status = outcome.expect_err("the handler never answers");
        assert_eq!(status.code(), Code::DeadlineExceeded);
        assert_eq!(reason_of(&status).as_deref(), Some("DEADLINE_EXCEEDED"));
    }
    wait_until("the handlers are dropped", || {
        server.echo.running.load(Ordering::SeqCst) == 0
    })
    .await;

    // The client's own timer races the server's answer: both must say the same.
    for _ in 0..50 {
        let mut request = text("");
        request.set_timeout(Duration::from_millis(3));
        let outcome = call(server.channel(agent()), "Hang", request).await;
        assert_eq!(
            outcome.expect_err("it never answers").code(),
            Code::DeadlineExceeded
        );
    }
}

/// A caller whose own timer does not fire first sees what the server answers: with tonic's timer alone
/// that would be CANCELLED.
#[tokio::test]
async fn the_server_s_deadline_comes_before_tonic_s() {
    let server = Running::start(|_| {}).await;
    let client = tokio::net::TcpStream::connect(server.address)
        .await
        .expect("it listens");
    let (mut sender, connection) = h2::client::handshake(client).await.expect("HTTP/2");
    let _connection = crate::echo::spawn(connection);
    for _ in 0..100 {
        let request = http::Request::post("http://plazo/plazo.test.v1.Echo/Hang")
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("grpc-timeout", "3m")
            .header("plazo-tenant", "7")
            .header("plazo-actor", "agent/12")
            .header("plazo-permissions", "tickets:attend")
            .body(())
            .expect("a valid request");
        let (answer, mut body) = sender
            .send_request(request, false)
            .expect("an open connection");
        let empty_message = bytes::Bytes::from_static(&[0, 0, 0, 0, 0]);
        body.send_data(empty_message, true).expect("an open stream");
        let answer = answer.await.expect("an answer");
        assert_eq!(
            answer.headers()["grpc-status"],
            "4",
            "DEADLINE_EXCEEDED, not CANCELLED"
        );
    }
}

#[tokio::test]
async fn an_ill_formed_timeout_is_refused() {
    let server = Running::start(|_| {}).await;
    let mut request = agent().sign(text(""));
    request
        .metadata_mut()
        .insert("grpc-timeout", "soon".parse().expect("a header value"));
    let status = call(server.bare_channel(), "WhoAmI", request)
        .await
        .expect_err("ill-formed");
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(violations_of(&status)[0].0, "grpc-timeout");
}

#[tokio::test]
async fn streams_outlive_the_default_deadline_but_not_their_own() {
    let server = Running::start(|config| config.default_deadline_ms = 1).await;
    let mut endless = watch(server.channel(agent()), "Watch", text("")).await;
    let mut request = text("");
    request.set_timeout(Duration::from_millis(150));
    let mut short = watch(server.channel(agent()), "Watch", request).await;

    let status = short.message().await.expect_err("its deadline passes");
    assert_eq!(status.code(), Code::DeadlineExceeded);
    let still_open = tokio::time::timeout(Duration::from_millis(1), endless.message()).await;
    assert!(still_open.is_err(), "the stream without a deadline goes on");
}

#[tokio::test]
async fn a_panic_becomes_internal_and_ends_nothing_else() {
    let server = Running::start(|_| {}).await;
    let channel = server.channel(agent());
    let status = call(channel.clone(), "Panic", text(""))
        .await
        .expect_err("it panics");
    assert_eq!(
        (status.code(), reason_of(&status).as_deref()),
        (Code::Internal, Some("INTERNAL"))
    );
    let mut messages = watch(channel.clone(), "WatchPanic", text("")).await;
    assert_eq!(
        messages.message().await.expect_err("it panics").code(),
        Code::Internal
    );
    call(channel, "WhoAmI", text(""))
        .await
        .expect("the server goes on");
}

#[tokio::test]
async fn calls_are_counted_by_method_and_code_and_unknown_methods_as_one() {
    let server = Running::start(|_| {}).await;
    let channel = server.channel(agent());
    call(channel.clone(), "WhoAmI", text(""))
        .await
        .expect("permitted");
    call(channel.clone(), "Settings", text(""))
        .await
        .expect_err("not permitted");
    call(channel, "NoSuchMethod", text(""))
        .await
        .expect_err("not there");

    let page = http_get(server.metrics_address, "/metrics").await;
    for line in [
        r#"plazo_rpc_requests_total{method="/plazo.test.v1.Echo/WhoAmI",code="OK"} 1"#,
        r#"plazo_rpc_requests_total{method="/plazo.test.v1.Echo/Settings",code="PERMISSION_DENIED"} 1"#,
        r#"plazo_rpc_requests_total{method="unknown",code="UNIMPLEMENTED"} 1"#,
        r#"plazo_rpc_duration_seconds_count{method="/plazo.test.v1.Echo/WhoAmI",code="OK"} 1"#,
    ] {
        assert!(page.contains(line), "{line} is not in\n{page}");
    }
    assert!(
        http_get(server.metrics_address, "/healthz")
            .await
            .starts_with("HTTP/1.1 200")
    );
}

#[tokio::test]
async fn a_server_does_not_start_unless_each_method_has_its_permission() {
    const FORGOTTEN: MethodPermissions =
        &[("/plazo.test.v1.Echo/WhoAmI", &[Permission::TicketsAttend])];
    let config = ServerConfig::default();
    let listeners = Listeners::bind(&config).await.expect("a free port");
    let outcome = Server::new(&config, Metrics::new("test"), descriptors(), FORGOTTEN)
        .add_service(Echo::default())
        .run(listeners, CancellationToken::new())
        .await;
    assert!(
        matches!(outcome, Err(ServerError::Permissions { .. })),
        "{outcome:?}"
    );
}

pub(crate) async fn http_get(address: std::net::SocketAddr, path: &str) -> String {
    let mut socket = tokio::net::TcpStream::connect(address)
        .await
        .expect("it listens");
    let request = format!("GET {path} HTTP/1.1\r\nhost: plazo\r\nconnection: close\r\n\r\n");
    socket
        .write_all(request.as_bytes())
        .await
        .expect("it reads");
    let mut answer = String::new();
    socket
        .read_to_string(&mut answer)
        .await
        .expect("it answers");
    answer
}
