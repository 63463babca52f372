//! Callers who are not what they should be, and providers who are slow.

use std::time::Duration;

use plazo_proto::common::v1::Channel;
use plazo_proto::notification::v1::ActiveMessageState as State;
use plazo_proto::ticketing::v1::MessageStateReport;
use rand::Rng as _;
use reqwest::StatusCode;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::callers::{
    APP_SECRET, CUSTOMER, Standing, body, call, create, post, said, signature, status, url, world,
};
use crate::support::{TENANT, spawn};

const SEEN: &str = "SELECT count(*) FROM seen_callbacks";

#[tokio::test]
async fn without_the_right_signature_nothing_is_believed() {
    let (world, _folder) = world().await;
    let service = world.start().await;
    let account = create(&service, Channel::Whatsapp, "desk").await;
    let no_secret = create(&service, Channel::Whatsapp, "nobodys").await;
    let blip = create(&service, Channel::Blip, "desk").await;
    let message_id = world.plant(account, 1, Standing::Uncertain).await;
    let body = body(&[
        status("wamid.1", "sent", message_id),
        said("wamid.in.1", CUSTOMER, "Oi"),
    ]);
    let right = signature(APP_SECRET, &body);
    let mut other_body = body.clone();
    other_body.push(b' ');
    for (account, body, signature) in [
        (account, &body, ""),
        (account, &body, "sha256="),
        (account, &body, &right[7..]),
        (account, &body, &*signature("other", &body)),
        (account, &body, &*signature("", &body)),
        (account, &other_body, &*right),
        (no_secret, &body, &*right),
        (no_secret, &body, &*signature("", &body)),
        (blip, &body, &*right),
        (account + 1_000, &body, &*right),
    ] {
        let code = post(&service, account, body.clone(), signature).await;
        assert_eq!(code, StatusCode::UNAUTHORIZED, "{account} {signature}");
    }
    let unsigned = reqwest::Client::new()
        .post(url(&service, &format!("whatsapp/{TENANT}/{account}")))
        .body(body.clone());
    let code = unsigned.send().await.expect("an answer").status();
    assert_eq!(code, StatusCode::UNAUTHORIZED);
    // Another tenant's path leads to no account, though the signature is right.
    let foreign = reqwest::Client::new()
        .post(url(&service, &format!("whatsapp/{}/{account}", TENANT + 1)))
        .header("x-hub-signature-256", &right)
        .body(body.clone());
    let code = foreign.send().await.expect("an answer").status();
    assert_eq!(code, StatusCode::UNAUTHORIZED);
    assert_eq!(world.count(SEEN).await, 0);
    assert_eq!(service.api.get(message_id).await.state(), State::Uncertain);
    assert_eq!(post(&service, account, body, &right).await, StatusCode::OK);
    assert_eq!(service.api.get(message_id).await.state(), State::Sent);
    service.stop().await;
}

#[tokio::test]
async fn no_bytes_bring_it_down() {
    let (world, _folder) = world().await;
    let service = world.start().await;
    let account = create(&service, Channel::Whatsapp, "desk").await;
    let good = body(&[
        status("wamid.1", "sent", 1),
        said("wamid.in.1", CUSTOMER, "Oi"),
    ]);
    let right = signature(APP_SECRET, &good);
    let mut random = rand::rng();
    for _ in 0..150 {
        let noise: Vec<u8> = (0..random.random_range(0..300))
            .map(|_| random.random())
            .collect();
        // Signed by the provider, so that it is read.
        let signed = signature(APP_SECRET, &noise);
        let code = post(&service, account, noise.clone(), &signed).await;
        assert_eq!(code, StatusCode::BAD_REQUEST, "{noise:?}");

        let mut mutated = good.clone();
        let place = random.random_range(0..mutated.len());
        mutated[place] ^= random.random_range(1..=255_u8);
        let code = post(&service, account, mutated.clone(), &right).await;
        assert_eq!(code, StatusCode::UNAUTHORIZED, "{mutated:?}");
        // What is signed and can still be read is at most news of another kind.
        let signed = signature(APP_SECRET, &mutated);
        let code = post(&service, account, mutated.clone(), &signed).await;
        let is_answered = code == StatusCode::OK || code == StatusCode::BAD_REQUEST;
        assert!(is_answered, "{code} for {mutated:?}");
    }
    for path in [
        "whatsapp/x/1",
        "whatsapp/1",
        "whatsapp/1/99999999999999999999",
        "smoke/1/1",
        "blip/1/1",
        "whatsapp/1/1/1",
    ] {
        let answer = reqwest::Client::new().post(url(&service, path)).send();
        let code = answer.await.expect("an answer").status();
        assert!(code.is_client_error(), "{path}: {code}");
    }
    // It still works.
    assert_eq!(post(&service, account, good, &right).await, StatusCode::OK);
    service.stop().await;
}

#[tokio::test]
async fn what_is_too_large_or_too_slow_is_given_up() {
    let (mut world, _folder) = world().await;
    world.set("callbacks.max_body_bytes", "2000");
    world.set("callbacks.request_timeout_ms", "300");
    world.set("callbacks.max_connections", "2");
    let service = world.start().await;
    let account = create(&service, Channel::Whatsapp, "desk").await;
    let large = body(&[said("wamid.in.1", CUSTOMER, &"x".repeat(2_000))]);
    let signed = signature(APP_SECRET, &large);
    let code = post(&service, account, large, &signed).await;
    assert_eq!(code, StatusCode::PAYLOAD_TOO_LARGE);

    // Two who say nothing, or not all of what they announced, take all places, and lose them.
    let address = service.callbacks_address.expect("callbacks are taken");
    let silent = TcpStream::connect(address).await.expect("a connection");
    let mut slow = TcpStream::connect(address).await.expect("a connection");
    let head = format!(
        "POST /callbacks/whatsapp/{TENANT}/{account} HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nhalf"
    );
    slow.write_all(head.as_bytes()).await.expect("written");
    let value = said("wamid.in.2", CUSTOMER, "Oi");
    assert_eq!(call(&service, account, &[value]).await, StatusCode::OK);
    let mut answer = String::new();
    let _ = slow.read_to_string(&mut answer).await;
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 408"),
        "{answer}"
    );
    drop(silent);
    service.stop().await;
}

#[tokio::test]
async fn a_callback_is_answered_when_it_is_stored_and_not_before() {
    let (mut world, _folder) = world().await;
    world.set("callbacks.request_timeout_ms", "500");
    let service = world.start().await;
    let account = create(&service, Channel::Whatsapp, "desk").await;
    let message_id = world.plant(account, 1, Standing::Uncertain).await;
    let value = status("wamid.1", "sent", message_id);

    let mut blocker = <sqlx::PgConnection as sqlx::Connection>::connect(&world.database_url)
        .await
        .expect("the database is there");
    let mut transaction = sqlx::Connection::begin(&mut blocker).await.expect("begun");
    sqlx::query("LOCK TABLE seen_callbacks")
        .execute(&mut *transaction)
        .await
        .expect("locked");
    let code = call(&service, account, std::slice::from_ref(&value)).await;
    assert_eq!(code, StatusCode::REQUEST_TIMEOUT);
    assert_eq!(service.api.get(message_id).await.state(), State::Uncertain);
    transaction.rollback().await.expect("ended");
    // The provider says it again.
    assert_eq!(call(&service, account, &[value]).await, StatusCode::OK);
    assert_eq!(service.api.get(message_id).await.state(), State::Sent);
    service.stop().await;
}

#[tokio::test]
async fn copies_at_once_do_what_one_does() {
    let (world, _folder) = world().await;
    let service = std::sync::Arc::new(world.start().await);
    let account = create(&service, Channel::Whatsapp, "desk").await;
    let message_id = world.plant(account, 1, Standing::Uncertain).await;
    let values = vec![
        status("wamid.1", "read", message_id),
        status("wamid.1", "sent", message_id),
        said("wamid.in.2", CUSTOMER, "two"),
        said("wamid.in.1", CUSTOMER, "one"),
        status("wamid.1", "delivered", message_id),
    ];
    let mut calls = Vec::new();
    for turn in 0..16 {
        let mut values = values.clone();
        values.rotate_left(turn % 5);
        let service = std::sync::Arc::clone(&service);
        calls.push(spawn(async move {
            tokio::time::timeout(Duration::from_secs(20), call(&service, account, &values)).await
        }));
    }
    for call in calls {
        let code = call.await.expect("it does not panic").expect("in time");
        assert_eq!(code, StatusCode::OK);
    }
    assert_eq!(service.api.get(message_id).await.state(), State::Read);
    assert_eq!(world.count(SEEN).await, 5);
    assert_eq!(world.ticketing.inbound.until_taken(2).await.len(), 2);
    let reports = "SELECT count(*) FROM state_reports";
    crate::support::eventually("all is reported", || async {
        (world.count(reports).await == 0).then_some(())
    })
    .await;
    let reported = world.ticketing.reports_of("ticket/1");
    let states: Vec<State> = reported.iter().map(MessageStateReport::state).collect();
    assert!(
        states.is_sorted() && states.last() == Some(&State::Read),
        "{states:?}"
    );
    std::sync::Arc::into_inner(service)
        .expect("nobody else has it")
        .stop()
        .await;
}
