//! What open tickets are told of their contact.

use plazo_proto::ticketing::v1::ticket_event::Payload;
use plazo_proto::ticketing::v1::{Contact, ContactChanged, TicketEvent};
use tonic::Code;

use super::update;
use crate::desk::Desk;
use crate::support::refusal;
use crate::tickets::calls::{Change, precondition};

/// What the events of a ticket tell of changed contacts.
pub(super) fn told(events: &[TicketEvent]) -> Vec<ContactChanged> {
    let payloads = events.iter().filter_map(|event| event.payload.clone());
    let changes = payloads.filter_map(|payload| match payload {
        Payload::ContactChanged(changed) => Some(changed),
        _ => None,
    });
    changes.collect()
}

async fn rename(desk: &Desk, contact_id: i64, name: &str) -> Result<Contact, tonic::Status> {
    let contact = Contact {
        contact_id,
        name: name.to_owned(),
        ..Contact::default()
    };
    let request = update(contact, &["name"]);
    let answer = desk.people.contacts.clone().update_contact(request).await?;
    Ok(answer.into_inner().contact.expect("the contact"))
}

#[tokio::test]
async fn open_tickets_are_told_of_what_changes_and_closed_ones_when_they_are_opened_again() {
    let desk = Desk::start().await;
    let [first, second, closed] = [desk.open().await, desk.open().await, desk.open().await];
    Change::Close
        .make(&desk.people, closed.ticket_id)
        .await
        .expect("closed");
    let before = desk.events(closed.ticket_id).await.len();

    let renamed = rename(&desk, desk.contact_id, "Ana Luz")
        .await
        .expect("renamed");
    for ticket in [&first, &second] {
        let changes = told(&desk.events(ticket.ticket_id).await);
        assert_eq!(changes.len(), 1);
        assert_eq!(changes[0].previous_contact_id, 0);
        let contact = changes[0].contact.clone().expect("the contact");
        assert_eq!(
            contact,
            Contact {
                etag: String::new(),
                ..renamed.clone()
            }
        );
        assert_ne!(desk.ticket(ticket.ticket_id).await.etag, ticket.etag);
    }
    assert_eq!(desk.events(closed.ticket_id).await.len(), before);

    // The same once more is no news.
    rename(&desk, desk.contact_id, "Ana Luz")
        .await
        .expect("the same");
    assert_eq!(told(&desk.events(first.ticket_id).await).len(), 1);

    Change::Reopen
        .make(&desk.people, closed.ticket_id)
        .await
        .expect("opened");
    let events = desk.events(closed.ticket_id).await;
    let reopened = events.iter().find_map(|event| match &event.payload {
        Some(Payload::Reopened(reopened)) => reopened.contact.clone(),
        _ => None,
    });
    let reopened = reopened.expect("it says who the customer is");
    assert_eq!(reopened.name, "Ana Luz");
    assert_eq!(reopened.channel_identity, renamed.channel_identity);
}

#[tokio::test]
async fn a_contact_with_too_many_open_tickets_is_not_changed() {
    let desk = Desk::with_policy().await;
    desk.bulk(501, 0.0).await;
    let answer = rename(&desk, desk.contact_id, "Ana Luz").await;
    assert_eq!(refusal(answer), precondition("TOO_MANY_OPEN_TICKETS"));
    let read = plazo_proto::ticketing::v1::GetContactRequest {
        contact_id: desk.contact_id,
    };
    let answer = desk.people.contacts.clone().get_contact(read).await;
    let contact = answer.expect("it is there").into_inner().contact;
    assert_eq!(contact.expect("the contact").name, "Ana");
    let other = rename(&desk, desk.contact_id + 1, "Bia").await;
    assert_eq!(refusal(other).0, Code::NotFound);
}
