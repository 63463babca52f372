//! Repeated requests, stale etags, and what is read at one moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use plazo_proto::common::v1::AuthorKind;
use plazo_proto::ticketing::v1::{RecordMessageRequest, TicketState};
use tokio::task::JoinSet;
use tonic::Code;

use super::{assign, assigning, close, closing, reopen, reopening};
use crate::desk::{Desk, unwarned};
use crate::support::{refusal, request_id};

#[tokio::test]
async fn a_repeated_request_gets_its_first_answer_and_changes_nothing() {
    let desk = Desk::with_policy().await;
    let mut opening = desk.opening();
    opening.request_id = request_id();
    let opened = desk.open_as(opening.clone()).await;
    let ticket_id = opened.ticket_id;

    let mut assigned = assigning(ticket_id, desk.agent_id);
    assigned.request_id = request_id();
    let mut message = desk.message(ticket_id, AuthorKind::Agent);
    message.request_id = request_id();
    let mut closed = closing(ticket_id);
    closed.request_id = request_id();
    let mut reopened = reopening(ticket_id);
    reopened.request_id = request_id();

    let mut first = None;
    for _ in 0..2 {
        let answers = (
            desk.open_as(opening.clone()).await,
            assign(&desk.people, assigned.clone())
                .await
                .expect("assigned"),
            desk.record(message.clone()).await.expect("recorded"),
            close(&desk.people, closed.clone()).await.expect("closed"),
            reopen(&desk.people, reopened.clone())
                .await
                .expect("reopened"),
        );
        assert_eq!(answers.0, opened);
        assert_eq!(*first.get_or_insert_with(|| answers.clone()), answers);
    }
    assert_eq!(
        desk.story(ticket_id).await,
        [
            "opened",
            "assigned",
            "Agent wrote",
            "closed by Api",
            "reopened Open"
        ]
    );

    // With another body, or for another method, the id is refused.
    let reused = (Code::InvalidArgument, "REQUEST_ID_REUSED".to_owned());
    let mut other = message.clone();
    other.text.push('!');
    assert_eq!(refusal(desk.record(other).await), reused);
    let mut other = closing(ticket_id);
    other.request_id = reopened.request_id.clone();
    assert_eq!(refusal(close(&desk.people, other).await), reused);
    // Another tenant's ids are its own.
    let foreign = desk.fixture.administrator_of(99);
    let answer = reopen(&foreign, reopened).await;
    assert_eq!(
        refusal(answer),
        (Code::NotFound, "TICKET_NOT_FOUND".to_owned())
    );
}

#[tokio::test]
async fn a_request_id_is_the_same_in_every_spelling() {
    let desk = Desk::with_policy().await;
    let mut opening = desk.opening();
    let id = request_id();
    opening.request_id = id.clone();
    let opened = desk.open_as(opening.clone()).await;
    for spelling in [
        id.to_uppercase(),
        format!("{{{id}}}"),
        id.replace('-', ""),
        format!("urn:uuid:{id}"),
    ] {
        opening.request_id = spelling;
        assert_eq!(desk.open_as(opening.clone()).await, opened);
    }
    let mut people = desk.people.clone();
    opening.queue_id = desk.queue("Vendas").await;
    let other = people.tickets.open_ticket(opening).await;
    assert_eq!(
        refusal(other),
        (Code::InvalidArgument, "REQUEST_ID_REUSED".to_owned())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_at_once_are_one() {
    let desk = Arc::new(Desk::with_policy().await);
    let ticket_id = desk.open().await.ticket_id;
    let mut message = desk.message(ticket_id, AuthorKind::Agent);
    message.request_id = request_id();
    let mut opening = desk.opening();
    opening.request_id = request_id();
    let mut callers = JoinSet::new();
    for _ in 0..20 {
        let (desk, message, opening) = (Arc::clone(&desk), message.clone(), opening.clone());
        callers.spawn(async move {
            let answer = desk.record(message).await.expect("recorded");
            (answer, desk.open_as(opening).await)
        });
    }
    let answers = callers.join_all().await;
    assert!(answers.iter().all(|answer| *answer == answers[0]));
    assert_eq!(desk.story(ticket_id).await, ["opened", "Agent wrote"]);
    assert_eq!(desk.story(answers[0].1.ticket_id).await, ["opened"]);
}

#[tokio::test]
async fn a_refused_request_may_be_sent_again_with_its_id() {
    let desk = Desk::start().await;
    let ticket_id = desk.open().await.ticket_id;
    let mut request = reopening(ticket_id);
    request.request_id = request_id();
    assert_eq!(
        refusal(reopen(&desk.people, request.clone()).await).0,
        Code::FailedPrecondition
    );
    close(&desk.people, closing(ticket_id))
        .await
        .expect("closed");
    reopen(&desk.people, request).await.expect("reopened");
}

#[tokio::test]
async fn a_stale_etag_is_refused_and_changes_nothing() {
    let desk = Desk::with_policy().await;
    let before = desk.open().await;
    let ticket_id = before.ticket_id;
    let now = desk.writes(ticket_id, AuthorKind::Agent).await;
    assert_ne!(before.etag, now.etag);
    let mismatch = (Code::Aborted, "ETAG_MISMATCH".to_owned());
    for etag in [before.etag.as_str(), "nonsense", &"9".repeat(10_000)] {
        let mut request = closing(ticket_id);
        request.etag = etag.to_owned();
        assert_eq!(refusal(close(&desk.people, request).await), mismatch);
        let mut request = assigning(ticket_id, desk.agent_id);
        request.etag = etag.to_owned();
        assert_eq!(refusal(assign(&desk.people, request).await), mismatch);
        let mut request = reopening(ticket_id);
        request.etag = etag.to_owned();
        assert_eq!(refusal(reopen(&desk.people, request).await), mismatch);
    }
    assert_eq!(desk.ticket(ticket_id).await, now);
    let mut request = closing(ticket_id);
    request.etag = now.etag;
    close(&desk.people, request).await.expect("closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_is_read_as_it_was_at_one_moment() {
    let desk = Arc::new(Desk::start().await);
    desk.set_policy(unwarned()).await;
    let ticket_id = desk.answered(1).await[0].ticket_id;
    let ended = Arc::new(AtomicBool::new(false));
    let mut readers = JoinSet::new();
    for _ in 0..3 {
        let (desk, ended) = (Arc::clone(&desk), Arc::clone(&ended));
        readers.spawn(async move {
            let mut reads = 0;
            while !ended.load(Ordering::Relaxed) {
                let ticket = desk.ticket(ticket_id).await;
                // A close is two events, with that of the automation; the three after it reopen the ticket, start a
                // cycle and pause the automation.
                let seq: i64 = ticket.etag.parse().expect("a number");
                let is_closed = ticket.state() == TicketState::Closed;
                assert_eq!(is_closed, seq % 5 == 0, "{ticket:?}");
                assert!(is_closed || seq % 5 == 3, "{ticket:?}");
                assert_eq!(ticket.inactivity_cycle.is_none(), is_closed, "{ticket:?}");
                reads += 1;
            }
            reads
        });
    }
    for _ in 0..150 {
        close(&desk.people, closing(ticket_id))
            .await
            .expect("closed");
        let request = RecordMessageRequest {
            ticket_id,
            text: "Hola".to_owned(),
            ..Default::default()
        };
        desk.agent
            .tickets
            .clone()
            .record_message(request)
            .await
            .expect("recorded");
    }
    ended.store(true, Ordering::Relaxed);
    assert!(readers.join_all().await.into_iter().sum::<i32>() > 0);
}
