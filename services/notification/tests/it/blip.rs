//! The Blip channel against a stand-in for its HTTP API.

use plazo_proto::notification::v1::{
    ActiveMessageState as State, ListChannelAccountsRequest, Resolution,
    ResolveActiveMessageRequest, SetChannelAccountEnabledRequest,
};

use crate::support::blip::{Blip, CREDENTIAL, Fault, KEY, by_blip, create_blip};
use crate::support::{TENANT, World, administrator, eventually, warning};

async fn quick_world() -> (tempfile::TempDir, Blip, World) {
    let folder = tempfile::tempdir().expect("a folder");
    let provider = Blip::start().await;
    let world = provider
        .world(folder.path())
        .await
        .with_provider_delays_ms("20");
    (folder, provider, world)
}

#[tokio::test]
async fn text_and_image_go_out_whenever_the_customer_wrote() {
    let (_folder, provider, world) = quick_world().await;
    let service = world.start().await;
    let account = create_blip(service.api).await;
    let message = by_blip(warning(1, 1), account);
    assert_eq!(message.last_customer_message_time, None, "no window rule");
    let key = message.idempotency_key.clone();
    let id = service.api.send_one(message).await.message_id;
    let sent = service.api.until(id, State::Sent).await;
    assert_eq!(sent.provider_message_id, format!("msg_{id}"));
    assert_eq!(sent.attempts[0].outcome, "OK");
    let request = provider.taken(id).expect("it was taken");
    assert_eq!(request["id"], format!("msg_{id}"));
    assert_eq!(request["to"], "5511987654321@wa.gw.msging.net");
    assert_eq!(request["type"], "text/plain");
    assert_eq!(request["content"], "Are you still there?");
    world.ticketing.until_reported(&key, State::Sent).await;

    let mut message = by_blip(warning(2, 1), account);
    message.image_url = "https://example.com/clock.png".to_owned();
    let id = service.api.send_one(message).await.message_id;
    service.api.until(id, State::Sent).await;
    let content = &provider.taken(id).expect("it was taken")["content"];
    assert_eq!(content["uri"], "https://example.com/clock.png");
    assert_eq!(content["type"], "image/png");
    assert_eq!(content["text"], "Are you still there?");

    let mut message = by_blip(warning(3, 1), account);
    message.recipient.get_or_insert_default().address = "+5511987654321".to_owned();
    let id = service.api.send_one(message).await.message_id;
    let failed = service.api.until(id, State::Failed).await;
    assert_eq!(failed.failure_reason, "RECIPIENT_INVALID");
    assert_eq!((provider.copies(), provider.requests()), ((0, 0), 2));
    service.stop().await;
}

#[tokio::test]
async fn what_blip_did_not_take_is_tried_again_under_another_id_and_what_it_refuses_is_not() {
    let (_folder, provider, world) = quick_world().await;
    let service = world.start().await;
    let account = create_blip(service.api).await;
    provider.meet(&[Fault::Status(429, None), Fault::Status(503, None)]);
    let id = service
        .api
        .send_one(by_blip(warning(1, 1), account))
        .await
        .message_id;
    let sent = service.api.until(id, State::Sent).await;
    let outcomes: Vec<_> = sent
        .attempts
        .iter()
        .map(|one| one.outcome.as_str())
        .collect();
    assert_eq!(outcomes, ["HTTP_429", "HTTP_503", "OK"]);
    assert_eq!(sent.provider_message_id, format!("msg_{id}_3"));

    provider.meet(&[Fault::Status(400, None)]);
    let id = service
        .api
        .send_one(by_blip(warning(2, 1), account))
        .await
        .message_id;
    let failed = service.api.until(id, State::Failed).await;
    assert_eq!(failed.failure_reason, "HTTP_400");
    assert_eq!(failed.attempts.len(), 1);

    provider.meet(&[Fault::Status(429, Some(3_600))]);
    let id = service
        .api
        .send_one(by_blip(warning(3, 1), account))
        .await
        .message_id;
    let next = eventually("the next attempt is set", || async {
        let message = service.api.get(id).await;
        message
            .next_attempt_time
            .filter(|_| message.attempts.len() == 1)
    })
    .await;
    let wait = next.seconds - jiff::Timestamp::now().as_second();
    assert!((3_500..=3_600).contains(&wait), "{wait} s");
    assert_eq!(provider.copies(), (0, 0));
    service.stop().await;
}

#[tokio::test]
async fn where_nothing_listens_nothing_went_out() {
    let (_folder, _provider, world) = quick_world().await;
    // A port that was free a moment ago.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    drop(listener);
    let world = world
        .with("blip.base_url", &format!("http://{address}/{{contract}}"))
        .with_provider_delays_ms("3600000");
    let service = world.start().await;
    let account = create_blip(service.api).await;
    let id = service
        .api
        .send_one(by_blip(warning(1, 1), account))
        .await
        .message_id;
    eventually("it was tried", || async {
        let message = service.api.get(id).await;
        let tried = message
            .attempts
            .first()
            .is_some_and(|one| one.outcome == "CONNECTION_FAILED");
        (tried && message.state() == State::Accepted).then_some(())
    })
    .await;
    service.stop().await;
}

#[tokio::test]
async fn a_lost_answer_parks_the_message_and_nothing_is_sent_again() {
    let (_folder, provider, world) = quick_world().await;
    let world = world.with("blip.request_timeout_ms", "600");
    let service = world.start().await;
    let account = create_blip(service.api).await;
    let mut parked = Vec::new();
    for (ticket, fault, reason, is_taken) in [
        (1, Fault::CutAfter, "ANSWER_LOST", true),
        (2, Fault::CutBefore, "ANSWER_LOST", false),
        (3, Fault::CutInAnswer, "ANSWER_LOST", true),
        (4, Fault::Hold, "TIMEOUT", true),
        (5, Fault::Status(502, None), "HTTP_502", false),
    ] {
        provider.meet(std::slice::from_ref(&fault));
        let id = service
            .api
            .send_one(by_blip(warning(ticket, 1), account))
            .await
            .message_id;
        let uncertain = service.api.until(id, State::Uncertain).await;
        assert_eq!(uncertain.failure_reason, reason, "{fault:?}");
        assert_eq!(provider.taken(id).is_some(), is_taken, "{fault:?}");
        parked.push(id);
        // So that the breaker does not get in the way.
        let after = by_blip(warning(100 + ticket, 1), account);
        let after = service.api.send_one(after).await.message_id;
        service.api.until(after, State::Sent).await;
    }
    assert_eq!((provider.copies(), provider.requests()), ((0, 0), 10));

    // Somebody knows that the second one was not taken.
    let request = ResolveActiveMessageRequest {
        message_id: parked[1],
        resolution: Resolution::SendAgain.into(),
        request_id: String::new(),
    };
    let mut messages = service.api.messages(administrator());
    let resolved = messages.resolve_active_message(request).await;
    resolved.expect("it was uncertain");
    let sent = service.api.until(parked[1], State::Sent).await;
    assert_eq!(sent.provider_message_id, format!("msg_{}_2", parked[1]));
    assert_eq!((provider.copies(), provider.requests()), ((0, 0), 11));
    service.stop().await;
}

#[tokio::test]
async fn a_refused_key_stops_the_account_until_somebody_acts() {
    let (folder, provider, world) = quick_world().await;
    let service = world.start().await;
    let account = create_blip(service.api).await;
    let credential = folder.path().join(TENANT.to_string()).join(CREDENTIAL);
    std::fs::write(&credential, "an old key").expect("the folder is ours");
    let id = service
        .api
        .send_one(by_blip(warning(1, 1), account))
        .await
        .message_id;
    let mut accounts = service.api.accounts(administrator());
    eventually("the account stops", || {
        let mut accounts = accounts.clone();
        async move {
            let list = accounts
                .list_channel_accounts(ListChannelAccountsRequest::default())
                .await;
            let account = list.expect("a list").into_inner().accounts.remove(0);
            (account.stopped_reason == "HTTP_401").then_some(())
        }
    })
    .await;
    assert_eq!(service.api.get(id).await.state(), State::Accepted);
    // One value alone is the key.
    std::fs::write(&credential, KEY).expect("the folder is ours");
    let on = SetChannelAccountEnabledRequest {
        channel_account_id: account,
        enabled: true,
    };
    let set = accounts.set_channel_account_enabled(on).await;
    set.expect("the account is there");
    service.api.until(id, State::Sent).await;
    assert_eq!((provider.copies(), provider.requests()), ((0, 0), 2));
    service.stop().await;
}
