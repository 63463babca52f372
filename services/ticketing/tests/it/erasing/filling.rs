//! A customer whose name stands in all places.

use plazo_proto::common::v1::{AuthorKind, Channel, ChannelIdentity};
use plazo_proto::ticketing::v1::{
    CloseTicketRequest, ClosingNote, Contact, CreateContactRequest, HoldTicketRequest,
    InboundMessage, InboundOutcome, MergeContactsRequest, OpenTicketRequest,
    RecordInboundMessagesRequest, RecordMessageRequest, RecordMessagesRequest, ReopenTicketRequest,
    Ticket, UpdateContactRequest,
};

use crate::desk::Desk;
use crate::support::{TENANT, request_id};
use crate::tickets::calls::pass;

pub(super) fn person(name: &str, number: u32) -> Contact {
    let identity = ChannelIdentity {
        channel: Channel::Log.into(),
        address: format!("{name}-{number}"),
    };
    Contact {
        name: format!("{name} Souza"),
        email: format!("{name}@example.com"),
        phone: "+5511987654321".to_owned(),
        channel_identity: Some(identity),
        ..Contact::default()
    }
}

pub(super) async fn create(desk: &Desk, contact: Contact) -> Contact {
    let request = CreateContactRequest {
        contact: Some(contact),
        request_id: request_id(),
    };
    let answer = desk.people.contacts.clone().create_contact(request).await;
    let contact = answer.expect("created").into_inner().contact;
    contact.expect("the contact")
}

pub(super) async fn open_for(desk: &Desk, contact_id: i64) -> Ticket {
    let request = OpenTicketRequest {
        contact_id,
        request_id: request_id(),
        ..desk.opening()
    };
    desk.open_as(request).await
}

/// A message with a name in it.
pub(super) fn message(
    desk: &Desk,
    ticket_id: i64,
    kind: AuthorKind,
    name: &str,
) -> RecordMessageRequest {
    RecordMessageRequest {
        text: format!("{name} aqui"),
        attachment_urls: vec![format!("https://example.com/{name}.jpg")],
        request_id: request_id(),
        ..desk.message(ticket_id, kind)
    }
}

pub(super) async fn writes_by_channel(
    desk: &Desk,
    name: &str,
    number: u32,
) -> (InboundOutcome, i64) {
    let message = InboundMessage {
        tenant_id: TENANT,
        bot_id: desk.bot_id,
        channel_account_id: 3,
        provider_message_id: format!("wamid.{name}.{number}"),
        sender: person(name, 1).channel_identity,
        sender_name: name.to_owned(),
        text: format!("{name} de novo"),
        ..InboundMessage::default()
    };
    let request = RecordInboundMessagesRequest {
        messages: vec![message],
    };
    let mut client = desk.service.inbound.clone();
    let answer = client.record_inbound_messages(request).await;
    let results = answer.expect("answered").into_inner().results;
    (results[0].outcome(), results[0].ticket_id)
}

/// A contact that was changed and that another one was merged into, with a ticket from before that.
async fn known(desk: &Desk, name: &str) -> (Contact, i64) {
    let mut contacts = desk.people.contacts.clone();
    let nobody = Contact {
        name: "x".to_owned(),
        ..person(name, 1)
    };
    let first = create(desk, nobody).await;
    let contact = Contact {
        name: format!("{name} Souza"),
        ..first
    };
    let update = UpdateContactRequest {
        contact: Some(contact.clone()),
        request_id: request_id(),
        ..Default::default()
    };
    let ticket_id = open_for(desk, contact.contact_id).await.ticket_id;
    contacts.update_contact(update).await.expect("updated");
    let part = create(desk, person(name, 2)).await;
    open_for(desk, part.contact_id).await;
    let merge = MergeContactsRequest {
        survivor_contact_id: contact.contact_id,
        merged_contact_id: part.contact_id,
        request_id: request_id(),
    };
    contacts.merge_contacts(merge).await.expect("merged");
    (contact, ticket_id)
}

async fn hold(desk: &Desk, ticket_id: i64, name: &str) {
    let hold = HoldTicketRequest {
        ticket_id,
        reason: format!("{name} viaja"),
        request_id: request_id(),
        ..Default::default()
    };
    let answer = desk.people.tickets.clone().hold_ticket(hold).await;
    answer.expect("held");
}

async fn close(desk: &Desk, ticket_id: i64, name: &str) {
    let close = CloseTicketRequest {
        ticket_id,
        note: Some(ClosingNote {
            category: "vendas".to_owned(),
            summary: format!("{name} comprou"),
        }),
        request_id: request_id(),
        ..Default::default()
    };
    let closed = desk.people.tickets.clone().close_ticket(close).await;
    closed.expect("closed");
}

/// Writes a name everywhere where ticketing keeps such things. The contact, a closed and an open ticket.
pub(super) async fn fill(desk: &Desk, name: &str) -> (Contact, i64, i64) {
    let mut tickets = desk.people.tickets.clone();
    let (contact, closed) = known(desk, name).await;
    hold(desk, closed, name).await;
    close(desk, closed, name).await;
    let reopen = ReopenTicketRequest {
        ticket_id: closed,
        request_id: request_id(),
        ..Default::default()
    };
    tickets.reopen_ticket(reopen).await.expect("opened");
    close(desk, closed, name).await;

    let open = open_for(desk, contact.contact_id).await.ticket_id;
    writes_by_channel(desk, name, 7).await;
    desk.record(message(desk, open, AuthorKind::Customer, name))
        .await
        .expect("recorded");
    let mut one = message(desk, open, AuthorKind::Agent, name);
    one.request_id.clear();
    let batch = RecordMessagesRequest {
        messages: vec![one],
        request_id: request_id(),
    };
    tickets.record_messages(batch).await.expect("recorded");
    // The warning says the name and goes to the address.
    pass(desk, open, 25.0).await;
    hold(desk, open, name).await;
    (contact, closed, open)
}
