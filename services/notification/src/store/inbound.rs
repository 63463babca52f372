//! What customers wrote, until ticketing has answered for it.

use jiff::Timestamp;
use plazo_service::Redacted;
use sqlx::{PgConnection, PgPool};

use crate::callbacks::news::Inbound;
use crate::store::callbacks::AccountKey;

/// The lock of whoever hands messages over: one replica at a time, so that they stay in order.
const HANDING_OVER: i64 = 0x0070_6c61_7a6f_696e;
/// Stands between the addresses of attachments on their way to the database: none has it.
const SEPARATOR: &str = "\u{1f}";

/// A message that waits.
#[derive(Debug, Clone)]
pub(crate) struct WaitingMessage {
    pub(crate) inbound_id: i64,
    pub(crate) tenant_id: i64,
    pub(crate) channel_account_id: i64,
    pub(crate) provider_message_id: String,
    pub(crate) channel: i16,
    pub(crate) sender_address: Redacted<String>,
    pub(crate) sender_name: Redacted<String>,
    pub(crate) body_text: Redacted<String>,
    pub(crate) attachment_urls: Redacted<Vec<String>>,
    pub(crate) sent_at: Option<Timestamp>,
}

/// What waits.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct InboundStats {
    pub(crate) waiting: i64,
    /// Age of the oldest.
    pub(crate) oldest_secs: f64,
}

/// Stores messages, in their order.
pub(crate) async fn insert(
    connection: &mut PgConnection,
    account: AccountKey,
    channel: i16,
    messages: &[&Inbound],
) -> Result<(), sqlx::Error> {
    let ids: Vec<&str> = messages
        .iter()
        .map(|it| it.provider_message_id.as_str())
        .collect();
    let addresses: Vec<&str> = messages.iter().map(|it| it.address.0.as_str()).collect();
    let names: Vec<&str> = messages
        .iter()
        .map(|it| it.sender_name.0.as_str())
        .collect();
    let texts: Vec<&str> = messages.iter().map(|it| it.text.0.as_str()).collect();
    let urls: Vec<String> = messages
        .iter()
        .map(|it| it.attachment_urls.0.join(SEPARATOR))
        .collect();
    let sent: Vec<Option<jiff_sqlx::Timestamp>> = messages
        .iter()
        .map(|it| it.sent_at.map(jiff_sqlx::ToSqlx::to_sqlx))
        .collect();
    sqlx::query!(
        "INSERT INTO inbound_messages
            (tenant_id, channel_account_id, channel, provider_message_id, sender_address, sender_name, body_text,
             attachment_urls, sent_at)
         SELECT $1, $2, $3, provider_message_id, sender_address, sender_name, body_text,
             string_to_array(attachment_urls, chr(31)), sent_at
         FROM unnest($4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::timestamptz[])
             WITH ORDINALITY AS message
                 (provider_message_id, sender_address, sender_name, body_text, attachment_urls, sent_at, place)
         ORDER BY place",
        account.tenant_id,
        account.channel_account_id,
        channel,
        &ids as &[&str],
        &addresses as &[&str],
        &names as &[&str],
        &texts as &[&str],
        &urls,
        &sent as &[Option<jiff_sqlx::Timestamp>]
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Whether this transaction alone hands messages over until it ends.
pub(crate) async fn is_alone(transaction: &mut PgConnection) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT pg_try_advisory_xact_lock($1) AS "taken!""#,
        HANDING_OVER
    )
    .fetch_one(transaction)
    .await
}

/// The oldest messages that may go. Those of a sender who has an earlier one that was put off wait for it.
pub(crate) async fn oldest(
    transaction: &mut PgConnection,
    limit: u32,
) -> Result<Vec<WaitingMessage>, sqlx::Error> {
    let rows = sqlx::query!(
        "SELECT inbound_id, tenant_id, channel_account_id, provider_message_id, channel, sender_address, sender_name,
             body_text, attachment_urls, sent_at
         FROM inbound_messages AS message
         WHERE next_attempt_at <= statement_timestamp()
             AND NOT EXISTS (
                 SELECT FROM inbound_messages AS earlier
                 WHERE earlier.refusals > 0
                     AND earlier.tenant_id = message.tenant_id
                     AND earlier.channel_account_id = message.channel_account_id
                     AND earlier.sender_address = message.sender_address
                     AND earlier.inbound_id < message.inbound_id
                     AND earlier.next_attempt_at > statement_timestamp()
             )
         ORDER BY inbound_id
         LIMIT $1",
        i64::from(limit)
    )
    .fetch_all(transaction)
    .await?;
    let messages = rows.into_iter().map(|row| WaitingMessage {
        inbound_id: row.inbound_id,
        tenant_id: row.tenant_id,
        channel_account_id: row.channel_account_id,
        provider_message_id: row.provider_message_id,
        channel: row.channel,
        sender_address: Redacted(row.sender_address),
        sender_name: Redacted(row.sender_name),
        body_text: Redacted(row.body_text),
        attachment_urls: Redacted(row.attachment_urls),
        sent_at: row.sent_at.map(jiff_sqlx::Timestamp::to_jiff),
    });
    Ok(messages.collect())
}

/// Forgets messages that were answered for.
pub(crate) async fn remove(
    transaction: &mut PgConnection,
    inbound_ids: &[i64],
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "DELETE FROM inbound_messages WHERE inbound_id = ANY ($1)",
        inbound_ids
    )
    .execute(transaction)
    .await?;
    Ok(())
}

/// Puts messages off that ticketing could not take: the first time by `first_secs`, then twice as long each time, up to
/// `longest_secs`.
pub(crate) async fn put_off(
    transaction: &mut PgConnection,
    inbound_ids: &[i64],
    first_secs: f64,
    longest_secs: f64,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE inbound_messages
         SET refusals = refusals + 1,
             next_attempt_at = clock_timestamp()
                 + make_interval(secs => least($2 * power(2, least(refusals, 30)), $3))
         WHERE inbound_id = ANY ($1)",
        inbound_ids,
        first_secs,
        longest_secs
    )
    .execute(transaction)
    .await?;
    Ok(())
}

/// What waits now.
pub(crate) async fn stats(pool: &PgPool) -> Result<InboundStats, sqlx::Error> {
    sqlx::query_as!(
        InboundStats,
        r#"SELECT count(*) AS "waiting!",
             greatest(0, extract(epoch FROM clock_timestamp() - min(received_at)), 0)::double precision
                 AS "oldest_secs!"
           FROM inbound_messages"#
    )
    .fetch_one(pool)
    .await
}
