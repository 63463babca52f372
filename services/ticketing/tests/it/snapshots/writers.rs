//! Snapshots that are taken while many write, and what follows them in the feed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use plazo_proto::common::v1::AuthorKind;
use plazo_proto::ticketing::v1::StreamEventsRequest;
use rand::Rng as _;
use tokio::task::JoinSet;

use super::{Taken, take};
use crate::desk::{BOUND, Desk};
use crate::feed::count_events;
use crate::support::request_id;

const TICKETS: usize = 30;
const WRITERS: usize = 8;
const ROUNDS: usize = 40;
const SNAPSHOTS: usize = 6;

/// People on both sides write, and tickets are opened; requests with an id take their transaction id before they wait for
/// the ticket.
async fn write(desk: Arc<Desk>, tickets: Arc<Vec<i64>>) {
    for _ in 0..ROUNDS {
        if rand::rng().random_ratio(1, 4) {
            desk.open().await;
        }
        let ticket_id = tickets[rand::rng().random_range(0..tickets.len())];
        let kind = if rand::rng().random() {
            AuthorKind::Customer
        } else {
            AuthorKind::Agent
        };
        let mut request = desk.message(ticket_id, kind);
        request.request_id = request_id();
        desk.record(request).await.expect("recorded");
    }
}

/// Follows the feed from a snapshot until it has so many events in all, and counts how often it had each.
async fn follow(desk: &Desk, taken: &Taken, count: usize) -> BTreeMap<(i64, i64), usize> {
    let mut last: BTreeMap<i64, i64> = BTreeMap::new();
    let mut seen: BTreeMap<(i64, i64), usize> = BTreeMap::new();
    for (ticket_id, ticket) in &taken.tickets {
        let seqs = ticket.events.iter().map(|event| event.ticket_seq);
        assert!(seqs.eq(1..=ticket.ticket_seq), "whole: {ticket:?}");
        last.insert(*ticket_id, ticket.ticket_seq);
        for event in &ticket.events {
            *seen.entry((event.ticket_id, event.ticket_seq)).or_default() += 1;
        }
    }
    let request = StreamEventsRequest {
        position: taken.position.clone(),
    };
    let answer = desk.service.feed.clone().stream_events(request).await;
    let mut stream = answer.expect("a good position").into_inner();
    while seen.len() < count {
        let batch = tokio::time::timeout(BOUND, stream.message()).await;
        let batch = batch.expect("events come").expect("it lasts");
        for event in batch.expect("it goes on").events {
            let last = last.entry(event.ticket_id).or_default();
            assert_eq!(event.ticket_seq, *last + 1, "neither missed nor repeated");
            *last = event.ticket_seq;
            *seen.entry((event.ticket_id, event.ticket_seq)).or_default() += 1;
        }
    }
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshot_and_feed_together_have_each_event_once() {
    let desk = Arc::new(Desk::start().await);
    let mut tickets = Vec::new();
    for _ in 0..TICKETS {
        tickets.push(desk.open().await.ticket_id);
    }
    let tickets = Arc::new(tickets);
    let mut writers = JoinSet::new();
    for _ in 0..WRITERS {
        writers.spawn(write(Arc::clone(&desk), Arc::clone(&tickets)));
    }
    let is_written = Arc::new(AtomicBool::new(false));
    let mut readers = JoinSet::new();
    for _ in 0..2 {
        let (desk, is_written) = (Arc::clone(&desk), Arc::clone(&is_written));
        readers.spawn(async move {
            let mut snapshots = Vec::new();
            while snapshots.len() < SNAPSHOTS && !is_written.load(Ordering::Relaxed) {
                snapshots.push(take(&desk.service, 0).await);
            }
            snapshots
        });
    }
    writers.join_all().await;
    is_written.store(true, Ordering::Relaxed);
    let snapshots: Vec<Taken> = readers.join_all().await.into_iter().flatten().collect();
    assert!(snapshots.len() > 2, "some were taken meanwhile");

    let stored: Vec<(i64, i64)> =
        sqlx::query_as("SELECT ticket_id, ticket_seq FROM ticket_events ORDER BY 1, 2")
            .fetch_all(&desk.fixture.pool)
            .await
            .expect("the events");
    let count = count_events(&desk.fixture.pool).await;
    for taken in snapshots {
        let seen = follow(&desk, &taken, count).await;
        assert!(seen.values().all(|times| *times == 1));
        assert_eq!(seen.into_keys().collect::<Vec<_>>(), stored);
    }
}

#[tokio::test]
async fn what_is_not_committed_is_not_in_it_and_comes_later() {
    let desk = Desk::start().await;
    let ticket_id = desk.open().await.ticket_id;
    let before = crate::desk::eventually("all is below the bound", async || {
        let taken = take(&desk.service, 0).await;
        (taken.tickets.contains_key(&ticket_id)).then_some(taken)
    })
    .await;
    // A transaction that began before others, and commits after the snapshot.
    let mut early = desk.fixture.pool.begin().await.expect("a transaction");
    sqlx::query("SELECT pg_current_xact_id()")
        .execute(&mut *early)
        .await
        .expect("an id");
    desk.writes(ticket_id, AuthorKind::Customer).await;
    let second_id = desk.open().await.ticket_id;
    let during = take(&desk.service, 0).await;
    assert_eq!(
        during.tickets, before.tickets,
        "nothing above the bound is in it"
    );
    early.commit().await.expect("committed");
    let seen = follow(&desk, &during, 5).await;
    assert!(seen.contains_key(&(second_id, 2)) && seen.values().all(|times| *times == 1));
}
