//! The process is killed while events go out to subscribers.

use std::collections::BTreeSet;

use plazo_proto::notification::v1::ReplayWebhookEventsRequest;
use plazo_proto::notification::v1::replay_webhook_events_request::Start;

use crate::support::endpoint::{Call, Endpoint};
use crate::support::process::start_process;
use crate::support::subscriptions::{set_open, subscription, taken};
use crate::support::{Api, World, administrator, eventually};

const TICKETS: i64 = 4;
const EVENTS_EACH: i64 = 40;
/// Calls after which the process is killed.
const KILLED_AT: [usize; 4] = [5, 40, 75, 110];

async fn world() -> World {
    World::new()
        .await
        .with("webhook.request_timeout_ms", "500")
        .with("sender.lease_margin_ms", "300")
        .with("subscriptions.max_in_flight_per_subscription", "3")
}

fn publish(world: &World) {
    for seq in 1..=EVENTS_EACH {
        let events = (1..=TICKETS).map(|ticket| set_open(ticket, seq));
        world.ticketing.publish(events.collect());
    }
}

/// Each event of each ticket came, and none before those that stand before it in its ticket, whatever came again.
fn check(calls: &[Call]) {
    for ticket in 1..=TICKETS {
        let mut seen = BTreeSet::new();
        for seq in taken(calls, ticket) {
            assert!(
                seq == 1 || seen.contains(&(seq - 1)),
                "event {seq} of ticket {ticket} came before the one before it"
            );
            seen.insert(seq);
        }
        assert_eq!(
            seen.len(),
            usize::try_from(EVENTS_EACH).expect("a small number")
        );
    }
    let ids: BTreeSet<&str> = calls.iter().map(|call| call.id.as_str()).collect();
    let all = usize::try_from(TICKETS * EVENTS_EACH).expect("a small number");
    assert_eq!(ids.len(), all, "an event came under another id");
}

async fn until_nothing_waits(world: &World, endpoint: &Endpoint, path: &str) -> Vec<Call> {
    eventually("all events are delivered", || async {
        let open = "SELECT (SELECT count(*) FROM event_deliveries WHERE state = 1)
                 + (SELECT count(*) FROM event_replays WHERE state = 1)";
        let events = "SELECT events FROM event_feed";
        let is_done =
            world.count(events).await == TICKETS * EVENTS_EACH && world.count(open).await == 0;
        is_done.then(|| endpoint.calls(path))
    })
    .await
}

#[tokio::test]
async fn killed_while_events_go_out_each_arrives_in_its_tickets_order() {
    let world = world().await;
    let endpoint = Endpoint::start().await;
    let service = world.start().await;
    service
        .api
        .subscribe(subscription(&endpoint.url("/hook")))
        .await;
    service.stop().await;
    let mut process = start_process(&world).await;
    publish(&world);
    for calls in KILLED_AT {
        endpoint.until_called("/hook", calls).await;
        process.kill().await;
        process = start_process(&world).await;
    }
    let calls = until_nothing_waits(&world, &endpoint, "/hook").await;
    process.kill().await;
    check(&calls);
}

#[tokio::test]
async fn killed_while_a_replay_runs_it_goes_on_and_skips_nothing() {
    let world = world().await;
    let endpoint = Endpoint::start().await;
    let service = world.start().await;
    publish(&world);
    eventually("the feed is at its end", || async {
        let events = world.count("SELECT events FROM event_feed").await;
        (events == TICKETS * EVENTS_EACH).then_some(())
    })
    .await;
    let (id, _) = service
        .api
        .subscribe(subscription(&endpoint.url("/replay")))
        .await;
    replay_all(service.api, id).await;
    service.stop().await;
    let mut process = start_process(&world).await;
    for calls in KILLED_AT {
        endpoint.until_called("/replay", calls).await;
        process.kill().await;
        // The lease of the dead ends.
        world
            .execute("UPDATE event_replays SET next_step_at = now() WHERE state = 1")
            .await;
        process = start_process(&world).await;
    }
    let calls = until_nothing_waits(&world, &endpoint, "/replay").await;
    process.kill().await;
    check(&calls);
}

async fn replay_all(api: Api, subscription_id: i64) {
    let request = ReplayWebhookEventsRequest {
        subscription_id,
        start: Some(Start::Position(0)),
        request_id: String::new(),
    };
    api.subscriptions(administrator())
        .replay_webhook_events(request)
        .await
        .expect("there is something");
}
