//! The queue of messages that wait to be sent.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use plazo_service::Redacted;
use sqlx::{PgConnection, PgPool};

/// A message that was taken from the queue under a lease.
#[derive(Clone)]
pub(crate) struct Claimed {
    pub(crate) tenant_id: i64,
    pub(crate) message_id: i64,
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
    /// The provider refused the free text after it had taken it, because the window was closed.
    pub(crate) text_refused: bool,
    pub(crate) accepted_at: Timestamp,
    /// When its attempts began: its acceptance, or the last time that somebody sent it again.
    pub(crate) queued_at: Timestamp,
    pub(crate) valid_until: Option<jiff_sqlx::Timestamp>,
    /// Number of this attempt, from 1.
    pub(crate) attempts: i32,
    /// Number of this attempt since the message was accepted or resent, from 1.
    pub(crate) round_attempts: i32,
    /// The time of the claim.
    pub(crate) now: Timestamp,
    /// The account's channel; none when the tenant has no such account.
    pub(crate) account_channel: Option<i16>,
    pub(crate) account_enabled: Option<bool>,
    pub(crate) account_stopped: Option<bool>,
    /// See [`crate::account::decode_settings`].
    pub(crate) account_settings: Option<Vec<u8>>,
    pub(crate) credential_name: Option<String>,
    pub(crate) signing_secret: Option<Vec<u8>>,
}

/// The secret must not reach a log, nor what the customer reads.
impl fmt::Debug for Claimed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claimed")
            .field("tenant_id", &self.tenant_id)
            .field("message_id", &self.message_id)
            .field("attempts", &self.attempts)
            .finish_non_exhaustive()
    }
}

/// How much to claim.
#[derive(Debug, Clone)]
pub(crate) struct ClaimLimits {
    /// Messages in all.
    pub(crate) total: u32,
    /// Messages of each account.
    pub(crate) per_account: u32,
    /// How many more of accounts that have some in flight, by account.
    pub(crate) room: Vec<(i64, i64)>,
    /// Only accounts with ids above this one.
    pub(crate) after_account: i64,
    /// How long the sender may take.
    pub(crate) lease: Duration,
}

/// What became of one attempt.
#[derive(Debug, Clone)]
pub(crate) struct Settlement {
    pub(crate) tenant_id: i64,
    pub(crate) message_id: i64,
    pub(crate) channel_account_id: i64,
    /// [`Claimed::attempts`].
    pub(crate) attempt: i32,
    pub(crate) attempt_at: Timestamp,
    /// A stable reason in capitals, OK for success.
    pub(crate) outcome: String,
    /// One of [`crate::store::state`]: ACCEPTED puts it back into the queue, UNCERTAIN parks it.
    pub(crate) new_state: i16,
    /// For FAILED and UNCERTAIN: why.
    pub(crate) failure_reason: String,
    /// For ACCEPTED: the wait.
    pub(crate) retry_after: Duration,
    /// The provider's id of the message, where it told one.
    pub(crate) provider_message_id: Option<String>,
    /// False when the message was put off before anything was sent: as if it had not been claimed.
    pub(crate) is_counted: bool,
    /// What to do with its account along with it.
    pub(crate) account_change: Option<AccountChange>,
}

/// What an attempt means for the account.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum AccountChange {
    /// Its endpoint is gone: it is switched off.
    Gone,
    /// Its provider refuses it, for a stable reason in capitals: its messages wait.
    Stopped(String),
}

/// What waits to be sent.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct QueueStats {
    pub(crate) waiting: i64,
    pub(crate) uncertain: i64,
    /// How long the oldest message that is due has been due.
    pub(crate) oldest_due_secs: f64,
    /// Reports that ticketing has not answered.
    pub(crate) reports: i64,
    /// Age of the oldest of them.
    pub(crate) oldest_report_secs: f64,
}

/// Takes messages that are due. See the query for the limits' meaning.
pub(crate) async fn claim(
    pool: &PgPool,
    limits: &ClaimLimits,
) -> Result<Vec<Claimed>, sqlx::Error> {
    let (accounts, rooms): (Vec<i64>, Vec<i64>) = limits.room.iter().copied().unzip();
    sqlx::query_file_as!(
        Claimed,
        "queries/claim.sql",
        i64::from(limits.total),
        i64::from(limits.per_account),
        &accounts,
        &rooms,
        limits.lease.as_secs_f64(),
        limits.after_account
    )
    .fetch_all(pool)
    .await
}

/// Writes what became of attempts; how many messages changed.
pub(crate) async fn settle(
    connection: &mut PgConnection,
    settlements: &[Settlement],
) -> Result<i64, sqlx::Error> {
    fn column<'a, T>(all: &'a [Settlement], value: impl Fn(&'a Settlement) -> T) -> Vec<T> {
        all.iter().map(value).collect()
    }
    sqlx::query_file_scalar!(
        "queries/settle.sql",
        &column(settlements, |s| s.tenant_id),
        &column(settlements, |s| s.message_id),
        &column(settlements, |s| s.attempt),
        &column(settlements, |s| s.attempt_at.to_sqlx()),
        &column(settlements, |s| s.outcome.clone()),
        &column(settlements, |s| s.new_state),
        &column(settlements, |s| s.failure_reason.clone()),
        &column(settlements, |s| s.retry_after.as_secs_f64()),
        &column(settlements, |s| s.provider_message_id.clone()) as &[Option<String>],
        &column(settlements, |s| s.is_counted)
    )
    .fetch_one(connection)
    .await
}

/// Cancels messages that were called off under a lease that has ended; how many.
pub(crate) async fn settle_called_off(pool: &PgPool) -> Result<i64, sqlx::Error> {
    sqlx::query_file_scalar!("queries/settle_called_off.sql")
        .fetch_one(pool)
        .await
}

/// Parks messages whose sender has gone, where nobody knows whether they were sent; how many.
pub(crate) async fn park_uncertain(pool: &PgPool) -> Result<i64, sqlx::Error> {
    sqlx::query_file_scalar!("queries/park_uncertain.sql")
        .fetch_one(pool)
        .await
}

/// Fails waiting messages that must not be sent any more; how many.
pub(crate) async fn expire(pool: &PgPool) -> Result<i64, sqlx::Error> {
    sqlx::query_file_scalar!("queries/expire.sql")
        .fetch_one(pool)
        .await
}

/// What waits now.
pub(crate) async fn stats(pool: &PgPool) -> Result<QueueStats, sqlx::Error> {
    sqlx::query_as!(
        QueueStats,
        r#"SELECT w.waiting AS "waiting!",
             (SELECT count(*) FROM active_messages WHERE state = 7) AS "uncertain!",
             greatest(0, extract(epoch FROM clock_timestamp() - w.oldest_at), 0)::double precision
                 AS "oldest_due_secs!",
             r.reports AS "reports!",
             greatest(0, extract(epoch FROM clock_timestamp() - r.oldest_at), 0)::double precision
                 AS "oldest_report_secs!"
           FROM (
               SELECT count(*) AS waiting, min(next_attempt_at) AS oldest_at
               FROM active_messages WHERE next_attempt_at IS NOT NULL
           ) AS w, (SELECT count(*) AS reports, min(state_at) AS oldest_at FROM state_reports) AS r"#
    )
    .fetch_one(pool)
    .await
}
