//! Readers that come and go while many write.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use plazo_proto::common::v1::AuthorKind;
use rand::Rng as _;
use tokio::task::JoinSet;
use tonic::Code;

use super::{count_events, read_on, stream};
use crate::desk::{Desk, Ledger, unwarned};
use crate::support::request_id;

const TICKETS: usize = 48;
const WRITERS: usize = 12;
const ROUNDS: usize = 20;

/// Reads with streams that last a while; when nobody writes any more, to the end.
async fn read(desk: Arc<Desk>, all_written: Arc<AtomicBool>) -> Ledger {
    let mut ledger = Ledger::default();
    while !all_written.load(Ordering::Relaxed) {
        let mut stream = stream(&desk, &ledger.position).await;
        let batches = rand::rng().random_range(0..6);
        for _ in 0..batches {
            let wait = Duration::from_millis(rand::rng().random_range(1..120));
            match tokio::time::timeout(wait, stream.message()).await {
                Ok(batch) => ledger.take(batch.expect("it lasts").expect("it goes on")),
                Err(_) => break,
            }
        }
    }
    let count = count_events(&desk.fixture.pool).await;
    read_on(&desk, &mut ledger, count).await;
    ledger
}

/// People on both sides write; requests with an id take their transaction id before they wait for the ticket.
async fn write(desk: Arc<Desk>, tickets: Arc<Vec<i64>>) {
    for _ in 0..ROUNDS {
        let ticket_id = tickets[rand::rng().random_range(0..tickets.len())];
        let kind = if rand::rng().random() {
            AuthorKind::Customer
        } else {
            AuthorKind::Agent
        };
        let mut request = desk.message(ticket_id, kind);
        request.request_id = request_id();
        desk.record(request).await.expect("recorded");
        if rand::rng().random_ratio(1, 4) {
            desk.age(&[ticket_id], 31.0).await;
        }
    }
}

/// Closes in bulk whatever is due.
async fn close(desk: Arc<Desk>, tickets: Arc<Vec<i64>>, ended: Arc<AtomicBool>) {
    while !ended.load(Ordering::Relaxed) {
        let mut asked = Vec::new();
        for &ticket_id in tickets.iter() {
            let generation =
                sqlx::query_scalar("SELECT generation FROM ticket_clocks WHERE ticket_id = $1")
                    .bind(ticket_id)
                    .fetch_one(&desk.fixture.pool)
                    .await
                    .expect("a generation");
            asked.push((ticket_id, generation));
        }
        match desk.handle_once(&asked).await {
            Ok(_) => {}
            Err(status) => assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_reader_sees_each_event_once_and_in_order() {
    let desk = Arc::new(Desk::start().await);
    desk.set_policy(unwarned()).await;
    let mut tickets = Vec::new();
    for _ in 0..TICKETS {
        tickets.push(desk.open().await.ticket_id);
    }
    let tickets = Arc::new(tickets);
    let ended = Arc::new(AtomicBool::new(false));
    let all_written = Arc::new(AtomicBool::new(false));

    let mut readers = JoinSet::new();
    let mut closers = JoinSet::new();
    for _ in 0..2 {
        readers.spawn(read(Arc::clone(&desk), Arc::clone(&all_written)));
        closers.spawn(close(
            Arc::clone(&desk),
            Arc::clone(&tickets),
            Arc::clone(&ended),
        ));
    }
    let mut writers = JoinSet::new();
    for _ in 0..WRITERS {
        writers.spawn(write(Arc::clone(&desk), Arc::clone(&tickets)));
    }
    writers.join_all().await;
    ended.store(true, Ordering::Relaxed);
    closers.join_all().await;
    all_written.store(true, Ordering::Relaxed);
    let ledgers = readers.join_all().await;

    let stored: Vec<(i64, i64)> =
        sqlx::query_as("SELECT ticket_id, ticket_seq FROM ticket_events ORDER BY 1, 2")
            .fetch_all(&desk.fixture.pool)
            .await
            .expect("the events");
    for ledger in ledgers {
        let mut seen: Vec<_> = ledger
            .events
            .iter()
            .map(|event| (event.ticket_id, event.ticket_seq))
            .collect();
        seen.sort_unstable();
        assert_eq!(seen, stored);
    }
    let asked_for: i64 = sqlx::query_scalar("SELECT count(*) FROM active_message_states")
        .fetch_one(&desk.fixture.pool)
        .await
        .expect("counted");
    assert!(asked_for > 0, "something was closed meanwhile");
}
