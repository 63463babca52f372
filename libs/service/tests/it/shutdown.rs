//! The end of a server.

use std::sync::atomic::Ordering;
use std::time::Duration;

use plazo_service::status::reason_of;
use tokio::time::{Instant, timeout};
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::echo::{Running, agent, call, spawn, text, wait_until, watch};

const BOUND: Duration = Duration::from_secs(5);

#[tokio::test]
async fn streams_end_at_once_and_tell_their_clients_to_come_back() {
    let server = Running::start(|config| config.shutdown_grace_ms = 60_000).await;
    let mut messages = watch(server.channel(agent()), "Watch", text("")).await;
    server.shutdown.cancel();

    let status = messages.message().await.expect_err("the stream ends");
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(reason_of(&status).as_deref(), Some("SHUTTING_DOWN"));
    let ended = timeout(BOUND, server.ended)
        .await
        .expect("long before the grace time");
    ended.expect("no panic").expect("a clean end");
    assert!(
        tokio::net::TcpStream::connect(server.address)
            .await
            .is_err(),
        "it listens no more"
    );
}

#[tokio::test]
async fn those_who_watch_health_see_not_serving_first() {
    let server = Running::start(|_| {}).await;
    let mut health = HealthClient::new(server.bare_channel());
    let request = HealthCheckRequest {
        service: "plazo.test.v1.Echo".to_owned(),
    };
    let mut watched = health.watch(request).await.expect("it serves").into_inner();
    assert_eq!(next_health(&mut watched).await, Ok(1));
    server.shutdown.cancel();
    assert_eq!(next_health(&mut watched).await, Ok(2), "NOT_SERVING");
    assert_eq!(next_health(&mut watched).await, Err(Code::Unavailable));
}

async fn next_health(
    watched: &mut tonic::Streaming<tonic_health::pb::HealthCheckResponse>,
) -> Result<i32, Code> {
    match watched.message().await {
        Ok(Some(answer)) => Ok(answer.status),
        Ok(None) => Err(Code::Ok),
        Err(status) => Err(status.code()),
    }
}

#[tokio::test]
async fn a_call_that_never_ends_is_cut_off_after_the_grace_time() {
    let grace = Duration::from_millis(300);
    let server = Running::start(|config| config.shutdown_grace_ms = 300).await;
    let stuck = spawn(call(server.channel(agent()), "Hang", text("")));
    let running = server.echo.running.clone();
    wait_until("the handler runs", || running.load(Ordering::SeqCst) == 1).await;

    let begun = Instant::now();
    server.shutdown.cancel();
    let ended = timeout(BOUND, server.ended).await.expect("the bound holds");
    ended.expect("no panic").expect("a clean end");
    assert!(begun.elapsed() >= grace, "the call had its grace time");
    let status = stuck.await.expect("no panic").expect_err("it is cut off");
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    wait_until("the handler is dropped", || {
        running.load(Ordering::SeqCst) == 0
    })
    .await;
}

#[tokio::test]
async fn an_idle_connection_does_not_hold_the_server() {
    let server = Running::start(|config| config.shutdown_grace_ms = 60_000).await;
    let channel = server.channel(agent());
    call(channel.clone(), "WhoAmI", text(""))
        .await
        .expect("it serves");
    server.shutdown.cancel();
    timeout(BOUND, server.ended)
        .await
        .expect("long before the grace time")
        .expect("no panic")
        .expect("a clean end");
    let status = call(channel, "WhoAmI", text(""))
        .await
        .expect_err("nobody serves");
    assert_eq!(status.code(), Code::Unavailable);
}
