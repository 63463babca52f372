//! Positions that can't be gone on from.

use plazo_proto::common::v1::AuthorKind;
use plazo_proto::ticketing::v1::StreamEventsRequest;
use plazo_ticketing::keeping;
use tonic::Code;

use super::{age_events, count_events, read_on};
use crate::desk::{Desk, Ledger};
use crate::support::{refusal, wrong_fields};

async fn refused(desk: &Desk, position: &str) -> (Code, String) {
    let request = StreamEventsRequest {
        position: position.to_owned(),
    };
    refusal(desk.service.feed.clone().stream_events(request).await)
}

#[tokio::test]
async fn nonsense_and_positions_of_other_databases_are_refused() {
    let desk = Desk::start().await;
    desk.open().await;
    let mut ledger = Ledger::default();
    read_on(&desk, &mut ledger, 2).await;
    let position = ledger.position;
    let (version, rest) = position.split_once('.').expect("parts");
    let (feed, _) = rest.split_once('.').expect("parts");

    let long = "9".repeat(100_000);
    for nonsense in [
        "x",
        "....",
        &position[1..],
        &format!("{position}x"),
        &format!("{version}.{feed}.5.3.1"),
        &format!("{version}.{feed}.5"),
        &format!("{version}.{feed}.-1.1"),
        &long,
        "1.0.é",
    ] {
        let request = StreamEventsRequest {
            position: nonsense.to_owned(),
        };
        let answer = desk.service.feed.clone().stream_events(request).await;
        assert_eq!(wrong_fields(answer), ["position"], "{nonsense}");
    }
    let invalid = (Code::InvalidArgument, "POSITION_INVALID".to_owned());
    assert_eq!(refused(&desk, "x").await, invalid);

    let replaced = (Code::FailedPrecondition, "FEED_REPLACED".to_owned());
    let other = Desk::start().await;
    assert_eq!(refused(&other, &position).await, replaced);
    // As after the restore of an older state.
    let ahead = format!("{version}.{feed}.999999999999.1");
    assert_eq!(refused(&desk, &ahead).await, replaced);
}

#[tokio::test]
async fn a_reader_behind_the_horizon_is_told_so() {
    let desk = Desk::start().await;
    let ticket_id = desk.open().await.ticket_id;
    desk.writes(ticket_id, AuthorKind::Customer).await;
    let mut early = Ledger::default();
    read_on(&desk, &mut early, 3).await;
    let second_id = desk.open().await.ticket_id;
    let mut late = Ledger::default();
    read_on(&desk, &mut late, 5).await;

    let pool = &desk.fixture.pool;
    age_events(pool).await;
    let drop = async |days: i32| keeping::drop_expired(pool, days).await.expect("dropped");
    assert_eq!(drop(400).await, 0);
    read_on(&desk, &mut Ledger::default(), 5).await;
    assert_eq!(drop(90).await, 1);
    assert_eq!(count_events(pool).await, 0);

    let expired = (Code::OutOfRange, "POSITION_EXPIRED".to_owned());
    assert_eq!(refused(&desk, &early.position).await, expired);

    // Who has read everything goes on, and who begins anew begins after what was dropped.
    desk.writes(second_id, AuthorKind::Customer).await;
    read_on(&desk, &mut late, 6).await;
    let third_id = desk.open().await.ticket_id;
    read_on(&desk, &mut late, 8).await;
    let request = StreamEventsRequest::default();
    let answer = desk.service.feed.clone().stream_events(request).await;
    let mut stream = answer.expect("the beginning").into_inner();
    let mut seen = Vec::new();
    while seen.len() < 3 {
        let batch = stream
            .message()
            .await
            .expect("it lasts")
            .expect("it goes on");
        seen.extend(batch.events.iter().map(|event| event.ticket_id));
    }
    assert_eq!(seen, [second_id, third_id, third_id]);
}

#[tokio::test]
async fn only_services_read_the_feed() {
    let desk = Desk::start().await;
    let answer = desk
        .people
        .feed
        .clone()
        .stream_events(StreamEventsRequest::default())
        .await;
    assert_eq!(refusal(answer).0, Code::PermissionDenied);
}
