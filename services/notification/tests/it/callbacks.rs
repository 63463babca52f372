//! Callbacks of providers over real sockets: who is believed, and what statuses do.

mod hostile;
mod inbound;

use plazo_proto::common::v1::Channel;
use plazo_proto::notification::v1::ActiveMessageState as State;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::callers::{
    APP_SECRET, CALLBACK_TOKEN, Standing, VERIFY_TOKEN, call, create, said, status, url,
    whatsapp_url, world,
};
use crate::support::{TENANT, eventually};

#[tokio::test]
async fn the_challenge_is_answered_to_who_knows_the_token() {
    let (world, _folder) = world().await;
    let service = world.start().await;
    let account = create(&service, Channel::Whatsapp, "desk").await;
    let unknown = create(&service, Channel::Whatsapp, "nobodys").await;
    let blip = create(&service, Channel::Blip, "desk").await;
    let ask = async |account: i64, mode: &str, token: &str, challenge: &str| {
        let url = url::Url::parse_with_params(
            &whatsapp_url(&service, account),
            [
                ("hub.mode", mode),
                ("hub.verify_token", token),
                ("hub.challenge", challenge),
            ],
        );
        let answer = reqwest::get(url.expect("a URL")).await.expect("an answer");
        let code = answer.status();
        (code, answer.text().await.expect("text"))
    };
    let right = ask(account, "subscribe", VERIFY_TOKEN, "1158201444").await;
    assert_eq!(right, (StatusCode::OK, "1158201444".to_owned()));
    for (account, mode, token, challenge) in [
        (account, "subscribe", "wrong", "1"),
        (account, "subscribe", "", "1"),
        (account, "unsubscribe", VERIFY_TOKEN, "1"),
        (account, "subscribe", VERIFY_TOKEN, "<script>"),
        (account, "subscribe", VERIFY_TOKEN, ""),
        (unknown, "subscribe", VERIFY_TOKEN, "1"),
        (blip, "subscribe", VERIFY_TOKEN, "1"),
        (account + 1_000, "subscribe", VERIFY_TOKEN, "1"),
    ] {
        let refused = ask(account, mode, token, challenge).await;
        assert_eq!(
            refused,
            (StatusCode::FORBIDDEN, String::new()),
            "{token} {challenge}"
        );
    }
    service.stop().await;
}

/// All orders of some things.
fn orders(items: &[&'static str]) -> Vec<Vec<&'static str>> {
    if items.is_empty() {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for place in 0..items.len() {
        let mut rest = items.to_vec();
        let first = rest.remove(place);
        all.extend(orders(&rest).into_iter().map(|mut order| {
            order.insert(0, first);
            order
        }));
    }
    all
}

#[tokio::test]
async fn statuses_move_forward_in_whatever_order_and_however_often_they_come() {
    let (world, _folder) = world().await;
    let service = world.start().await;
    let account = create(&service, Channel::Whatsapp, "desk").await;
    let mut ticket_id = 0;
    for (states, last) in [
        (&["sent", "delivered", "read"][..], State::Read),
        (&["sent", "delivered"], State::Delivered),
        (&["sent", "failed"], State::Failed),
        // The customer has it, whatever was said before.
        (&["sent", "failed", "delivered"], State::Delivered),
    ] {
        for order in orders(states) {
            ticket_id += 1;
            let message_id = world.plant(account, ticket_id, Standing::Sending).await;
            let provider_id = format!("wamid.{ticket_id}");
            // Twice each, and all of them again at the end, in one callback.
            let mut values: Vec<Value> = Vec::new();
            for state in &order {
                let value = status(&provider_id, state, message_id);
                let twice = [value.clone(), value.clone()];
                assert_eq!(call(&service, account, &twice).await, StatusCode::OK);
                values.push(value);
            }
            assert_eq!(call(&service, account, &values).await, StatusCode::OK);
            let message = service.api.get(message_id).await;
            assert_eq!(message.state(), last, "{order:?}");
            assert_eq!(message.provider_message_id, provider_id);
            let is_failed = last == State::Failed;
            assert_eq!(
                message.failure_reason,
                if is_failed { "WHATSAPP_131026" } else { "" }
            );

            let key = format!("ticket/{ticket_id}");
            world.ticketing.until_reported(&key, last).await;
            let reported: Vec<State> = world
                .ticketing
                .reports_of(&key)
                .iter()
                .map(plazo_proto::ticketing::v1::MessageStateReport::state)
                .collect();
            let mut once = reported.clone();
            once.dedup();
            assert_eq!(once, reported, "{order:?}");
            assert_eq!(reported.last(), Some(&last), "{order:?}: {reported:?}");
        }
    }
    service.stop().await;
}

#[tokio::test]
async fn a_status_finds_its_message_by_our_id_or_the_providers() {
    let (world, _folder) = world().await;
    let service = world.start().await;
    let account = create(&service, Channel::Whatsapp, "desk").await;
    let other = create(&service, Channel::Whatsapp, "desk").await;
    let cases = [
        // Resolved, before the provider's id was known and after.
        (Standing::Uncertain, "wamid.1", "sent", true, State::Sent),
        (
            Standing::Uncertain,
            "wamid.2",
            "failed",
            true,
            State::Failed,
        ),
        (
            Standing::Sending,
            "wamid.3",
            "delivered",
            true,
            State::Delivered,
        ),
        (
            Standing::Sent("wamid.4"),
            "wamid.4",
            "read",
            false,
            State::Read,
        ),
        // It went out although the answer said something else.
        (Standing::Waiting(1), "wamid.5", "sent", true, State::Sent),
        (
            Standing::Failed,
            "wamid.6",
            "delivered",
            true,
            State::Delivered,
        ),
        // Of an attempt before the message was put back into the queue.
        (
            Standing::Waiting(0),
            "wamid.7",
            "sent",
            true,
            State::Accepted,
        ),
        (
            Standing::Waiting(1),
            "wamid.8",
            "failed",
            true,
            State::Accepted,
        ),
        (
            Standing::Waiting(0),
            "wamid.9",
            "delivered",
            true,
            State::Delivered,
        ),
        // Of another attempt than the last one.
        (
            Standing::Sent("wamid.10"),
            "wamid.11",
            "failed",
            true,
            State::Sent,
        ),
        // Of nobody.
        (
            Standing::Uncertain,
            "wamid.12",
            "sent",
            false,
            State::Uncertain,
        ),
    ];
    for ((standing, provider_id, state, with_ours, expected), ticket_id) in cases.iter().zip(1..) {
        let message_id = world.plant(account, ticket_id, *standing).await;
        let ours = if *with_ours { message_id } else { 0 };
        // Another account may not say anything about it.
        let value = status(provider_id, state, ours);
        let before = service.api.get(message_id).await;
        assert_eq!(
            call(&service, other, std::slice::from_ref(&value)).await,
            StatusCode::OK
        );
        assert_eq!(service.api.get(message_id).await, before, "{standing:?}");
        assert_eq!(call(&service, account, &[value]).await, StatusCode::OK);
        let after = service.api.get(message_id).await;
        assert_eq!(after.state(), *expected, "{standing:?} {state}");
        assert_eq!(
            after.next_attempt_time.is_some(),
            after.state() == State::Accepted
        );
    }
    service.stop().await;
}

#[tokio::test]
async fn one_callback_may_tell_of_many_things() {
    let (world, _folder) = world().await;
    let service = world.start().await;
    let account = create(&service, Channel::Whatsapp, "desk").await;
    let first = world.plant(account, 1, Standing::Sent("wamid.1")).await;
    let second = world.plant(account, 2, Standing::Uncertain).await;
    let mut foreign = status("wamid.1", "failed", 0);
    foreign["metadata"] = json!({"phone_number_id": "999"});
    let values = [
        status("wamid.1", "read", 0),
        said("wamid.in.1", "5511987654321", "Oi"),
        json!({"event": "PARTNER_REMOVED"}),
        foreign,
        json!({"statuses": [7, {"status": "sent"}, null], "messages": "none"}),
        status("wamid.2", "sent", second),
        status("wamid.3", "sent", 0),
    ];
    assert_eq!(call(&service, account, &values).await, StatusCode::OK);
    assert_eq!(service.api.get(first).await.state(), State::Read);
    assert_eq!(service.api.get(second).await.state(), State::Sent);
    let taken = world.ticketing.inbound.until_taken(1).await;
    assert_eq!(taken[0].text, "Oi");
    let metrics = service.metrics().await;
    for line in [
        r#"plazo_notification_callbacks_total{channel="whatsapp",outcome="taken"} 1"#,
        r#"plazo_notification_callback_items_total{kind="status",outcome="taken"} 2"#,
        r#"plazo_notification_callback_items_total{kind="status",outcome="unmatched"} 1"#,
        r#"plazo_notification_callback_items_total{kind="message",outcome="taken"} 1"#,
        r#"plazo_notification_callback_items_total{kind="other",outcome="skipped"} 4"#,
    ] {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }
    service.stop().await;
}

#[tokio::test]
async fn a_status_that_condemns_the_number_stops_the_account() {
    let (world, _folder) = world().await;
    let service = world.start().await;
    let account = create(&service, Channel::Whatsapp, "desk").await;
    let other = create(&service, Channel::Whatsapp, "desk").await;
    let message_id = world.plant(account, 1, Standing::Sent("wamid.1")).await;
    let mut value = status("wamid.1", "failed", message_id);
    value["statuses"][0]["errors"][0]["code"] = json!(131_042);
    assert_eq!(call(&service, account, &[value]).await, StatusCode::OK);
    assert_eq!(
        service.api.get(message_id).await.failure_reason,
        "WHATSAPP_131042"
    );
    let stopped =
        "SELECT sum(channel_account_id)::bigint FROM channel_accounts WHERE stopped_at IS NOT NULL
         AND stopped_reason = 'WHATSAPP_131042'";
    assert_eq!(world.count(stopped).await, account);
    assert_ne!(account, other);
    service.stop().await;
}

#[tokio::test]
async fn what_was_seen_is_forgotten_after_its_days() {
    let (mut world, _folder) = world().await;
    world.set("purge.interval_s", "1");
    let service = world.start().await;
    let account = create(&service, Channel::Whatsapp, "desk").await;
    let values = [status("wamid.1", "sent", 0), status("wamid.2", "sent", 0)];
    assert_eq!(call(&service, account, &values).await, StatusCode::OK);
    assert_eq!(world.count("SELECT count(*) FROM seen_callbacks").await, 2);
    world
        .execute(
            "UPDATE seen_callbacks SET seen_at = seen_at - interval '169 hours' WHERE callback_key LIKE '%wamid.1';
             UPDATE seen_callbacks SET seen_at = seen_at - interval '167 hours' WHERE callback_key LIKE '%wamid.2'",
        )
        .await;
    eventually("the older one is forgotten", || async {
        (world.count("SELECT count(*) FROM seen_callbacks").await == 1).then_some(())
    })
    .await;
    service.stop().await;
}

#[tokio::test]
async fn blip_is_believed_by_its_token() {
    let (world, _folder) = world().await;
    let service = world.start().await;
    let account = create(&service, Channel::Blip, "desk").await;
    let post = async |token: &str, body: &Value| {
        let path = format!("blip/{TENANT}/{account}/{token}");
        let answer = reqwest::Client::new()
            .post(url(&service, &path))
            .body(body.to_string());
        answer.send().await.expect("an answer").status()
    };
    let message_id = world.plant(account, 1, Standing::Uncertain).await;
    let notification = |event: &str| {
        json!({"id": format!("msg_{message_id}"), "event": event,
        "from": "5511@wa.gw.msging.net", "reason": {"code": 81, "description": "no"}})
    };
    for token in ["wrong", APP_SECRET, "%00"] {
        let refused = post(token, &notification("received")).await;
        assert_eq!(refused, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(service.api.get(message_id).await.state(), State::Uncertain);
    for (event, state) in [
        ("accepted", State::Sent),
        ("received", State::Delivered),
        ("dispatched", State::Delivered),
        ("failed", State::Delivered),
        ("consumed", State::Read),
    ] {
        assert_eq!(
            post(CALLBACK_TOKEN, &notification(event)).await,
            StatusCode::OK
        );
        assert_eq!(service.api.get(message_id).await.state(), state, "{event}");
    }
    let message = json!({"id": "fc1", "from": "5511@wa.gw.msging.net/x", "type": "text/plain",
        "content": "Oi"});
    for _ in 0..2 {
        assert_eq!(post(CALLBACK_TOKEN, &message).await, StatusCode::OK);
    }
    let taken = world.ticketing.inbound.until_taken(1).await;
    let sender = taken[0].sender.as_ref().expect("it is set");
    assert_eq!(
        (sender.channel(), &*sender.address),
        (Channel::Blip, "5511@wa.gw.msging.net")
    );
    assert_eq!(
        (taken[0].tenant_id, taken[0].channel_account_id),
        (TENANT, account)
    );
    assert_eq!(
        post(CALLBACK_TOKEN, &json!(7)).await,
        StatusCode::BAD_REQUEST
    );
    service.stop().await;
}
