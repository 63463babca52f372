//! The live view of tickets.

use std::time::Duration;

use plazo_proto::common::v1::AuthorKind;
use plazo_proto::ticketing::v1::watch_tickets_response::Update;
use plazo_proto::ticketing::v1::{
    Alert, AlertSettings, InactivityPolicy, Ticket, TicketFilter, TicketState, WatchTicketsRequest,
    WatchTicketsResponse,
};
use tonic::{Code, Status, Streaming};

use crate::desk::{BOUND, Desk, unwarned};
use crate::support::{Clients, TENANT, refusal, seconds, wrong_fields};

type Updates = Streaming<WatchTicketsResponse>;

async fn watch(clients: &Clients, filter: TicketFilter) -> Updates {
    let request = WatchTicketsRequest {
        filter: Some(filter),
    };
    let answer = clients.tickets.clone().watch_tickets(request).await;
    answer.expect("permitted").into_inner()
}

async fn next(updates: &mut Updates) -> Update {
    let update = tokio::time::timeout(BOUND, updates.message()).await;
    let update = update.expect("something comes").expect("the stream lasts");
    update
        .and_then(|response| response.update)
        .expect("the stream goes on")
}

async fn next_ticket(updates: &mut Updates) -> Ticket {
    match next(updates).await {
        Update::Ticket(ticket) => ticket,
        other => panic!("{other:?}"),
    }
}

/// What comes next about a ticket. Changes from just before the snapshot may still be told after it.
async fn next_about(updates: &mut Updates, ticket_id: i64) -> Update {
    loop {
        let update = next(updates).await;
        match &update {
            Update::Ticket(ticket) if ticket.ticket_id == ticket_id => return update,
            Update::LeftTicketId(left_id) if *left_id == ticket_id => return update,
            Update::SnapshotEnd(_) => panic!("a second snapshot"),
            Update::Ticket(_) | Update::LeftTicketId(_) => {}
        }
    }
}

/// The tickets of the snapshot, in the order in which they came.
async fn snapshot(updates: &mut Updates) -> Vec<Ticket> {
    let mut tickets = Vec::new();
    loop {
        match next(updates).await {
            Update::Ticket(ticket) => tickets.push(ticket),
            Update::SnapshotEnd(end) => {
                assert_eq!(usize::try_from(end.ticket_count), Ok(tickets.len()));
                return tickets;
            }
            Update::LeftTicketId(id) => panic!("{id} left"),
        }
    }
}

#[tokio::test]
async fn a_snapshot_comes_first_and_changes_follow() {
    let desk = Desk::start().await;
    desk.set_policy(unwarned()).await;
    let tickets = desk.answered(3).await;
    let mut updates = watch(&desk.people, TicketFilter::default()).await;
    let told = snapshot(&mut updates).await;
    assert_eq!(told, tickets.iter().rev().cloned().collect::<Vec<_>>());

    let new = desk.open().await;
    let ticket_id = new.ticket_id;
    assert_eq!(
        next_about(&mut updates, ticket_id).await,
        Update::Ticket(new)
    );
    let answered = desk.writes(ticket_id, AuthorKind::Agent).await;
    let generation = answered.generation;
    let told = next_about(&mut updates, ticket_id).await;
    assert!(matches!(told, Update::Ticket(ticket) if ticket.etag == answered.etag));

    desk.age(&[ticket_id], 10.0).await;
    desk.handle(&[(ticket_id, generation)])
        .await
        .expect("handled");
    let told = next_about(&mut updates, ticket_id).await;
    assert!(matches!(told, Update::Ticket(ticket) if ticket.alert() == Alert::Yellow));
    desk.age(&[ticket_id], 20.0).await;
    desk.handle(&[(ticket_id, generation)])
        .await
        .expect("handled");
    assert_eq!(
        next_about(&mut updates, ticket_id).await,
        Update::LeftTicketId(ticket_id)
    );
    // What comes back matches again.
    desk.writes(ticket_id, AuthorKind::Customer).await;
    let told = next_about(&mut updates, ticket_id).await;
    assert!(matches!(told, Update::Ticket(ticket) if ticket.state() == TicketState::Waiting));
}

#[tokio::test]
async fn nobody_is_told_of_other_tenants_bots_and_states() {
    let desk = Desk::start().await;
    let mut people = desk.people.clone();
    let other_bot = people.create_bot("Compras").await.bot_id;
    let mut all = watch(&desk.people, TicketFilter::default()).await;
    let bots = desk.bot_id.to_string();
    let restricted = desk
        .fixture
        .as_actor("administrator/2", "tickets:attend", &bots);
    let mut of_bot = watch(&restricted, TicketFilter::default()).await;
    let filter = TicketFilter {
        states: vec![TicketState::Open.into()],
        ..TicketFilter::default()
    };
    let mut open = watch(&desk.people, filter).await;
    let foreigner = desk.fixture.administrator_of(TENANT + 1);
    let mut foreign = watch(&foreigner, TicketFilter::default()).await;
    for updates in [&mut all, &mut of_bot, &mut open, &mut foreign] {
        assert!(snapshot(updates).await.is_empty());
    }

    let mut opening = desk.opening();
    opening.bot_id = other_bot;
    let elsewhere = desk.open_as(opening).await;
    let here = desk.open().await;
    let mut told = [next_ticket(&mut all).await, next_ticket(&mut all).await];
    told.sort_unstable_by_key(|ticket| ticket.ticket_id);
    assert_eq!(told, [elsewhere, here.clone()]);
    assert_eq!(next_ticket(&mut of_bot).await, here);
    let answered = desk.writes(here.ticket_id, AuthorKind::Agent).await;
    assert_eq!(next_ticket(&mut open).await.etag, answered.etag);

    // The foreigner's own ticket is the first thing that he is told.
    let mut clients = foreigner.clone();
    let bot_id = clients.create_bot("Otra").await.bot_id;
    let contact_id = clients.create_contact("Eva", "eva").await.contact_id;
    let request = plazo_proto::ticketing::v1::OpenTicketRequest {
        bot_id,
        contact_id,
        ..Default::default()
    };
    let answer = clients
        .tickets
        .open_ticket(request)
        .await
        .expect("a ticket");
    assert_eq!(
        Some(next_ticket(&mut foreign).await),
        answer.into_inner().ticket
    );
}

#[tokio::test]
async fn a_watch_that_may_not_be_is_refused() {
    let desk = Desk::start().await;
    let request = |filter| WatchTicketsRequest {
        filter: Some(filter),
    };
    let bad = TicketFilter {
        states: vec![TicketState::Open.into(), 0, 9],
        bot_id: -1,
        ..TicketFilter::default()
    };
    let refused = desk
        .people
        .tickets
        .clone()
        .watch_tickets(request(bad))
        .await;
    assert_eq!(
        wrong_fields(refused),
        ["filter.states[1]", "filter.states[2]", "filter.bot_id"]
    );
    let foreign = TicketFilter {
        bot_id: desk.bot_id + 1,
        ..TicketFilter::default()
    };
    let refused = desk
        .agent
        .tickets
        .clone()
        .watch_tickets(request(foreign))
        .await;
    let not_permitted = (Code::PermissionDenied, "BOT_NOT_PERMITTED".to_owned());
    assert_eq!(refusal(refused), not_permitted);
}

#[tokio::test]
async fn watchers_miss_nothing_when_connections_are_lost() {
    let desk = Desk::start().await;
    let mut updates = watch(&desk.people, TicketFilter::default()).await;
    snapshot(&mut updates).await;
    for _ in 0..5 {
        let ticket = desk.open().await;
        sqlx::query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE datname = current_database() AND application_name = 'plazo-ticketing'",
        )
        .execute(&desk.fixture.pool)
        .await
        .expect("terminated");
        assert_eq!(next_ticket(&mut updates).await.ticket_id, ticket.ticket_id);
    }
}

#[tokio::test]
async fn a_watcher_that_does_not_read_is_cut_off() {
    let desk = Desk::start().await;
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

    let tickets = desk.bulk(1_000, 11.0).await;
    let asked: Vec<_> = tickets.iter().map(|&ticket_id| (ticket_id, 2)).collect();
    let mut told = 0;
    for _ in 0..20 {
        desk.handle(&asked).await.expect("handled");
        told += asked.len();
        // Who reads stays.
        let mut read = 0;
        while read < asked.len() {
            next_ticket(&mut quick).await;
            read += 1;
        }
        sqlx::query(
            "UPDATE ticket_clocks SET stages_done = 0, next_due_at = date_trunc('milliseconds', clock_timestamp())",
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
