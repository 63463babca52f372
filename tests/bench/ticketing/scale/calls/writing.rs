//! Changes.

use plazo_proto::common::v1::{AuthorKind, Channel as ContactChannel, ChannelIdentity};
use plazo_proto::ticketing::v1::{
    AssignTicketRequest, CloseTicketRequest, Contact, CreateContactRequest, OpenTicketRequest,
    ReopenTicketRequest, UpdateContactRequest,
};
use uuid::Uuid;

use crate::ticketing::scale::calls::{Call, OFTEN, SOMETIMES, call, take};

/// All of them.
pub(super) fn all() -> Vec<Call> {
    [messages(), changes(), contacts()]
        .into_iter()
        .flatten()
        .collect()
}

fn messages() -> Vec<Call> {
    vec![
        call!(
            "OpenTicket",
            OFTEN,
            |world| vec![world.shape.some(true)],
            |world, tickets| {
                let request = OpenTicketRequest {
                    bot_id: tickets[0].bot_id,
                    queue_id: tickets[0].queue_id,
                    contact_id: tickets[0].contact_id,
                    agent_id: tickets[0].agent_id,
                    request_id: Uuid::new_v4().to_string(),
                };
                let answer = world.tickets().open_ticket(request).await;
                answer.expect("a ticket is opened")
            }
        ),
        call!(
            "RecordMessage, agent",
            OFTEN,
            |world| vec![world.shape.some(true)],
            |world, tickets| world.write(tickets[0], AuthorKind::Agent).await
        ),
        call!(
            "RecordMessage, customer",
            OFTEN,
            |world| vec![world.shape.some(true)],
            |world, tickets| world.write(tickets[0], AuthorKind::Customer).await
        ),
        call!(
            "RecordMessage, customer, reopens",
            SOMETIMES,
            |world| take(&world.supply.just_closed, 1),
            |world, tickets| {
                let went_to = world.write(tickets[0], AuthorKind::Customer).await;
                assert_eq!(went_to, tickets[0].ticket_id);
            }
        ),
        call!(
            "RecordMessage, customer, continues",
            SOMETIMES,
            |world| take(&world.supply.long_closed, 1),
            |world, tickets| {
                let went_to = world.write(tickets[0], AuthorKind::Customer).await;
                assert_ne!(went_to, tickets[0].ticket_id);
            }
        ),
    ]
}

fn changes() -> Vec<Call> {
    vec![
        call!(
            "AssignTicket",
            OFTEN,
            |world| vec![world.shape.some(true)],
            |world, tickets| {
                let request = AssignTicketRequest {
                    ticket_id: tickets[0].ticket_id,
                    agent_id: tickets[0].agent_id,
                    ..AssignTicketRequest::default()
                };
                let answer = world.tickets().assign_ticket(request).await;
                answer.expect("the ticket is assigned")
            }
        ),
        call!(
            "CloseTicket",
            OFTEN,
            |world| take(&world.supply.open, 1),
            |world, tickets| {
                let request = CloseTicketRequest {
                    ticket_id: tickets[0].ticket_id,
                    request_id: Uuid::new_v4().to_string(),
                    ..CloseTicketRequest::default()
                };
                let answer = world.tickets().close_ticket(request).await;
                answer.expect("the ticket is closed")
            }
        ),
        call!(
            "ReopenTicket",
            SOMETIMES,
            |world| take(&world.supply.long_closed, 1),
            |world, tickets| {
                let request = ReopenTicketRequest {
                    ticket_id: tickets[0].ticket_id,
                    ..ReopenTicketRequest::default()
                };
                let answer = world.tickets().reopen_ticket(request).await;
                answer.expect("the ticket is open again")
            }
        ),
    ]
}

fn contacts() -> Vec<Call> {
    vec![call!(
        "CreateContact, UpdateContact",
        SOMETIMES,
        |world| vec![world.shape.some(true)],
        |world, _tickets| {
            let contact = Contact {
                name: "Maria".to_owned(),
                channel_identity: Some(ChannelIdentity {
                    channel: ContactChannel::Log.into(),
                    address: Uuid::new_v4().to_string(),
                }),
                ..Contact::default()
            };
            let request = CreateContactRequest {
                contact: Some(contact),
                ..CreateContactRequest::default()
            };
            let answer = world.contacts().create_contact(request).await;
            let contact = answer.expect("a contact is made").into_inner().contact;
            let request = UpdateContactRequest {
                contact: contact.map(|contact| Contact {
                    name: "María".to_owned(),
                    ..contact
                }),
                update_mask: Some(prost_types::FieldMask {
                    paths: vec!["name".to_owned()],
                }),
                ..UpdateContactRequest::default()
            };
            let answer = world.contacts().update_contact(request).await;
            answer.expect("the contact is changed")
        }
    )]
}
