//! Emptying rows that have personal data. Each function returns how many rows it changed or deleted.

use std::ops::RangeInclusive;

use sqlx::{AssertSqlSafe, PgConnection, Row as _};
use uuid::Uuid;

use crate::error::Error;
use crate::store::clocks::{TicketKey, columns_of};
use crate::store::events::PAYLOAD_TABLES;

/// Events of a ticket, by their numbers.
#[derive(Debug, Clone)]
pub struct Span {
    /// The ticket.
    pub key: TicketKey,
    /// The first and the last one.
    pub seqs: RangeInclusive<i64>,
}

struct Columns {
    tenant_ids: Vec<i64>,
    ticket_ids: Vec<i64>,
    first: Vec<i64>,
    last: Vec<i64>,
}

impl Columns {
    fn of(spans: &[Span]) -> Self {
        let keys: Vec<TicketKey> = spans.iter().map(|span| span.key).collect();
        let (tenant_ids, ticket_ids) = columns_of(&keys);
        Self {
            tenant_ids,
            ticket_ids,
            first: spans.iter().map(|span| *span.seqs.start()).collect(),
            last: spans.iter().map(|span| *span.seqs.end()).collect(),
        }
    }
}

/// Changes the payloads of events as `change` says, wherever events stand; where they stand in the feed does not change.
pub async fn payloads(
    connection: &mut PgConnection,
    spans: &[Span],
    change: impl Fn(&[u8]) -> Result<Option<Vec<u8>>, Error>,
) -> Result<u64, Error> {
    let columns = Columns::of(spans);
    let mut changed = 0;
    for table in PAYLOAD_TABLES {
        let select = format!(
            "SELECT event.tenant_id, event.ticket_id, event.ticket_seq, event.payload
             FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[])
                 AS span (tenant_id, ticket_id, first, last)
             JOIN {table} AS event
                 ON event.tenant_id = span.tenant_id AND event.ticket_id = span.ticket_id
                 AND event.ticket_seq BETWEEN span.first AND span.last"
        );
        let rows = sqlx::query(AssertSqlSafe(select))
            .bind(&columns.tenant_ids)
            .bind(&columns.ticket_ids)
            .bind(&columns.first)
            .bind(&columns.last)
            .fetch_all(&mut *connection)
            .await?;
        let (mut tenant_ids, mut ticket_ids) = (Vec::new(), Vec::new());
        let (mut seqs, mut payloads) = (Vec::new(), Vec::new());
        for row in rows {
            if let Some(payload) = change(row.try_get("payload")?)? {
                tenant_ids.push(row.try_get::<i64, _>("tenant_id")?);
                ticket_ids.push(row.try_get::<i64, _>("ticket_id")?);
                seqs.push(row.try_get::<i64, _>("ticket_seq")?);
                payloads.push(payload);
            }
        }
        let update = format!(
            "UPDATE {table} AS event SET payload = changed.payload
             FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bytea[])
                 AS changed (tenant_id, ticket_id, ticket_seq, payload)
             WHERE event.tenant_id = changed.tenant_id AND event.ticket_id = changed.ticket_id
                 AND event.ticket_seq = changed.ticket_seq"
        );
        let updated = sqlx::query(AssertSqlSafe(update))
            .bind(&tenant_ids)
            .bind(&ticket_ids)
            .bind(&seqs)
            .bind(&payloads)
            .execute(&mut *connection)
            .await?;
        changed += updated.rows_affected();
    }
    Ok(changed)
}

/// Empties messages that these events recorded.
pub async fn messages(connection: &mut PgConnection, spans: &[Span]) -> Result<u64, Error> {
    let columns = Columns::of(spans);
    let updated = sqlx::query!(
        "UPDATE messages AS message SET body = '', attachment_urls = '{}'
         FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[])
             AS span (tenant_id, ticket_id, first, last)
         WHERE message.tenant_id = span.tenant_id AND message.ticket_id = span.ticket_id
             AND message.ticket_seq BETWEEN span.first AND span.last
             AND (message.body <> '' OR message.attachment_urls <> '{}')",
        &columns.tenant_ids,
        &columns.ticket_ids,
        &columns.first,
        &columns.last
    )
    .execute(connection)
    .await?;
    Ok(updated.rows_affected())
}

/// Empties what tickets themselves say, and marks them: nobody changes them any more. They are locked and closed.
pub async fn tickets(connection: &mut PgConnection, keys: &[TicketKey]) -> Result<u64, Error> {
    let (tenant_ids, ticket_ids) = columns_of(keys);
    let updated = sqlx::query!(
        "UPDATE tickets
         SET is_erased = true, close_summary = CASE WHEN close_summary IS NOT NULL THEN '' END
         FROM unnest($1::bigint[], $2::bigint[]) AS erased (tenant_id, ticket_id)
         WHERE tickets.tenant_id = erased.tenant_id AND tickets.ticket_id = erased.ticket_id AND NOT is_erased",
        &tenant_ids,
        &ticket_ids
    )
    .execute(connection)
    .await?;
    Ok(updated.rows_affected())
}

/// Forgets by which names channels know the messages of tickets: some are made of the customer's address.
pub async fn inbound_messages(
    connection: &mut PgConnection,
    keys: &[TicketKey],
) -> Result<u64, Error> {
    let (tenant_ids, ticket_ids) = columns_of(keys);
    let deleted = sqlx::query!(
        "DELETE FROM inbound_messages
         USING unnest($1::bigint[], $2::bigint[]) AS erased (tenant_id, ticket_id)
         WHERE inbound_messages.tenant_id = erased.tenant_id AND inbound_messages.ticket_id = erased.ticket_id",
        &tenant_ids,
        &ticket_ids
    )
    .execute(connection)
    .await?;
    Ok(deleted.rows_affected())
}

/// A first answer of a change.
#[derive(Debug)]
pub struct StoredAnswer {
    /// Under which request id it is kept.
    pub request_id: Uuid,
    /// Of which method.
    pub method: String,
    /// As it was encoded.
    pub answer: Vec<u8>,
}

/// First answers of a tenant after a request id, by it, at most `limit`.
pub async fn answers(
    connection: &mut PgConnection,
    tenant_id: i64,
    after_request_id: Uuid,
    limit: i64,
) -> Result<Vec<StoredAnswer>, Error> {
    let answers = sqlx::query_as!(
        StoredAnswer,
        r#"SELECT request_id, method, answer AS "answer!" FROM answered_requests
           WHERE tenant_id = $1 AND request_id > $2 AND answer IS NOT NULL
           ORDER BY request_id LIMIT $3"#,
        tenant_id,
        after_request_id,
        limit
    )
    .fetch_all(connection)
    .await?;
    Ok(answers)
}

/// Puts others in the place of first answers.
pub async fn set_answers(
    connection: &mut PgConnection,
    tenant_id: i64,
    answers: &[(Uuid, Vec<u8>)],
) -> Result<u64, Error> {
    let (request_ids, answers): (Vec<Uuid>, Vec<Vec<u8>>) = answers.iter().cloned().unzip();
    let updated = sqlx::query!(
        "UPDATE answered_requests SET answer = erased.answer
         FROM unnest($2::uuid[], $3::bytea[]) AS erased (request_id, answer)
         WHERE answered_requests.tenant_id = $1 AND answered_requests.request_id = erased.request_id",
        tenant_id,
        &request_ids,
        &answers
    )
    .execute(connection)
    .await?;
    Ok(updated.rows_affected())
}

/// The ids of a contact and of those that are part of it.
pub async fn contact_ids(
    connection: &mut PgConnection,
    tenant_id: i64,
    contact_id: i64,
) -> Result<Vec<i64>, Error> {
    let contact_ids = sqlx::query_scalar!(
        "SELECT contact_id FROM contacts WHERE tenant_id = $1 AND (contact_id = $2 OR merged_into = $2)",
        tenant_id,
        contact_id
    )
    .fetch_all(connection)
    .await?;
    Ok(contact_ids)
}

/// Those of the tickets that are the contact's.
pub async fn tickets_of(
    connection: &mut PgConnection,
    tenant_id: i64,
    contact_id: i64,
    ticket_ids: &[i64],
) -> Result<Vec<i64>, Error> {
    let ticket_ids = sqlx::query_scalar!(
        "SELECT ticket_id FROM tickets WHERE tenant_id = $1 AND contact_id = $2 AND ticket_id = ANY ($3)",
        tenant_id,
        contact_id,
        ticket_ids
    )
    .fetch_all(connection)
    .await?;
    Ok(ticket_ids)
}
