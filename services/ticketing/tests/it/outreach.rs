//! Active messages that agents start out of the history.

use std::sync::Arc;

use plazo_proto::common::v1::{AuthorKind, Channel};
use plazo_proto::notification::v1::{ActiveMessage, ActiveMessageKind};
use plazo_proto::ticketing::v1::ticket_event::Payload;
use plazo_proto::ticketing::v1::{
    CloseTicketRequest, HoldTicketRequest, ListMessagesRequest, Message, MessageKind,
    StartOutreachRequest, StartOutreachResponse, Ticket, TicketState, UnlinkTicketRequest,
};
use tokio::task::JoinSet;
use tonic::{Code, Status};

use crate::desk::{Desk, create_agent};
use crate::support::{TENANT, refusal, request_id, wrong_fields};

async fn send(desk: &Desk, request: StartOutreachRequest) -> Result<StartOutreachResponse, Status> {
    let mut outreach = desk.service.outreach.clone();
    Ok(outreach.start_outreach(request).await?.into_inner())
}

/// What the agent writes to the contact of a ticket.
fn to(desk: &Desk, ticket_id: i64) -> StartOutreachRequest {
    StartOutreachRequest {
        tenant_id: TENANT,
        agent_id: desk.agent_id,
        ticket_id,
        text: "Your bike is ready".to_owned(),
        image_url: String::new(),
        request_id: request_id(),
    }
}

async fn close(desk: &Desk, ticket_id: i64) {
    let request = CloseTicketRequest {
        ticket_id,
        ..Default::default()
    };
    let mut tickets = desk.people.tickets.clone();
    tickets.close_ticket(request).await.expect("closed");
}

/// A ticket of the contact that is closed.
async fn closed(desk: &Desk) -> i64 {
    let ticket_id = desk.open().await.ticket_id;
    close(desk, ticket_id).await;
    ticket_id
}

async fn messages(desk: &Desk, ticket_id: i64) -> Vec<Message> {
    let request = ListMessagesRequest {
        ticket_id,
        ..Default::default()
    };
    let answer = desk.people.tickets.clone().list_messages(request).await;
    answer.expect("a page").into_inner().messages
}

/// The active messages that a ticket asked for.
async fn asked_for(desk: &Desk, ticket_id: i64) -> Vec<ActiveMessage> {
    let events = desk.events(ticket_id).await.into_iter();
    events
        .filter_map(|event| match event.payload {
            Some(Payload::ActiveMessageRequested(requested)) => requested.message,
            _ => None,
        })
        .collect()
}

async fn ticket_count(desk: &Desk) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM tickets")
        .fetch_one(&desk.fixture.pool)
        .await
        .expect("counted")
}

fn ticket_of(answer: &StartOutreachResponse) -> &Ticket {
    answer.ticket.as_ref().expect("the ticket")
}

#[tokio::test]
async fn without_an_open_ticket_a_new_one_links_to_the_chosen_one() {
    let desk = Desk::with_policy().await;
    let earlier_id = closed(&desk).await;
    let wrote_at = {
        let ticket = desk.open().await;
        let ticket = desk.writes(ticket.ticket_id, AuthorKind::Customer).await;
        close(&desk, ticket.ticket_id).await;
        ticket.last_customer_message_time
    };
    let request = StartOutreachRequest {
        image_url: "https://example.com/bike.png".to_owned(),
        ..to(&desk, earlier_id)
    };
    let answer = send(&desk, request).await.expect("sent");
    let ticket = ticket_of(&answer);
    assert!(answer.opened && ticket.ticket_id > earlier_id);
    assert_eq!(ticket.previous_ticket_id, earlier_id);
    assert_eq!(
        (ticket.state(), ticket.agent_id, ticket.contact_id),
        (TicketState::Open, desk.agent_id, desk.contact_id)
    );
    assert_eq!(
        desk.whole_story(ticket.ticket_id).await,
        [
            "opened",
            "automation paused",
            "Agent wrote",
            "asked for Outreach"
        ]
    );
    let cycle = ticket.inactivity_cycle.as_ref().expect("it counts");
    assert_eq!(cycle.cycle, 1, "as with any agent's message");

    let written = messages(&desk, ticket.ticket_id).await;
    assert_eq!(written.len(), 1);
    assert_eq!(
        (written[0].kind(), written[0].text.as_str()),
        (MessageKind::Chat, "Your bike is ready")
    );
    assert_eq!(written[0].attachment_urls, ["https://example.com/bike.png"]);
    let author = written[0].author.expect("an author");
    assert_eq!(
        (author.kind(), author.id),
        (AuthorKind::Agent, desk.agent_id)
    );

    let asked = asked_for(&desk, ticket.ticket_id).await;
    let message = &asked[0];
    let recipient = message.recipient.as_ref().expect("a recipient");
    assert_eq!(
        (recipient.channel(), recipient.address.as_str()),
        (Channel::Log, "ana")
    );
    let expected = ActiveMessage {
        tenant_id: TENANT,
        idempotency_key: answer.idempotency_key.clone(),
        kind: ActiveMessageKind::Outreach.into(),
        bot_id: desk.bot_id,
        ticket_id: ticket.ticket_id,
        contact_id: desk.contact_id,
        recipient: message.recipient.clone(),
        channel_account_id: 0,
        text: "Your bike is ready".to_owned(),
        image_url: "https://example.com/bike.png".to_owned(),
        // In another ticket: the channel's window counts from it all the same.
        last_customer_message_time: wrote_at,
        valid_until_time: None,
    };
    assert_eq!(asked, [expected]);
}

#[tokio::test]
async fn the_last_opened_of_the_open_tickets_goes_on() {
    let desk = Desk::with_policy().await;
    let chosen_id = closed(&desk).await;
    let first_id = desk.open().await.ticket_id;
    let last_id = desk.open().await.ticket_id;
    // Of another bot: not resumed, though it was opened later.
    let bot_id = desk.people.clone().create_bot("Oficina").await.bot_id;
    let mut opening = desk.opening();
    opening.bot_id = bot_id;
    desk.open_as(opening).await;

    let answer = send(&desk, to(&desk, chosen_id)).await.expect("sent");
    assert!(!answer.opened);
    assert_eq!(ticket_of(&answer).ticket_id, last_id);
    assert_eq!(ticket_of(&answer).agent_id, desk.agent_id);
    assert_eq!(
        desk.story(last_id).await,
        ["opened", "assigned", "Agent wrote", "asked for Outreach"]
    );
    // It is his now: no second assignment.
    let again = send(&desk, to(&desk, last_id)).await.expect("sent");
    assert_ne!(again.idempotency_key, answer.idempotency_key);
    assert_eq!(
        desk.story(last_id).await[4..],
        ["Agent wrote", "asked for Outreach"]
    );
    assert_eq!(desk.story(first_id).await, ["opened"]);

    // An open one that is chosen itself, on hold: his message starts nothing then.
    close(&desk, last_id).await;
    let hold = HoldTicketRequest {
        ticket_id: first_id,
        reason: "parts".to_owned(),
        ..Default::default()
    };
    let mut tickets = desk.people.tickets.clone();
    tickets.hold_ticket(hold).await.expect("held");
    let answer = send(&desk, to(&desk, first_id)).await.expect("sent");
    assert_eq!(ticket_of(&answer).ticket_id, first_id);
    assert!(ticket_of(&answer).hold.is_some());
    assert!(ticket_of(&answer).inactivity_cycle.is_none());
}

#[tokio::test]
async fn an_unlinked_ticket_and_another_agents_can_be_chosen() {
    let desk = Desk::start().await;
    let other = create_agent(&desk.people, "Bia", &[desk.bot_id])
        .await
        .agent_id;
    let ticket_id = desk.open().await.ticket_id;
    let unlink = UnlinkTicketRequest {
        ticket_id,
        ..Default::default()
    };
    let mut tickets = desk.people.tickets.clone();
    tickets.unlink_ticket(unlink).await.expect("unlinked");
    let answer = send(&desk, to(&desk, ticket_id)).await.expect("sent");
    assert_eq!(ticket_of(&answer).previous_ticket_id, ticket_id);

    let request = StartOutreachRequest {
        agent_id: other,
        ..to(&desk, ticket_id)
    };
    let taken = send(&desk, request).await.expect("sent");
    assert!(!taken.opened);
    assert_eq!(ticket_of(&taken).ticket_id, ticket_of(&answer).ticket_id);
    assert_eq!(ticket_of(&taken).agent_id, other, "it is his now");
}

#[tokio::test]
async fn a_repeated_request_gets_its_first_answer_and_sends_nothing() {
    let desk = Desk::start().await;
    let chosen_id = closed(&desk).await;
    let request = to(&desk, chosen_id);
    let mut calls = JoinSet::new();
    let desk = Arc::new(desk);
    for _ in 0..6 {
        let (desk, request) = (Arc::clone(&desk), request.clone());
        calls.spawn(async move { send(&desk, request).await.expect("sent") });
    }
    let answers = calls.join_all().await;
    assert!(answers.iter().all(|answer| *answer == answers[0]));
    let ticket_id = ticket_of(&answers[0]).ticket_id;
    assert_eq!(asked_for(&desk, ticket_id).await.len(), 1);
    assert_eq!(messages(&desk, ticket_id).await.len(), 1);

    let reused = (Code::InvalidArgument, "REQUEST_ID_REUSED".to_owned());
    for other in [
        StartOutreachRequest {
            text: "Other".to_owned(),
            ..request.clone()
        },
        StartOutreachRequest {
            agent_id: desk.agent_id + 1,
            ..request.clone()
        },
    ] {
        assert_eq!(refusal(send(&desk, other).await), reused);
    }
    // When its answer is forgotten.
    sqlx::query("DELETE FROM answered_requests")
        .execute(&desk.fixture.pool)
        .await
        .expect("forgotten");
    assert_eq!(refusal(send(&desk, request).await), reused);
    assert_eq!(messages(&desk, ticket_id).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_open_one_ticket() {
    let desk = Arc::new(Desk::start().await);
    let chosen = [closed(&desk).await, closed(&desk).await];
    for round in 0..6 {
        let before = ticket_count(&desk).await;
        let mut calls = JoinSet::new();
        for call in 0..8 {
            let desk = Arc::clone(&desk);
            let chosen_id = chosen[call % 2];
            calls.spawn(async move { send(&desk, to(&desk, chosen_id)).await.expect("sent") });
        }
        let answers = calls.join_all().await;
        assert_eq!(ticket_count(&desk).await, before + 1, "round {round}");
        let opened = answers.iter().filter(|answer| answer.opened).count();
        assert_eq!(opened, 1);
        let ticket_id = ticket_of(&answers[0]).ticket_id;
        assert!(
            answers
                .iter()
                .all(|it| ticket_of(it).ticket_id == ticket_id)
        );
        assert_eq!(asked_for(&desk, ticket_id).await.len(), 8);
        close(&desk, ticket_id).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn closes_and_customers_that_come_in_between_are_before_it_or_after_it() {
    let desk = Arc::new(Desk::start().await);
    for _ in 0..30 {
        let chosen_id = closed(&desk).await;
        let before = ticket_count(&desk).await;
        // The customer's message opens the closed ticket again, before the agent's message or after it.
        let (answer, replied) = tokio::join!(
            send(&desk, to(&desk, chosen_id)),
            desk.record(desk.message(chosen_id, AuthorKind::Customer)),
        );
        let (answer, replied) = (answer.expect("sent"), replied.expect("recorded"));
        let replied_in = replied.message.expect("a message").ticket_id;
        let ticket_id = ticket_of(&answer).ticket_id;
        if !answer.opened {
            assert_eq!(replied_in, ticket_id, "he had answered before");
        }
        let opened = i64::from(answer.opened);
        assert_eq!(ticket_count(&desk).await, before + opened);
        assert_eq!(asked_for(&desk, ticket_id).await.len(), 1);
        for open_id in [chosen_id, ticket_id] {
            if desk.ticket(open_id).await.state() != TicketState::Closed {
                close(&desk, open_id).await;
            }
        }

        // A close of the open ticket is before the message, or after it.
        let open_id = desk.open().await.ticket_id;
        let (answer, ()) = tokio::join!(send(&desk, to(&desk, chosen_id)), close(&desk, open_id));
        let answer = answer.expect("sent");
        let ticket_id = ticket_of(&answer).ticket_id;
        assert_eq!(answer.opened, ticket_id != open_id);
        let is_closed = desk.ticket(open_id).await.state() == TicketState::Closed;
        assert!(is_closed, "the close came, before or after");
        if answer.opened {
            close(&desk, ticket_id).await;
        }
    }
}

#[tokio::test]
async fn who_may_not_write_is_refused_and_nothing_is_sent() {
    let desk = Desk::start().await;
    let chosen_id = closed(&desk).await;
    let bot_id = desk.people.clone().create_bot("Oficina").await.bot_id;
    let stranger = create_agent(&desk.people, "Leo", &[bot_id]).await.agent_id;
    let before = ticket_count(&desk).await;
    for (request, code, reason) in [
        (
            StartOutreachRequest {
                agent_id: stranger,
                ..to(&desk, chosen_id)
            },
            Code::PermissionDenied,
            "AGENT_NOT_OF_BOT",
        ),
        (
            StartOutreachRequest {
                agent_id: 9_999,
                ..to(&desk, chosen_id)
            },
            Code::PermissionDenied,
            "AGENT_UNKNOWN",
        ),
        (to(&desk, 9_999), Code::NotFound, "TICKET_NOT_FOUND"),
        (
            StartOutreachRequest {
                tenant_id: TENANT + 1,
                ..to(&desk, chosen_id)
            },
            Code::PermissionDenied,
            "AGENT_UNKNOWN",
        ),
    ] {
        assert_eq!(
            refusal(send(&desk, request).await),
            (code, reason.to_owned())
        );
    }
    let nothing = StartOutreachRequest::default();
    assert_eq!(
        wrong_fields(send(&desk, nothing).await),
        ["tenant_id", "agent_id", "ticket_id", "text", "request_id"]
    );
    for (request, field) in [
        (
            StartOutreachRequest {
                text: "x".repeat(4_097),
                ..to(&desk, chosen_id)
            },
            "text",
        ),
        (
            StartOutreachRequest {
                text: "\u{7}".to_owned(),
                ..to(&desk, chosen_id)
            },
            "text",
        ),
        (
            StartOutreachRequest {
                image_url: "http://example.com/a.png".to_owned(),
                ..to(&desk, chosen_id)
            },
            "image_url",
        ),
        (
            StartOutreachRequest {
                request_id: "7".to_owned(),
                ..to(&desk, chosen_id)
            },
            "request_id",
        ),
    ] {
        assert_eq!(wrong_fields(send(&desk, request).await), [field]);
    }
    assert_eq!(ticket_count(&desk).await, before);
}
