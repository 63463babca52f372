//! Rows of `contacts`.

use plazo_proto::common::v1::Channel;
use sqlx::PgConnection;

use crate::error::Error;

/// A customer. Without `Debug`, so that nothing of it gets into a log.
#[derive(Clone, PartialEq, Eq)]
pub struct Contact {
    /// The contact's id.
    pub contact_id: i64,
    /// How the customer is called.
    pub name: String,
    /// E-mail address; empty when unknown.
    pub email: String,
    /// Phone number in E.164; empty when unknown.
    pub phone: String,
    /// Where the customer is reached.
    pub channel: Channel,
    /// The address there. With the channel, unique in the tenant.
    pub address: String,
    /// Raised by each [`save`].
    pub revision: i64,
}

struct Row {
    contact_id: i64,
    name: String,
    email: String,
    phone: String,
    channel: i16,
    address: String,
    revision: i64,
}

impl TryFrom<Row> for Contact {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self, Error> {
        let channel = Channel::try_from(i32::from(row.channel));
        Ok(Self {
            contact_id: row.contact_id,
            name: row.name,
            email: row.email,
            phone: row.phone,
            channel: channel.map_err(|_| Error::OutOfRange("contacts.channel"))?,
            address: row.address,
            revision: row.revision,
        })
    }
}

/// What a contact is created with.
#[derive(Clone)]
pub struct NewContact {
    /// How the customer is called.
    pub name: String,
    /// E-mail address; empty when unknown.
    pub email: String,
    /// Phone number in E.164; empty when unknown.
    pub phone: String,
    /// Where the customer is reached.
    pub channel: Channel,
    /// The address there.
    pub address: String,
}

/// The number under which a channel is stored: that of the proto.
fn code(channel: Channel) -> Result<i16, Error> {
    i16::try_from(i32::from(channel)).map_err(|_| Error::OutOfRange("channel"))
}

/// Creates a contact; none when the tenant has one with this channel and address.
pub async fn insert(
    connection: &mut PgConnection,
    tenant_id: i64,
    contact: &NewContact,
) -> Result<Option<Contact>, Error> {
    let row = sqlx::query_as!(
        Row,
        "INSERT INTO contacts (tenant_id, name, email, phone, channel, address)
         VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (tenant_id, channel, address) DO NOTHING
         RETURNING contact_id, name, email, phone, channel, address, revision",
        tenant_id,
        contact.name,
        contact.email,
        contact.phone,
        code(contact.channel)?,
        contact.address
    )
    .fetch_optional(connection)
    .await?;
    row.map(Contact::try_from).transpose()
}

/// The contact, if the tenant has it.
pub async fn find(
    connection: &mut PgConnection,
    tenant_id: i64,
    contact_id: i64,
) -> Result<Option<Contact>, Error> {
    let row = sqlx::query_as!(
        Row,
        "SELECT contact_id, name, email, phone, channel, address, revision
         FROM contacts WHERE tenant_id = $1 AND contact_id = $2",
        tenant_id,
        contact_id
    )
    .fetch_optional(connection)
    .await?;
    row.map(Contact::try_from).transpose()
}

/// The contact with this channel and address, if the tenant has one.
pub async fn find_by_identity(
    connection: &mut PgConnection,
    tenant_id: i64,
    channel: Channel,
    address: &str,
) -> Result<Option<Contact>, Error> {
    let row = sqlx::query_as!(
        Row,
        "SELECT contact_id, name, email, phone, channel, address, revision
         FROM contacts WHERE tenant_id = $1 AND channel = $2 AND address = $3",
        tenant_id,
        code(channel)?,
        address
    )
    .fetch_optional(connection)
    .await?;
    row.map(Contact::try_from).transpose()
}

/// The contact, if the tenant has it, locked against other changes until the transaction ends. Tickets of
/// it can be opened meanwhile.
pub async fn lock(
    connection: &mut PgConnection,
    tenant_id: i64,
    contact_id: i64,
) -> Result<Option<Contact>, Error> {
    let row = sqlx::query_as!(
        Row,
        "SELECT contact_id, name, email, phone, channel, address, revision
         FROM contacts WHERE tenant_id = $1 AND contact_id = $2 FOR NO KEY UPDATE",
        tenant_id,
        contact_id
    )
    .fetch_optional(connection)
    .await?;
    row.map(Contact::try_from).transpose()
}

/// Writes the locked contact's name, e-mail and phone, and raises its revision.
pub async fn save(
    connection: &mut PgConnection,
    tenant_id: i64,
    contact: &mut Contact,
) -> Result<(), Error> {
    contact.revision = sqlx::query_scalar!(
        "UPDATE contacts SET name = $3, email = $4, phone = $5, revision = revision + 1
         WHERE tenant_id = $1 AND contact_id = $2
         RETURNING revision",
        tenant_id,
        contact.contact_id,
        contact.name,
        contact.email,
        contact.phone
    )
    .fetch_one(connection)
    .await?;
    Ok(())
}
