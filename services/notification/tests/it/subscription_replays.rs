//! Webhook subscriptions: pauses, replays, and gaps in the feed.

use plazo_proto::notification::v1::replay_webhook_events_request::Start;
use plazo_proto::notification::v1::{
    ReplayWebhookEventsRequest, WebhookReplay, WebhookReplayState,
};
use plazo_service::status;
use tonic::{Code, Status};

use crate::support::endpoint::Endpoint;
use crate::support::subscriptions::{set_open, subscription, taken, until_taken};
use crate::support::{Api, World, administrator, eventually};

async fn replay(api: Api, subscription_id: i64, start: Start) -> Result<WebhookReplay, Status> {
    let request = ReplayWebhookEventsRequest {
        subscription_id,
        start: Some(start),
        request_id: String::new(),
    };
    let answer = api
        .subscriptions(administrator())
        .replay_webhook_events(request)
        .await?;
    Ok(answer.into_inner().replay.expect("it is set"))
}

async fn until_replayed(api: Api, subscription_id: i64) -> WebhookReplay {
    eventually("the replay is done", || async move {
        let found = api.subscription(subscription_id).await.last_replay;
        found.filter(|one| one.state() == WebhookReplayState::Done)
    })
    .await
}

fn at(seconds: i64) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds, nanos: 0 }
}

#[tokio::test]
async fn what_was_missed_during_a_pause_comes_first_when_it_ends() {
    let world = World::new().await;
    let service = world.start().await;
    let endpoint = Endpoint::start().await;
    let (id, _) = service
        .api
        .subscribe(subscription(&endpoint.url("/hook")))
        .await;
    world.ticketing.publish(vec![set_open(1, 1)]);
    until_taken(&endpoint, "/hook", 1).await;
    service.api.set_subscription_enabled(id, false, false).await;
    for seq in 2..=30 {
        world.ticketing.publish(vec![set_open(1, seq)]);
    }
    eventually("the feed has passed it by", || async {
        (world.count("SELECT events FROM event_feed").await == 30).then_some(())
    })
    .await;
    assert_eq!(endpoint.calls("/hook").len(), 1);
    service.api.set_subscription_enabled(id, true, false).await;
    for seq in 31..=60 {
        world.ticketing.publish(vec![set_open(1, seq)]);
    }
    let calls = until_taken(&endpoint, "/hook", 60).await;
    assert_eq!(taken(&calls, 1), (1..=60).collect::<Vec<_>>());

    // What is skipped is missing, and can be had by a replay.
    service.api.set_subscription_enabled(id, false, false).await;
    world.ticketing.publish(vec![set_open(1, 61)]);
    eventually("the feed has passed it by", || async {
        (world.count("SELECT events FROM event_feed").await == 61).then_some(())
    })
    .await;
    service.api.set_subscription_enabled(id, true, true).await;
    world.ticketing.publish(vec![set_open(1, 62)]);
    let calls = until_taken(&endpoint, "/hook", 61).await;
    assert_eq!(taken(&calls, 1).last(), Some(&62));
    replay(service.api, id, Start::Position(60))
        .await
        .expect("it is kept");
    let calls = until_taken(&endpoint, "/hook", 63).await;
    assert_eq!(taken(&calls, 1)[61..], [61, 62]);
    service.stop().await;
}

#[tokio::test]
async fn a_replay_delivers_again_under_the_same_ids_from_a_position_or_an_instant() {
    let world = World::new().await;
    let service = world.start().await;
    let endpoint = Endpoint::start().await;
    let (id, _) = service
        .api
        .subscribe(subscription(&endpoint.url("/hook")))
        .await;
    // Two in a batch: a replay can begin within one.
    for half in 0..5 {
        let events = [half * 2 + 1, half * 2 + 2].map(|seq| {
            let mut event = set_open(1, seq);
            event.event_time = Some(at(1_767_225_600 + seq));
            event
        });
        world.ticketing.publish(events.to_vec());
    }
    let first = until_taken(&endpoint, "/hook", 10).await;
    eventually("all are settled", || async {
        (service.api.subscription(id).await.waiting_events == 0).then_some(())
    })
    .await;
    let eighth = service.api.deliveries(id).await.remove(2);
    assert_eq!((eighth.ticket_seq, eighth.position), (8, 7));

    replay(service.api, id, Start::Position(eighth.position))
        .await
        .expect("it is kept");
    let calls = until_taken(&endpoint, "/hook", 13).await;
    assert_eq!(taken(&calls, 1)[10..], [8, 9, 10]);
    for (again, at_first) in calls[10..].iter().zip(&first[7..]) {
        assert_eq!((&again.id, &again.body), (&at_first.id, &at_first.body));
    }
    assert_eq!(until_replayed(service.api, id).await.queued_events, 3);
    eventually("all are settled", || async {
        (service.api.subscription(id).await.waiting_events == 0).then_some(())
    })
    .await;

    replay(service.api, id, Start::Time(at(1_767_225_600 + 4)))
        .await
        .expect("there is something");
    let calls = until_taken(&endpoint, "/hook", 20).await;
    assert_eq!(taken(&calls, 1)[13..], [4, 5, 6, 7, 8, 9, 10]);
    assert_eq!(until_replayed(service.api, id).await.queued_events, 7);

    // A new subscription can have the past as well, beside what happens now.
    let (other, _) = service
        .api
        .subscribe(subscription(&endpoint.url("/new")))
        .await;
    replay(service.api, other, Start::Time(at(0)))
        .await
        .expect("there is something");
    world.ticketing.publish(vec![set_open(2, 1)]);
    let calls = until_taken(&endpoint, "/new", 11).await;
    assert_eq!(taken(&calls, 1), (1..=10).collect::<Vec<_>>());
    assert_eq!(taken(&calls, 2), [1]);
    service.stop().await;
}

#[tokio::test]
async fn a_replay_that_cannot_begin_is_refused() {
    let world = World::new().await;
    let service = world.start().await;
    let endpoint = Endpoint::start().await;
    let (id, _) = service
        .api
        .subscribe(subscription(&endpoint.url("/hook")))
        .await;
    world.ticketing.publish(vec![set_open(1, 1)]);
    until_taken(&endpoint, "/hook", 1).await;
    for start in [1, -1] {
        let error = replay(service.api, id, Start::Position(start))
            .await
            .expect_err("no such event");
        assert_eq!(error.code(), Code::InvalidArgument, "{start}");
    }
    // It goes on when the subscription does, and until then there is no other.
    service.api.set_subscription_enabled(id, false, false).await;
    replay(service.api, id, Start::Position(0))
        .await
        .expect("it is kept");
    let error = replay(service.api, id, Start::Position(0))
        .await
        .expect_err("one runs");
    assert_eq!(status::reason_of(&error).as_deref(), Some("REPLAY_RUNNING"));
    assert_eq!(
        world
            .count("WITH gone AS (DELETE FROM event_marks RETURNING 1) SELECT count(*) FROM gone")
            .await,
        1
    );
    service.api.set_subscription_enabled(id, true, false).await;
    until_replayed(service.api, id).await;
    let error = replay(service.api, id, Start::Position(0))
        .await
        .expect_err("nothing is kept");
    assert_eq!(error.code(), Code::OutOfRange);
    assert_eq!(
        status::reason_of(&error).as_deref(),
        Some("POSITION_EXPIRED")
    );
    service.stop().await;
}

#[tokio::test]
async fn a_gap_in_the_feed_stops_it_and_says_so() {
    for second in [1, 3] {
        let world = World::new().await;
        let service = world.start().await;
        let endpoint = Endpoint::start().await;
        service
            .api
            .subscribe(subscription(&endpoint.url("/hook")))
            .await;
        world.ticketing.publish(vec![set_open(1, 1)]);
        until_taken(&endpoint, "/hook", 1).await;
        world.ticketing.publish(vec![set_open(1, second)]);
        eventually("the feed has stopped", || async {
            // The description of the metric begins with 1, too.
            let stopped = "plazo_notification_event_feed_stopped 1";
            let metrics = service.metrics().await;
            metrics.lines().any(|line| line == stopped).then_some(())
        })
        .await;
        assert_eq!(world.count("SELECT events FROM event_feed").await, 1);
        assert_eq!(
            world.count("SELECT count(*) FROM event_deliveries").await,
            1
        );
        service.stop().await;
    }
}

#[tokio::test]
async fn two_replicas_queue_each_event_once_and_the_place_survives_a_restart() {
    let world = World::new().await;
    let (one, other) = tokio::join!(world.start(), world.start());
    let endpoint = Endpoint::start().await;
    let (id, _) = one
        .api
        .subscribe(subscription(&endpoint.url("/hook")))
        .await;
    for ticket in 1..=30 {
        world.ticketing.publish(vec![set_open(ticket, 1)]);
    }
    until_taken(&endpoint, "/hook", 30).await;
    one.stop().await;
    other.stop().await;
    world.ticketing.publish(vec![set_open(1, 2)]);
    let service = world.start().await;
    let calls = until_taken(&endpoint, "/hook", 31).await;
    assert_eq!(calls.len(), 31);
    assert_eq!(service.api.deliveries(id).await.len(), 31);
    service.stop().await;
}
