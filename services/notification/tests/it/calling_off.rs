//! A queued message that a later event has made pointless is called off, whatever comes first.

use plazo_proto::common::v1::AuthorKind;
use plazo_proto::notification::v1::{
    ActiveMessage, ActiveMessageKind, ActiveMessageState as State, SendOutcome,
};
use plazo_proto::ticketing::v1::ticket_event::Payload;
use plazo_proto::ticketing::v1::{
    HoldEnded, MessageKind, PolicyApplied, TagsChanged, TicketHeld, TicketTransferred,
    TicketUnlinked,
};

use crate::support::endpoint::Endpoint;
use crate::support::ticketing::{answered, closed, event, reopened, requested, wrote};
use crate::support::{World, by_webhook, eventually, warning};

/// Warnings wait for the feed for longer than any test runs.
async fn holding_world() -> World {
    World::new().await.with("sender.warning_hold_ms", "600000")
}

#[tokio::test]
async fn the_call_comes_first_and_the_answer_before_it_is_sent() {
    let world = holding_world().await;
    let service = world.start().await;
    let message = warning(1, 1);
    let sent = service.api.send_one(message.clone()).await;

    world
        .ticketing
        .publish(vec![requested(1, &message), answered(1, 2)]);
    let cancelled = service.api.until(sent.message_id, State::Cancelled).await;
    assert_eq!(cancelled.failure_reason, "CUSTOMER_ANSWERED");
    assert_eq!(cancelled.attempts, []);
    assert_eq!(cancelled.next_attempt_time, None);
    let report = world
        .ticketing
        .until_reported(&message.idempotency_key, State::Cancelled)
        .await;
    assert_eq!(report.failure_reason, "CUSTOMER_ANSWERED");
    service.stop().await;
}

#[tokio::test]
async fn the_feed_comes_first_and_the_call_finds_it_cancelled() {
    let world = World::new().await;
    let service = world.start().await;
    let message = warning(1, 1);
    world
        .ticketing
        .publish(vec![requested(1, &message), closed(1, 2)]);
    world
        .ticketing
        .until_reported(&message.idempotency_key, State::Cancelled)
        .await;

    let sent = service.api.send_one(message.clone()).await;
    assert_eq!(sent.outcome(), SendOutcome::Duplicate);
    let cancelled = service.api.get(sent.message_id).await;
    assert_eq!(cancelled.state(), State::Cancelled);
    assert_eq!(cancelled.failure_reason, "TICKET_CLOSED");
    assert_eq!(cancelled.attempts, []);
    service.stop().await;
}

#[tokio::test]
async fn an_older_answer_does_not_touch_the_warning_of_a_later_cycle() {
    let world = holding_world().await;
    let service = world.start().await;
    // The direct call is ahead of the feed, which still has the first cycle's answer to show.
    let later = warning(1, 2);
    let sent = service.api.send_one(later.clone()).await;
    world
        .ticketing
        .publish(vec![requested(1, &warning(1, 1)), answered(1, 2)]);
    world
        .ticketing
        .until_reported(&warning(1, 1).idempotency_key, State::Cancelled)
        .await;
    assert_eq!(
        service.api.get(sent.message_id).await.state(),
        State::Accepted
    );

    // The feed comes to its request: it need not be held any more.
    world.ticketing.publish(vec![requested(3, &later)]);
    service.api.until(sent.message_id, State::Delivered).await;
    service.stop().await;
}

#[tokio::test]
async fn a_warning_is_held_for_a_limited_time_only() {
    let world = World::new().await.with("sender.warning_hold_ms", "300");
    let service = world.start().await;
    let sent = service.api.send_one(warning(1, 1)).await;
    let delivered = service.api.until(sent.message_id, State::Delivered).await;
    let at = |time: Option<prost_types::Timestamp>| {
        let time = time.expect("it is set");
        i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanos)
    };
    let waited = at(delivered.state_time) - at(delivered.accept_time);
    assert!(waited >= 300_000_000, "{waited} ns");
    service.stop().await;
}

#[tokio::test]
async fn a_warning_that_waits_for_another_attempt_is_called_off() {
    let world = World::new().await.with_retry_delays_ms("600000");
    let service = world.start().await;
    let endpoint = Endpoint::start().await;
    let (account, _) = service.api.create_account(&endpoint.url("/fails")).await;
    endpoint.answer("/fails", &[(500, None)]);
    let message = by_webhook(warning(1, 1), account);
    let sent = service.api.send_one(message.clone()).await;
    eventually("the first attempt failed", || async {
        (service.api.get(sent.message_id).await.attempts.len() == 1).then_some(())
    })
    .await;
    world
        .ticketing
        .publish(vec![requested(1, &message), answered(1, 2)]);
    service.api.until(sent.message_id, State::Cancelled).await;
    assert_eq!(endpoint.calls("/fails").len(), 1);
    service.stop().await;
}

#[tokio::test]
async fn a_warning_that_is_being_sent_is_not_tried_again() {
    let world = World::new().await;
    let service = world.start().await;
    let endpoint = Endpoint::start().await;
    let (account, _) = service.api.create_account(&endpoint.url("/held")).await;
    endpoint.answer("/held", &[(500, None), (200, None)]);
    let (first, second) = (
        by_webhook(warning(1, 1), account),
        by_webhook(warning(2, 1), account),
    );

    let fails = service.api.send_one(first.clone()).await.message_id;
    endpoint.until_called("/held", 1).await;
    let succeeds = service.api.send_one(second.clone()).await.message_id;
    endpoint.until_called("/held", 2).await;
    world.ticketing.publish(vec![
        requested(1, &first),
        answered(1, 2),
        requested(1, &second),
        answered(2, 2),
        // Shows that the batch is applied.
        requested(1, &warning(3, 1)),
    ]);
    world
        .ticketing
        .until_reported(&warning(3, 1).idempotency_key, State::Delivered)
        .await;
    endpoint.release.add_permits(2);

    let cancelled = service.api.until(fails, State::Cancelled).await;
    assert_eq!(cancelled.failure_reason, "CUSTOMER_ANSWERED");
    assert_eq!(cancelled.attempts.len(), 1);
    // What went out, went out.
    service.api.until(succeeds, State::Delivered).await;
    assert_eq!(endpoint.calls("/held").len(), 2);
    service.stop().await;
}

#[tokio::test]
async fn a_policy_that_ends_a_cycle_calls_its_warning_off_and_no_other() {
    let world = holding_world().await.with_retry_delays_ms("600000");
    let service = world.start().await;
    let endpoint = Endpoint::start().await;
    let (account, _) = service.api.create_account(&endpoint.url("/fails")).await;
    endpoint.answer("/fails", &[(500, None)]);
    let applied = |ticket_id, ticket_seq, ended_cycles: &[i32]| {
        let applied = PolicyApplied {
            ended_cycles: ended_cycles.to_vec(),
            ..PolicyApplied::default()
        };
        event(ticket_id, ticket_seq, Payload::PolicyApplied(applied))
    };
    let ended = warning(1, 3);
    let sent = service.api.send_one(ended.clone()).await;
    // In the other ticket the agent's side ends, which has no warning.
    let runs_on = by_webhook(warning(2, 3), account);
    world.ticketing.publish(vec![
        requested(1, &ended),
        applied(1, 2, &[3]),
        requested(1, &runs_on),
        applied(2, 2, &[4]),
        requested(1, &warning(3, 1)),
    ]);
    let cancelled = service.api.until(sent.message_id, State::Cancelled).await;
    assert_eq!(cancelled.failure_reason, "CYCLE_ENDED");
    assert_eq!(cancelled.attempts, []);
    let report = world
        .ticketing
        .until_reported(&ended.idempotency_key, State::Cancelled)
        .await;
    assert_eq!(report.failure_reason, "CYCLE_ENDED");
    world
        .ticketing
        .until_reported(&warning(3, 1).idempotency_key, State::Delivered)
        .await;
    let sent = service.api.send_one(runs_on).await;
    let present = service.api.get(sent.message_id).await;
    assert_eq!(present.state(), State::Accepted);
    service.stop().await;
}

fn closing_text(ticket_id: i64) -> ActiveMessage {
    ActiveMessage {
        kind: ActiveMessageKind::ClosingText.into(),
        idempotency_key: format!("ticket/{ticket_id}/cycle/1/closing"),
        ..warning(ticket_id, 1)
    }
}

#[tokio::test]
async fn a_hold_a_transfer_and_an_unlinking_call_a_warning_off() {
    let world = holding_world().await;
    let service = world.start().await;
    let cases = [
        (1, Payload::Held(TicketHeld::default()), "TICKET_HELD"),
        (
            2,
            Payload::Transferred(TicketTransferred::default()),
            "TICKET_TRANSFERRED",
        ),
        (3, Payload::Unlinked(TicketUnlinked {}), "TICKET_UNLINKED"),
    ];
    for (ticket_id, payload, reason) in cases {
        let message = warning(ticket_id, 1);
        let sent = service.api.send_one(message.clone()).await;
        world
            .ticketing
            .publish(vec![requested(1, &message), event(ticket_id, 2, payload)]);
        let cancelled = service.api.until(sent.message_id, State::Cancelled).await;
        assert_eq!(cancelled.failure_reason, reason);
        assert_eq!(cancelled.attempts, []);
    }
    service.stop().await;
}

#[tokio::test]
async fn a_closing_text_is_called_off_when_the_ticket_is_open_again() {
    let world = World::new().await.with_retry_delays_ms("600000");
    let service = world.start().await;
    let endpoint = Endpoint::start().await;
    let (account, _) = service.api.create_account(&endpoint.url("/fails")).await;
    endpoint.answer("/fails", &vec![(500, None); 4]);
    for (ticket_id, supersedes_close, reason) in
        [(1, true, "CLOSE_SUPERSEDED"), (2, false, "TICKET_REOPENED")]
    {
        let message = by_webhook(closing_text(ticket_id), account);
        let sent = service.api.send_one(message.clone()).await;
        eventually("the first attempt failed", || async {
            (service.api.get(sent.message_id).await.attempts.len() == 1).then_some(())
        })
        .await;
        // A close that follows has a text of its own, which the reopening before it does not touch.
        let next = by_webhook(
            ActiveMessage {
                idempotency_key: format!("ticket/{ticket_id}/cycle/2/closing"),
                ..closing_text(ticket_id)
            },
            account,
        );
        world.ticketing.publish(vec![
            closed(ticket_id, 1),
            requested(2, &message),
            reopened(ticket_id, 3, supersedes_close),
            closed(ticket_id, 4),
            requested(5, &next),
        ]);
        let cancelled = service.api.until(sent.message_id, State::Cancelled).await;
        assert_eq!(cancelled.failure_reason, reason);
        let report = world
            .ticketing
            .until_reported(&message.idempotency_key, State::Cancelled)
            .await;
        assert_eq!(report.failure_reason, reason);
        let next = service.api.send_one(next).await;
        assert_eq!(next.outcome(), SendOutcome::Duplicate);
        assert_eq!(
            service.api.get(next.message_id).await.state(),
            State::Accepted
        );
    }
    service.stop().await;
}

#[tokio::test]
async fn nothing_else_calls_a_message_off() {
    let world = holding_world().await.with_retry_delays_ms("600000");
    let service = world.start().await;
    let endpoint = Endpoint::start().await;
    let (account, _) = service.api.create_account(&endpoint.url("/fails")).await;
    endpoint.answer("/fails", &vec![(500, None); 2]);
    let waiting = by_webhook(warning(1, 1), account);
    let closing = by_webhook(closing_text(2), account);
    world.ticketing.publish(vec![
        requested(1, &waiting),
        wrote(1, 2, AuthorKind::Agent, MessageKind::Chat),
        wrote(1, 3, AuthorKind::Bot, MessageKind::Chat),
        wrote(1, 4, AuthorKind::Customer, MessageKind::Note),
        wrote(1, 5, AuthorKind::Customer, MessageKind::Comment),
        event(1, 6, Payload::TagsChanged(TagsChanged::default())),
        event(1, 7, Payload::HoldEnded(HoldEnded::default())),
        event(1, 8, Payload::PolicyApplied(PolicyApplied::default())),
        reopened(1, 9, false),
        requested(1, &closing),
        answered(2, 2),
        closed(2, 3),
        event(2, 4, Payload::Held(TicketHeld::default())),
        event(2, 5, Payload::Transferred(TicketTransferred::default())),
        event(2, 6, Payload::Unlinked(TicketUnlinked {})),
        requested(1, &warning(3, 1)),
    ]);
    world
        .ticketing
        .until_reported(&warning(3, 1).idempotency_key, State::Delivered)
        .await;
    for message in [waiting, closing] {
        let sent = service.api.send_one(message).await;
        assert_eq!(
            service.api.get(sent.message_id).await.state(),
            State::Accepted
        );
    }
    service.stop().await;
}
