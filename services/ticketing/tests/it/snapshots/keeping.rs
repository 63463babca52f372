//! What snapshots say about events that the feed no longer has.

use plazo_proto::common::v1::AuthorKind;
use plazo_proto::notification::v1::ActiveMessageState;
use plazo_proto::ticketing::v1::{
    AssignTicketRequest, CloseTicketRequest, EraseContactRequest, HoldTicketRequest, MessageKind,
    MessageStateReport, RecordMessageRequest, ReopenTicketRequest, ReportMessageStatesRequest,
    StartOutreachRequest, TagTicketsRequest, TicketEvent, TicketSnapshot, TransferTicketRequest,
};
use plazo_ticketing::keeping;
use sqlx::PgPool;
use tonic::Code;

use super::{Taken, take};
use crate::desk::{Desk, eventually};
use crate::feed::{age_events, count_events};
use crate::support::{TENANT, refusal, request_id};

/// A ticket to which much has happened.
async fn eventful(desk: &Desk) -> i64 {
    let ticket_id = desk.open().await.ticket_id;
    let mut tickets = desk.people.tickets.clone();
    let message = RecordMessageRequest {
        text: "Olá, ça va? 🚲".to_owned(),
        attachment_urls: vec!["https://example.com/bike.png".to_owned()],
        ..desk.message(ticket_id, AuthorKind::Customer)
    };
    desk.record(message).await.expect("recorded");
    let assign = AssignTicketRequest {
        ticket_id,
        agent_id: desk.agent_id,
        ..Default::default()
    };
    tickets.assign_ticket(assign).await.expect("assigned");
    let note = RecordMessageRequest {
        kind: MessageKind::Note.into(),
        text: "looks broken".to_owned(),
        ..desk.message(ticket_id, AuthorKind::Agent)
    };
    desk.record(note).await.expect("recorded");
    let generation = desk.writes(ticket_id, AuthorKind::Agent).await.generation;
    desk.age(&[ticket_id], 26.0).await;
    desk.handle(&[(ticket_id, generation)])
        .await
        .expect("fired");
    let report = MessageStateReport {
        tenant_id: TENANT,
        ticket_id,
        idempotency_key: format!("ticket/{ticket_id}/cycle/1/warning"),
        state: ActiveMessageState::Accepted.into(),
        state_time: Some(prost_types::Timestamp::default()),
        ..Default::default()
    };
    let request = ReportMessageStatesRequest {
        reports: vec![report],
    };
    let mut states = desk.service.states.clone();
    states
        .report_message_states(request)
        .await
        .expect("reported");
    let tags = TagTicketsRequest {
        ticket_ids: vec![ticket_id],
        add_tags: vec!["bike".to_owned()],
        ..Default::default()
    };
    tickets.tag_tickets(tags).await.expect("tagged");
    let hold = HoldTicketRequest {
        ticket_id,
        reason: "parts".to_owned(),
        ..Default::default()
    };
    tickets.hold_ticket(hold).await.expect("held");
    let transfer = TransferTicketRequest {
        ticket_id,
        queue_id: desk.queue(&format!("Oficina {ticket_id}")).await,
        ..Default::default()
    };
    tickets.transfer_ticket(transfer).await.expect("moved");
    let close = CloseTicketRequest {
        ticket_id,
        ..Default::default()
    };
    tickets.close_ticket(close.clone()).await.expect("closed");
    let reopen = ReopenTicketRequest {
        ticket_id,
        ..Default::default()
    };
    tickets.reopen_ticket(reopen).await.expect("reopened");
    tickets.close_ticket(close).await.expect("closed");
    ticket_id
}

/// A snapshot that has all events up to now.
async fn whole(desk: &Desk) -> Taken {
    let seqs: Vec<(i64, i64)> = sqlx::query_as("SELECT ticket_id, ticket_seq FROM ticket_clocks")
        .fetch_all(&desk.fixture.pool)
        .await
        .expect("the tickets");
    eventually("all is below the bound", async || {
        let taken = take(&desk.service, 0).await;
        let is_in = |(ticket_id, seq): &(i64, i64)| {
            let ticket = taken.tickets.get(ticket_id);
            ticket.is_some_and(|ticket| ticket.ticket_seq == *seq)
        };
        seqs.iter().all(is_in).then_some(taken)
    })
    .await
}

/// What is left of a ticket when the feed has no event of it any more.
fn shortened(ticket: &TicketSnapshot) -> TicketSnapshot {
    let says_something =
        |event: &&TicketEvent| event.payload.as_ref().is_none_or(keeping::says_something);
    let events = ticket.events.iter().filter(says_something);
    TicketSnapshot {
        events: events
            .map(|event| TicketEvent {
                event_id: 0,
                ..event.clone()
            })
            .collect(),
        ..ticket.clone()
    }
}

async fn drop_expired(pool: &PgPool) -> u32 {
    keeping::drop_expired(pool, 90).await.expect("dropped")
}

#[tokio::test]
async fn dropped_events_say_the_same_as_before() {
    let desk = Desk::with_policy().await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(eventful(&desk).await);
    }
    let open_id = desk.open().await.ticket_id;
    age_events(&desk.fixture.pool).await;
    let before = whole(&desk).await;
    assert_eq!(drop_expired(&desk.fixture.pool).await, 1);
    assert_eq!(count_events(&desk.fixture.pool).await, 0);
    let after = take(&desk.service, 0).await;
    assert_eq!(after.tickets.len(), 4);
    for (ticket_id, ticket) in &before.tickets {
        assert_eq!(after.tickets[ticket_id], shortened(ticket));
    }
    // It is worth the test only if something was left out, and something came back from elsewhere.
    let (told, left) = (&before.tickets[&ids[0]], &after.tickets[&ids[0]]);
    assert!(left.events.len() < told.events.len());
    let text: String =
        sqlx::query_scalar("SELECT string_agg(encode(payload, 'escape'), '') FROM kept_events")
            .fetch_one(&desk.fixture.pool)
            .await
            .expect("the events");
    assert!(!text.contains("looks broken") && !text.contains("bike.png"));
    assert!(text.contains("Ana"), "the contact stands in them");

    // What follows is in the feed, and in later snapshots after the kept ones.
    desk.writes(open_id, AuthorKind::Customer).await;
    let later = whole(&desk).await;
    let ticket = &later.tickets[&open_id];
    let seqs: Vec<i64> = ticket.events.iter().map(|event| event.ticket_seq).collect();
    assert_eq!((ticket.ticket_seq, seqs), (3, vec![1, 3]));
    assert!(ticket.events[1].event_id > 0);
    assert_eq!(drop_expired(&desk.fixture.pool).await, 0);
}

#[tokio::test]
async fn a_crash_while_events_are_kept_costs_nothing() {
    let desk = Desk::with_policy().await;
    let pool = &desk.fixture.pool;
    let ticket_id = desk.open().await.ticket_id;
    for _ in 0..600 {
        desk.writes(ticket_id, AuthorKind::Customer).await;
    }
    eventful(&desk).await;
    age_events(pool).await;
    let before = whole(&desk).await;

    let week = plazo_ticketing::store::kept_events::expired_weeks(pool, 90).await;
    let week = week.expect("the weeks")[0];
    assert!(keeping::keep_some(pool, week).await.expect("kept"), "more");
    // In both tables: each is told once, as long as it is there by its own number.
    assert_eq!(take(&desk.service, 0).await.tickets, before.tickets);
    let dropped: bool = sqlx::query_scalar(
        "SELECT drop_event_week(expired_event_weeks) FROM expired_event_weeks(90)",
    )
    .fetch_one(pool)
    .await
    .expect("asked");
    assert!(!dropped, "a week that is not done stays");

    // Two replicas go on at the same time.
    let (one, other) = tokio::join!(drop_expired(pool), drop_expired(pool));
    assert_eq!(one + other, 1);
    let after = take(&desk.service, 0).await;
    for (ticket_id, ticket) in &before.tickets {
        assert_eq!(after.tickets[ticket_id], shortened(ticket));
    }
}

#[tokio::test]
async fn a_partition_that_is_read_waits_and_blocks_nobody() {
    let desk = Desk::start().await;
    let pool = &desk.fixture.pool;
    let ticket_id = desk.open().await.ticket_id;
    age_events(pool).await;
    let mut reader = pool.begin().await.expect("a transaction");
    sqlx::query("SELECT count(*) FROM ticket_events")
        .execute(&mut *reader)
        .await
        .expect("read");
    let dropping = async { drop_expired(pool).await };
    let writing = async {
        for _ in 0..20 {
            desk.writes(ticket_id, AuthorKind::Customer).await;
        }
        reader.commit().await.expect("committed");
    };
    let (dropped, ()) = tokio::join!(dropping, writing);
    assert_eq!(dropped, 1);
    assert_eq!(count_events(pool).await, 20);
}

#[tokio::test]
async fn an_erasure_reaches_what_is_kept() {
    let desk = Desk::with_policy().await;
    let pool = &desk.fixture.pool;
    let ticket_id = eventful(&desk).await;
    age_events(pool).await;
    assert_eq!(drop_expired(pool).await, 1);
    let before = whole(&desk).await;
    assert!(format!("{before:?}").contains("Ana"));
    let request = EraseContactRequest {
        contact_id: desk.contact_id,
        request_id: String::new(),
    };
    let mut erasures = desk.people.erasures.clone();
    erasures.erase_contact(request).await.expect("erased");
    eventually("nothing of him is left", async || {
        let told = format!("{:?}", take(&desk.service, 0).await);
        let is_told = ["Ana", "bike.png", "looks broken", "Olá"]
            .into_iter()
            .any(|text| told.contains(text));
        (!is_told).then_some(())
    })
    .await;
    let after = whole(&desk).await;
    let seqs = |taken: &Taken| -> Vec<i64> {
        let events = taken.tickets[&ticket_id].events.iter();
        events.map(|event| event.ticket_seq).collect()
    };
    assert!(seqs(&after).starts_with(&seqs(&before)), "facts stay");

    // Nobody writes to him any more.
    let request = StartOutreachRequest {
        tenant_id: TENANT,
        agent_id: desk.agent_id,
        ticket_id,
        text: "Hola".to_owned(),
        image_url: String::new(),
        request_id: request_id(),
    };
    let answer = desk.service.outreach.clone().start_outreach(request).await;
    let erased = (Code::FailedPrecondition, "CONTACT_ERASED".to_owned());
    assert_eq!(refusal(answer), erased);
}
