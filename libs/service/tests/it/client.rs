//! Calls that are sent again.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use plazo_service::{Actor, ClientConfig, Deadline, Retry, connect_lazy, status};
use tonic::{Code, Status};

use crate::echo::{Running, call, text};

#[tokio::test]
async fn an_unavailable_call_is_sent_again_until_it_succeeds() {
    let server = Running::start(|_| {}).await;
    let channel = server.channel(Actor::service("timer"));
    let retry = Retry::new(&server.config());
    let answer = retry
        .unavailable(Deadline::NONE, || call(channel.clone(), "Flaky", text("3")))
        .await
        .expect("the fourth attempt succeeds");
    assert_eq!(answer, "3");
}

#[tokio::test]
async fn other_errors_are_not_sent_again() {
    let attempts = AtomicU32::new(0);
    let retry = Retry::new(&ClientConfig::default());
    let outcome: Result<(), Status> = retry
        .unavailable(Deadline::NONE, || async {
            attempts.fetch_add(1, Ordering::SeqCst);
            Err(status::aborted("STALE", "read again"))
        })
        .await;
    assert_eq!(outcome.expect_err("it fails").code(), Code::Aborted);
    assert_eq!(attempts.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn attempts_deadline_and_budget_bound_the_retries() {
    let config = ClientConfig {
        max_attempts: 3,
        first_backoff_ms: 1,
        ..ClientConfig::default()
    };
    let retry = Retry::new(&config);
    let attempts = AtomicU32::new(0);
    let down = || async {
        attempts.fetch_add(1, Ordering::SeqCst);
        Err::<(), _>(status::unavailable("DOWN", "it is down", Duration::ZERO))
    };
    retry
        .unavailable(Deadline::NONE, down)
        .await
        .expect_err("it is down");
    assert_eq!(
        attempts.swap(0, Ordering::SeqCst),
        3,
        "the attempts of the configuration"
    );

    let patient = ClientConfig {
        max_attempts: 1_000,
        first_backoff_ms: 50,
        ..config.clone()
    };
    let deadline = Deadline::after(Duration::from_millis(200));
    let outcome = Retry::new(&patient).unavailable(deadline, down).await;
    assert_eq!(
        outcome.expect_err("it is down").code(),
        Code::Unavailable,
        "not hidden by the deadline"
    );
    assert!(
        attempts.swap(0, Ordering::SeqCst) < 10,
        "the deadline ends the retries"
    );

    for _ in 0..200 {
        retry
            .unavailable(Deadline::NONE, down)
            .await
            .expect_err("it is down");
    }
    attempts.store(0, Ordering::SeqCst);
    retry
        .unavailable(Deadline::NONE, down)
        .await
        .expect_err("it is down");
    assert_eq!(
        attempts.load(Ordering::SeqCst),
        1,
        "an empty budget allows no retry"
    );
}

#[tokio::test]
async fn a_service_that_comes_later_is_found_at_once() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a free port");
    let address = listener.local_addr().expect("a bound socket");
    drop(listener);
    let config = ClientConfig::new(format!("http://{address}"));
    let channel = connect_lazy(&config, Actor::service("timer")).expect("a valid address");
    let status = call(channel.clone(), "WhoAmI", text(""))
        .await
        .expect_err("nobody listens");
    assert_eq!(status.code(), Code::Unavailable);

    let _server = Running::start(|config| config.listen = address).await;
    let answer = call(channel, "WhoAmI", text(""))
        .await
        .expect("it listens now");
    assert!(answer.starts_with("service/timer of 0"), "{answer}");
}
