//! The process dies between two steps, as by kill -9.

use plazo_proto::notification::v1::{
    ActiveMessageState as State, SendActiveMessagesRequest, SendOutcome,
};
use plazo_service::Actor;

use crate::support::endpoint::{Endpoint, is_signed};
use crate::support::process::start_process;
use crate::support::{World, by_webhook, warning};

#[tokio::test]
async fn dying_between_send_and_commit_sends_the_message_again_under_the_same_id() {
    let mut world = World::new()
        .await
        .with("webhook.request_timeout_ms", "1000")
        .with("sender.lease_margin_ms", "500");
    let endpoint = Endpoint::start().await;
    let service = world.start().await;
    let (account, secret) = service.api.create_account(&endpoint.url("/hook")).await;
    service.stop().await;

    world.set("fault.abort_after_send", "1");
    let dying = start_process(&world).await;
    let sent = dying.api.send_one(by_webhook(warning(1, 1), account)).await;
    endpoint.until_called("/hook", 1).await;
    dying.until_dead().await;

    world.set("fault.abort_after_send", "0");
    let service = world.start().await;
    let delivered = service.api.until(sent.message_id, State::Delivered).await;
    assert_eq!(delivered.accept_time, sent.accept_time);
    let calls = endpoint.calls("/hook");
    assert_eq!(calls.len(), 2);
    assert!(
        calls
            .iter()
            .all(|call| call.id == calls[0].id && is_signed(call, &secret))
    );
    service.stop().await;
}

#[tokio::test]
async fn dying_around_the_commit_of_an_acceptance_loses_nothing_and_doubles_nothing() {
    for (place, outcome) in [
        ("before", SendOutcome::Accepted),
        ("after", SendOutcome::Duplicate),
    ] {
        // The sender may claim the message before the process is gone: the next one waits for the end of that lease.
        let mut world = World::new()
            .await
            .with("webhook.request_timeout_ms", "1000")
            .with("sender.lease_margin_ms", "500");
        world.set(&format!("fault.abort_{place}_accept"), "1");
        let dying = start_process(&world).await;
        let request = SendActiveMessagesRequest {
            messages: vec![warning(1, 1)],
        };
        let mut client = dying.api.messages(Actor::service("timer"));
        client
            .send_active_messages(request)
            .await
            .expect_err("it dies before it answers");
        dying.until_dead().await;

        world.set(&format!("fault.abort_{place}_accept"), "0");
        let service = world.start().await;
        let sent = service.api.send_one(warning(1, 1)).await;
        assert_eq!(sent.outcome(), outcome, "{place}");
        service.api.until(sent.message_id, State::Delivered).await;
        world
            .ticketing
            .until_reported(&warning(1, 1).idempotency_key, State::Accepted)
            .await;
        assert_eq!(world.count("SELECT count(*) FROM active_messages").await, 1);
        service.stop().await;
    }
}
