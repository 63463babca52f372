//! Thousands of watchers on one replica.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use plazo_proto::common::v1::AuthorKind;
use plazo_proto::ticketing::v1::TicketFilter;
use plazo_proto::ticketing::v1::watch_tickets_response::Update;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;

use super::{snapshot, watch};
use crate::desk::{Desk, create_agent, eventually};
use crate::support::Fixture;

const WATCHERS: usize = 2_000;
/// So many watch the agent whose ticket changes.
const CONCERNED: usize = 100;
const CHANGES: usize = 20;

/// A metric of the service, by the start of its line.
async fn metric(address: &str, name: &str) -> i64 {
    let mut stream = tokio::net::TcpStream::connect(address)
        .await
        .expect("metrics are served");
    stream
        .write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .await
        .expect("asked");
    let mut text = String::new();
    stream.read_to_string(&mut text).await.expect("answered");
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
        .unwrap_or_else(|| panic!("no {name} in {text}"));
    line.trim().parse().expect("a number")
}

/// An address that is free at this moment.
async fn free_address() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
    let address = listener.expect("bound").local_addr();
    address.expect("an address").to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_costs_one_read_and_reaches_only_those_whom_it_concerns() {
    let metrics = free_address().await;
    let settings = [("SERVER__METRICS_LISTEN", &*metrics)];
    let desk = Desk::on(Fixture::start_with(&settings).await).await;
    let other_id = create_agent(&desk.people, "Leo", &[desk.bot_id])
        .await
        .agent_id;
    let ticket_id = desk.open_assigned().await.ticket_id;

    let seen: Arc<Vec<AtomicUsize>> =
        Arc::new((0..WATCHERS).map(|_| AtomicUsize::new(0)).collect());
    let mut watching = JoinSet::new();
    // Streams of one connection are bounded.
    let mut clients = desk.people.clone();
    for number in 0..WATCHERS {
        if number % 500 == 0 {
            clients = desk.fixture.with_window(&desk.people, 65_535);
        }
        let is_concerned = number < CONCERNED;
        let filter = TicketFilter {
            agent_id: if is_concerned {
                desk.agent_id
            } else {
                other_id
            },
            ..TicketFilter::default()
        };
        let mut updates = watch(&clients, filter).await;
        assert_eq!(
            snapshot(&mut updates).await.len(),
            usize::from(is_concerned)
        );
        let seen = Arc::clone(&seen);
        watching.spawn(async move {
            while let Ok(Some(message)) = updates.message().await {
                if let Some(Update::Ticket(ticket)) = message.update {
                    let seq = ticket.etag.parse().expect("a number");
                    seen[number].store(seq, Ordering::Relaxed);
                } else if message.update.is_some() {
                    panic!("{message:?}");
                }
            }
        });
    }
    assert_eq!(metric(&metrics, "plazo_ticketing_watchers").await, 2_000);
    let read_before = metric(&metrics, "plazo_ticketing_watch_changes_total").await;
    let sent_before = metric(&metrics, "plazo_ticketing_watch_updates_total").await;

    let started = Instant::now();
    for _ in 0..CHANGES {
        let changed = desk.writes(ticket_id, AuthorKind::Agent).await;
        let seq = changed.etag.parse().expect("a number");
        eventually("everyone concerned is told", async || {
            let told = seen[..CONCERNED].iter();
            let count = told
                .filter(|seen| seen.load(Ordering::Relaxed) >= seq)
                .count();
            (count == CONCERNED).then_some(())
        })
        .await;
    }
    println!(
        "{CHANGES} changes to {CONCERNED} of {WATCHERS}: {:?}",
        started.elapsed()
    );
    let others = seen[CONCERNED..].iter();
    assert!(
        others
            .into_iter()
            .all(|seen| seen.load(Ordering::Relaxed) == 0)
    );
    let read = metric(&metrics, "plazo_ticketing_watch_changes_total").await - read_before;
    let sent = metric(&metrics, "plazo_ticketing_watch_updates_total").await - sent_before;
    assert!((20..=25).contains(&read), "{read} reads");
    assert_eq!(sent, 2_000, "each change once to each whom it concerns");

    // All at once.
    watching.shutdown().await;
    eventually("all are gone", async || {
        (metric(&metrics, "plazo_ticketing_watchers").await == 0).then_some(())
    })
    .await;
    assert_eq!(metric(&metrics, "plazo_ticketing_watched_tickets").await, 0);
}
