//! Contacts: the customers of a tenant.

use plazo_proto::common::v1::{Author, Channel};
use plazo_proto::ticketing::v1::ContactChanged;
use plazo_proto::ticketing::v1::ticket_event::Payload;
use sqlx::PgConnection;

use crate::error::Error;
use crate::settings::check_etag;
use crate::store::clocks::{self, TicketKey};
use crate::store::contacts as rows;
use crate::store::tickets;
use crate::tickets::change::{TicketChange, save};
use crate::tickets::told::contact_to_proto;

pub use crate::store::contacts::{Contact, NewContact};

/// The most open tickets that a change of a contact takes with it: all are locked at the same time. Real customers have
/// a few.
const MAX_OPEN_TICKETS: usize = 500;
/// The most tickets of a contact that is merged into another, for the same reason.
const MAX_MERGED_TICKETS: usize = 1_000;

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
    let other = find_by_identity(connection, tenant_id, new.channel, &new.address).await?;
    // It was erased in between: the identity is free by now.
    let id = other.ok_or(Error::Changed)?.contact_id;
    Err(Error::Exists {
        reason: "CONTACT_EXISTS",
        kind: "contact",
        id,
    })
}

/// Reads a contact, or the one that it is part of.
pub async fn get(
    connection: &mut PgConnection,
    tenant_id: i64,
    contact_id: i64,
) -> Result<Contact, Error> {
    rows::find(connection, tenant_id, contact_id)
        .await?
        .ok_or_else(|| no_contact(contact_id))
}

/// The contact with this channel and address, or the one that it is part of, if there is one.
pub async fn find_by_identity(
    connection: &mut PgConnection,
    tenant_id: i64,
    channel: Channel,
    address: &str,
) -> Result<Option<Contact>, Error> {
    match rows::id_by_identity(connection, tenant_id, channel, address).await? {
        Some(contact_id) => rows::find(connection, tenant_id, contact_id).await,
        None => Ok(None),
    }
}

/// Changes a contact, and tells of it on its open tickets if it is not as before. CHANGED when the etag is not the
/// present one.
pub async fn update(
    connection: &mut PgConnection,
    tenant_id: i64,
    author: Author,
    contact_id: i64,
    etag: &str,
    change: &ContactChange,
) -> Result<Contact, Error> {
    let contact = rows::lock(connection, tenant_id, contact_id).await?;
    let mut contact = contact.ok_or_else(|| no_contact(contact_id))?;
    require_unmerged(&contact)?;
    check_etag(etag, contact.revision)?;
    let before = contact.clone();
    if let Some(name) = &change.name {
        contact.name.clone_from(name);
    }
    if let Some(email) = &change.email {
        contact.email.clone_from(email);
    }
    if let Some(phone) = &change.phone {
        contact.phone.clone_from(phone);
    }
    let is_changed = contact != before;
    rows::save(connection, tenant_id, &mut contact).await?;
    if is_changed {
        tell_open_tickets(connection, tenant_id, author, &contact).await?;
    }
    Ok(contact)
}

/// Makes a contact part of another one, and gives it all its tickets. Returns the survivor, and how many tickets went
/// over.
pub async fn merge(
    connection: &mut PgConnection,
    tenant_id: i64,
    author: Author,
    survivor_id: i64,
    merged_id: i64,
) -> Result<(Contact, usize), Error> {
    let locked = rows::lock_wholly(connection, tenant_id, &[survivor_id, merged_id]).await?;
    let of_id = |id| {
        let contact = locked.iter().find(|contact| contact.contact_id == id);
        let kept = contact.filter(|contact| !contact.is_erased);
        kept.cloned().ok_or_else(|| no_contact(id))
    };
    let (mut survivor, merged) = (of_id(survivor_id)?, of_id(merged_id)?);
    require_unmerged(&survivor)?;
    require_unmerged(&merged)?;

    let limit = row_limit(MAX_MERGED_TICKETS);
    let keys = tickets::ids_of_contact(connection, tenant_id, merged_id, 0, limit).await?;
    if keys.len() > MAX_MERGED_TICKETS {
        return Err(Error::Precondition {
            reason: "TOO_MANY_TICKETS",
            subject: format!("contact/{merged_id}"),
            description: "the contact to be merged has more than 1000 tickets",
        });
    }
    if take_missing(&mut survivor, &merged) {
        rows::save(connection, tenant_id, &mut survivor).await?;
        // Before the others come: they are told of it anyway.
        tell_open_tickets(connection, tenant_id, author, &survivor).await?;
    }
    rows::merge(connection, tenant_id, survivor_id, merged_id).await?;
    let changes = lock_tickets(connection, &keys).await?;
    tickets::give_to_contact(connection, tenant_id, merged_id, survivor_id).await?;
    tell(connection, changes, author, &survivor, merged_id).await?;
    Ok((survivor, keys.len()))
}

/// The contact's e-mail and phone, where it has none, become those of the one that is merged into it. Whether there were
/// any.
fn take_missing(survivor: &mut Contact, merged: &Contact) -> bool {
    let before = survivor.clone();
    for (own, other) in [
        (&mut survivor.email, &merged.email),
        (&mut survivor.phone, &merged.phone),
    ] {
        if own.is_empty() {
            own.clone_from(other);
        }
    }
    *survivor != before
}

/// Locks the open tickets of a contact that is locked itself. `TOO_MANY_OPEN_TICKETS` when they are too many.
pub(crate) async fn lock_open_tickets(
    connection: &mut PgConnection,
    tenant_id: i64,
    contact_id: i64,
) -> Result<Vec<TicketChange>, Error> {
    let limit = row_limit(MAX_OPEN_TICKETS);
    let keys = tickets::open_ids_of_contact(connection, tenant_id, contact_id, limit).await?;
    if keys.len() > MAX_OPEN_TICKETS {
        return Err(Error::Precondition {
            reason: "TOO_MANY_OPEN_TICKETS",
            subject: format!("contact/{contact_id}"),
            description: "the contact has more than 500 open tickets: close some of them first",
        });
    }
    let mut changes = lock_tickets(connection, &keys).await?;
    // Closed before they were locked.
    changes.retain(|change| change.facts.state.is_open());
    Ok(changes)
}

/// One more than fit shows that there are too many.
fn row_limit(max: usize) -> i64 {
    i64::try_from(max + 1).unwrap_or(i64::MAX)
}

async fn lock_tickets(
    connection: &mut PgConnection,
    keys: &[TicketKey],
) -> Result<Vec<TicketChange>, Error> {
    let locked = clocks::lock(connection, keys).await?;
    TicketChange::of_locked(connection, locked).await
}

async fn tell_open_tickets(
    connection: &mut PgConnection,
    tenant_id: i64,
    author: Author,
    contact: &Contact,
) -> Result<(), Error> {
    let changes = lock_open_tickets(connection, tenant_id, contact.contact_id).await?;
    tell(connection, changes, author, contact, 0).await
}

/// Records on tickets that their customer is known by other data.
async fn tell(
    connection: &mut PgConnection,
    mut changes: Vec<TicketChange>,
    author: Author,
    contact: &Contact,
    previous_contact_id: i64,
) -> Result<(), Error> {
    for change in &mut changes {
        let payload = ContactChanged {
            contact: Some(contact_to_proto(contact)),
            previous_contact_id,
        };
        change.record(author, Payload::ContactChanged(payload));
    }
    if !changes.is_empty() {
        save(connection, changes).await?;
    }
    Ok(())
}

/// Refuses a contact that is part of another one: it is that one which is changed.
pub(crate) fn require_unmerged(contact: &Contact) -> Result<(), Error> {
    match contact.merged_into {
        None => Ok(()),
        Some(survivor_id) => Err(Error::Precondition {
            reason: "CONTACT_MERGED",
            subject: format!("contact/{survivor_id}"),
            description: "the contact was merged into another one, which the subject names",
        }),
    }
}

pub(crate) fn no_contact(contact_id: i64) -> Error {
    Error::NotFound {
        kind: "contact",
        id: contact_id,
    }
}
