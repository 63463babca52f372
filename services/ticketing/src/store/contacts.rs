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
    /// The contact that it is part of now; its tickets are that one's.
    pub merged_into: Option<i64>,
    /// Its personal data were erased: the texts are empty.
    pub is_erased: bool,
}

struct Row {
    contact_id: i64,
    name: String,
    email: String,
    phone: String,
    channel: i16,
    address: String,
    revision: i64,
    merged_into: Option<i64>,
    is_erased: bool,
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
            merged_into: row.merged_into,
            is_erased: row.is_erased,
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

/// A contact that is merged while it is looked for is followed so often: nobody merges one all the time.
const MAX_MERGES: u32 = 8;

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
        r#"INSERT INTO contacts (tenant_id, name, email, phone, channel, address)
           VALUES ($1, $2, $3, $4, $5, $6)
           ON CONFLICT (tenant_id, channel, address) WHERE erased_at IS NULL DO NOTHING
           RETURNING contact_id, name, email, phone, channel, address, revision, merged_into, false AS "is_erased!""#,
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

/// The contact, or the one that it is part of, if the tenant has it and its data are not erased.
pub async fn find(
    connection: &mut PgConnection,
    tenant_id: i64,
    contact_id: i64,
) -> Result<Option<Contact>, Error> {
    let row = sqlx::query_as!(
        Row,
        r#"SELECT known.contact_id, known.name, known.email, known.phone, known.channel, known.address,
               known.revision, known.merged_into, false AS "is_erased!"
           FROM contacts AS asked
           JOIN contacts AS known
               ON known.tenant_id = asked.tenant_id
               AND known.contact_id = coalesce(asked.merged_into, asked.contact_id)
           WHERE asked.tenant_id = $1 AND asked.contact_id = $2 AND known.erased_at IS NULL"#,
        tenant_id,
        contact_id
    )
    .fetch_optional(connection)
    .await?;
    row.map(Contact::try_from).transpose()
}

/// The id of the contact that has this channel and address, even when it is part of another one now.
pub async fn id_by_identity(
    connection: &mut PgConnection,
    tenant_id: i64,
    channel: Channel,
    address: &str,
) -> Result<Option<i64>, Error> {
    let contact_id = sqlx::query_scalar!(
        "SELECT contact_id FROM contacts
         WHERE tenant_id = $1 AND channel = $2 AND address = $3 AND erased_at IS NULL",
        tenant_id,
        code(channel)?,
        address
    )
    .fetch_optional(connection)
    .await?;
    Ok(contact_id)
}

/// The contact, if the tenant has it and its data are not erased, locked against other changes until the transaction
/// ends. Tickets of it can't be opened meanwhile by others.
pub async fn lock(
    connection: &mut PgConnection,
    tenant_id: i64,
    contact_id: i64,
) -> Result<Option<Contact>, Error> {
    let row = sqlx::query_as!(
        Row,
        r#"SELECT contact_id, name, email, phone, channel, address, revision, merged_into, false AS "is_erased!"
           FROM contacts WHERE tenant_id = $1 AND contact_id = $2 AND erased_at IS NULL FOR NO KEY UPDATE"#,
        tenant_id,
        contact_id
    )
    .fetch_optional(connection)
    .await?;
    row.map(Contact::try_from).transpose()
}

/// The contact, or the one that it is part of, [locked](lock).
pub async fn lock_current(
    connection: &mut PgConnection,
    tenant_id: i64,
    contact_id: i64,
) -> Result<Option<Contact>, Error> {
    let mut next_id = contact_id;
    for _ in 0..=MAX_MERGES {
        match lock(connection, tenant_id, next_id).await? {
            Some(Contact {
                merged_into: Some(survivor_id),
                ..
            }) => next_id = survivor_id,
            found => return Ok(found),
        }
    }
    Err(Error::OutOfRange("contacts.merged_into"))
}

/// The contact, or the one that it is part of, if the tenant has it and its data are not erased. Until the transaction
/// ends it stays as it is, so that what is told of it now is not old news.
pub async fn keep_current(
    connection: &mut PgConnection,
    tenant_id: i64,
    contact_id: i64,
) -> Result<Option<Contact>, Error> {
    let mut next_id = contact_id;
    for _ in 0..=MAX_MERGES {
        let row = sqlx::query_as!(
            Row,
            r#"SELECT contact_id, name, email, phone, channel, address, revision, merged_into,
                   false AS "is_erased!"
               FROM contacts WHERE tenant_id = $1 AND contact_id = $2 AND erased_at IS NULL FOR SHARE"#,
            tenant_id,
            next_id
        )
        .fetch_optional(&mut *connection)
        .await?;
        match row {
            Some(Row {
                merged_into: Some(survivor_id),
                ..
            }) => next_id = survivor_id,
            row => return row.map(Contact::try_from).transpose(),
        }
    }
    Err(Error::OutOfRange("contacts.merged_into"))
}

/// Those of the contacts that the tenant has, by id, erased ones too, locked against everybody: no ticket of them is
/// opened until the transaction ends.
pub async fn lock_wholly(
    connection: &mut PgConnection,
    tenant_id: i64,
    contact_ids: &[i64],
) -> Result<Vec<Contact>, Error> {
    let rows = sqlx::query_as!(
        Row,
        r#"SELECT contact_id, name, email, phone, channel, address, revision, merged_into,
               erased_at IS NOT NULL AS "is_erased!"
           FROM contacts WHERE tenant_id = $1 AND contact_id = ANY ($2) ORDER BY contact_id FOR UPDATE"#,
        tenant_id,
        contact_ids
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(Contact::try_from).collect()
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

/// Makes a contact part of another one, and with it those that were part of it. Both are locked wholly.
pub async fn merge(
    connection: &mut PgConnection,
    tenant_id: i64,
    survivor_id: i64,
    merged_id: i64,
) -> Result<(), Error> {
    sqlx::query!(
        "UPDATE contacts SET merged_into = $2, revision = revision + 1
         WHERE tenant_id = $1 AND (contact_id = $3 OR merged_into = $3)",
        tenant_id,
        survivor_id,
        merged_id
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Empties a wholly locked contact and those that are part of it. Returns how many rows that were.
pub async fn erase(
    connection: &mut PgConnection,
    tenant_id: i64,
    contact_id: i64,
) -> Result<u64, Error> {
    let erased = sqlx::query!(
        "UPDATE contacts
         SET name = '', email = '', phone = '', address = '', erased_at = clock_timestamp(), revision = revision + 1
         WHERE tenant_id = $1 AND (contact_id = $2 OR merged_into = $2)",
        tenant_id,
        contact_id
    )
    .execute(connection)
    .await?;
    Ok(erased.rows_affected())
}

/// Waits until no other transaction has this turn for the contact, and keeps them waiting until this one ends. It locks no
/// row: who changes tickets of the contact, and then looks at it, goes on meanwhile.
pub async fn take_turn(connection: &mut PgConnection, contact_id: i64) -> Result<(), Error> {
    sqlx::query!(
        "SELECT pg_advisory_xact_lock(hashtextextended('plazo/contact/' || $1::bigint, 0))",
        contact_id
    )
    .execute(connection)
    .await?;
    Ok(())
}
