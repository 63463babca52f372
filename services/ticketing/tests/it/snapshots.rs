//! Snapshots: all tickets as of one position of the feed, whatever writers and housekeeping do.

mod keeping;
mod writers;

use std::collections::{BTreeMap, HashSet};

use plazo_proto::common::v1::AuthorKind;
use plazo_proto::ticketing::v1::{
    RecordMessageRequest, StreamSnapshotRequest, StreamSnapshotResponse, TicketSnapshot,
};
use tonic::{Code, Streaming};

use crate::desk::{BOUND, Desk, Ledger, eventually, unwarned};
use crate::feed::read_on;
use crate::support::{Clients, refusal, wrong_fields};

/// Opens a snapshot of the tickets after one.
async fn open(clients: &Clients, after_ticket_id: i64) -> Streaming<StreamSnapshotResponse> {
    let request = StreamSnapshotRequest { after_ticket_id };
    let answer = clients.snapshots.clone().stream_snapshot(request).await;
    answer.expect("a snapshot").into_inner()
}

async fn next(stream: &mut Streaming<StreamSnapshotResponse>) -> Option<StreamSnapshotResponse> {
    let part = tokio::time::timeout(BOUND, stream.message()).await;
    part.expect("parts come").expect("the stream lasts")
}

/// A whole snapshot.
#[derive(Debug, Default)]
struct Taken {
    position: String,
    estimated_ticket_count: i64,
    tickets: BTreeMap<i64, TicketSnapshot>,
    /// How many parts had tickets.
    parts: usize,
}

/// Reads a snapshot to its end, and checks its form.
async fn take(clients: &Clients, after_ticket_id: i64) -> Taken {
    let mut stream = open(clients, after_ticket_id).await;
    let first = next(&mut stream).await.expect("a first part");
    assert!(first.tickets.is_empty() && !first.position.is_empty());
    let mut taken = Taken {
        position: first.position,
        estimated_ticket_count: first.estimated_ticket_count,
        ..Taken::default()
    };
    let mut last_id = after_ticket_id;
    let mut unfinished: Option<TicketSnapshot> = None;
    while let Some(part) = next(&mut stream).await {
        assert!(part.position.is_empty() && part.tickets.len() <= 500);
        taken.parts += 1;
        for mut ticket in part.tickets {
            if let Some(mut begun) = unfinished.take() {
                assert_eq!(begun.ticket_id, ticket.ticket_id, "it goes on");
                begun.events.append(&mut ticket.events);
                ticket = TicketSnapshot {
                    goes_on: ticket.goes_on,
                    ..begun
                };
            }
            if ticket.goes_on {
                unfinished = Some(ticket);
                continue;
            }
            assert!(ticket.ticket_id > last_id, "by ascending ticket");
            last_id = ticket.ticket_id;
            check(&ticket);
            taken.tickets.insert(ticket.ticket_id, ticket);
        }
    }
    assert!(unfinished.is_none(), "{unfinished:?}");
    taken
}

fn check(ticket: &TicketSnapshot) {
    let mut last_seq = 0;
    for event in &ticket.events {
        assert_eq!(
            (event.tenant_id, event.ticket_id),
            (ticket.tenant_id, ticket.ticket_id)
        );
        assert!(event.ticket_seq > last_seq, "in order: {event:?}");
        assert!(event.event_time.is_some() && event.author.is_some() && event.bot_id > 0);
        last_seq = event.ticket_seq;
    }
    assert!(last_seq <= ticket.ticket_seq);
}

/// Tickets with an event that nothing is known of.
async fn bulk(desk: &Desk, count: i64) -> Vec<i64> {
    desk.set_policy(unwarned()).await;
    let ids = desk.bulk(count, 1.0).await;
    sqlx::query("UPDATE ticket_clocks SET ticket_seq = 1")
        .execute(&desk.fixture.pool)
        .await
        .expect("counted");
    ids
}

#[tokio::test]
async fn a_snapshot_has_all_tickets_with_all_events() {
    let desk = Desk::with_policy().await;
    let tickets = desk.answered(3).await;
    // Of another tenant.
    let mut other = desk.fixture.administrator_of(99);
    let bot_id = other.create_bot("Ventas").await.bot_id;
    let contact_id = other.create_contact("Eva", "eva").await.contact_id;
    let mut opening = desk.opening();
    (opening.bot_id, opening.contact_id) = (bot_id, contact_id);
    let opened = other.tickets.open_ticket(opening).await.expect("opened");
    let foreign_id = opened.into_inner().ticket.expect("it").ticket_id;

    let taken = eventually("all is below the bound", async || {
        let taken = take(&desk.service, 0).await;
        (taken.tickets.len() == 4 && taken.tickets[&foreign_id].ticket_seq == 2).then_some(taken)
    })
    .await;
    assert_eq!(taken.estimated_ticket_count, 4);
    assert_eq!(taken.tickets[&foreign_id].tenant_id, 99);
    for ticket in tickets {
        let events = desk.events(ticket.ticket_id).await;
        let told = &taken.tickets[&ticket.ticket_id];
        assert_eq!(told.ticket_seq, i64::try_from(events.len()).expect("few"));
        assert_eq!(told.events, events);
    }
}

#[tokio::test]
async fn a_snapshot_that_broke_off_goes_on_after_the_last_ticket() {
    let desk = Desk::start().await;
    let ids = bulk(&desk, 1_203).await;
    let mut stream = open(&desk.service, 0).await;
    let first = next(&mut stream).await.expect("a first part");
    assert_eq!(first.estimated_ticket_count, 1_203);
    let page = next(&mut stream).await.expect("tickets").tickets;
    assert_eq!(page.len(), 500);
    drop(stream);

    let last_id = page.last().expect("tickets").ticket_id;
    let rest = take(&desk.service, last_id).await;
    assert_eq!((rest.parts, rest.estimated_ticket_count), (2, 703));
    let mut seen: Vec<i64> = page.iter().map(|ticket| ticket.ticket_id).collect();
    seen.extend(rest.tickets.into_keys());
    let mut expected = ids;
    expected.sort_unstable();
    assert_eq!(seen, expected);
    assert!(take(&desk.service, i64::MAX).await.tickets.is_empty());

    let request = StreamSnapshotRequest {
        after_ticket_id: -1,
    };
    let answer = desk
        .service
        .snapshots
        .clone()
        .stream_snapshot(request)
        .await;
    assert_eq!(wrong_fields(answer), ["after_ticket_id"]);
}

#[tokio::test]
async fn a_large_ticket_comes_in_parts() {
    let desk = Desk::start().await;
    let small_id = desk.open().await.ticket_id;
    let large_id = desk.open().await.ticket_id;
    for _ in 0..180 {
        let message = RecordMessageRequest {
            text: "x".repeat(16_000),
            ..desk.message(large_id, AuthorKind::Customer)
        };
        desk.record(message).await.expect("recorded");
    }
    let last_id = desk.open().await.ticket_id;
    let taken = eventually("all is below the bound", async || {
        let taken = take(&desk.service, 0).await;
        taken.tickets.contains_key(&last_id).then_some(taken)
    })
    .await;
    // Of some 2.9 MB: three with events, and the end; one for the ticket before it and one for that after it.
    assert_eq!(taken.parts, 6);
    let seqs = taken.tickets[&large_id].events.iter();
    assert!(seqs.map(|event| event.ticket_seq).eq(1..=182));
    assert_eq!(taken.tickets[&small_id].events.len(), 2);
}

#[tokio::test]
async fn a_reader_that_stops_holds_nothing_up() {
    let fixture = crate::support::Fixture::start_with(&[("SNAPSHOT__MAX_IDLE_MS", "1")]).await;
    let desk = Desk::on(fixture).await;
    bulk(&desk, 3_000).await;
    let narrow = desk.fixture.with_window(&desk.service, 1_024);
    let mut stopped = Vec::new();
    for _ in 0..2 {
        let mut stream = open(&narrow, 0).await;
        next(&mut stream).await.expect("a first part");
        stopped.push(stream);
    }

    // What is written now comes by the feed, although both are still open.
    let ticket_id = desk.open().await.ticket_id;
    desk.writes(ticket_id, AuthorKind::Customer).await;
    let mut ledger = Ledger::default();
    read_on(&desk, &mut ledger, 3).await;
    // And no statement of theirs is left that would keep old versions of rows.
    eventually("nobody holds a snapshot of the database", async || {
        let holders: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_stat_activity
             WHERE datname = current_database() AND state LIKE 'idle in transaction%'",
        )
        .fetch_one(&desk.fixture.pool)
        .await
        .expect("counted");
        (holders == 0).then_some(())
    })
    .await;

    // A third takes the place of the first, which learns it when it goes on.
    let taken = eventually("a place is free", async || {
        let request = StreamSnapshotRequest::default();
        let answer = desk
            .service
            .snapshots
            .clone()
            .stream_snapshot(request)
            .await;
        answer.ok().map(tonic::Response::into_inner)
    })
    .await;
    drop(taken);
    let mut ended = Vec::new();
    for mut stream in stopped {
        loop {
            match stream.message().await {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(status) => {
                    ended.push(refusal::<()>(Err(status)));
                    break;
                }
            }
        }
    }
    let displaced = (
        Code::ResourceExhausted,
        "SNAPSHOT_READER_STOPPED".to_owned(),
    );
    assert_eq!(ended, [displaced]);
}

#[tokio::test]
async fn only_so_many_are_sent_at_once() {
    let fixture = crate::support::Fixture::start_with(&[("SNAPSHOT__MAX_STREAMS", "1")]).await;
    let desk = Desk::on(fixture).await;
    bulk(&desk, 3_000).await;
    let narrow = desk.fixture.with_window(&desk.service, 1_024);
    let mut first = open(&narrow, 0).await;
    next(&mut first).await.expect("a first part");
    let request = StreamSnapshotRequest::default();
    let answer = desk
        .service
        .snapshots
        .clone()
        .stream_snapshot(request)
        .await;
    let too_many = (Code::ResourceExhausted, "TOO_MANY_SNAPSHOTS".to_owned());
    assert_eq!(refusal(answer), too_many);
    drop(first);
    eventually("the place is free again", async || {
        let request = StreamSnapshotRequest::default();
        let answer = desk
            .service
            .snapshots
            .clone()
            .stream_snapshot(request)
            .await;
        answer.ok()
    })
    .await;
}

#[tokio::test]
async fn the_tables_that_tell_what_events_say_are_listed() {
    let desk = Desk::start().await;
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT attrelid::regclass::text FROM pg_attribute
         JOIN pg_class ON pg_class.oid = attrelid
         WHERE attname = 'payload' AND relkind IN ('r', 'p') AND NOT relispartition",
    )
    .fetch_all(&desk.fixture.pool)
    .await
    .expect("the tables");
    let listed = plazo_ticketing::store::events::PAYLOAD_TABLES;
    let listed: HashSet<String> = listed.into_iter().map(str::to_owned).collect();
    assert_eq!(tables.into_iter().collect::<HashSet<_>>(), listed);
}
