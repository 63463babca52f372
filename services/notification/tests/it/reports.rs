//! Ticketing is told, until it answers.

use plazo_proto::notification::v1::ActiveMessageState as State;

use crate::support::endpoint::Endpoint;
use crate::support::ticketing::ReportFault::{AnswerLost, RefusesKey, Unavailable};
use crate::support::{World, by_webhook, eventually, warning};

const WAITING: &str = "SELECT count(*) FROM state_reports";

async fn until_none_waits(world: &World) {
    eventually("no report waits", || async {
        (world.count(WAITING).await == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn reports_are_repeated_until_they_are_answered() {
    let world = World::new().await.with("reporter.first_backoff_ms", "10");
    world
        .ticketing
        .fail_reports(&[Unavailable, Unavailable, AnswerLost, Unavailable]);
    let service = world.start().await;
    let message = warning(1, 1);
    let sent = service.api.send_one(message.clone()).await;
    until_none_waits(&world).await;
    assert!(world.ticketing.report_calls() >= 5);

    let reports = world.ticketing.reports_of(&message.idempotency_key);
    let states: Vec<_> = reports
        .iter()
        .map(plazo_proto::ticketing::v1::MessageStateReport::state)
        .collect();
    let expected = [State::Accepted, State::Sent, State::Delivered];
    for state in expected {
        assert!(states.contains(&state), "{state:?} in {states:?}");
    }
    let accepted = reports
        .iter()
        .find(|report| report.state() == State::Accepted);
    assert_eq!(accepted.expect("it is there").state_time, sent.accept_time);
    service.stop().await;
}

#[tokio::test]
async fn reports_survive_a_restart() {
    let world = World::new().await;
    world.ticketing.fail_reports(&vec![Unavailable; 1_000]);
    let service = world.start().await;
    let sent = service.api.send_one(warning(1, 1)).await;
    service.api.until(sent.message_id, State::Delivered).await;
    service.stop().await;
    assert_eq!(world.count(WAITING).await, 3);

    let other = crate::support::ticketing::ScriptedTicketing::start().await;
    let mut world = world;
    world.set("ticketing.endpoint", &format!("http://{}", other.address));
    let service = world.start().await;
    let key = warning(1, 1).idempotency_key;
    other.until_reported(&key, State::Accepted).await;
    other.until_reported(&key, State::Delivered).await;
    until_none_waits(&world).await;
    service.stop().await;
}

#[tokio::test]
async fn a_report_that_ticketing_refuses_keeps_no_other_back() {
    let world = World::new().await.with("reporter.first_backoff_ms", "10");
    world
        .ticketing
        .fail_reports(&[RefusesKey("/666/cycle/1/warning")]);
    let service = world.start().await;
    let tickets = [1, 2, 666, 3, 4];
    service
        .api
        .send(tickets.map(|ticket| warning(ticket, 1)).to_vec())
        .await;
    for ticket in [1, 2, 3, 4] {
        let key = warning(ticket, 1).idempotency_key;
        world.ticketing.until_reported(&key, State::Delivered).await;
    }
    until_none_waits(&world).await;
    assert_eq!(
        world.ticketing.reports_of(&warning(666, 1).idempotency_key),
        []
    );
    service.stop().await;
}

#[tokio::test]
async fn each_state_is_reported_with_its_own_time() {
    let world = World::new()
        .await
        .with("reporter.first_backoff_ms", "10")
        .with("sender.warning_hold_ms", "50");
    world.ticketing.fail_reports(&[AnswerLost, Unavailable]);
    let service = world.start().await;
    let endpoint = Endpoint::start().await;
    let (account, _) = service.api.create_account(&endpoint.url("/gone")).await;
    endpoint.answer("/gone", &[(410, None)]);
    for (message, last) in [
        (warning(1, 1), State::Delivered),
        (by_webhook(warning(2, 1), account), State::Failed),
    ] {
        let sent = service.api.send_one(message.clone()).await;
        let ended = service.api.until(sent.message_id, last).await;
        let key = &message.idempotency_key;
        let settled = world.ticketing.until_reported(key, last).await;
        assert_eq!(settled.state_time, ended.state_time);
        // It was held before it was sent, and the time of its end is no time of its acceptance.
        assert_ne!(ended.state_time, sent.accept_time);
        until_none_waits(&world).await;
        let mut accepted = world.ticketing.reports_of(key);
        accepted.retain(|report| report.state() == State::Accepted);
        assert!(!accepted.is_empty(), "the acceptance is reported too");
        for report in accepted {
            assert_eq!(report.state_time, sent.accept_time);
        }
    }
    service.stop().await;
}
