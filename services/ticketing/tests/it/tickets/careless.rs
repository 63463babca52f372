//! Callers who hang up, and callers who send as much as they may.

use std::time::Duration;

use plazo_proto::common::v1::AuthorKind;
use plazo_proto::ticketing::v1::{
    GetTicketRequest, ListMessagesRequest, ListTicketEventsRequest, ListTicketsRequest,
    StreamEventsRequest,
};
use tonic::Request;

use crate::desk::{BOUND, Desk};

/// Hangs up after so long.
fn impatient<T>(message: T, patience_us: u64) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(Duration::from_micros(patience_us));
    request
}

#[tokio::test]
async fn callers_who_hang_up_spoil_nothing_for_others() {
    let desk = Desk::start().await;
    let ticket_id = desk.open().await.ticket_id;
    for round in 0..150 {
        let patience_us = 200 + 97 * round;
        let tickets = &desk.people.tickets;
        let (mut one, mut other) = (tickets.clone(), tickets.clone());
        let get = GetTicketRequest { ticket_id };
        let _ = tokio::join!(
            one.get_ticket(impatient(get, patience_us)),
            other.list_tickets(impatient(ListTicketsRequest::default(), patience_us)),
        );
    }
    // More calls than there are connections, so that each is tried.
    for _ in 0..60 {
        desk.ticket(ticket_id).await;
        desk.writes(ticket_id, AuthorKind::Customer).await;
    }
    let open = sqlx::query_scalar::<_, i64>(
        "SELECT count(*) FROM pg_stat_activity
         WHERE datname = current_database() AND state LIKE 'idle in transaction%'
             AND state_change < now() - interval '1 second'",
    );
    let open = open.fetch_one(&desk.fixture.pool).await.expect("counted");
    assert_eq!(open, 0, "transactions that nobody ends");
}

#[tokio::test]
async fn the_longest_messages_fit_into_batches_and_pages() {
    const MESSAGES: usize = 60;
    let desk = Desk::start().await;
    let ticket_id = desk.open().await.ticket_id;
    for _ in 0..MESSAGES {
        let mut longest = desk.message(ticket_id, AuthorKind::Customer);
        longest.text = "\u{1f600}".repeat(16_384);
        desk.record(longest).await.expect("it is within the limits");
    }

    let mut tickets = desk.people.tickets.clone();
    let (mut messages, mut events) = (0, 0);
    let mut page = ListMessagesRequest {
        ticket_id,
        page_size: 500,
        ..Default::default()
    };
    loop {
        let answer = tickets.list_messages(page.clone()).await.expect("a page");
        let answer = answer.into_inner();
        messages += answer.messages.len();
        page.page_token = answer.next_page_token;
        if page.page_token.is_empty() {
            break;
        }
    }
    let mut page = ListTicketEventsRequest {
        ticket_id,
        page_size: 500,
        ..Default::default()
    };
    loop {
        let answer = tickets
            .list_ticket_events(page.clone())
            .await
            .expect("a page");
        let answer = answer.into_inner();
        events += answer.events.len();
        page.page_token = answer.next_page_token;
        if page.page_token.is_empty() {
            break;
        }
    }
    assert_eq!((messages, events), (MESSAGES, MESSAGES + 2));

    let request = StreamEventsRequest::default();
    let answer = desk.service.feed.clone().stream_events(request).await;
    let mut stream = answer.expect("the beginning").into_inner();
    let read_all = async {
        let mut streamed = 0;
        while streamed < MESSAGES + 2 {
            let batch = stream.message().await.expect("it lasts");
            streamed += batch.expect("it goes on").events.len();
        }
    };
    tokio::time::timeout(BOUND, read_all)
        .await
        .expect("all come");
}
