//! Accepting and reading messages.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use plazo_service::Redacted;
use sqlx::PgConnection;

use crate::message::NewMessage;
use crate::store::enum_number;

/// A message to store, and the `ticket_seq` of the event that asks for it if it comes from the feed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Incoming<'a> {
    pub(crate) message: &'a NewMessage,
    pub(crate) requested_seq: Option<i64>,
}

/// A message that is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(
    clippy::struct_field_names,
    reason = "they are named as the columns are"
)]
pub(crate) struct Accepted {
    pub(crate) message_id: i64,
    /// When it was first accepted.
    pub(crate) accepted_at: Timestamp,
    /// Whether this call stored it.
    pub(crate) is_new: bool,
}

/// A stored message.
#[derive(Debug, Clone)]
pub(crate) struct StoredMessage {
    pub(crate) tenant_id: i64,
    pub(crate) message_id: i64,
    pub(crate) idempotency_key: String,
    pub(crate) kind: i16,
    pub(crate) bot_id: i64,
    pub(crate) ticket_id: i64,
    pub(crate) contact_id: i64,
    pub(crate) channel: i16,
    pub(crate) recipient_address: Redacted<String>,
    pub(crate) channel_account_id: i64,
    pub(crate) body_text: Redacted<String>,
    pub(crate) image_url: Redacted<String>,
    pub(crate) last_customer_message_at: Option<jiff_sqlx::Timestamp>,
    pub(crate) state: i16,
    pub(crate) state_at: Timestamp,
    pub(crate) accepted_at: Timestamp,
    pub(crate) failure_reason: String,
    pub(crate) next_attempt_at: Option<jiff_sqlx::Timestamp>,
    pub(crate) leased_until: Option<jiff_sqlx::Timestamp>,
    pub(crate) valid_until: Option<jiff_sqlx::Timestamp>,
    pub(crate) provider_message_id: Option<String>,
}

/// An attempt to send a message.
#[derive(Debug, Clone)]
#[expect(
    clippy::struct_field_names,
    reason = "they are named as the columns are"
)]
pub(crate) struct Attempt {
    pub(crate) attempt: i32,
    pub(crate) attempt_at: Timestamp,
    pub(crate) outcome: String,
}

/// Which messages to list. None takes all.
#[derive(Debug, Clone, Default)]
pub(crate) struct Filter {
    pub(crate) states: Option<Vec<i16>>,
    pub(crate) ticket_id: Option<i64>,
    pub(crate) bot_id: Option<i64>,
    pub(crate) permitted_bots: Option<Vec<i64>>,
}

/// Stores messages with a report of each, and answers in the same order. A key that is taken, in the database
/// or further up in the batch, is the message that has it.
pub(crate) async fn accept(
    connection: &mut PgConnection,
    incoming: &[Incoming<'_>],
    warning_hold: Duration,
) -> Result<Vec<Accepted>, sqlx::Error> {
    // By key, and so in the one order in which all batches lock.
    let mut first_by_key: BTreeMap<(i64, &str), Incoming<'_>> = BTreeMap::new();
    for one in incoming {
        first_by_key.entry(key_of(one.message)).or_insert(*one);
    }
    let unique: Vec<_> = first_by_key.values().copied().collect();
    let mut stored = insert(connection, &unique, warning_hold).await?;
    let known: Vec<_> = first_by_key
        .keys()
        .filter(|(tenant, key)| !stored.contains_key(&(*tenant, (*key).to_owned())))
        .copied()
        .collect();
    stored.extend(find_known(connection, &known).await?);

    let mut answers = Vec::with_capacity(incoming.len());
    for one in incoming {
        let (tenant_id, key) = key_of(one.message);
        let accepted = stored
            .get_mut(&(tenant_id, key.to_owned()))
            .ok_or(sqlx::Error::RowNotFound)?;
        answers.push(*accepted);
        // A second time in one batch, it is known.
        accepted.is_new = false;
    }
    Ok(answers)
}

type ByKey = BTreeMap<(i64, String), Accepted>;

fn key_of(message: &NewMessage) -> (i64, &str) {
    (message.tenant_id, &message.idempotency_key)
}

async fn insert(
    connection: &mut PgConnection,
    incoming: &[Incoming<'_>],
    warning_hold: Duration,
) -> Result<ByKey, sqlx::Error> {
    fn column<'a, T>(incoming: &[Incoming<'a>], value: impl Fn(&'a NewMessage) -> T) -> Vec<T> {
        incoming.iter().map(|one| value(one.message)).collect()
    }
    let tenant_ids = column(incoming, |m| m.tenant_id);
    let keys = column(incoming, |m| m.idempotency_key.clone());
    let kinds = column(incoming, |m| enum_number(m.kind));
    let bot_ids = column(incoming, |m| m.bot_id);
    let ticket_ids = column(incoming, |m| m.ticket_id);
    let contact_ids = column(incoming, |m| m.contact_id);
    let channels = column(incoming, |m| enum_number(m.channel));
    let addresses = column(incoming, |m| m.recipient_address.0.clone());
    let account_ids = column(incoming, |m| m.channel_account_id);
    let texts = column(incoming, |m| m.text.0.clone());
    let image_urls = column(incoming, |m| m.image_url.0.clone());
    let last_messages = column(incoming, |m| {
        m.last_customer_message_at.map(jiff_sqlx::ToSqlx::to_sqlx)
    });
    let valid_until = column(incoming, |m| m.valid_until.map(jiff_sqlx::ToSqlx::to_sqlx));
    let requested_seqs: Vec<_> = incoming.iter().map(|one| one.requested_seq).collect();
    let rows = sqlx::query_file!(
        "queries/accept.sql",
        &tenant_ids,
        &keys,
        &kinds,
        &bot_ids,
        &ticket_ids,
        &contact_ids,
        &channels,
        &addresses,
        &account_ids,
        &texts,
        &image_urls,
        &last_messages as _,
        &requested_seqs as _,
        &valid_until as _,
        warning_hold.as_secs_f64()
    )
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| {
            let accepted = Accepted {
                message_id: row.message_id,
                accepted_at: row.accepted_at.to_jiff(),
                is_new: true,
            };
            ((row.tenant_id, row.idempotency_key), accepted)
        })
        .collect())
}

async fn find_known(
    connection: &mut PgConnection,
    keys: &[(i64, &str)],
) -> Result<ByKey, sqlx::Error> {
    if keys.is_empty() {
        return Ok(ByKey::new());
    }
    let tenant_ids: Vec<i64> = keys.iter().map(|(tenant, _)| *tenant).collect();
    let names: Vec<String> = keys.iter().map(|(_, key)| (*key).to_owned()).collect();
    let rows = sqlx::query_file!("queries/known_messages.sql", &tenant_ids, &names)
        .fetch_all(connection)
        .await?;
    Ok(rows
        .into_iter()
        .map(|row| {
            let accepted = Accepted {
                message_id: row.message_id,
                accepted_at: row.accepted_at.to_jiff(),
                is_new: false,
            };
            ((row.tenant_id, row.idempotency_key), accepted)
        })
        .collect())
}

/// One message of a tenant.
pub(crate) async fn find(
    connection: &mut PgConnection,
    tenant_id: i64,
    message_id: i64,
) -> Result<Option<StoredMessage>, sqlx::Error> {
    sqlx::query_as!(
        StoredMessage,
        "SELECT tenant_id, message_id, idempotency_key, kind, bot_id, ticket_id, contact_id, channel,
             recipient_address, channel_account_id, body_text, image_url, last_customer_message_at, state,
             state_at, accepted_at, failure_reason, next_attempt_at, leased_until, valid_until,
             provider_message_id
         FROM active_messages WHERE tenant_id = $1 AND message_id = $2",
        tenant_id,
        message_id
    )
    .fetch_optional(connection)
    .await
}

/// The last attempts of a message, at most 20, in their order.
pub(crate) async fn attempts(
    connection: &mut PgConnection,
    tenant_id: i64,
    message_id: i64,
) -> Result<Vec<Attempt>, sqlx::Error> {
    let mut attempts = sqlx::query_as!(
        Attempt,
        "SELECT attempt, attempt_at, outcome FROM send_attempts
         WHERE tenant_id = $1 AND message_id = $2 ORDER BY attempt DESC LIMIT 20",
        tenant_id,
        message_id
    )
    .fetch_all(connection)
    .await?;
    attempts.reverse();
    Ok(attempts)
}

/// One page of a tenant's messages, the last accepted first, with ids below `before`.
pub(crate) async fn list(
    connection: &mut PgConnection,
    tenant_id: i64,
    filter: &Filter,
    before: i64,
    limit: i64,
) -> Result<Vec<StoredMessage>, sqlx::Error> {
    sqlx::query_file_as!(
        StoredMessage,
        "queries/list_messages.sql",
        tenant_id,
        filter.states.as_deref(),
        filter.ticket_id,
        filter.bot_id,
        filter.permitted_bots.as_deref(),
        before,
        limit
    )
    .fetch_all(connection)
    .await
}

/// Puts a failed message back into the queue, at the beginning of its schedule. False unless it has failed, and says
/// something: one whose recipient was erased does not.
pub(crate) async fn resend(
    connection: &mut PgConnection,
    tenant_id: i64,
    message_id: i64,
) -> Result<bool, sqlx::Error> {
    let resent = sqlx::query!(
        "UPDATE active_messages
         SET state = 1, state_at = clock_timestamp(), failure_reason = '', round_attempts = 0,
             next_attempt_at = clock_timestamp(), queued_at = clock_timestamp(), leased_until = NULL,
             cancel_reason = NULL, provider_message_id = NULL
         WHERE tenant_id = $1 AND message_id = $2 AND state = 5 AND recipient_address <> ''",
        tenant_id,
        message_id
    )
    .execute(connection)
    .await?;
    Ok(resent.rows_affected() == 1)
}

/// Ends the uncertainty about a message: `new_state` is SENT, FAILED (for the reason), or ACCEPTED to send it again.
/// False unless it was uncertain.
pub(crate) async fn resolve(
    connection: &mut PgConnection,
    tenant_id: i64,
    message_id: i64,
    new_state: i16,
    failure_reason: &str,
) -> Result<bool, sqlx::Error> {
    let resolved = sqlx::query_file_scalar!(
        "queries/resolve.sql",
        tenant_id,
        message_id,
        new_state,
        failure_reason
    )
    .fetch_one(connection)
    .await?;
    Ok(resolved == 1)
}

/// Calls a waiting message off. False when a sender has it, or when it no longer waits.
pub(crate) async fn cancel(
    connection: &mut PgConnection,
    tenant_id: i64,
    message_id: i64,
    reason: &str,
) -> Result<bool, sqlx::Error> {
    let cancelled = sqlx::query_file_scalar!("queries/cancel.sql", tenant_id, message_id, reason)
        .fetch_one(connection)
        .await?;
    Ok(cancelled == 1)
}
