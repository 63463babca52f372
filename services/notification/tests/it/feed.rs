//! The event stream: applied once, from where it was left, and never over a gap.

use plazo_proto::notification::v1::ActiveMessageState as State;

use crate::support::ticketing::requested;
use crate::support::{World, eventually, warning};

#[tokio::test]
async fn the_position_survives_a_restart() {
    let world = World::new().await;
    world.ticketing.publish(vec![requested(1, &warning(1, 1))]);
    world.ticketing.publish(vec![
        requested(1, &warning(2, 1)),
        requested(2, &warning(1, 2)),
    ]);
    let service = world.start().await;
    world
        .ticketing
        .until_reported(&warning(1, 2).idempotency_key, State::Delivered)
        .await;
    service.stop().await;

    world.ticketing.publish(vec![requested(2, &warning(2, 2))]);
    let service = world.start().await;
    world
        .ticketing
        .until_reported(&warning(2, 2).idempotency_key, State::Delivered)
        .await;
    let opened_at = world.ticketing.opened_at();
    // Webhook subscriptions follow the stream as well.
    for position in ["", "2"] {
        assert!(opened_at.iter().any(|one| one == position), "{opened_at:?}");
    }
    assert_eq!(opened_at.len(), 4, "{opened_at:?}");
    assert_eq!(world.count("SELECT count(*) FROM active_messages").await, 4);
    service.stop().await;
}

#[tokio::test]
async fn a_stream_that_is_due_is_opened_again_as_if_nothing_had_been() {
    let mut world = World::new().await;
    // Whoever takes it for a failure waits for longer than the test.
    world.set("feed.first_backoff_ms", "600000");
    world.set("feed.max_backoff_ms", "600000");
    world.ticketing.end_streams_after(1);
    for ticket in 1..=5 {
        world
            .ticketing
            .publish(vec![requested(1, &warning(ticket, 1))]);
    }
    let service = world.start().await;
    for ticket in 1..=5 {
        world
            .ticketing
            .until_reported(&warning(ticket, 1).idempotency_key, State::Delivered)
            .await;
    }
    assert_eq!(world.count("SELECT count(*) FROM active_messages").await, 5);
    service.stop().await;
}

#[tokio::test]
async fn a_gap_stops_the_feed_and_says_so() {
    for second in [1, 3] {
        let world = World::new().await;
        let service = world.start().await;
        world.ticketing.publish(vec![requested(1, &warning(1, 1))]);
        world
            .ticketing
            .until_reported(&warning(1, 1).idempotency_key, State::Delivered)
            .await;
        world
            .ticketing
            .publish(vec![requested(second, &warning(1, 2))]);
        eventually("the feed has stopped", || async {
            service
                .metrics()
                .await
                .lines()
                .any(|line| line == "plazo_notification_feed_stopped 1")
                .then_some(())
        })
        .await;
        assert_eq!(world.count("SELECT count(*) FROM active_messages").await, 1);
        assert_eq!(
            world
                .count("SELECT position::bigint FROM feed_positions")
                .await,
            1
        );
        // Calls go on.
        let sent = service.api.send_one(warning(2, 1)).await;
        service.api.until(sent.message_id, State::Delivered).await;
        service.stop().await;
    }
}

#[tokio::test]
async fn a_message_that_cannot_be_stored_is_reported_and_the_feed_goes_on() {
    let world = World::new().await;
    let service = world.start().await;
    let mut invalid = warning(1, 1);
    invalid.text.clear();
    world
        .ticketing
        .publish(vec![requested(1, &invalid), requested(1, &warning(2, 1))]);
    world
        .ticketing
        .until_reported(&warning(2, 1).idempotency_key, State::Delivered)
        .await;
    let failed = world
        .ticketing
        .until_reported(&warning(1, 1).idempotency_key, State::Failed)
        .await;
    assert_eq!(failed.failure_reason, "MESSAGE_INVALID");
    service.stop().await;
}

#[tokio::test]
async fn two_replicas_apply_each_event_once() {
    let world = World::new().await;
    let (one, other) = tokio::join!(world.start(), world.start());
    for ticket in 1..=30 {
        world
            .ticketing
            .publish(vec![requested(1, &warning(ticket, 1))]);
    }
    for ticket in 1..=30 {
        world
            .ticketing
            .until_reported(&warning(ticket, 1).idempotency_key, State::Delivered)
            .await;
    }
    assert_eq!(world.count("SELECT count(*) FROM send_attempts").await, 30);
    assert_eq!(
        world
            .count("SELECT position::bigint FROM feed_positions")
            .await,
        30
    );
    for service in [one, other] {
        let metrics = service.metrics().await;
        assert!(metrics.contains("plazo_notification_feed_stopped 0"));
        service.stop().await;
    }
}
