//! Rows of `calendars`.

use plazo_proto::ticketing::v1 as proto;
use prost::Message as _;
use sqlx::PgConnection;

use crate::error::Error;

/// A calendar.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredCalendar {
    /// Its id.
    pub calendar_id: i64,
    /// Its name, unique in the tenant.
    pub name: String,
    /// Time zone, week and exceptions; nothing else is set.
    pub settings: proto::Calendar,
    /// Raised by each [`save`].
    pub revision: i64,
}

struct Row {
    calendar_id: i64,
    name: String,
    settings: Vec<u8>,
    revision: i64,
}

impl TryFrom<Row> for StoredCalendar {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self, Error> {
        Ok(Self {
            calendar_id: row.calendar_id,
            name: row.name,
            settings: proto::Calendar::decode(row.settings.as_slice())?,
            revision: row.revision,
        })
    }
}

/// Creates a calendar; none when the tenant has one of this name.
pub async fn insert(
    connection: &mut PgConnection,
    tenant_id: i64,
    name: &str,
    settings: &proto::Calendar,
) -> Result<Option<StoredCalendar>, Error> {
    let row = sqlx::query!(
        "WITH created AS (
             INSERT INTO calendars (tenant_id, name, settings) VALUES ($1, $2, $3)
             ON CONFLICT (tenant_id, name) DO NOTHING
             RETURNING calendar_id, revision, calendar_version
         ), versioned AS (
             INSERT INTO calendar_versions (tenant_id, calendar_version, calendar_id, name, settings)
             SELECT $1, calendar_version, calendar_id, $2, $3 FROM created
         )
         SELECT calendar_id, revision FROM created",
        tenant_id,
        name,
        settings.encode_to_vec()
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| StoredCalendar {
        calendar_id: row.calendar_id,
        name: name.to_owned(),
        settings: settings.clone(),
        revision: row.revision,
    }))
}

/// The tenant's calendar of this name.
pub async fn find_by_name(
    connection: &mut PgConnection,
    tenant_id: i64,
    name: &str,
) -> Result<Option<i64>, Error> {
    let calendar_id = sqlx::query_scalar!(
        "SELECT calendar_id FROM calendars WHERE tenant_id = $1 AND name = $2",
        tenant_id,
        name
    )
    .fetch_optional(connection)
    .await?;
    Ok(calendar_id)
}

/// The calendar, if the tenant has it.
pub async fn find(
    connection: &mut PgConnection,
    tenant_id: i64,
    calendar_id: i64,
) -> Result<Option<StoredCalendar>, Error> {
    let row = sqlx::query_as!(
        Row,
        "SELECT calendar_id, name, settings, revision FROM calendars WHERE tenant_id = $1 AND calendar_id = $2",
        tenant_id,
        calendar_id
    )
    .fetch_optional(connection)
    .await?;
    row.map(StoredCalendar::try_from).transpose()
}

/// The calendar, if the tenant has it, locked against other changes, and against bots that take it up, until the
/// transaction ends.
pub async fn lock(
    connection: &mut PgConnection,
    tenant_id: i64,
    calendar_id: i64,
) -> Result<Option<StoredCalendar>, Error> {
    let row = sqlx::query_as!(
        Row,
        "SELECT calendar_id, name, settings, revision FROM calendars
         WHERE tenant_id = $1 AND calendar_id = $2 FOR NO KEY UPDATE",
        tenant_id,
        calendar_id
    )
    .fetch_optional(connection)
    .await?;
    row.map(StoredCalendar::try_from).transpose()
}

/// The calendars after `after_calendar_id`, by id, at most `limit`.
pub async fn list(
    connection: &mut PgConnection,
    tenant_id: i64,
    after_calendar_id: i64,
    limit: i64,
) -> Result<Vec<StoredCalendar>, Error> {
    let rows = sqlx::query_as!(
        Row,
        "SELECT calendar_id, name, settings, revision FROM calendars
         WHERE tenant_id = $1 AND calendar_id > $2 ORDER BY calendar_id LIMIT $3",
        tenant_id,
        after_calendar_id,
        limit
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(StoredCalendar::try_from).collect()
}

/// Writes the locked calendar as a new version, and raises its revision. CHANGED when another one has just got its name.
pub async fn save(
    connection: &mut PgConnection,
    tenant_id: i64,
    calendar: &mut StoredCalendar,
) -> Result<(), Error> {
    let saved = sqlx::query_scalar!(
        "WITH changed AS (
             UPDATE calendars
             SET name = $3, settings = $4, revision = revision + 1, calendar_version = DEFAULT
             WHERE tenant_id = $1 AND calendar_id = $2
             RETURNING revision, calendar_version
         ), versioned AS (
             INSERT INTO calendar_versions (tenant_id, calendar_version, calendar_id, name, settings)
             SELECT $1, calendar_version, $2, $3, $4 FROM changed
         )
         SELECT revision FROM changed",
        tenant_id,
        calendar.calendar_id,
        calendar.name,
        calendar.settings.encode_to_vec()
    )
    .fetch_one(connection)
    .await;
    calendar.revision = match saved {
        Err(sqlx::Error::Database(error)) if error.is_unique_violation() => {
            return Err(Error::Changed);
        }
        saved => saved?,
    };
    Ok(())
}

/// A version of a calendar, if the tenant has it: with id and name.
pub async fn find_version(
    connection: &mut PgConnection,
    tenant_id: i64,
    calendar_version: i64,
) -> Result<Option<proto::Calendar>, Error> {
    let row = sqlx::query!(
        "SELECT calendar_id, name, settings FROM calendar_versions WHERE tenant_id = $1 AND calendar_version = $2",
        tenant_id,
        calendar_version
    )
    .fetch_optional(connection)
    .await?;
    row.map(|row| {
        Ok(proto::Calendar {
            calendar_id: row.calendar_id,
            name: row.name,
            ..proto::Calendar::decode(row.settings.as_slice())?
        })
    })
    .transpose()
}
