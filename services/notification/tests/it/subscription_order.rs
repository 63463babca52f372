//! Webhook subscriptions: order, crashes, slow endpoints, and what is too much.

use plazo_proto::notification::v1::WebhookSubscriptionState as State;

use crate::support::endpoint::{Endpoint, is_signed};
use crate::support::process::start_process;
use crate::support::subscriptions::{seq, set_open, subscription, taken, until_taken};
use crate::support::{World, eventually};

#[tokio::test]
async fn a_failing_event_holds_back_the_later_ones_of_its_ticket_alone() {
    let world = World::new()
        .await
        .with_retry_delays_ms(&["50"; 100].join(","));
    let service = world.start().await;
    let endpoint = Endpoint::start().await;
    let quick = endpoint.clone();
    // The second event of ticket 1 fails until ticket 2 has all its events.
    endpoint.rule("/hook", move |call| {
        let body = call.json();
        let is_second = body["data"]["ticket_id"] == "1" && seq(&body) == 2;
        if is_second && quick.calls("/seen").is_empty() {
            500
        } else {
            200
        }
    });
    let (id, _) = service
        .api
        .subscribe(subscription(&endpoint.url("/hook")))
        .await;
    for seq in 1..=6 {
        world
            .ticketing
            .publish(vec![set_open(1, seq), set_open(2, seq)]);
    }
    eventually("ticket 2 has all its events", || async {
        (taken(&endpoint.calls("/hook"), 2) == [1, 2, 3, 4, 5, 6]).then_some(())
    })
    .await;
    assert_eq!(taken(&endpoint.calls("/hook"), 1), [1]);
    eventually("the rest of ticket 1 waits", || async {
        (service.api.subscription(id).await.waiting_events == 5).then_some(())
    })
    .await;
    reqwest::get(endpoint.url("/seen"))
        .await
        .expect("it answers");
    let calls = until_taken(&endpoint, "/hook", 12).await;
    assert_eq!(taken(&calls, 1), [1, 2, 3, 4, 5, 6]);
    assert_eq!(taken(&calls, 2), [1, 2, 3, 4, 5, 6]);
    service.stop().await;
}

#[tokio::test]
async fn many_failures_change_neither_order_nor_number() {
    let world = World::new()
        .await
        .with_retry_delays_ms(&["1"; 100].join(","))
        .with("subscriptions.max_in_flight_per_subscription", "8");
    let (one, other) = tokio::join!(world.start(), world.start());
    let endpoint = Endpoint::start().await;
    endpoint.rule("/hook", |call| {
        let mix = call.id.len() + usize::from(call.id.as_bytes()[call.id.len() - 1]);
        let luck = std::time::UNIX_EPOCH
            .elapsed()
            .map_or(0, |since| since.subsec_nanos());
        if (mix + luck as usize / 1_000).is_multiple_of(3) {
            500
        } else {
            200
        }
    });
    one.api
        .subscribe(subscription(&endpoint.url("/hook")))
        .await;
    for seq in 1..=20 {
        world
            .ticketing
            .publish((1..=5).map(|ticket| set_open(ticket, seq)).collect());
    }
    let calls = until_taken(&endpoint, "/hook", 100).await;
    let expected: Vec<i64> = (1..=20).collect();
    for ticket in 1..=5 {
        assert_eq!(taken(&calls, ticket), expected);
    }
    eventually("all is settled", || async {
        let open = "SELECT (SELECT count(*) FROM event_lanes) + (SELECT sum(waiting)::bigint FROM webhook_subscriptions)";
        (world.count(open).await == 0).then_some(())
    })
    .await;
    one.stop().await;
    other.stop().await;
}

#[tokio::test]
async fn dying_between_send_and_commit_sends_the_event_again_under_the_same_id() {
    let mut world = World::new()
        .await
        .with("webhook.request_timeout_ms", "1000")
        .with("sender.lease_margin_ms", "500");
    let endpoint = Endpoint::start().await;
    let service = world.start().await;
    let (_, secret) = service
        .api
        .subscribe(subscription(&endpoint.url("/hook")))
        .await;
    service.stop().await;

    world.set("fault.abort_after_event_send", "1");
    let dying = start_process(&world).await;
    world
        .ticketing
        .publish(vec![set_open(1, 1), set_open(1, 2)]);
    endpoint.until_called("/hook", 1).await;
    dying.until_dead().await;

    world.set("fault.abort_after_event_send", "0");
    let service = world.start().await;
    let calls = endpoint.until_called("/hook", 3).await;
    let ids: Vec<_> = calls.iter().map(|call| call.id.as_str()).collect();
    assert_eq!(ids, ["evt_1001", "evt_1001", "evt_1002"]);
    assert!(calls.iter().all(|call| is_signed(call, &secret)));
    assert_eq!(calls[0].body, calls[1].body);
    service.stop().await;
}

#[tokio::test]
async fn a_hanging_endpoint_harms_nobody_else() {
    let world = World::new()
        .await
        .with("subscriptions.max_in_flight", "12")
        .with("subscriptions.max_in_flight_per_subscription", "4");
    let service = world.start().await;
    let endpoint = Endpoint::start().await;
    for path in ["/held/1", "/held/2", "/quick"] {
        service
            .api
            .subscribe(subscription(&endpoint.url(path)))
            .await;
    }
    for seq in 1..=10 {
        world
            .ticketing
            .publish((1..=20).map(|ticket| set_open(ticket, seq)).collect());
    }
    let calls = until_taken(&endpoint, "/quick", 200).await;
    for ticket in 1..=20 {
        assert_eq!(taken(&calls, ticket), (1..=10).collect::<Vec<_>>());
    }
    for path in ["/held/1", "/held/2"] {
        assert_eq!(endpoint.calls(path).len(), 4);
    }
    endpoint.release.add_permits(400);
    until_taken(&endpoint, "/held/1", 200).await;
    service.stop().await;
}

#[tokio::test]
async fn an_endpoint_that_keeps_failing_gets_one_call_at_a_time() {
    let world = World::new().await.with_retry_delays_ms("3600000");
    let service = world.start().await;
    let endpoint = Endpoint::start().await;
    endpoint.rule("/hook", |_| 500);
    let (id, _) = service
        .api
        .subscribe(subscription(&endpoint.url("/hook")))
        .await;
    world
        .ticketing
        .publish((1..=6).map(|ticket| set_open(ticket, 1)).collect());
    endpoint.until_called("/hook", 6).await;
    eventually("the failures are counted", || async {
        (service.api.subscription(id).await.consecutive_failures == 6).then_some(())
    })
    .await;
    // The address is another from here on, and it hangs.
    let update = "UPDATE webhook_subscriptions SET webhook_url = replace(webhook_url, 'hook', 'held') RETURNING 1::bigint";
    assert_eq!(world.count(update).await, 1);
    world
        .ticketing
        .publish((11..=16).map(|ticket| set_open(ticket, 1)).collect());
    endpoint.until_called("/held", 1).await;
    eventually("nothing more is claimed", || async {
        let leased = "SELECT count(*) FROM event_lanes WHERE leased_until IS NOT NULL";
        (world.count(leased).await == 1).then_some(())
    })
    .await;
    endpoint.release.add_permits(6);
    until_taken(&endpoint, "/held", 6).await;
    eventually("a success forgets the failures", || async {
        (service.api.subscription(id).await.consecutive_failures == 0).then_some(())
    })
    .await;
    service.stop().await;
}

#[tokio::test]
async fn an_endpoint_that_asks_for_time_is_left_alone() {
    let world = World::new().await;
    let service = world.start().await;
    let endpoint = Endpoint::start().await;
    endpoint.answer("/hook", &[(429, Some(("retry-after", "2".to_owned())))]);
    let (id, _) = service
        .api
        .subscribe(subscription(&endpoint.url("/hook")))
        .await;
    world.ticketing.publish(vec![set_open(1, 1)]);
    eventually("the endpoint has asked for time", || async {
        let delivery = service.api.deliveries(id).await.pop();
        delivery.filter(|one| !one.attempts.is_empty())
    })
    .await;
    world.ticketing.publish(vec![set_open(2, 1)]);
    let calls = until_taken(&endpoint, "/hook", 2).await;
    let at = |index: usize| calls[index].timestamp.parse::<i64>().expect("Unix seconds");
    assert_eq!(calls.len(), 3);
    assert!(at(1) - at(0) >= 1, "another ticket's event waits too");
    service.stop().await;
}

#[tokio::test]
async fn with_too_much_waiting_a_subscription_falls_behind_and_catches_up_by_itself() {
    let world = World::new()
        .await
        .with("subscriptions.max_waiting", "6")
        .with("subscriptions.poll_ms", "50");
    let service = world.start().await;
    let endpoint = Endpoint::start().await;
    let (slow, _) = service
        .api
        .subscribe(subscription(&endpoint.url("/held")))
        .await;
    service
        .api
        .subscribe(subscription(&endpoint.url("/quick")))
        .await;
    for seq in 1..=10 {
        world
            .ticketing
            .publish((1..=3).map(|ticket| set_open(ticket, seq)).collect());
        // The quick one is never behind.
        until_taken(&endpoint, "/quick", usize::try_from(seq * 3).unwrap_or(0)).await;
    }
    let behind = service
        .api
        .until_subscription(slow, State::Behind, "BACKLOG")
        .await;
    assert!((4..=6).contains(&behind.waiting_events), "{behind:?}");
    let most = "SELECT max(waiting) FROM webhook_subscriptions";
    assert!(world.count(most).await <= 6);

    endpoint.release.add_permits(1_000);
    service
        .api
        .until_subscription(slow, State::Active, "")
        .await;
    let calls = until_taken(&endpoint, "/held", 30).await;
    world
        .ticketing
        .publish((1..=3).map(|ticket| set_open(ticket, 11)).collect());
    until_taken(&endpoint, "/held", 33).await;
    for ticket in 1..=3 {
        let calls = endpoint.calls("/held");
        assert_eq!(taken(&calls, ticket), (1..=11).collect::<Vec<_>>());
    }
    assert_eq!(calls.len(), 30);
    service.stop().await;
}
