//! Two contacts that are one customer.

use plazo_proto::common::v1::{AuthorKind, Channel, ChannelIdentity};
use plazo_proto::ticketing::v1::ticket_event::Payload;
use plazo_proto::ticketing::v1::{
    Contact, GetContactRequest, InboundMessage, InboundOutcome, MergeContactsRequest,
    MergeContactsResponse, OpenTicketRequest, RecordInboundMessagesRequest, Ticket,
};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::changes::told;
use super::{create, look_up, update};
use crate::desk::Desk;
use crate::support::{Clients, TENANT, refusal, request_id, wrong_fields};
use crate::tickets::calls::{Change, pass, precondition, set_bot};

const PHONE: &str = "+5511987654321";

async fn merge(
    clients: &Clients,
    survivor_contact_id: i64,
    merged_contact_id: i64,
) -> Result<MergeContactsResponse, Status> {
    let request = MergeContactsRequest {
        survivor_contact_id,
        merged_contact_id,
        request_id: String::new(),
    };
    let answer = clients.contacts.clone().merge_contacts(request).await?;
    Ok(answer.into_inner())
}

/// Somebody who is reached by WhatsApp.
async fn create_by_phone(desk: &Desk) -> Contact {
    let contact = Contact {
        name: "Ana L.".to_owned(),
        email: "ana@example.com".to_owned(),
        phone: PHONE.to_owned(),
        channel_identity: Some(ChannelIdentity {
            channel: Channel::Whatsapp.into(),
            address: PHONE.to_owned(),
        }),
        ..Contact::default()
    };
    let answer = desk
        .people
        .contacts
        .clone()
        .create_contact(create(contact))
        .await;
    let contact = answer.expect("created").into_inner().contact;
    contact.expect("the contact")
}

async fn open_for(desk: &Desk, contact_id: i64) -> Ticket {
    let request = OpenTicketRequest {
        contact_id,
        ..desk.opening()
    };
    desk.open_as(request).await
}

async fn writes_by_phone(desk: &Desk, provider_message_id: &str) -> (InboundOutcome, i64) {
    let message = InboundMessage {
        tenant_id: TENANT,
        bot_id: desk.bot_id,
        channel_account_id: 3,
        provider_message_id: provider_message_id.to_owned(),
        sender: Some(ChannelIdentity {
            channel: Channel::Whatsapp.into(),
            address: PHONE.to_owned(),
        }),
        text: "Oi".to_owned(),
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

/// Where the active messages of a ticket go to.
async fn recipients(desk: &Desk, ticket_id: i64) -> Vec<ChannelIdentity> {
    let events = desk.events(ticket_id).await.into_iter();
    let messages = events.filter_map(|event| match event.payload {
        Some(Payload::ActiveMessageRequested(requested)) => requested.message,
        _ => None,
    });
    messages.filter_map(|message| message.recipient).collect()
}

#[tokio::test]
async fn all_tickets_go_over_and_go_on() {
    let desk = Desk::with_policy().await;
    let merged = create_by_phone(&desk).await;
    let own = desk.open().await;
    let closed = open_for(&desk, merged.contact_id).await;
    Change::Close
        .make(&desk.people, closed.ticket_id)
        .await
        .expect("closed");
    let open = open_for(&desk, merged.contact_id).await;
    let open = desk.writes(open.ticket_id, AuthorKind::Agent).await;

    let answer = merge(&desk.people, desk.contact_id, merged.contact_id)
        .await
        .expect("merged");
    assert_eq!(answer.ticket_count, 2);
    let survivor = answer.contact.expect("the contact");
    assert_eq!(
        (survivor.contact_id, survivor.name.as_str()),
        (desk.contact_id, "Ana")
    );
    // What it lacked.
    assert_eq!(
        (&survivor.email, &survivor.phone),
        (&merged.email, &merged.phone)
    );
    for ticket_id in [closed.ticket_id, open.ticket_id] {
        let changes = told(&desk.events(ticket_id).await);
        assert_eq!(changes.len(), 1);
        assert_eq!(changes[0].previous_contact_id, merged.contact_id);
        let contact = changes[0].contact.as_ref().expect("the contact");
        assert_eq!(
            (contact.contact_id, &contact.email),
            (desk.contact_id, &merged.email)
        );
        assert_eq!(desk.ticket(ticket_id).await.contact_id, desk.contact_id);
    }
    let own_changes = told(&desk.events(own.ticket_id).await);
    assert_eq!(own_changes.len(), 1, "the survivor has other data too");
    assert_eq!(own_changes[0].previous_contact_id, 0);

    // The cycle runs on, and warns where the customer is reached.
    let after = desk.ticket(open.ticket_id).await;
    assert_eq!(after.inactivity_cycle, open.inactivity_cycle);
    assert_eq!(
        (after.generation, after.state),
        (open.generation, open.state)
    );
    pass(&desk, open.ticket_id, 25.0).await;
    assert_eq!(
        recipients(&desk, open.ticket_id).await,
        [merged.channel_identity.clone().expect("an identity")]
    );
}

#[tokio::test]
async fn the_merged_ones_identity_leads_to_the_survivor() {
    let desk = Desk::with_policy().await;
    set_bot(&desk, "open_ticket_on_inbound = true").await;
    let merged = create_by_phone(&desk).await;
    merge(&desk.people, desk.contact_id, merged.contact_id)
        .await
        .expect("merged");

    let mut contacts = desk.people.contacts.clone();
    let found = contacts
        .look_up_contact(look_up(Channel::Whatsapp, PHONE))
        .await;
    let found = found
        .expect("found")
        .into_inner()
        .contact
        .expect("the contact");
    assert_eq!(found.contact_id, desk.contact_id);
    let read = GetContactRequest {
        contact_id: merged.contact_id,
    };
    let read = contacts
        .get_contact(read)
        .await
        .expect("read")
        .into_inner()
        .contact;
    assert_eq!(read, Some(found));
    let again = contacts
        .create_contact(create(Contact {
            contact_id: 0,
            etag: String::new(),
            ..merged.clone()
        }))
        .await;
    let status = again.expect_err("the identity is taken");
    let metadata = status
        .get_details_error_info()
        .expect("an ErrorInfo")
        .metadata;
    assert_eq!(
        metadata.get("contact_id"),
        Some(&desk.contact_id.to_string())
    );

    // A message opens the survivor's ticket, and is answered where it came from.
    let (outcome, ticket_id) = writes_by_phone(&desk, "m1").await;
    assert_eq!(outcome, InboundOutcome::Recorded);
    assert_eq!(desk.ticket(ticket_id).await.contact_id, desk.contact_id);
    desk.writes(ticket_id, AuthorKind::Agent).await;
    pass(&desk, ticket_id, 25.0).await;
    assert_eq!(recipients(&desk, ticket_id).await[0].address, PHONE);
    assert_eq!(
        writes_by_phone(&desk, "m2").await,
        (InboundOutcome::Recorded, ticket_id)
    );
    // Long after the close it goes on in another one, which is answered there too.
    Change::Close
        .make(&desk.people, ticket_id)
        .await
        .expect("closed");
    set_bot(&desk, "reopen_window_value = 1, reopen_window_unit = 1").await;
    sqlx::query("UPDATE tickets SET closed_at = closed_at - interval '1 hour'")
        .execute(&desk.fixture.pool)
        .await
        .expect("moved");
    let (_, next_id) = writes_by_phone(&desk, "m3").await;
    assert_ne!(next_id, ticket_id);
    desk.writes(next_id, AuthorKind::Agent).await;
    pass(&desk, next_id, 25.0).await;
    assert_eq!(recipients(&desk, next_id).await[0].address, PHONE);

    let opened = open_for(&desk, merged.contact_id).await;
    assert_eq!(opened.contact_id, desk.contact_id);
}

#[tokio::test]
async fn a_merge_is_for_good_and_makes_no_ring() {
    let desk = Desk::start().await;
    let mut people = desk.people.clone();
    let [a, b, c] = [
        desk.contact_id,
        people.create_contact("Bia", "bia").await.contact_id,
        people.create_contact("Caio", "caio").await.contact_id,
    ];
    assert_eq!(
        wrong_fields(merge(&people, a, a).await),
        ["merged_contact_id"]
    );
    assert_eq!(
        wrong_fields(merge(&people, 0, a).await),
        ["survivor_contact_id"]
    );
    assert_eq!(
        refusal(merge(&people, a, 999_999).await),
        (Code::NotFound, "CONTACT_NOT_FOUND".to_owned())
    );
    let other = desk.fixture.administrator_of(8);
    assert_eq!(
        refusal(merge(&other, a, b).await),
        (Code::NotFound, "CONTACT_NOT_FOUND".to_owned())
    );

    let ticket = open_for(&desk, c).await;
    let id = request_id();
    let request = MergeContactsRequest {
        survivor_contact_id: b,
        merged_contact_id: c,
        request_id: id,
    };
    let first = people
        .contacts
        .merge_contacts(request.clone())
        .await
        .expect("merged")
        .into_inner();
    let again = people
        .contacts
        .merge_contacts(request)
        .await
        .expect("repeated")
        .into_inner();
    assert_eq!(first, again);

    let refused = merge(&people, b, c).await.expect_err("merged already");
    assert_eq!(
        refusal::<()>(Err(refused.clone())),
        precondition("CONTACT_MERGED")
    );
    let violations = refused
        .get_details_precondition_failure()
        .expect("a subject")
        .violations;
    assert_eq!(violations[0].subject, format!("contact/{b}"));
    assert_eq!(
        refusal(merge(&people, c, a).await),
        precondition("CONTACT_MERGED")
    );
    assert_eq!(
        refusal(merge(&people, c, b).await),
        precondition("CONTACT_MERGED")
    );
    let contact = Contact {
        contact_id: c,
        name: "Caio".to_owned(),
        ..Contact::default()
    };
    let updated = people
        .contacts
        .update_contact(update(contact, &["name"]))
        .await;
    assert_eq!(refusal(updated), precondition("CONTACT_MERGED"));

    // A chain leads to its end.
    merge(&people, a, b).await.expect("merged");
    assert_eq!(desk.ticket(ticket.ticket_id).await.contact_id, a);
    for address in ["ana", "bia", "caio"] {
        let found = people
            .contacts
            .look_up_contact(look_up(Channel::Log, address))
            .await;
        let found = found
            .expect("found")
            .into_inner()
            .contact
            .expect("the contact");
        assert_eq!(found.contact_id, a, "{address}");
    }
    let changes = told(&desk.events(ticket.ticket_id).await);
    let previous: Vec<i64> = changes.iter().map(|it| it.previous_contact_id).collect();
    assert_eq!(previous, [c, b]);
}

#[tokio::test]
async fn a_merge_of_too_many_tickets_changes_nothing() {
    let desk = Desk::with_policy().await;
    let ids = desk.bulk(1_001, 0.0).await;
    let survivor = desk
        .people
        .clone()
        .create_contact("Bia", "bia")
        .await
        .contact_id;
    let refused = merge(&desk.people, survivor, desk.contact_id).await;
    assert_eq!(refusal(refused), precondition("TOO_MANY_TICKETS"));
    assert_eq!(desk.ticket(ids[0]).await.contact_id, desk.contact_id);
    sqlx::query("UPDATE tickets SET contact_id = $1 WHERE ticket_id = $2")
        .bind(survivor)
        .bind(ids[0])
        .execute(&desk.fixture.pool)
        .await
        .expect("moved");
    let merged = merge(&desk.people, survivor, desk.contact_id)
        .await
        .expect("merged");
    assert_eq!(merged.ticket_count, 1_000);
    assert_eq!(desk.ticket(ids[1_000]).await.contact_id, survivor);
}

/// While messages of both are recorded and tickets opened, none stays behind.
#[tokio::test]
async fn nothing_stays_behind_of_what_happens_meanwhile() {
    let desk = Desk::start().await;
    set_bot(&desk, "open_ticket_on_inbound = true").await;
    let merged = create_by_phone(&desk).await;
    let opening = async {
        for _ in 0..40 {
            open_for(&desk, merged.contact_id).await;
        }
    };
    let writing = async {
        for number in 0..40 {
            writes_by_phone(&desk, &format!("m{number}")).await;
        }
    };
    let merging = async {
        tokio::task::yield_now().await;
        while desk.ticket_count().await < 10 {
            tokio::task::yield_now().await;
        }
        merge(&desk.people, desk.contact_id, merged.contact_id)
            .await
            .expect("merged");
    };
    tokio::join!(opening, writing, merging);
    let behind: i64 = sqlx::query_scalar("SELECT count(*) FROM tickets WHERE contact_id = $1")
        .bind(merged.contact_id)
        .fetch_one(&desk.fixture.pool)
        .await
        .expect("counted");
    assert_eq!(behind, 0);
}

impl Desk {
    async fn ticket_count(&self) -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM tickets")
            .fetch_one(&self.fixture.pool)
            .await
            .expect("counted")
    }
}
