//! Contacts.

mod changes;
mod merges;

use plazo_proto::common::v1::{Channel, ChannelIdentity};
use plazo_proto::ticketing::v1::{
    Contact, CreateContactRequest, GetContactRequest, LookUpContactRequest, UpdateContactRequest,
};
use plazo_service::status::reason_of;
use prost_types::FieldMask;
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::support::{Fixture, new_contact, refusal, request_id, wrong_fields};

fn create(contact: Contact) -> CreateContactRequest {
    CreateContactRequest {
        contact: Some(contact),
        request_id: String::new(),
    }
}

fn update(contact: Contact, paths: &[&str]) -> UpdateContactRequest {
    let paths = paths.iter().map(|&path| path.to_owned()).collect();
    UpdateContactRequest {
        contact: Some(contact),
        update_mask: Some(FieldMask { paths }),
        request_id: String::new(),
    }
}

fn look_up(channel: Channel, address: &str) -> LookUpContactRequest {
    let identity = ChannelIdentity {
        channel: channel.into(),
        address: address.to_owned(),
    };
    LookUpContactRequest {
        channel_identity: Some(identity),
    }
}

#[tokio::test]
async fn a_contact_is_created_read_and_looked_up() {
    let fixture = Fixture::start().await;
    let mut agent = fixture.as_actor("administrator/2", "tickets:attend", "");
    let contact = Contact {
        email: "ana@example.com".to_owned(),
        phone: "+5511987654321".to_owned(),
        ..new_contact("Ana Peña", "ana")
    };
    let answer = agent
        .contacts
        .create_contact(create(contact.clone()))
        .await
        .expect("created");
    let created = answer.into_inner().contact.expect("the contact");
    assert!(created.contact_id > 0 && !created.etag.is_empty());
    let (contact_id, etag) = (created.contact_id, created.etag.clone());
    assert_eq!(
        created,
        Contact {
            contact_id,
            etag,
            ..contact
        }
    );

    let read = agent
        .contacts
        .get_contact(GetContactRequest { contact_id })
        .await;
    assert_eq!(
        read.expect("it is there").into_inner().contact.as_ref(),
        Some(&created)
    );
    let found = agent
        .contacts
        .look_up_contact(look_up(Channel::Log, "ana"))
        .await;
    assert_eq!(
        found.expect("it is there").into_inner().contact,
        Some(created)
    );
    let other = agent
        .contacts
        .look_up_contact(look_up(Channel::Blip, "ana"))
        .await;
    assert_eq!(
        refusal(other),
        (Code::NotFound, "CONTACT_NOT_FOUND".to_owned())
    );
}

#[tokio::test]
async fn an_identity_belongs_to_one_contact_of_a_tenant() {
    let fixture = Fixture::start().await;
    let mut administrator = fixture.administrator();
    let first = administrator.create_contact("Ana", "ana").await;

    let again = administrator
        .contacts
        .create_contact(create(new_contact("Bia", "ana")))
        .await;
    let status = again.expect_err("the identity is taken");
    assert_eq!(status.code(), Code::AlreadyExists);
    assert_eq!(reason_of(&status).as_deref(), Some("CONTACT_EXISTS"));
    let metadata = status
        .get_details_error_info()
        .expect("an ErrorInfo")
        .metadata;
    assert_eq!(
        metadata.get("contact_id"),
        Some(&first.contact_id.to_string())
    );

    let mut other_tenant = fixture.administrator_of(8);
    let second = other_tenant.create_contact("Bia", "ana").await;
    let foreign = GetContactRequest {
        contact_id: second.contact_id,
    };
    let answer = administrator.contacts.get_contact(foreign).await;
    assert_eq!(
        refusal(answer),
        (Code::NotFound, "CONTACT_NOT_FOUND".to_owned())
    );
    let foreign = update(
        Contact {
            contact_id: second.contact_id,
            ..first
        },
        &["name"],
    );
    let answer = administrator.contacts.update_contact(foreign).await;
    assert_eq!(
        refusal(answer),
        (Code::NotFound, "CONTACT_NOT_FOUND".to_owned())
    );
}

#[tokio::test]
async fn contacts_created_at_once_with_one_identity_are_one() {
    let fixture = Fixture::start().await;
    let administrator = fixture.administrator();
    let calls = (0..8).map(|_| {
        let mut contacts = administrator.contacts.clone();
        async move {
            contacts
                .create_contact(create(new_contact("Ana", "ana")))
                .await
        }
    });
    let answers = futures::future::join_all(calls).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
    for refused in answers.into_iter().filter(Result::is_err) {
        assert_eq!(
            refusal(refused),
            (Code::AlreadyExists, "CONTACT_EXISTS".to_owned())
        );
    }
}

#[tokio::test]
async fn an_update_changes_what_the_mask_names() {
    let fixture = Fixture::start().await;
    let mut administrator = fixture.administrator();
    let before = administrator.create_contact("Ana", "ana").await;
    let wanted = Contact {
        name: "Bia".to_owned(),
        email: "bia@example.com".to_owned(),
        ..before.clone()
    };
    let request = update(wanted.clone(), &["email"]);
    let answer = administrator
        .contacts
        .update_contact(request)
        .await
        .expect("changed");
    let after = answer.into_inner().contact.expect("the contact");
    assert_eq!((&*after.name, &*after.email), ("Ana", "bia@example.com"));
    assert_ne!(after.etag, before.etag);

    let stale = administrator
        .contacts
        .update_contact(update(wanted.clone(), &["name"]))
        .await;
    assert_eq!(refusal(stale), (Code::Aborted, "ETAG_MISMATCH".to_owned()));
    let request = update(
        Contact {
            etag: String::new(),
            ..wanted
        },
        &[],
    );
    let answer = administrator
        .contacts
        .update_contact(request)
        .await
        .expect("changed");
    assert_eq!(
        answer.into_inner().contact.expect("the contact").name,
        "Bia"
    );

    for path in ["channel_identity", "contact_id", "Name"] {
        let answer = administrator
            .contacts
            .update_contact(update(after.clone(), &[path]))
            .await;
        assert_eq!(wrong_fields(answer), ["update_mask"], "{path}");
    }
}

#[tokio::test]
async fn all_wrong_fields_are_named_at_once() {
    let fixture = Fixture::start().await;
    let mut administrator = fixture.administrator();
    let contact = Contact {
        contact_id: 1,
        name: "a\0".to_owned(),
        email: "nobody".to_owned(),
        phone: "+9991234567".to_owned(),
        channel_identity: Some(ChannelIdentity {
            channel: 77,
            address: "x".repeat(257),
        }),
        etag: "1".to_owned(),
    };
    let request = CreateContactRequest {
        contact: Some(contact),
        request_id: "1".to_owned(),
    };
    let answer = administrator.contacts.create_contact(request).await;
    assert_eq!(
        wrong_fields(answer),
        [
            "request_id",
            "contact.contact_id",
            "contact.name",
            "contact.email",
            "contact.phone",
            "contact.channel_identity.channel",
            "contact.channel_identity.address",
            "contact.etag",
        ]
    );
    let nothing = CreateContactRequest::default();
    assert_eq!(
        wrong_fields(administrator.contacts.create_contact(nothing).await),
        ["contact"]
    );
    let nothing = LookUpContactRequest::default();
    let answer = administrator.contacts.look_up_contact(nothing).await;
    assert_eq!(wrong_fields(answer), ["channel_identity"]);
}

#[tokio::test]
async fn a_repeated_request_gets_its_first_answer() {
    let fixture = Fixture::start().await;
    let mut administrator = fixture.administrator();
    let mut request = create(new_contact("Ana", "ana"));
    request.request_id = request_id();
    let first = administrator
        .contacts
        .create_contact(request.clone())
        .await
        .expect("created");
    let again = administrator
        .contacts
        .create_contact(request.clone())
        .await
        .expect("repeated");
    assert_eq!(first.into_inner(), again.into_inner());
    request.contact = Some(new_contact("Ana", "another"));
    let other = administrator.contacts.create_contact(request).await;
    assert_eq!(
        refusal(other),
        (Code::InvalidArgument, "REQUEST_ID_REUSED".to_owned())
    );
}

#[tokio::test]
async fn contacts_need_the_permission_and_a_tenant() {
    let fixture = Fixture::start().await;
    let get = GetContactRequest { contact_id: 1 };
    let mut editor = fixture.as_actor("administrator/2", "helpdesk:edit", "*");
    let answer = editor.contacts.get_contact(get).await;
    assert_eq!(
        refusal(answer),
        (Code::PermissionDenied, "PERMISSION_DENIED".to_owned())
    );
    let mut service = fixture.as_actor_of(0, "service/history", "tickets:attend", "*");
    let answer = service.contacts.get_contact(get).await;
    assert_eq!(
        refusal(answer),
        (Code::PermissionDenied, "TENANT_REQUIRED".to_owned())
    );
}
