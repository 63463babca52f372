//! What history has.

use std::collections::BTreeSet;

use sqlx::postgres::{PgPool, PgRow};
use sqlx::{Acquire as _, Row as _};

use super::{Key, RowKey, Rows, VerifyError};

/// Columns of `tickets` that are compared, and how they are read as text.
const TICKETS: [(&str, &str); 35] = [
    ("bot_id", "bot_id::text"),
    ("queue_id", "queue_id::text"),
    ("agent_id", "agent_id::text"),
    ("assigned_agent_id", "assigned_agent_id::text"),
    ("state", "state::text"),
    ("opened_at", "us(opened_at)"),
    ("previous_ticket_id", "previous_ticket_id::text"),
    ("first_queue_id", "first_queue_id::text"),
    ("tags", "array_to_string(tags, ',')"),
    ("customer_message_count", "customer_message_count::text"),
    ("agent_message_count", "agent_message_count::text"),
    ("reopen_count", "reopen_count::text"),
    ("contact_id", "contact_id::text"),
    ("contact_name", "contact_name"),
    ("contact_email", "contact_email"),
    ("contact_phone", "contact_phone"),
    ("contact_channel", "contact_channel::text"),
    ("contact_address", "contact_address"),
    ("closed_at", "us(closed_at)"),
    ("close_source", "coalesce(close_source, 0)::text"),
    ("close_author_kind", "coalesce(close_author_kind, 0)::text"),
    ("close_author_id", "coalesce(close_author_id, 0)::text"),
    ("close_exit_route", "coalesce(close_exit_route, '')"),
    ("close_category", "coalesce(close_category, '')"),
    ("close_summary", "coalesce(close_summary, '')"),
    ("is_unlinked", "is_unlinked::text"),
    ("is_held", "is_held::text"),
    ("first_assigned_at", "us(first_assigned_at)"),
    ("first_agent_message_at", "us(first_agent_message_at)"),
    ("first_closed_at", "us(first_closed_at)"),
    ("later_response_count", "later_response_count::text"),
    ("later_response_ms", "later_response_ms::text"),
    ("handling_ms", "handling_ms::text"),
    ("last_interaction_at", "us(last_interaction_at)"),
    ("ticket_seq", "ticket_seq::text"),
];

const ENTRIES: [(&str, &str); 8] = [
    ("kind", "kind::text"),
    ("message_id", "message_id::text"),
    ("author_kind", "author_kind::text"),
    ("author_id", "author_id::text"),
    ("text", "text"),
    ("attachment_urls", "array_to_string(attachment_urls, ' ')"),
    ("recorded_at", "us(recorded_at)"),
    ("channel_at", "us(channel_at)"),
];

const FIRINGS: [(&str, &str); 6] = [
    ("bot_id", "bot_id::text"),
    ("queue_id", "queue_id::text"),
    ("stage", "stage::text"),
    ("cycle_kind", "cycle_kind::text"),
    ("fired_at", "us(fired_at)"),
    ("late_ms", "late_ms::text"),
];

/// Whether a dealing has the keys of its contact.
const HAS_KEYS: &str = "(NOT EXISTS (
    SELECT FROM contacts AS contact
    WHERE contact.tenant_id = dealings.tenant_id AND contact.contact_id = dealings.contact_id
        AND (contact.name_key, other_keys(contact.email_key, contact.phone_digits))
            IS DISTINCT FROM (dealings.contact_name_key, dealings.contact_other_keys)
))::text";

const DEALINGS: [(&str, &str); 6] = [
    ("contact_id", "contact_id::text"),
    ("bot_id", "bot_id::text"),
    ("last_dealt_at", "us(last_dealt_at)"),
    ("closed_at", "us(closed_at)"),
    ("closed_interaction_at", "us(closed_interaction_at)"),
    ("has_keys_of_contact", HAS_KEYS),
];

/// A table, the column that tells the rows of a ticket apart, and the columns that are compared.
type Table = (
    &'static str,
    &'static str,
    &'static [(&'static str, &'static str)],
);

const TABLES: [Table; 4] = [
    ("tickets", "0::bigint", &TICKETS),
    ("conversation_entries", "ticket_seq", &ENTRIES),
    ("stage_firings", "ticket_seq", &FIRINGS),
    ("dealings", "agent_id", &DEALINGS),
];

/// Writes `us(x)`, microseconds since 1970 or `-`, in SQL.
pub(super) fn with_instants(sql: &str) -> String {
    let mut text = sql.to_owned();
    while let Some(start) = text.find("us(") {
        let end = start + text[start..].find(')').unwrap_or(text.len() - start - 1);
        let column = text[start + 3..end].to_owned();
        let written =
            format!("coalesce((extract(epoch FROM {column}) * 1000000)::bigint::text, '-')");
        text.replace_range(start..=end, &written);
    }
    text
}

/// The ids of both keys as arrays.
pub(super) fn arrays(keys: &[Key]) -> (Vec<i64>, Vec<i64>) {
    keys.iter().copied().unzip()
}

fn failed(source: sqlx::Error) -> VerifyError {
    VerifyError::Database {
        service: "history",
        source,
    }
}

/// The next tickets in their order.
pub(super) async fn next_keys(
    pool: &PgPool,
    after: Key,
    limit: i64,
) -> Result<Vec<Key>, VerifyError> {
    sqlx::query_as(
        "SELECT tenant_id, ticket_id FROM tickets WHERE (tenant_id, ticket_id) > ($1, $2)
         ORDER BY tenant_id, ticket_id LIMIT $3",
    )
    .bind(after.0)
    .bind(after.1)
    .bind(limit)
    .fetch_all(pool)
    .await
    .map_err(failed)
}

/// All rows of these tickets, as of one instant.
pub(super) async fn rows(pool: &PgPool, keys: &[Key]) -> Result<Rows, VerifyError> {
    let mut rows = Rows::new();
    let mut connection = pool.acquire().await.map_err(failed)?;
    let mut transaction = connection.begin().await.map_err(failed)?;
    sqlx::query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
    let (tenant_ids, ticket_ids) = arrays(keys);
    for (table, part, columns) in TABLES {
        let values: Vec<&str> = columns.iter().map(|(_, value)| *value).collect();
        let sql = format!(
            "SELECT tenant_id, ticket_id, {part} AS part, ARRAY[{}] AS found FROM {table}
             JOIN unnest($1::bigint[], $2::bigint[]) AS wanted (tenant_id, ticket_id) USING (tenant_id, ticket_id)",
            values.join(", ")
        );
        let found = sqlx::query(sqlx::AssertSqlSafe(with_instants(&sql)))
            .bind(&tenant_ids)
            .bind(&ticket_ids)
            .fetch_all(&mut *transaction)
            .await
            .map_err(failed)?;
        for row in found {
            add(&mut rows, table, columns, &row).map_err(failed)?;
        }
    }
    Ok(rows)
}

/// Adds a row with its ticket, its part and its values.
pub(super) fn add(
    rows: &mut Rows,
    table: &'static str,
    columns: &[(&'static str, &str)],
    row: &PgRow,
) -> Result<(), sqlx::Error> {
    let key = RowKey {
        table,
        ticket: (row.try_get("tenant_id")?, row.try_get("ticket_id")?),
        part: row.try_get("part")?,
    };
    let values: Vec<String> = row.try_get("found")?;
    let names = columns.iter().map(|(name, _)| *name);
    rows.entry(key).or_default().extend(names.zip(values));
    Ok(())
}

/// Those of these tickets that retention has taken away.
pub(super) async fn forgotten(pool: &PgPool, keys: &[Key]) -> Result<BTreeSet<Key>, VerifyError> {
    if keys.is_empty() {
        return Ok(BTreeSet::new());
    }
    let (tenant_ids, ticket_ids) = arrays(keys);
    let found: Vec<Key> = sqlx::query_as(
        "SELECT wanted.tenant_id, wanted.ticket_id
         FROM unnest($1::bigint[], $2::bigint[]) AS wanted (tenant_id, ticket_id)
         WHERE EXISTS (
                 SELECT FROM forgotten_tickets AS forgotten
                 WHERE forgotten.tenant_id = wanted.tenant_id AND forgotten.ticket_id = wanted.ticket_id
             ) OR (
                 to_regclass('tickets_p' || wanted.ticket_id / 1000000) IS NULL
                 AND wanted.ticket_id < (SELECT max(ticket_id) FROM tickets)
             )",
    )
    .bind(tenant_ids)
    .bind(ticket_ids)
    .fetch_all(pool)
    .await
    .map_err(failed)?;
    Ok(found.into_iter().collect())
}
