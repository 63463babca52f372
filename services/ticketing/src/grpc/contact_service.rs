//! `plazo.ticketing.v1.ContactService`.

use futures::FutureExt as _;
use plazo_database::TenantReader;
use plazo_proto::common::v1::ChannelIdentity;
use plazo_proto::ticketing::v1 as proto;
use plazo_proto::ticketing::v1::contact_service_server::ContactService as Api;
use plazo_proto::ticketing::v1::{
    CreateContactRequest, CreateContactResponse, GetContactRequest, GetContactResponse,
    LookUpContactRequest, LookUpContactResponse, MergeContactsRequest, MergeContactsResponse,
    UpdateContactRequest, UpdateContactResponse,
};
use plazo_service::{RequestKey, status};
use tonic::{Request, Response, Status};

use super::caller::actor_of_tenant;
use crate::changes::Changes;
use crate::contacts::{self, Contact, ContactChange, NewContact};
use crate::error::Error;
use crate::settings::etag;
use crate::tickets::author_of;
use crate::validate::Checks;

/// The customers of a tenant.
#[derive(Debug, Clone)]
pub struct ContactService {
    changes: Changes,
}

impl ContactService {
    /// Contacts in the database of `changes`.
    pub fn new(changes: Changes) -> Self {
        Self { changes }
    }

    async fn connection(&self, tenant_id: i64) -> Result<TenantReader, Error> {
        self.changes.connection(tenant_id).await
    }
}

#[tonic::async_trait]
impl Api for ContactService {
    async fn create_contact(
        &self,
        request: Request<CreateContactRequest>,
    ) -> Result<Response<CreateContactResponse>, Status> {
        let actor = actor_of_tenant(&request)?;
        let tenant_id = actor.tenant_id;
        let request = request.into_inner();
        let new = new_contact(&request)?;
        let key = RequestKey::new(&actor, "CreateContact", &request, |it| &mut it.request_id)?;
        let answer = self.changes.run(key, move |connection| {
            let new = new.clone();
            async move {
                let contact = contacts::create(connection, tenant_id, &new).await?;
                Ok(CreateContactResponse {
                    contact: Some(answer(contact)),
                })
            }
            .boxed()
        });
        Ok(Response::new(answer.await?))
    }

    async fn get_contact(
        &self,
        request: Request<GetContactRequest>,
    ) -> Result<Response<GetContactResponse>, Status> {
        let tenant_id = actor_of_tenant(&request)?.tenant_id;
        let contact_id = request.into_inner().contact_id;
        let mut checks = Checks::new();
        checks.id("contact_id", contact_id);
        checks.finish()?;
        let mut connection = self.connection(tenant_id).await?;
        let contact = contacts::get(&mut connection, tenant_id, contact_id).await?;
        Ok(Response::new(GetContactResponse {
            contact: Some(answer(contact)),
        }))
    }

    async fn update_contact(
        &self,
        request: Request<UpdateContactRequest>,
    ) -> Result<Response<UpdateContactResponse>, Status> {
        let actor = actor_of_tenant(&request)?;
        let (tenant_id, author) = (actor.tenant_id, author_of(&actor));
        let request = request.into_inner();
        let update = contact_update(&request)?;
        let key = RequestKey::new(&actor, "UpdateContact", &request, |it| &mut it.request_id)?;
        let answer = self.changes.run(key, move |connection| {
            let update = update.clone();
            async move {
                let Update {
                    contact_id,
                    etag,
                    change,
                } = &update;
                let contact =
                    contacts::update(connection, tenant_id, author, *contact_id, etag, change)
                        .await?;
                Ok(UpdateContactResponse {
                    contact: Some(answer(contact)),
                })
            }
            .boxed()
        });
        Ok(Response::new(answer.await?))
    }

    async fn look_up_contact(
        &self,
        request: Request<LookUpContactRequest>,
    ) -> Result<Response<LookUpContactResponse>, Status> {
        let tenant_id = actor_of_tenant(&request)?.tenant_id;
        let request = request.into_inner();
        let mut checks = Checks::new();
        let identity =
            checks.channel_identity("channel_identity", request.channel_identity.as_ref());
        let (channel, address) = checks.finish_with(identity)?;
        let mut connection = self.connection(tenant_id).await?;
        let contact =
            contacts::find_by_identity(&mut connection, tenant_id, channel, &address).await?;
        let Some(contact) = contact else {
            let which = "with this channel identity";
            return Err(status::not_found("CONTACT_NOT_FOUND", "contact", &which));
        };
        Ok(Response::new(LookUpContactResponse {
            contact: Some(answer(contact)),
        }))
    }

    async fn merge_contacts(
        &self,
        request: Request<MergeContactsRequest>,
    ) -> Result<Response<MergeContactsResponse>, Status> {
        let actor = actor_of_tenant(&request)?;
        let (tenant_id, author) = (actor.tenant_id, author_of(&actor));
        let request = request.into_inner();
        let (survivor_id, merged_id) = merged_contacts(&request)?;
        let key = RequestKey::new(&actor, "MergeContacts", &request, |it| &mut it.request_id)?;
        let answer = self.changes.run(key, move |connection| {
            async move {
                let (contact, ticket_count) =
                    contacts::merge(connection, tenant_id, author, survivor_id, merged_id).await?;
                Ok(MergeContactsResponse {
                    contact: Some(answer(contact)),
                    ticket_count: i32::try_from(ticket_count).unwrap_or(i32::MAX),
                })
            }
            .boxed()
        });
        Ok(Response::new(answer.await?))
    }
}

/// The survivor and the contact that is merged into it.
fn merged_contacts(request: &MergeContactsRequest) -> Result<(i64, i64), Error> {
    let (survivor_id, merged_id) = (request.survivor_contact_id, request.merged_contact_id);
    let mut checks = Checks::new();
    checks.id("survivor_contact_id", survivor_id);
    checks.id("merged_contact_id", merged_id);
    checks.check(
        "merged_contact_id",
        survivor_id != merged_id,
        "must not be the survivor",
    );
    checks.request_id(&request.request_id);
    checks.finish()?;
    Ok((survivor_id, merged_id))
}

fn new_contact(request: &CreateContactRequest) -> Result<NewContact, Error> {
    let mut checks = Checks::new();
    checks.request_id(&request.request_id);
    let Some(contact) = &request.contact else {
        return Err(checks.finish_without("contact"));
    };
    checks.left_to_service("contact.contact_id", &contact.contact_id);
    checks.name("contact.name", &contact.name);
    checks.optional_email("contact.email", &contact.email);
    checks.optional_phone("contact.phone", &contact.phone);
    let field = "contact.channel_identity";
    let identity = checks.channel_identity(field, contact.channel_identity.as_ref());
    checks.left_to_service("contact.etag", &contact.etag);
    checks
        .finish_with(identity)
        .map(|(channel, address)| NewContact {
            name: contact.name.clone(),
            email: contact.email.clone(),
            phone: contact.phone.clone(),
            channel,
            address,
        })
}

#[derive(Clone)]
struct Update {
    contact_id: i64,
    etag: String,
    change: ContactChange,
}

fn contact_update(request: &UpdateContactRequest) -> Result<Update, Error> {
    let mut checks = Checks::new();
    checks.request_id(&request.request_id);
    let known = ["name", "email", "phone"];
    let mask = checks.update_mask(request.update_mask.as_ref(), &known);
    let Some(contact) = &request.contact else {
        return Err(checks.finish_without("contact"));
    };
    checks.id("contact.contact_id", contact.contact_id);
    let mut change = ContactChange {
        name: None,
        email: None,
        phone: None,
    };
    if mask.has("name") {
        checks.name("contact.name", &contact.name);
        change.name = Some(contact.name.clone());
    }
    if mask.has("email") {
        checks.optional_email("contact.email", &contact.email);
        change.email = Some(contact.email.clone());
    }
    if mask.has("phone") {
        checks.optional_phone("contact.phone", &contact.phone);
        change.phone = Some(contact.phone.clone());
    }
    checks.finish()?;
    Ok(Update {
        contact_id: contact.contact_id,
        etag: contact.etag.clone(),
        change,
    })
}

fn answer(contact: Contact) -> proto::Contact {
    proto::Contact {
        contact_id: contact.contact_id,
        name: contact.name,
        email: contact.email,
        phone: contact.phone,
        channel_identity: Some(ChannelIdentity {
            channel: contact.channel.into(),
            address: contact.address,
        }),
        etag: etag(contact.revision),
    }
}
