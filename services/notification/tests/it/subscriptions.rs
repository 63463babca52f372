//! Webhook subscriptions: what is sent, and to whom.

use plazo_proto::notification::v1::{
    DeleteWebhookSubscriptionRequest, RotateWebhookSecretRequest, TestWebhookSubscriptionRequest,
    WebhookDeliveryState, WebhookSubscription, WebhookSubscriptionState,
};
use plazo_proto::ticketing::v1::ticket_event::Payload;
use plazo_proto::ticketing::v1::{
    Alert, CloseSource, ClosingNote, Closure, Message, MessageKind, MessageRecorded, Stage,
    StageFired, TicketClosed,
};

use crate::support::endpoint::{Endpoint, is_signed};
use crate::support::subscriptions::{set_open, subscription, until_taken};
use crate::support::ticketing::event;
use crate::support::{BOT, World, administrator, eventually};

#[tokio::test]
async fn wanted_events_come_signed_and_in_the_documented_form() {
    let world = World::new().await;
    let service = world.start().await;
    let endpoint = Endpoint::start().await;
    let (_, plain_secret) = service
        .api
        .subscribe(WebhookSubscription {
            event_types: vec!["ticket.alert_raised".to_owned(), "message.*".to_owned()],
            ..subscription(&endpoint.url("/plain"))
        })
        .await;
    service
        .api
        .subscribe(WebhookSubscription {
            include_customer_data: true,
            ..subscription(&endpoint.url("/all"))
        })
        .await;
    service
        .api
        .subscribe(WebhookSubscription {
            bot_ids: vec![BOT + 1],
            ..subscription(&endpoint.url("/other-bot"))
        })
        .await;

    let fired = StageFired {
        cycle: 3,
        stage: Stage::FirstAlert.into(),
        alert: Alert::Yellow.into(),
        due_time: Some(prost_types::Timestamp {
            seconds: 1_767_225_600,
            nanos: 0,
        }),
        ..StageFired::default()
    };
    let recorded = MessageRecorded {
        message: Some(Message {
            message_id: 77,
            kind: MessageKind::Chat.into(),
            text: "my secret question".to_owned(),
            ..Message::default()
        }),
        ..MessageRecorded::default()
    };
    let closed = TicketClosed {
        closure: Some(Closure {
            source: CloseSource::CustomerInactivity.into(),
            note: Some(ClosingNote {
                category: "billing".to_owned(),
                summary: "what he said".to_owned(),
            }),
            ..Closure::default()
        }),
        ..TicketClosed::default()
    };
    let mut foreign = set_open(1, 1);
    foreign.tenant_id += 1;
    world.ticketing.publish(vec![
        event(5, 1, Payload::StageFired(fired)),
        event(5, 2, Payload::MessageRecorded(recorded)),
        event(5, 3, Payload::Closed(closed)),
        foreign,
    ]);

    let plain = until_taken(&endpoint, "/plain", 2).await;
    let all = until_taken(&endpoint, "/all", 3).await;
    assert!(plain.iter().all(|call| is_signed(call, &plain_secret)));
    assert!(!all.iter().any(|call| is_signed(call, &plain_secret)));
    let alert = plain[0].json();
    assert_eq!(plain[0].id, "evt_5001");
    assert_eq!(alert["type"], "ticket.alert_raised");
    for (field, expected) in [("ticket_id", "5"), ("ticket_seq", "1"), ("tenant_id", "7")] {
        assert_eq!(alert["data"][field], expected);
    }
    assert_eq!(alert["data"]["alert"], "yellow");
    assert_eq!(alert["data"]["stage"], "first_alert");
    assert_eq!(alert["data"]["cycle"], 3);
    assert_eq!(alert["data"]["due_time"], "2026-01-01T00:00:00Z");
    let (without, with) = (plain[1].json(), all[1].json());
    assert_eq!(without["type"], "message.recorded");
    assert_eq!(without["data"]["message"]["message_id"], "77");
    assert!(!without.to_string().contains("secret question"));
    assert_eq!(with["data"]["message"]["text"], "my secret question");
    let closed = all[2].json();
    assert_eq!(closed["data"]["closure"]["source"], "customer_inactivity");
    assert_eq!(closed["data"]["closure"]["category"], "billing");
    assert_eq!(closed["data"]["closure"]["summary"], "what he said");
    assert_eq!(plain.len(), 2);
    assert!(endpoint.calls("/other-bot").is_empty());
    service.stop().await;
}

#[tokio::test]
async fn both_secrets_sign_while_they_overlap() {
    let world = World::new().await;
    let service = world.start().await;
    let endpoint = Endpoint::start().await;
    let (id, first) = service
        .api
        .subscribe(subscription(&endpoint.url("/hook")))
        .await;
    let mut client = service.api.subscriptions(administrator());
    let mut rotate = async |overlap_secs: Option<i64>| {
        let request = RotateWebhookSecretRequest {
            subscription_id: id,
            overlap: overlap_secs.map(|seconds| prost_types::Duration { seconds, nanos: 0 }),
            request_id: String::new(),
        };
        let answer = client.rotate_webhook_secret(request).await;
        answer.expect("it is there").into_inner()
    };

    let second = rotate(None).await;
    let until = second
        .subscription
        .and_then(|it| it.previous_secret_expire_time);
    assert!(until.is_some());
    world.ticketing.publish(vec![set_open(1, 1)]);
    let calls = until_taken(&endpoint, "/hook", 1).await;
    assert_eq!(calls[0].signature.split(' ').count(), 2);
    assert!(is_signed(&calls[0], &first) && is_signed(&calls[0], &second.signing_secret));

    let third = rotate(Some(0)).await;
    world.ticketing.publish(vec![set_open(1, 2)]);
    let calls = until_taken(&endpoint, "/hook", 2).await;
    assert!(is_signed(&calls[1], &third.signing_secret));
    assert!(!is_signed(&calls[1], &first) && !is_signed(&calls[1], &second.signing_secret));

    rotate(Some(1)).await;
    eventually("the overlap is over", || async {
        let request = TestWebhookSubscriptionRequest {
            subscription_id: id,
        };
        let mut client = service.api.subscriptions(administrator());
        let answer = client.test_webhook_subscription(request).await;
        assert!(answer.expect("it is there").into_inner().delivered);
        let last = endpoint.calls("/hook").pop().expect("the test");
        (!is_signed(&last, &third.signing_secret)).then_some(())
    })
    .await;
    service.stop().await;
}

#[tokio::test]
async fn a_test_tells_what_came_of_it_even_while_paused() {
    let world = World::new().await;
    let service = world.start().await;
    let endpoint = Endpoint::start().await;
    let (id, secret) = service
        .api
        .subscribe(subscription(&endpoint.url("/hook")))
        .await;
    service.api.set_subscription_enabled(id, false, false).await;
    endpoint.answer("/hook", &[(200, None), (503, None)]);
    let mut client = service.api.subscriptions(administrator());
    for (delivered, status, outcome) in [(true, 200, "OK"), (false, 503, "HTTP_503")] {
        let request = TestWebhookSubscriptionRequest {
            subscription_id: id,
        };
        let answer = client.test_webhook_subscription(request).await;
        let answer = answer.expect("it is there").into_inner();
        let attempt = answer.attempt.expect("it is set");
        assert_eq!(answer.delivered, delivered);
        assert_eq!(
            (attempt.http_status, attempt.outcome.as_str()),
            (status, outcome)
        );
        let call = endpoint.calls("/hook").pop().expect("it was called");
        assert!(is_signed(&call, &secret));
        assert_eq!(call.id, answer.webhook_id);
        assert_eq!(call.json()["type"], "test");
    }
    service.stop().await;
}

#[tokio::test]
async fn an_endpoint_that_is_gone_pauses_its_subscription() {
    let world = World::new().await;
    let service = world.start().await;
    let endpoint = Endpoint::start().await;
    let (id, _) = service
        .api
        .subscribe(subscription(&endpoint.url("/hook")))
        .await;
    endpoint.answer("/hook", &[(410, None)]);
    world.ticketing.publish(vec![set_open(1, 1)]);
    let paused = WebhookSubscriptionState::Paused;
    service
        .api
        .until_subscription(id, paused, "ENDPOINT_GONE")
        .await;
    world.ticketing.publish(vec![set_open(1, 2)]);
    eventually("the feed has passed it by", || async {
        (world.count("SELECT events FROM event_feed").await == 2).then_some(())
    })
    .await;
    assert_eq!(endpoint.calls("/hook").len(), 1);

    service.api.set_subscription_enabled(id, true, false).await;
    let calls = until_taken(&endpoint, "/hook", 2).await;
    let ids: Vec<_> = calls.iter().map(|call| call.id.as_str()).collect();
    assert_eq!(ids, ["evt_1001", "evt_1001", "evt_1002"]);
    let active = WebhookSubscriptionState::Active;
    service.api.until_subscription(id, active, "").await;
    service.stop().await;
}

#[tokio::test]
async fn an_address_that_is_no_longer_permitted_is_not_called() {
    let mut world = World::new().await;
    let endpoint = Endpoint::start().await;
    let service = world.start().await;
    let (id, _) = service
        .api
        .subscribe(subscription(&endpoint.url("/hook")))
        .await;
    // By name, which is looked up when the connection is made.
    let by_name = endpoint.url("/hook").replace("127.0.0.1", "localhost");
    let (by_name, _) = service.api.subscribe(subscription(&by_name)).await;
    service.stop().await;
    world.set("webhook.allow_private_networks", "false");
    let service = world.start().await;
    world.ticketing.publish(vec![set_open(1, 1)]);
    for id in [id, by_name] {
        let failed = eventually("the delivery has failed", || async {
            let found = service.api.deliveries(id).await.pop();
            found.filter(|one| one.state() == WebhookDeliveryState::Failed)
        })
        .await;
        assert_eq!(failed.attempts[0].outcome, "ADDRESS_NOT_ALLOWED");
    }
    assert!(endpoint.calls("/hook").is_empty());
    service.stop().await;
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let world = World::new().await.with_retry_delays_ms("1");
    let service = world.start().await;
    let endpoint = Endpoint::start().await;
    let to = endpoint.url("/elsewhere");
    let redirect = (302, Some(("location", to)));
    endpoint.answer("/hook", &[redirect.clone(), redirect]);
    let (id, _) = service
        .api
        .subscribe(subscription(&endpoint.url("/hook")))
        .await;
    world.ticketing.publish(vec![set_open(1, 1)]);
    let failed = eventually("the delivery has failed", || async {
        let found = service.api.deliveries(id).await.pop();
        found.filter(|one| one.state() == WebhookDeliveryState::Failed)
    })
    .await;
    let outcomes: Vec<_> = failed
        .attempts
        .iter()
        .map(|one| (one.http_status, one.outcome.as_str()))
        .collect();
    assert_eq!(outcomes, [(302, "HTTP_302"), (302, "HTTP_302")]);
    assert!(endpoint.calls("/elsewhere").is_empty());
    service.stop().await;
}

#[tokio::test]
async fn what_is_old_or_deleted_is_removed() {
    let world = World::new()
        .await
        .with("purge.interval_s", "1")
        .with("purge.batch", "2")
        .with("subscriptions.settled_after_d", "0");
    let service = world.start().await;
    let endpoint = Endpoint::start().await;
    let (_, _) = service
        .api
        .subscribe(subscription(&endpoint.url("/hook")))
        .await;
    let (held, _) = service
        .api
        .subscribe(subscription(&endpoint.url("/held")))
        .await;
    world
        .ticketing
        .publish((1..=5).map(|ticket| set_open(ticket, 1)).collect());
    until_taken(&endpoint, "/hook", 5).await;
    eventually("delivered events are removed", || async {
        let left = "SELECT count(*) FROM event_deliveries";
        (world.count(left).await == 5).then_some(())
    })
    .await;
    let request = DeleteWebhookSubscriptionRequest {
        subscription_id: held,
    };
    let answer = service
        .api
        .subscriptions(administrator())
        .delete_webhook_subscription(request)
        .await;
    assert_eq!(answer.expect("it is there").into_inner().dropped_events, 5);
    eventually("those of a deleted subscription too", || async {
        let left =
            "SELECT (SELECT count(*) FROM event_deliveries) + (SELECT count(*) FROM event_lanes)";
        (world.count(left).await == 0).then_some(())
    })
    .await;
    endpoint.release.add_permits(10);
    service.stop().await;
}
