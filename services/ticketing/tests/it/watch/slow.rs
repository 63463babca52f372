//! Watchers that read slowly, or that are too many.

use std::time::Duration;

use plazo_proto::ticketing::v1::{AlertSettings, InactivityPolicy, TicketFilter};
use tonic::{Code, Status};

use super::{next_message, next_ticket, snapshot, watch, watch_from};
use crate::desk::Desk;
use crate::support::{Fixture, refusal, seconds};

#[tokio::test]
async fn a_watcher_that_does_not_read_is_cut_off() {
    let desk = Desk::on(Fixture::start_with(&[("WATCH__BACKLOG", "1000")]).await).await;
    let alerts = AlertSettings {
        first_alert: seconds(10),
        second_alert: seconds(100_000),
    };
    desk.set_policy(InactivityPolicy {
        alerts: Some(alerts),
        ..InactivityPolicy::default()
    })
    .await;
    let slow = desk.fixture.with_window(&desk.people, 65_535);
    let mut updates = watch(&slow, TicketFilter::default()).await;
    snapshot(&mut updates).await;
    let mut quick = watch(&desk.people, TicketFilter::default()).await;
    snapshot(&mut quick).await;

    // So many that they fill what lies on the way to the one who does not read, too.
    let tickets = desk.bulk(5_000, 11.0).await;
    let asked: Vec<_> = tickets.iter().map(|&ticket_id| (ticket_id, 2)).collect();
    let mut told = 0;
    for _ in 0..4 {
        for asked in asked.chunks(500) {
            desk.handle(asked).await.expect("handled");
            told += asked.len();
            // Who reads stays.
            for _ in asked {
                next_ticket(&mut quick).await;
            }
        }
        sqlx::query(
            "UPDATE ticket_clocks SET stages_done = 0, next_due_at = due_at, cycle_due_at = due_at
             FROM date_trunc('milliseconds', clock_timestamp()) AS due_at",
        )
        .execute(&desk.fixture.pool)
        .await
        .expect("due again");
    }
    let mut received = 0;
    let cut_off: Status = loop {
        match tokio::time::timeout(Duration::from_secs(30), updates.message())
            .await
            .expect("an end")
        {
            Ok(Some(_)) => received += 1,
            Ok(None) => panic!("ended without a reason"),
            Err(status) => break status,
        }
    };
    let too_slow = (Code::ResourceExhausted, "WATCHER_TOO_SLOW".to_owned());
    assert_eq!(refusal(Err::<(), _>(cut_off)), too_slow);
    assert!(
        received < told,
        "{received} of {told} were kept for one who does not read"
    );
}

#[tokio::test]
async fn watchers_and_what_they_hold_are_bounded() {
    let settings = [
        ("WATCH__MAX_WATCHERS", "2"),
        ("WATCH__MAX_TICKETS_EACH", "3"),
    ];
    let desk = Desk::on(Fixture::start_with(&settings).await).await;
    let everything = TicketFilter::default;
    let mut first = watch(&desk.people, everything()).await;
    snapshot(&mut first).await;
    let second = watch(&desk.people, everything()).await;
    let refused = watch_from(&desk.people, everything(), "").await;
    let too_many = (Code::ResourceExhausted, "TOO_MANY_WATCHERS".to_owned());
    assert_eq!(refusal(refused), too_many);

    // Who goes makes room.
    drop(second);
    let second = crate::desk::eventually("a free place", async || {
        watch_from(&desk.people, everything(), "").await.ok()
    });
    let mut second = second.await;
    snapshot(&mut second).await;
    drop(second);

    for _ in 0..3 {
        desk.open().await;
        next_ticket(&mut first).await;
    }
    desk.open().await;
    let too_large = (Code::FailedPrecondition, "WATCH_TOO_LARGE".to_owned());
    let cut_off = loop {
        if let Err(status) = next_message(&mut first).await {
            break status;
        }
    };
    assert_eq!(refusal(Err::<(), _>(cut_off)), too_large);
    let refused = watch_from(&desk.people, everything(), "").await;
    let mut refused = refused.expect("a place");
    let refused = refused.message().await;
    assert_eq!(refusal(refused), too_large);
}
