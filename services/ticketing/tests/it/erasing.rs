//! Erasing the personal data of a contact: all of it goes, nothing else does, and the proof stays.

mod filling;
mod large;
mod meanwhile;
mod proof;

use std::collections::BTreeSet;

use plazo_proto::common::v1::AuthorKind;
use plazo_proto::ticketing::v1::ticket_event::Payload;
use plazo_proto::ticketing::v1::{
    CloseSource, EraseContactRequest, Erasure, GetContactRequest, GetErasureRequest,
    InboundOutcome, OpenTicketRequest, StreamEventsRequest, TicketEvent, TicketState,
};
use sqlx::PgPool;
use tonic::{Code, Status};

use crate::desk::{Desk, Ledger, eventually};
use crate::support::{Clients, refusal, wrong_fields};
use crate::tickets::calls::{Change, precondition, set_bot};
use filling::{fill, writes_by_channel};

/// Stands in all that is to be erased.
const SECRET: &str = "Zuleika";
/// Stands in what somebody else said and is.
const OTHER: &str = "Quirino";

/// The tables of a database in which a text stands, in any column of any type.
async fn tables_with(pool: &PgPool, text: &str) -> BTreeSet<String> {
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT table_name::text FROM information_schema.tables WHERE table_schema = 'public'",
    )
    .fetch_all(pool)
    .await
    .expect("listed");
    assert!(tables.len() > 20, "{tables:?}");
    let mut found = BTreeSet::new();
    for table in tables {
        // Bytes are written as hexadecimal digits.
        let query = format!(
            "SELECT EXISTS (SELECT FROM {table} AS it WHERE it::text LIKE '%' || $1 || '%'
                 OR it::text LIKE '%' || encode(convert_to($1, 'UTF8'), 'hex') || '%')"
        );
        let is_there: bool = sqlx::query_scalar(sqlx::AssertSqlSafe(query))
            .bind(text)
            .fetch_one(pool)
            .await
            .expect("searched");
        if is_there {
            found.insert(table);
        }
    }
    found
}

async fn erase(clients: &Clients, contact_id: i64) -> Result<Erasure, Status> {
    let request = EraseContactRequest {
        contact_id,
        request_id: String::new(),
    };
    let answer = clients.erasures.clone().erase_contact(request).await?;
    Ok(answer.into_inner().erasure.expect("the erasure"))
}

async fn get(clients: &Clients, erasure_id: i64) -> Erasure {
    let request = GetErasureRequest { erasure_id };
    let answer = clients.erasures.clone().get_erasure(request).await;
    let erasure = answer.expect("it is there").into_inner().erasure;
    erasure.expect("the erasure")
}

/// Waits until ticketing has erased.
async fn until_erased(desk: &Desk, erasure_id: i64) -> Erasure {
    eventually("ticketing has erased", async || {
        let erasure = get(&desk.people, erasure_id).await;
        erasure.services[0].erase_time.is_some().then_some(erasure)
    })
    .await
}

/// All events of the feed so far.
async fn feed(desk: &Desk) -> Ledger {
    let mut ledger = Ledger::default();
    let count: i64 = sqlx::query_scalar("SELECT count(*) FROM ticket_events")
        .fetch_one(&desk.fixture.pool)
        .await
        .expect("counted");
    let request = StreamEventsRequest::default();
    let answer = desk.service.feed.clone().stream_events(request).await;
    let mut stream = answer.expect("a stream").into_inner();
    while i64::try_from(ledger.events.len()).expect("a number") < count {
        let batch = stream.message().await.expect("it goes on");
        ledger.take(batch.expect("it does not end"));
    }
    ledger
}

#[tokio::test]
async fn all_of_one_goes_and_all_of_others_stays() {
    let desk = Desk::with_policy().await;
    set_bot(&desk, "open_ticket_on_inbound = true").await;
    let (contact, closed, open) = fill(&desk, SECRET).await;
    let (other, ..) = fill(&desk, OTHER).await;
    let pool = &desk.fixture.pool;
    let before = tables_with(pool, SECRET).await;
    for table in [
        "answered_requests",
        "contacts",
        "inbound_messages",
        "messages",
        "ticket_events",
        "tickets",
    ] {
        assert!(before.contains(table), "{table} is not tested: {before:?}");
    }
    assert_eq!(before, tables_with(pool, OTHER).await);
    let told_before = feed(&desk).await;

    let erasure = erase(&desk.people, contact.contact_id)
        .await
        .expect("begun");
    assert_eq!(
        (erasure.contact_id, erasure.ticket_count, erasure.complete),
        (contact.contact_id, 3, false)
    );
    // Closed before anything else happens.
    let ticket = desk.ticket(open).await;
    assert_eq!(ticket.state(), TicketState::Closed);
    assert_eq!(
        ticket.closure.expect("a closure").source(),
        CloseSource::Api
    );
    let erasure = until_erased(&desk, erasure.erasure_id).await;
    assert!(erasure.services[0].row_count > 10, "{erasure:?}");

    assert_eq!(tables_with(pool, SECRET).await, BTreeSet::new());
    assert_eq!(tables_with(pool, OTHER).await, before);

    // The feed is as it was, and goes on.
    let told = feed(&desk).await;
    let place = |event: &TicketEvent| (event.event_id, event.ticket_id, event.ticket_seq);
    let kept: Vec<_> = told
        .events
        .iter()
        .map(place)
        .take(told_before.events.len())
        .collect();
    assert_eq!(
        kept,
        told_before.events.iter().map(place).collect::<Vec<_>>()
    );
    let erased: Vec<_> = told
        .events
        .iter()
        .filter_map(|event| match &event.payload {
            Some(Payload::PersonalDataErased(erased)) => Some((event.ticket_id, *erased)),
            _ => None,
        })
        .collect();
    assert_eq!(erased.len(), 3);
    assert!(
        erased
            .iter()
            .all(|(_, it)| it.erasure_id == erasure.erasure_id
                && it.contact_id == contact.contact_id)
    );
    assert_eq!(
        erased.iter().map(|(_, it)| it.last).collect::<Vec<_>>(),
        [false, false, true]
    );
    let story = desk.whole_story(open).await;
    assert_eq!(
        story.last().map(String::as_str),
        Some("personal data erased")
    );
    assert!(
        !story.iter().any(|event| event.contains("ClosingText")),
        "{story:?}"
    );

    // What reports count.
    let closure = desk.ticket(closed).await.closure.expect("a closure");
    assert_eq!(closure.note.expect("a note").category, "vendas");
    let read = GetContactRequest {
        contact_id: other.contact_id,
    };
    let read = desk
        .people
        .contacts
        .clone()
        .get_contact(read)
        .await
        .expect("read");
    assert_eq!(
        read.into_inner().contact.expect("the contact").name,
        format!("{OTHER} Souza")
    );
}

#[tokio::test]
async fn nothing_is_changed_after_it_and_who_writes_again_is_somebody_new() {
    let desk = Desk::with_policy().await;
    set_bot(&desk, "open_ticket_on_inbound = true").await;
    let (contact, closed, open) = fill(&desk, SECRET).await;
    let erasure = erase(&desk.people, contact.contact_id)
        .await
        .expect("begun");
    let contact_id = contact.contact_id;
    // From the answer on.
    let opening = OpenTicketRequest {
        contact_id,
        ..desk.opening()
    };
    let refused = desk.people.tickets.clone().open_ticket(opening).await;
    assert_eq!(wrong_fields(refused), ["contact_id"]);
    until_erased(&desk, erasure.erasure_id).await;

    let before = desk.whole_story(closed).await;
    for change in [
        Change::Reopen,
        Change::Unlink,
        Change::Assign(desk.agent_id),
        Change::SetOpen,
    ] {
        let refused = change.make(&desk.people, closed).await;
        assert_eq!(refusal(refused), precondition("CONTACT_ERASED"));
    }
    for kind in [AuthorKind::Customer, AuthorKind::Agent, AuthorKind::Bot] {
        let refused = desk.record(desk.message(open, kind)).await;
        assert_eq!(refusal(refused), precondition("CONTACT_ERASED"));
    }
    assert_eq!(desk.whole_story(closed).await, before);
    let read = GetContactRequest { contact_id };
    let read = desk.people.contacts.clone().get_contact(read).await;
    assert_eq!(
        refusal(read),
        (Code::NotFound, "CONTACT_NOT_FOUND".to_owned())
    );

    let (outcome, ticket_id) = writes_by_channel(&desk, SECRET, 8).await;
    assert_eq!(outcome, InboundOutcome::Recorded);
    let ticket = desk.ticket(ticket_id).await;
    assert!(ticket.contact_id != contact_id && ticket.previous_ticket_id == 0);
    // And can be erased as well.
    let again = erase(&desk.people, ticket.contact_id).await.expect("begun");
    assert_ne!(again.erasure_id, erasure.erasure_id);
    until_erased(&desk, again.erasure_id).await;
    assert_eq!(
        tables_with(&desk.fixture.pool, SECRET).await,
        BTreeSet::new()
    );
}

/// The tables with events are those that the code knows.
#[tokio::test]
async fn no_table_with_events_is_forgotten() {
    let desk = Desk::start().await;
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT table_name::text FROM information_schema.columns
         WHERE table_schema = 'public' AND column_name = 'payload'
             AND table_name NOT IN (SELECT inhrelid::regclass::text FROM pg_inherits)
         ORDER BY table_name",
    )
    .fetch_all(&desk.fixture.pool)
    .await
    .expect("listed");
    let mut known = plazo_ticketing::store::events::PAYLOAD_TABLES;
    known.sort_unstable();
    assert_eq!(tables, known);
}
