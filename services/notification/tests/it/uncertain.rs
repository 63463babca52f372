//! Messages of which nobody knows whether the provider took them.

use std::time::Duration;

use plazo_proto::notification::v1::{
    AcceptedMessage, ActiveMessageState as State, CancelActiveMessageRequest, Resolution,
    ResolveActiveMessageRequest,
};
use plazo_proto::ticketing::v1::MessageStateReport;
use plazo_service::status;
use tonic::{Code, Status};

use crate::support::process::start_process;
use crate::support::ticketing::{answered, requested};
use crate::support::whatsapp::{Fault, WhatsApp, by_whatsapp, create_whatsapp};
use crate::support::{Api, Service, World, administrator, eventually, warning};

const ANA: &str = "5511987654321";

struct Desk {
    _folder: tempfile::TempDir,
    provider: WhatsApp,
    world: World,
    account: i64,
}

/// A number, and leases that end soon.
async fn desk() -> Desk {
    let folder = tempfile::tempdir().expect("a folder");
    let provider = WhatsApp::start().await;
    let world = provider
        .world(folder.path())
        .await
        .with("whatsapp.recipient_interval_ms", "1")
        .with("webhook.request_timeout_ms", "600")
        .with("whatsapp.request_timeout_ms", "600")
        .with("sender.lease_margin_ms", "1000");
    provider.open_window(ANA);
    let service = world.start().await;
    let account = create_whatsapp(service.api, vec![]).await;
    service.stop().await;
    Desk {
        _folder: folder,
        provider,
        world,
        account,
    }
}

async fn resolve(
    api: Api,
    message_id: i64,
    resolution: Resolution,
) -> Result<AcceptedMessage, Status> {
    let request = ResolveActiveMessageRequest {
        message_id,
        resolution: resolution.into(),
        request_id: String::new(),
    };
    let answer = api
        .messages(administrator())
        .resolve_active_message(request)
        .await?;
    Ok(answer.into_inner().message.expect("it is set"))
}

async fn cancel(api: Api, message_id: i64) -> Result<AcceptedMessage, Status> {
    let request = CancelActiveMessageRequest {
        message_id,
        request_id: String::new(),
    };
    let answer = api
        .messages(administrator())
        .cancel_active_message(request)
        .await?;
    Ok(answer.into_inner().message.expect("it is set"))
}

#[tokio::test]
async fn a_lost_answer_parks_the_message_and_nothing_is_sent_again() {
    let desk = desk().await;
    let service = desk.world.start().await;
    for (ticket, fault, reason, is_taken) in [
        (1, Fault::CutAfter, "ANSWER_LOST", true),
        (2, Fault::CutBefore, "ANSWER_LOST", false),
        (3, Fault::CutInAnswer, "ANSWER_LOST", true),
        (4, Fault::Hold, "TIMEOUT", true),
        (5, Fault::Status(502), "HTTP_502", false),
    ] {
        desk.provider.meet(std::slice::from_ref(&fault));
        let message = by_whatsapp(warning(ticket, 1), desk.account, ANA);
        let key = message.idempotency_key.clone();
        let id = service.api.send_one(message).await.message_id;
        let parked = service.api.until(id, State::Uncertain).await;
        assert_eq!(parked.failure_reason, reason, "{fault:?}");
        assert_eq!(parked.attempts[0].outcome, reason, "{fault:?}");
        assert_eq!(parked.next_attempt_time, None);
        assert_eq!(desk.provider.taken(id).is_some(), is_taken, "{fault:?}");
        let told: Vec<_> = desk
            .world
            .ticketing
            .reports_of(&key)
            .iter()
            .map(MessageStateReport::state)
            .collect();
        assert!(!told.contains(&State::Uncertain), "{told:?}");
        // So that the breaker does not get in the way.
        let after = by_whatsapp(warning(100 + ticket, 1), desk.account, ANA);
        let after = service.api.send_one(after).await.message_id;
        service.api.until(after, State::Sent).await;
    }
    assert_eq!(desk.provider.copies(), 0);
    assert_eq!(desk.provider.requests(), 10);
    service.stop().await;
}

/// An uncertain message that the provider did not take.
async fn parked(desk: &Desk, service: &Service, ticket: i64) -> (i64, String) {
    desk.provider.meet(&[Fault::CutBefore]);
    let message = by_whatsapp(warning(ticket, 1), desk.account, ANA);
    let key = message.idempotency_key.clone();
    let id = service.api.send_one(message).await.message_id;
    service.api.until(id, State::Uncertain).await;
    (id, key)
}

#[tokio::test]
async fn somebody_decides_what_became_of_it() {
    let desk = desk().await;
    let service = desk.world.start().await;
    let ticketing = &desk.world.ticketing;
    let (id, key) = parked(&desk, &service, 1).await;
    let sent = resolve(service.api, id, Resolution::Sent).await;
    assert_eq!(sent.expect("it was uncertain").state(), State::Sent);
    ticketing.until_reported(&key, State::Sent).await;
    let error = resolve(service.api, id, Resolution::SendAgain).await;
    let error = error.expect_err("it is sent");
    assert_eq!(error.code(), Code::FailedPrecondition);
    assert_eq!(
        status::reason_of(&error).as_deref(),
        Some("MESSAGE_NOT_UNCERTAIN")
    );

    let (id, key) = parked(&desk, &service, 2).await;
    let failed = resolve(service.api, id, Resolution::GiveUp).await;
    let failed = failed.expect("it was uncertain");
    assert_eq!(
        (failed.state(), failed.failure_reason.as_str()),
        (State::Failed, "GIVEN_UP")
    );
    ticketing.until_reported(&key, State::Failed).await;

    let (id, key) = parked(&desk, &service, 3).await;
    let error = cancel(service.api, id).await.expect_err("it does not wait");
    assert_eq!(
        status::reason_of(&error).as_deref(),
        Some("MESSAGE_NOT_WAITING")
    );
    let again = resolve(service.api, id, Resolution::SendAgain).await;
    assert_eq!(again.expect("it was uncertain").failure_reason, "");
    let sent = service.api.until(id, State::Sent).await;
    assert_eq!(sent.attempts.len(), 2);
    ticketing.until_reported(&key, State::Sent).await;
    assert_eq!(desk.provider.copies(), 0);
    service.stop().await;
}

#[tokio::test]
async fn one_that_its_customer_answered_meanwhile_is_not_sent_again() {
    let desk = desk().await;
    let service = desk.world.start().await;
    let (id, key) = parked(&desk, &service, 1).await;
    let message = by_whatsapp(warning(1, 1), desk.account, ANA);
    desk.world
        .ticketing
        .publish(vec![requested(1, &message), answered(1, 2)]);
    eventually("the answer is applied", || async {
        let seen = "SELECT count(*) FROM active_messages WHERE cancel_reason IS NOT NULL";
        (desk.world.count(seen).await == 1).then_some(())
    })
    .await;
    assert_eq!(service.api.get(id).await.state(), State::Uncertain);
    let resolved = resolve(service.api, id, Resolution::SendAgain).await;
    let resolved = resolved.expect("it was uncertain");
    assert_eq!(
        (resolved.state(), resolved.failure_reason.as_str()),
        (State::Cancelled, "CUSTOMER_ANSWERED")
    );
    desk.world
        .ticketing
        .until_reported(&key, State::Cancelled)
        .await;
    assert_eq!(desk.provider.taken_count(), 0);
    service.stop().await;
}

#[tokio::test]
async fn a_waiting_message_is_called_off() {
    let desk = desk().await;
    let world = desk.world.with_provider_delays_ms("3600000");
    let service = world.start().await;
    desk.provider.meet(&[Fault::Error(500, 131_000, None)]);
    let message = by_whatsapp(warning(1, 1), desk.account, ANA);
    let key = message.idempotency_key.clone();
    let id = service.api.send_one(message).await.message_id;
    eventually("it waits", || async {
        let message = service.api.get(id).await;
        (message.attempts.len() == 1).then_some(())
    })
    .await;
    for _ in 0..2 {
        let cancelled = cancel(service.api, id).await.expect("it waits");
        assert_eq!(
            (cancelled.state(), cancelled.failure_reason.as_str()),
            (State::Cancelled, "CANCELLED_BY_CALL")
        );
    }
    world.ticketing.until_reported(&key, State::Cancelled).await;
    let error = cancel(service.api, id + 1)
        .await
        .expect_err("no such message");
    assert_eq!(error.code(), Code::NotFound);
    service.stop().await;
}

#[tokio::test]
async fn what_is_no_longer_valid_is_not_sent() {
    let desk = desk().await;
    let world = desk.world.with_provider_delays_ms("3600000");
    let service = world.start().await;
    let now = jiff::Timestamp::now();
    let until = |seconds| {
        Some(prost_types::Timestamp {
            seconds: now.as_second() + seconds,
            nanos: 0,
        })
    };
    // Past already, and passing while it waits for its next attempt.
    let mut past = by_whatsapp(warning(1, 1), desk.account, ANA);
    past.valid_until_time = until(-1);
    let id = service.api.send_one(past).await.message_id;
    let failed = service.api.until(id, State::Failed).await;
    assert_eq!(failed.failure_reason, "EXPIRED");
    assert_eq!(desk.provider.requests(), 0);

    desk.provider.meet(&[Fault::Error(500, 131_000, None)]);
    let mut passing = by_whatsapp(warning(2, 1), desk.account, ANA);
    passing.valid_until_time = until(3);
    let key = passing.idempotency_key.clone();
    let id = service.api.send_one(passing).await.message_id;
    let failed = service.api.until(id, State::Failed).await;
    assert_eq!(failed.failure_reason, "EXPIRED");
    assert_eq!(failed.message.expect("set").valid_until_time, until(3));
    assert_eq!(desk.provider.requests(), 1);
    world.ticketing.until_reported(&key, State::Failed).await;

    let mut valid = by_whatsapp(warning(3, 1), desk.account, ANA);
    valid.valid_until_time = until(3_600);
    let id = service.api.send_one(valid).await.message_id;
    service.api.until(id, State::Sent).await;
    service.stop().await;
}

#[tokio::test]
async fn whoever_dies_each_message_is_at_the_provider_once_or_uncertain() {
    for (place, state, is_taken) in [
        ("after_claim", State::Uncertain, false),
        ("after_send", State::Uncertain, true),
        ("after_settle", State::Sent, true),
    ] {
        let mut desk = desk().await;
        desk.world.set(&format!("fault.abort_{place}"), "1");
        let dying = start_process(&desk.world).await;
        let message = by_whatsapp(warning(1, 1), desk.account, ANA);
        let id = dying.api.send_one(message).await.message_id;
        dying.until_dead().await;

        desk.world.set(&format!("fault.abort_{place}"), "0");
        let service = desk.world.start().await;
        let message = service.api.until(id, state).await;
        assert_eq!(message.attempts.len(), 1, "{place}");
        // Those that come after it are sent, and it is not sent again along with them.
        let next = by_whatsapp(warning(2, 1), desk.account, ANA);
        let next = service.api.send_one(next).await.message_id;
        service.api.until(next, State::Sent).await;
        assert_eq!(service.api.get(id).await.state(), state, "{place}");
        assert_eq!(desk.provider.taken(id).is_some(), is_taken, "{place}");
        assert_eq!(desk.provider.copies(), 0, "{place}");
        service.stop().await;
    }
}

#[tokio::test]
async fn an_answer_that_comes_after_the_lease_still_counts() {
    let desk = desk().await;
    let world = desk.world.with("whatsapp.request_timeout_ms", "15000");
    let service = world.start().await;
    desk.provider.meet(&[Fault::Hold]);
    let message = by_whatsapp(warning(1, 1), desk.account, ANA);
    let key = message.idempotency_key.clone();
    let id = service.api.send_one(message).await.message_id;
    desk.provider.until_taken(id).await;
    let ended = "WITH ended AS (
             UPDATE active_messages SET leased_until = now() - interval '1 s' WHERE state = 1 RETURNING 1
         ) SELECT count(*) FROM ended";
    assert_eq!(world.count(ended).await, 1);
    service.api.until(id, State::Uncertain).await;
    desk.provider.release.add_permits(1);
    let sent = service.api.until(id, State::Sent).await;
    assert_eq!(sent.provider_message_id, format!("wamid.msg_{id}"));
    assert_eq!((sent.failure_reason.as_str(), sent.attempts.len()), ("", 1));
    assert_eq!(sent.attempts[0].outcome, "OK");
    world.ticketing.until_reported(&key, State::Sent).await;
    assert_eq!(desk.provider.copies(), 0);
    service.stop().await;
}

#[tokio::test]
async fn killed_while_the_provider_answers_the_message_is_parked() {
    let desk = desk().await;
    let dying = start_process(&desk.world).await;
    desk.provider.meet(&[Fault::Hold]);
    let message = by_whatsapp(warning(1, 1), desk.account, ANA);
    let id = dying.api.send_one(message).await.message_id;
    desk.provider.until_taken(id).await;
    dying.kill().await;

    let service = desk.world.start().await;
    let parked = service.api.until(id, State::Uncertain).await;
    assert_eq!(parked.failure_reason, "SENDER_LOST");
    assert_eq!(parked.attempts[0].outcome, "SENDER_LOST");
    let gauge = async || {
        let metrics = service.metrics().await;
        metrics
            .contains("plazo_notification_uncertain_messages 1")
            .then_some(())
    };
    eventually("it is counted", gauge).await;
    assert_eq!(
        (desk.provider.copies(), desk.provider.taken_count()),
        (0, 1)
    );
    tokio::time::timeout(Duration::from_secs(10), service.stop())
        .await
        .expect("nothing hangs");
}
