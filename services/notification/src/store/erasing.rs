//! Erasing personal data: what ticketing told, how far it has come, and the rows that have such data.

use std::collections::HashSet;

use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use plazo_proto::notification::v1::ActiveMessageState;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::ticket_positions::TicketKey;
use crate::subscriptions::without_customer_data;

/// A ticket whose customer's personal data are to be erased.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ErasedTicket {
    pub(crate) ticket: TicketKey,
    pub(crate) erasure_id: i64,
    /// No other ticket follows in this erasure.
    pub(crate) is_last: bool,
}

/// Notes erased tickets. From the end of the transaction on, nothing with personal data is stored of them.
pub(crate) async fn note(
    transaction: &mut PgConnection,
    erased: &[ErasedTicket],
) -> Result<(), sqlx::Error> {
    let tenant_ids: Vec<i64> = erased.iter().map(|one| one.ticket.0).collect();
    let ticket_ids: Vec<i64> = erased.iter().map(|one| one.ticket.1).collect();
    let erasure_ids: Vec<i64> = erased.iter().map(|one| one.erasure_id).collect();
    let is_last: Vec<bool> = erased.iter().map(|one| one.is_last).collect();
    sqlx::query!(
        "WITH told AS (
             SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::boolean[])
                 AS u (tenant_id, ticket_id, erasure_id, is_last)
         ), tickets AS (
             INSERT INTO erased_tickets (tenant_id, ticket_id, erasure_id)
             SELECT tenant_id, ticket_id, erasure_id FROM told ON CONFLICT DO NOTHING
         )
         INSERT INTO erasures (tenant_id, erasure_id, told_at, is_told)
         SELECT tenant_id, erasure_id, clock_timestamp(), bool_or(is_last)
         FROM told GROUP BY tenant_id, erasure_id
         ON CONFLICT (tenant_id, erasure_id) DO UPDATE SET is_told = erasures.is_told OR excluded.is_told",
        &tenant_ids,
        &ticket_ids,
        &erasure_ids,
        &is_last
    )
    .execute(transaction)
    .await?;
    Ok(())
}

/// Those of the tickets that are erased.
pub(crate) async fn erased_of(
    connection: &mut PgConnection,
    tickets: &[TicketKey],
) -> Result<HashSet<TicketKey>, sqlx::Error> {
    let (tenant_ids, ticket_ids): (Vec<i64>, Vec<i64>) = tickets.iter().copied().unzip();
    let rows = sqlx::query!(
        "SELECT tenant_id, ticket_id FROM erased_tickets
         WHERE (tenant_id, ticket_id) IN (SELECT * FROM unnest($1::bigint[], $2::bigint[]))",
        &tenant_ids,
        &ticket_ids
    )
    .fetch_all(connection)
    .await?;
    let tickets = rows.into_iter().map(|row| (row.tenant_id, row.ticket_id));
    Ok(tickets.collect())
}

/// An erasure of whose tickets all were told.
#[derive(Debug, Clone)]
#[expect(
    clippy::struct_field_names,
    reason = "erasure_id is what all others call it"
)]
pub(crate) struct Erasure {
    pub(crate) tenant_id: i64,
    pub(crate) erasure_id: i64,
    pub(crate) told_at: Timestamp,
    pub(crate) after_ticket_id: i64,
    pub(crate) row_count: i64,
}

/// Puts a fence behind erasures that were told wholly: notes the transactions that are running.
///
/// When each of them began is told to superusers alone, for others' sessions; that they run, to everybody. Processes of
/// the server itself have no user.
pub(crate) async fn fence(pool: &PgPool) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE erasures
         SET fence_at = clock_timestamp(),
             fenced_transactions = ARRAY(
                 SELECT lock.virtualxid FROM pg_locks AS lock JOIN pg_stat_activity AS session USING (pid)
                 WHERE lock.locktype = 'virtualxid' AND session.datname = current_database()
                     AND session.usesysid IS NOT NULL AND pid <> pg_backend_pid()
             )
         WHERE is_told AND fence_at IS NULL"
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// Takes an erasure for this transaction that can go on: the first after this id, else the first of all. All transactions
/// that began before its fence have ended: what they stored without knowing of the erased tickets is there by now.
pub(crate) async fn take(
    transaction: &mut PgConnection,
    after_erasure_id: i64,
) -> Result<Option<Erasure>, sqlx::Error> {
    sqlx::query_as!(
        Erasure,
        "SELECT tenant_id, erasure_id, told_at, after_ticket_id, row_count FROM erasures
         WHERE fence_at IS NOT NULL AND NOT EXISTS (
             SELECT FROM pg_locks WHERE locktype = 'virtualxid' AND virtualxid = ANY (fenced_transactions)
         )
         ORDER BY erasure_id <= $1, erasure_id LIMIT 1 FOR UPDATE SKIP LOCKED",
        after_erasure_id
    )
    .fetch_optional(transaction)
    .await
}

/// Whether an erasure waits for other transactions to end.
pub(crate) async fn is_waiting(pool: &PgPool) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM erasures WHERE fence_at IS NOT NULL) AS "exists!""#
    )
    .fetch_one(pool)
    .await
}

/// Tickets of an erasure that are not erased yet, by id, at most `limit`.
pub(crate) async fn tickets(
    transaction: &mut PgConnection,
    erasure: &Erasure,
    limit: i64,
) -> Result<Vec<i64>, sqlx::Error> {
    sqlx::query_scalar!(
        "SELECT ticket_id FROM erased_tickets
         WHERE tenant_id = $1 AND erasure_id = $2 AND ticket_id > $3 ORDER BY ticket_id LIMIT $4",
        erasure.tenant_id,
        erasure.erasure_id,
        erasure.after_ticket_id,
        limit
    )
    .fetch_all(transaction)
    .await
}

/// Writes how far a taken erasure has come.
pub(crate) async fn save(
    transaction: &mut PgConnection,
    erasure: &Erasure,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE erasures SET after_ticket_id = $3, row_count = $4 WHERE tenant_id = $1 AND erasure_id = $2",
        erasure.tenant_id,
        erasure.erasure_id,
        erasure.after_ticket_id,
        erasure.row_count
    )
    .execute(transaction)
    .await?;
    Ok(())
}

/// Forgets an erasure that was answered for. Its tickets stay known.
pub(crate) async fn remove(
    transaction: &mut PgConnection,
    erasure: &Erasure,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "DELETE FROM erasures WHERE tenant_id = $1 AND erasure_id = $2",
        erasure.tenant_id,
        erasure.erasure_id
    )
    .execute(transaction)
    .await?;
    Ok(())
}

/// Erases what active messages, customers' messages that wait and providers' names say of tickets. Returns how many rows
/// were changed or deleted.
pub(crate) async fn messages(
    transaction: &mut PgConnection,
    tenant_id: i64,
    ticket_ids: &[i64],
    told_at: Timestamp,
) -> Result<u64, sqlx::Error> {
    let emptied = sqlx::query_file!("queries/erase_messages.sql", tenant_id, ticket_ids)
        .fetch_all(&mut *transaction)
        .await?;
    let channels: Vec<i16> = emptied.iter().map(|row| row.channel).collect();
    let addresses: Vec<&str> = emptied
        .iter()
        .map(|row| row.recipient_address.as_str())
        .collect();
    // They wrote before they were erased; what they write later is another's, who has the address now.
    let waiting = sqlx::query!(
        "DELETE FROM inbound_messages
         WHERE tenant_id = $1 AND received_at < $4
             AND (channel, sender_address) IN (SELECT * FROM unnest($2::smallint[], $3::text[]))",
        tenant_id,
        &channels,
        &addresses as &[&str],
        told_at.to_sqlx() as jiff_sqlx::Timestamp
    )
    .execute(&mut *transaction)
    .await?;
    let mut accounts = Vec::new();
    let mut keys = Vec::new();
    for row in &emptied {
        for state in 1..=i32::from(ActiveMessageState::Uncertain) {
            if let Some(id) = &row.provider_message_id {
                accounts.push(row.channel_account_id);
                keys.push(format!("status/{state}/{id}"));
            }
        }
    }
    let seen = sqlx::query!(
        "DELETE FROM seen_callbacks
         USING unnest($2::bigint[], $3::text[]) AS u (channel_account_id, callback_key)
         WHERE seen_callbacks.tenant_id = $1 AND seen_callbacks.channel_account_id = u.channel_account_id
             AND seen_callbacks.callback_key = u.callback_key",
        tenant_id,
        &accounts,
        &keys
    )
    .execute(transaction)
    .await?;
    Ok(emptied.len() as u64 + waiting.rows_affected() + seen.rows_affected())
}

/// Erases what subscribers' calls say of tickets, delivered ones too. Returns how many were changed.
pub(crate) async fn deliveries(
    transaction: &mut PgConnection,
    tenant_id: i64,
    ticket_ids: &[i64],
) -> Result<u64, sqlx::Error> {
    let rows = sqlx::query!(
        "SELECT subscription_id, event_id, body FROM event_deliveries
         WHERE tenant_id = $1 AND ticket_id = ANY ($2) ORDER BY subscription_id, event_id FOR UPDATE",
        tenant_id,
        ticket_ids
    )
    .fetch_all(&mut *transaction)
    .await?;
    let (mut subscription_ids, mut event_ids) = (Vec::new(), Vec::new());
    let mut bodies = Vec::new();
    for row in rows {
        if let Some(body) = without_customer_data(&row.body) {
            subscription_ids.push(row.subscription_id);
            event_ids.push(row.event_id);
            bodies.push(body);
        }
    }
    let changed = sqlx::query!(
        "UPDATE event_deliveries SET body = erased.body
         FROM unnest($2::bigint[], $3::bigint[], $4::text[]) AS erased (subscription_id, event_id, body)
         WHERE event_deliveries.tenant_id = $1 AND event_deliveries.subscription_id = erased.subscription_id
             AND event_deliveries.event_id = erased.event_id",
        tenant_id,
        &subscription_ids,
        &event_ids,
        &bodies
    )
    .execute(transaction)
    .await?;
    Ok(changed.rows_affected())
}

/// A first answer of a change of a message.
#[derive(Debug)]
pub(crate) struct StoredAnswer {
    pub(crate) request_id: Uuid,
    pub(crate) answer: Vec<u8>,
}

/// First answers with messages after a request id, by it, at most `limit`.
pub(crate) async fn answers(
    transaction: &mut PgConnection,
    tenant_id: i64,
    methods: &[String],
    after_request_id: Uuid,
    limit: i64,
) -> Result<Vec<StoredAnswer>, sqlx::Error> {
    sqlx::query_as!(
        StoredAnswer,
        r#"SELECT request_id, answer AS "answer!" FROM answered_requests
           WHERE tenant_id = $1 AND method = ANY ($2) AND request_id > $3 AND answer IS NOT NULL
           ORDER BY request_id LIMIT $4"#,
        tenant_id,
        methods,
        after_request_id,
        limit
    )
    .fetch_all(transaction)
    .await
}

/// Puts another in the place of a first answer.
pub(crate) async fn set_answer(
    transaction: &mut PgConnection,
    tenant_id: i64,
    request_id: Uuid,
    answer: &[u8],
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE answered_requests SET answer = $3 WHERE tenant_id = $1 AND request_id = $2",
        tenant_id,
        request_id,
        answer
    )
    .execute(transaction)
    .await?;
    Ok(())
}
