//! Contacts: the customers of a tenant.

use plazo_proto::common::v1::Channel;
use sqlx::PgConnection;

use crate::error::Error;
use crate::settings::check_etag;
use crate::store::contacts as rows;

pub use crate::store::contacts::{Contact, NewContact};

/// New values of a contact; none leaves what there is. Without `Debug`, so that nothing of it gets into a
/// log.
#[derive(Clone)]
pub struct ContactChange {
    /// How the customer is called.
    pub name: Option<String>,
    /// E-mail address; empty when unknown.
    pub email: Option<String>,
    /// Phone number in E.164; empty when unknown.
    pub phone: Option<String>,
}

/// Creates a contact. `CONTACT_EXISTS` when the tenant has one with this channel and address.
pub async fn create(
    connection: &mut PgConnection,
    tenant_id: i64,
    new: &NewContact,
) -> Result<Contact, Error> {
    if let Some(contact) = rows::insert(connection, tenant_id, new).await? {
        return Ok(contact);
    }
    let other = rows::find_by_identity(connection, tenant_id, new.channel, &new.address).await?;
    // Contacts are never removed, and their identity never changes.
    let id = other
        .ok_or(Error::OutOfRange("contacts.address"))?
        .contact_id;
    Err(Error::Exists {
        reason: "CONTACT_EXISTS",
        kind: "contact",
        id,
    })
}

/// Reads a contact.
pub async fn get(
    connection: &mut PgConnection,
    tenant_id: i64,
    contact_id: i64,
) -> Result<Contact, Error> {
    rows::find(connection, tenant_id, contact_id)
        .await?
        .ok_or_else(|| no_contact(contact_id))
}

/// The contact with this channel and address, if there is one.
pub async fn find_by_identity(
    connection: &mut PgConnection,
    tenant_id: i64,
    channel: Channel,
    address: &str,
) -> Result<Option<Contact>, Error> {
    rows::find_by_identity(connection, tenant_id, channel, address).await
}

/// Changes a contact. CHANGED when the etag is not the present one.
pub async fn update(
    connection: &mut PgConnection,
    tenant_id: i64,
    contact_id: i64,
    etag: &str,
    change: &ContactChange,
) -> Result<Contact, Error> {
    let contact = rows::lock(connection, tenant_id, contact_id).await?;
    let mut contact = contact.ok_or_else(|| no_contact(contact_id))?;
    check_etag(etag, contact.revision)?;
    if let Some(name) = &change.name {
        contact.name.clone_from(name);
    }
    if let Some(email) = &change.email {
        contact.email.clone_from(email);
    }
    if let Some(phone) = &change.phone {
        contact.phone.clone_from(phone);
    }
    rows::save(connection, tenant_id, &mut contact).await?;
    Ok(contact)
}

fn no_contact(contact_id: i64) -> Error {
    Error::NotFound {
        kind: "contact",
        id: contact_id,
    }
}
