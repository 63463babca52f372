//! What ticketing's own tables say.

use std::collections::BTreeMap;

use plazo_proto::ticketing::v1::TicketEvent;
use plazo_proto::ticketing::v1::ticket_event::Payload;
use prost::Message as _;
use sqlx::postgres::{PgConnection, PgPool};
use sqlx::{Acquire as _, Row as _};

use super::naive::{self, Event, Message};
use super::shown::{add, arrays, with_instants};
use super::{Key, RowKey, Rows, VerifyError};

/// Columns of history's `tickets` that ticketing keeps itself.
const TICKETS: [(&str, &str); 22] = [
    ("bot_id", "ticket.bot_id::text"),
    ("queue_id", "coalesce(queue_id, 0)::text"),
    ("assigned_agent_id", "coalesce(agent_id, 0)::text"),
    ("state", "state::text"),
    ("opened_at", "us(opened_at)"),
    ("previous_ticket_id", "coalesce(previous_ticket_id, 0)::text"),
    ("tags", "array_to_string(tags, ',')"),
    (
        "customer_message_count",
        "(SELECT count(*) FROM messages AS m WHERE m.tenant_id = ticket.tenant_id AND m.ticket_id = ticket.ticket_id
            AND m.kind = 1 AND m.author_kind = 1)::text",
    ),
    (
        "agent_message_count",
        "(SELECT count(*) FROM messages AS m WHERE m.tenant_id = ticket.tenant_id AND m.ticket_id = ticket.ticket_id
            AND m.kind = 1 AND m.author_kind = 2)::text",
    ),
    ("contact_id", "contact_id::text"),
    ("closed_at", "us(closed_at)"),
    ("close_source", "coalesce(close_source, 0)::text"),
    ("close_author_kind", "coalesce(close_author_kind, 0)::text"),
    ("close_author_id", "coalesce(close_author_id, 0)::text"),
    ("close_exit_route", "coalesce(close_exit_route, '')"),
    ("close_category", "coalesce(close_category, '')"),
    ("close_summary", "coalesce(close_summary, '')"),
    ("is_unlinked", "is_unlinked::text"),
    ("is_held", "(hold_until IS NOT NULL)::text"),
    ("first_assigned_at", "us(first_assigned_at)"),
    ("first_agent_message_at", "us(first_agent_message_at)"),
    ("ticket_seq", "clock.ticket_seq::text"),
];

/// Columns of a message as history keeps it. Kinds: chat, note and comment are 1, 2 and 3 here, and 1, 2 and 5 there.
const ENTRIES: [(&str, &str); 8] = [
    ("kind", "(CASE kind WHEN 3 THEN 5 ELSE kind END)::text"),
    ("message_id", "message_id::text"),
    ("author_kind", "author_kind::text"),
    ("author_id", "author_id::text"),
    ("text", "body"),
    ("attachment_urls", "array_to_string(attachment_urls, ' ')"),
    ("recorded_at", "us(recorded_at)"),
    ("channel_at", "us(channel_at)"),
];

fn failed(source: sqlx::Error) -> VerifyError {
    VerifyError::Database {
        service: "ticketing",
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

/// What history should have of these tickets, as of one instant.
pub(super) async fn rows(pool: &PgPool, keys: &[Key]) -> Result<Rows, VerifyError> {
    let mut connection = pool.acquire().await.map_err(failed)?;
    let mut transaction = connection.begin().await.map_err(failed)?;
    sqlx::query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
    let mut rows = Rows::new();
    let tickets = "FROM tickets AS ticket JOIN ticket_clocks AS clock USING (tenant_id, ticket_id)";
    read(
        &mut transaction,
        keys,
        "tickets",
        &TICKETS,
        ("0::bigint", tickets),
        &mut rows,
    )
    .await?;
    let entries = ("ticket_seq", "FROM messages");
    read(
        &mut transaction,
        keys,
        "conversation_entries",
        &ENTRIES,
        entries,
        &mut rows,
    )
    .await?;
    let events = events(&mut transaction, keys).await?;
    let messages = messages(&mut transaction, keys).await?;
    for key in keys {
        let ticket = RowKey {
            table: "tickets",
            ticket: *key,
            part: 0,
        };
        // Without its row the ticket is none of ticketing's.
        if rows.contains_key(&ticket) {
            let events = events.get(key).map_or(&[][..], Vec::as_slice);
            let messages = messages.get(key).map_or(&[][..], Vec::as_slice);
            naive::add_rows(*key, events, messages, &mut rows);
        }
    }
    Ok(rows)
}

async fn read(
    connection: &mut PgConnection,
    keys: &[Key],
    table: &'static str,
    columns: &[(&'static str, &str)],
    (part, from): (&str, &str),
    rows: &mut Rows,
) -> Result<(), VerifyError> {
    let (tenant_ids, ticket_ids) = arrays(keys);
    let values: Vec<&str> = columns.iter().map(|(_, value)| *value).collect();
    let sql = format!(
        "SELECT tenant_id, ticket_id, {part} AS part, ARRAY[{}] AS found {from}
         JOIN unnest($1::bigint[], $2::bigint[]) AS wanted (tenant_id, ticket_id) USING (tenant_id, ticket_id)",
        values.join(", ")
    );
    let found = sqlx::query(sqlx::AssertSqlSafe(with_instants(&sql)))
        .bind(&tenant_ids)
        .bind(&ticket_ids)
        .fetch_all(connection)
        .await
        .map_err(failed)?;
    for row in found {
        add(rows, table, columns, &row).map_err(failed)?;
    }
    Ok(())
}

/// The events of these tickets in their order: those of the feed, and those that are kept when their week is dropped.
async fn events(
    connection: &mut PgConnection,
    keys: &[Key],
) -> Result<BTreeMap<Key, Vec<Event>>, VerifyError> {
    let (tenant_ids, ticket_ids) = arrays(keys);
    let keeps: bool = sqlx::query_scalar("SELECT to_regclass('kept_events') IS NOT NULL")
        .fetch_one(&mut *connection)
        .await
        .map_err(failed)?;
    let columns = "tenant_id, ticket_id, ticket_seq, us(recorded_at)::bigint AS at_us, payload";
    let wanted = "JOIN unnest($1::bigint[], $2::bigint[]) AS wanted (tenant_id, ticket_id) USING (tenant_id, ticket_id)";
    let kept = if keeps {
        format!("UNION ALL SELECT {columns} FROM kept_events {wanted}")
    } else {
        String::new()
    };
    let sql = format!(
        "SELECT DISTINCT ON (tenant_id, ticket_id, ticket_seq) * FROM (
             SELECT {columns} FROM ticket_events {wanted} {kept}
         ) AS events ORDER BY tenant_id, ticket_id, ticket_seq"
    );
    let found = sqlx::query(sqlx::AssertSqlSafe(with_instants(&sql)))
        .bind(&tenant_ids)
        .bind(&ticket_ids)
        .fetch_all(connection)
        .await
        .map_err(failed)?;
    let mut events: BTreeMap<Key, Vec<Event>> = BTreeMap::new();
    for row in found {
        let key: Key = (
            row.try_get("tenant_id").map_err(failed)?,
            row.try_get("ticket_id").map_err(failed)?,
        );
        let ticket_seq: i64 = row.try_get("ticket_seq").map_err(failed)?;
        let bytes: Vec<u8> = row.try_get("payload").map_err(failed)?;
        let event = TicketEvent::decode(bytes.as_slice()).map_err(|_| VerifyError::Event {
            ticket_id: key.1,
            ticket_seq,
        })?;
        let payload: Option<Payload> = event.payload;
        events.entry(key).or_default().push(Event {
            ticket_seq,
            at_us: row.try_get("at_us").map_err(failed)?,
            payload,
        });
    }
    Ok(events)
}

/// Who wrote when in these tickets.
async fn messages(
    connection: &mut PgConnection,
    keys: &[Key],
) -> Result<BTreeMap<Key, Vec<Message>>, VerifyError> {
    let (tenant_ids, ticket_ids) = arrays(keys);
    let sql = "SELECT tenant_id, ticket_id, us(recorded_at)::bigint AS at_us, kind::integer, author_kind::integer, author_id
         FROM messages
         JOIN unnest($1::bigint[], $2::bigint[]) AS wanted (tenant_id, ticket_id) USING (tenant_id, ticket_id)
         ORDER BY tenant_id, ticket_id, ticket_seq";
    let found: Vec<(i64, i64, i64, i32, i32, i64)> =
        sqlx::query_as(sqlx::AssertSqlSafe(with_instants(sql)))
            .bind(&tenant_ids)
            .bind(&ticket_ids)
            .fetch_all(connection)
            .await
            .map_err(failed)?;
    let mut messages: BTreeMap<Key, Vec<Message>> = BTreeMap::new();
    for (tenant_id, ticket_id, at_us, kind, author_kind, author_id) in found {
        messages
            .entry((tenant_id, ticket_id))
            .or_default()
            .push(Message {
                at_us,
                is_chat: kind == 1,
                author_kind,
                author_id,
            });
    }
    Ok(messages)
}
