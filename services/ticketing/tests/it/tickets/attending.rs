//! Which agents may change anything: those that exist, in tickets of their bots.

use plazo_proto::common::v1::AuthorKind;
use plazo_proto::ticketing::v1::{
    Agent, BatchItemError, CloseTicketsRequest, Contact, CreateBotRequest, CreateContactRequest,
    RecordMessageRequest, RecordMessagesRequest, TagTicketsRequest, UpdateAgentRequest,
    UpdateContactRequest, message_result, ticket_result,
};
use prost_types::FieldMask;
use tonic::{Code, Status};

use super::calls::Change;
use crate::desk::Desk;
use crate::support::{Clients, new_contact, refusal, request_id};

fn denied(reason: &str) -> (Code, String) {
    (Code::PermissionDenied, reason.to_owned())
}

fn message(ticket_id: i64) -> RecordMessageRequest {
    RecordMessageRequest {
        ticket_id,
        text: "Hola".to_owned(),
        ..RecordMessageRequest::default()
    }
}

/// All changes of a ticket by themselves, and a new ticket.
async fn alone(desk: &Desk, clients: &Clients, ticket_id: i64, queue_id: i64) -> Vec<Status> {
    let mut refused = Vec::new();
    for change in Change::all(desk.agent_id, queue_id) {
        let answer = change.make(clients, ticket_id).await;
        refused.push(answer.expect_err(&format!("{change:?}")));
    }
    let mut tickets = clients.tickets.clone();
    let answer = tickets.record_message(message(ticket_id)).await;
    refused.push(answer.expect_err("a message"));
    let answer = tickets.open_ticket(desk.opening()).await;
    refused.push(answer.expect_err("an opening"));
    refused
}

/// The same ticket closed, tagged and written in by batches.
async fn in_batches(clients: &Clients, ticket_id: i64) -> Result<Vec<BatchItemError>, Status> {
    let mut tickets = clients.tickets.clone();
    let close = CloseTicketsRequest {
        ticket_ids: vec![ticket_id],
        ..CloseTicketsRequest::default()
    };
    let tag = TagTicketsRequest {
        ticket_ids: vec![ticket_id],
        add_tags: vec!["new".to_owned()],
        ..TagTicketsRequest::default()
    };
    let write = RecordMessagesRequest {
        messages: vec![message(ticket_id)],
        ..RecordMessagesRequest::default()
    };
    let closed = tickets.close_tickets(close).await?.into_inner().results;
    let tagged = tickets.tag_tickets(tag).await?.into_inner().results;
    let written = tickets.record_messages(write).await?.into_inner().results;
    let mut errors = Vec::new();
    for result in closed.into_iter().chain(tagged) {
        match result.result {
            Some(ticket_result::Result::Error(error)) => errors.push(error),
            other => panic!("{other:?}"),
        }
    }
    for result in written {
        match result.result {
            Some(message_result::Result::Error(error)) => errors.push(error),
            other => panic!("{other:?}"),
        }
    }
    Ok(errors)
}

#[tokio::test]
async fn an_agent_who_does_not_exist_changes_nothing() {
    let desk = Desk::start().await;
    let queue_id = desk.queue("Ventas").await;
    let before = desk.open().await;
    let permissions = "tickets:attend,builder:edit,helpdesk:edit";
    let stranger = desk.fixture.as_actor("agent/999999", permissions, "*");
    for refused in alone(&desk, &stranger, before.ticket_id, queue_id).await {
        assert_eq!(refusal::<()>(Err(refused)), denied("AGENT_UNKNOWN"));
    }
    let answer = in_batches(&stranger, before.ticket_id).await;
    assert_eq!(refusal(answer), denied("AGENT_UNKNOWN"));

    let request = CreateContactRequest {
        contact: Some(new_contact("Bia", "bia")),
        ..CreateContactRequest::default()
    };
    let answer = stranger.contacts.clone().create_contact(request).await;
    assert_eq!(refusal(answer), denied("AGENT_UNKNOWN"));
    let request = UpdateContactRequest {
        contact: Some(Contact {
            contact_id: desk.contact_id,
            name: "Bia".to_owned(),
            ..Contact::default()
        }),
        ..UpdateContactRequest::default()
    };
    let answer = stranger.contacts.clone().update_contact(request).await;
    assert_eq!(refusal(answer), denied("AGENT_UNKNOWN"));
    let answer = stranger
        .settings
        .clone()
        .create_bot(CreateBotRequest {
            bot: Some(plazo_proto::ticketing::v1::Bot {
                name: "Otro".to_owned(),
                ..Default::default()
            }),
            ..CreateBotRequest::default()
        })
        .await;
    assert_eq!(refusal(answer), denied("AGENT_UNKNOWN"));
    assert_eq!(desk.ticket(before.ticket_id).await, before);
}

#[tokio::test]
async fn an_agent_who_was_removed_from_a_bot_changes_none_of_its_tickets() {
    let desk = Desk::start().await;
    let queue_id = desk.queue("Ventas").await;
    let before = desk.open().await;
    let ticket_id = before.ticket_id;
    let agent = desk.fixture.as_actor(
        &format!("agent/{}", desk.agent_id),
        "tickets:attend,builder:edit",
        "*",
    );
    let mut written = message(ticket_id);
    written.request_id = request_id();
    let mut tickets = agent.tickets.clone();
    let first = tickets.record_message(written.clone()).await;
    let first = first.expect("an agent of the bot").into_inner();
    let before = first.ticket.clone().expect("the ticket");

    let removed = UpdateAgentRequest {
        agent: Some(Agent {
            agent_id: desk.agent_id,
            ..Agent::default()
        }),
        update_mask: Some(FieldMask {
            paths: vec!["bot_ids".to_owned()],
        }),
        ..UpdateAgentRequest::default()
    };
    let answer = desk.people.settings.clone().update_agent(removed).await;
    answer.expect("removed");
    for refused in alone(&desk, &agent, ticket_id, queue_id).await {
        assert_eq!(refusal::<()>(Err(refused)), denied("AGENT_NOT_OF_BOT"));
    }
    let errors = in_batches(&agent, ticket_id).await.expect("one by one");
    for error in errors {
        assert_eq!(
            (Code::from(error.code), error.reason),
            denied("AGENT_NOT_OF_BOT")
        );
    }
    assert_eq!(desk.ticket(ticket_id).await, before);
    // What was answered before is answered again, and others go on.
    let again = tickets.record_message(written).await;
    assert_eq!(again.expect("the first answer").into_inner(), first);
    desk.writes(ticket_id, AuthorKind::Customer).await;
}
