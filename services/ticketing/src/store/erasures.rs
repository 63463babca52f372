//! Rows of `erasures` and `erasure_reports`: what was erased where and when, and how far it has come.

use jiff::Timestamp;
use jiff_sqlx::{Timestamp as SqlTimestamp, ToSqlx};
use plazo_proto::common::v1::Author;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::error::Error;
use crate::store::events::author_code;

/// What an erasure does now: the numbers of the column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// It erases tickets.
    Tickets,
    /// It erases first answers of changes.
    Answers,
    /// Nothing more.
    Done,
}

impl Stage {
    const fn code(self) -> i16 {
        match self {
            Self::Tickets => 1,
            Self::Answers => 2,
            Self::Done => 3,
        }
    }

    fn from_code(code: i16) -> Result<Self, Error> {
        match code {
            1 => Ok(Self::Tickets),
            2 => Ok(Self::Answers),
            3 => Ok(Self::Done),
            _ => Err(Error::OutOfRange("erasures.stage")),
        }
    }
}

/// An erasure.
#[derive(Debug, Clone)]
pub struct Erasure {
    /// The tenant.
    pub tenant_id: i64,
    /// Its id.
    pub erasure_id: i64,
    /// Whose data.
    pub contact_id: i64,
    /// Who asked for it.
    pub author: Author,
    /// When.
    pub requested_at: Timestamp,
    /// How many tickets the contact had then.
    pub ticket_count: i64,
    /// What it does now.
    pub stage: Stage,
    /// The tickets up to this one are done.
    pub after_ticket_id: i64,
    /// Of the next ticket, the events up to this one are done.
    pub after_seq: i64,
    /// The answers up to this one are done.
    pub after_request_id: Uuid,
    /// Rows that ticketing changed or deleted so far.
    pub row_count: i64,
}

#[expect(
    clippy::struct_field_names,
    reason = "row_count is the name of a column"
)]
struct Row {
    tenant_id: i64,
    erasure_id: i64,
    contact_id: i64,
    author_kind: i16,
    author_id: i64,
    requested_at: SqlTimestamp,
    ticket_count: i64,
    stage: i16,
    after_ticket_id: i64,
    after_seq: i64,
    after_request_id: Uuid,
    row_count: i64,
}

impl TryFrom<Row> for Erasure {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self, Error> {
        Ok(Self {
            tenant_id: row.tenant_id,
            erasure_id: row.erasure_id,
            contact_id: row.contact_id,
            author: Author {
                kind: row.author_kind.into(),
                id: row.author_id,
            },
            requested_at: row.requested_at.to_jiff(),
            ticket_count: row.ticket_count,
            stage: Stage::from_code(row.stage)?,
            after_ticket_id: row.after_ticket_id,
            after_seq: row.after_seq,
            after_request_id: row.after_request_id,
            row_count: row.row_count,
        })
    }
}

/// Begins an erasure, whose contact is emptied already.
pub async fn insert(
    connection: &mut PgConnection,
    tenant_id: i64,
    contact_id: i64,
    author: Author,
    ticket_count: i64,
    row_count: i64,
) -> Result<Erasure, Error> {
    let stage = if ticket_count == 0 {
        Stage::Answers
    } else {
        Stage::Tickets
    };
    let row = sqlx::query_as!(
        Row,
        "INSERT INTO erasures (tenant_id, contact_id, author_kind, author_id, ticket_count, stage, row_count)
         VALUES ($1, $2, $3, $4, $5, $6, $7)
         RETURNING tenant_id, erasure_id, contact_id, author_kind, author_id, requested_at, ticket_count, stage,
             after_ticket_id, after_seq, after_request_id, row_count",
        tenant_id,
        contact_id,
        author_code(&author),
        author.id,
        ticket_count,
        stage.code(),
        row_count
    )
    .fetch_one(connection)
    .await?;
    row.try_into()
}

/// An erasure of the tenant.
pub async fn find(
    connection: &mut PgConnection,
    tenant_id: i64,
    erasure_id: i64,
) -> Result<Option<Erasure>, Error> {
    let row = sqlx::query_as!(
        Row,
        "SELECT tenant_id, erasure_id, contact_id, author_kind, author_id, requested_at, ticket_count, stage,
             after_ticket_id, after_seq, after_request_id, row_count
         FROM erasures WHERE tenant_id = $1 AND erasure_id = $2",
        tenant_id,
        erasure_id
    )
    .fetch_optional(connection)
    .await?;
    row.map(Erasure::try_from).transpose()
}

/// The erasure of a contact.
pub async fn of_contact(
    connection: &mut PgConnection,
    tenant_id: i64,
    contact_id: i64,
) -> Result<Option<Erasure>, Error> {
    let row = sqlx::query_as!(
        Row,
        "SELECT tenant_id, erasure_id, contact_id, author_kind, author_id, requested_at, ticket_count, stage,
             after_ticket_id, after_seq, after_request_id, row_count
         FROM erasures WHERE tenant_id = $1 AND contact_id = $2",
        tenant_id,
        contact_id
    )
    .fetch_optional(connection)
    .await?;
    row.map(Erasure::try_from).transpose()
}

/// Erasures of the tenant before one, the last first, at most `limit`.
pub async fn list(
    connection: &mut PgConnection,
    tenant_id: i64,
    before_erasure_id: i64,
    limit: i64,
) -> Result<Vec<Erasure>, Error> {
    let rows = sqlx::query_as!(
        Row,
        "SELECT tenant_id, erasure_id, contact_id, author_kind, author_id, requested_at, ticket_count, stage,
             after_ticket_id, after_seq, after_request_id, row_count
         FROM erasures WHERE tenant_id = $1 AND erasure_id < $2
         ORDER BY erasure_id DESC LIMIT $3",
        tenant_id,
        before_erasure_id,
        limit
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(Erasure::try_from).collect()
}

/// Takes an erasure that is not done and that nobody else works on, for this transaction: the first after this id, else
/// the first of all.
pub async fn take(
    connection: &mut PgConnection,
    after_erasure_id: i64,
) -> Result<Option<Erasure>, Error> {
    let row = sqlx::query_as!(
        Row,
        "SELECT tenant_id, erasure_id, contact_id, author_kind, author_id, requested_at, ticket_count, stage,
             after_ticket_id, after_seq, after_request_id, row_count
         FROM erasures WHERE stage < 3
         ORDER BY erasure_id <= $1, erasure_id LIMIT 1 FOR UPDATE SKIP LOCKED",
        after_erasure_id
    )
    .fetch_optional(connection)
    .await?;
    row.map(Erasure::try_from).transpose()
}

/// Writes how far a taken erasure has come.
pub async fn save(connection: &mut PgConnection, erasure: &Erasure) -> Result<(), Error> {
    sqlx::query!(
        "UPDATE erasures
         SET stage = $3, after_ticket_id = $4, after_seq = $5, after_request_id = $6, row_count = $7
         WHERE tenant_id = $1 AND erasure_id = $2",
        erasure.tenant_id,
        erasure.erasure_id,
        erasure.stage.code(),
        erasure.after_ticket_id,
        erasure.after_seq,
        erasure.after_request_id,
        erasure.row_count
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// What a service has erased.
#[derive(Debug, Clone)]
pub struct Report {
    /// Of which erasure.
    pub erasure_id: i64,
    /// The service's name.
    pub service: String,
    /// When its data were gone.
    pub erased_at: Timestamp,
    /// How many rows it changed or deleted.
    pub row_count: i64,
}

/// Notes what a service has erased, by default as of now. A report stands until one comes with more rows.
pub async fn report(
    connection: &mut PgConnection,
    tenant_id: i64,
    erasure_id: i64,
    service: &str,
    erased_at: Option<Timestamp>,
    row_count: i64,
) -> Result<(), Error> {
    sqlx::query!(
        "INSERT INTO erasure_reports (tenant_id, erasure_id, service, erased_at, row_count)
         VALUES ($1, $2, $3, coalesce($4, clock_timestamp()), $5)
         ON CONFLICT (tenant_id, erasure_id, service) DO UPDATE
         SET erased_at = excluded.erased_at, row_count = excluded.row_count
         WHERE erasure_reports.row_count < excluded.row_count",
        tenant_id,
        erasure_id,
        service,
        erased_at.map(ToSqlx::to_sqlx) as Option<SqlTimestamp>,
        row_count
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// What services have erased, of some erasures.
pub async fn reports(
    connection: &mut PgConnection,
    tenant_id: i64,
    erasure_ids: &[i64],
) -> Result<Vec<Report>, Error> {
    let rows = sqlx::query!(
        "SELECT erasure_id, service, erased_at, row_count FROM erasure_reports
         WHERE tenant_id = $1 AND erasure_id = ANY ($2)",
        tenant_id,
        erasure_ids
    )
    .fetch_all(connection)
    .await?;
    let reports = rows.into_iter().map(|row| Report {
        erasure_id: row.erasure_id,
        service: row.service,
        erased_at: row.erased_at.to_jiff(),
        row_count: row.row_count,
    });
    Ok(reports.collect())
}

/// How many erasures are not done here.
pub async fn running(pool: &PgPool) -> Result<i64, Error> {
    let count = sqlx::query_scalar!(r#"SELECT count(*) AS "count!" FROM erasures WHERE stage < 3"#)
        .fetch_one(pool)
        .await?;
    Ok(count)
}
