//! Events that go to subscribers: queued, claimed ticket by ticket, settled.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use plazo_service::Redacted;
use sqlx::{PgConnection, PgPool};

use super::erasing;
use crate::subscriptions::without_customer_data;

/// States as they are stored: the numbers of `WebhookDeliveryState`.
pub(crate) mod state {
    pub(crate) const WAITING: i16 = 1;
    pub(crate) const DELIVERED: i16 = 2;
    pub(crate) const FAILED: i16 = 3;
}

/// An event for a subscription.
#[derive(Debug, Clone)]
pub(crate) struct NewDelivery {
    pub(crate) tenant_id: i64,
    pub(crate) subscription_id: i64,
    pub(crate) event_id: i64,
    pub(crate) ticket_id: i64,
    pub(crate) ticket_seq: i64,
    /// How many events stand before it in the feed.
    pub(crate) feed_index: i64,
    pub(crate) event_type: &'static str,
    pub(crate) body: Redacted<String>,
}

/// An event that was taken from the queue under a lease.
#[derive(Clone)]
pub(crate) struct ClaimedEvent {
    pub(crate) tenant_id: i64,
    pub(crate) subscription_id: i64,
    pub(crate) event_id: i64,
    pub(crate) ticket_id: i64,
    /// Number of this attempt, from 1.
    pub(crate) attempts: i32,
    /// The same since it was queued last.
    pub(crate) round_attempts: i32,
    pub(crate) body: String,
    /// The time of the claim.
    pub(crate) now: Timestamp,
    pub(crate) webhook_url: String,
    pub(crate) signing_secret: Vec<u8>,
    /// While secrets overlap.
    pub(crate) previous_secret: Option<Vec<u8>>,
}

/// The secrets must not reach a log, nor what the customer wrote.
impl fmt::Debug for ClaimedEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClaimedEvent")
            .field("subscription_id", &self.subscription_id)
            .field("event_id", &self.event_id)
            .field("ticket_id", &self.ticket_id)
            .field("attempts", &self.attempts)
            .finish_non_exhaustive()
    }
}

/// How much to claim.
#[derive(Debug, Clone)]
pub(crate) struct EventClaimLimits {
    /// Events in all.
    pub(crate) total: u32,
    /// Events of each subscription.
    pub(crate) per_subscription: u32,
    /// How many more of subscriptions that have some in flight, by subscription.
    pub(crate) room: Vec<(i64, i64)>,
    /// Only subscriptions with ids above this one.
    pub(crate) after_subscription: i64,
    /// How long the sender may take.
    pub(crate) lease: Duration,
}

/// What became of one attempt.
#[derive(Debug, Clone)]
pub(crate) struct EventSettlement {
    pub(crate) tenant_id: i64,
    pub(crate) subscription_id: i64,
    pub(crate) event_id: i64,
    /// [`ClaimedEvent::attempts`].
    pub(crate) attempt: i32,
    pub(crate) attempt_at: Timestamp,
    pub(crate) duration: Duration,
    /// 0 when there was no answer.
    pub(crate) http_status: u16,
    /// A stable reason in capitals, OK for success.
    pub(crate) outcome: String,
    /// One of [`state`]; WAITING puts it back into the queue.
    pub(crate) new_state: i16,
    /// For WAITING: the wait.
    pub(crate) retry_after: Duration,
    /// How long the endpoint asked to be left alone.
    pub(crate) rest: Duration,
    /// The endpoint wants nothing more: the subscription is paused.
    pub(crate) is_gone: bool,
}

/// What waits to be delivered.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct EventStats {
    pub(crate) waiting: i64,
    /// How long the ticket that is due longest has been due; paused subscriptions aside.
    pub(crate) oldest_due_secs: f64,
    /// Subscriptions that are paused.
    pub(crate) paused: i64,
    /// Subscriptions that the live feed passes by.
    pub(crate) behind: i64,
}

/// A delivery as it is listed.
#[derive(Debug, Clone)]
pub(crate) struct StoredDelivery {
    pub(crate) delivery_id: i64,
    pub(crate) event_id: i64,
    pub(crate) event_type: String,
    pub(crate) ticket_id: i64,
    pub(crate) ticket_seq: i64,
    pub(crate) feed_index: i64,
    pub(crate) state: i16,
    pub(crate) created_at: Timestamp,
    pub(crate) settled_at: Option<jiff_sqlx::Timestamp>,
    /// Only while it waits for this.
    pub(crate) next_attempt_at: Option<jiff_sqlx::Timestamp>,
}

/// An attempt as it is listed.
#[derive(Debug, Clone)]
pub(crate) struct StoredAttempt {
    pub(crate) event_id: i64,
    pub(crate) attempt: i32,
    pub(crate) attempt_at: Timestamp,
    pub(crate) duration_ms: i32,
    pub(crate) http_status: i16,
    pub(crate) outcome: String,
}

fn column<'a, R, T>(rows: &'a [R], value: impl Fn(&'a R) -> T) -> Vec<T> {
    rows.iter().map(value).collect()
}

/// Queues events; how many. One that the subscription has had is queued again if it was settled before
/// `again_if_before`. Of erased tickets nothing is queued that customers said or are. The subscriptions must be locked.
pub(crate) async fn enqueue(
    connection: &mut PgConnection,
    deliveries: &[NewDelivery],
    again_if_before: Option<Timestamp>,
) -> Result<i64, sqlx::Error> {
    let event_types = column(deliveries, |one| one.event_type.to_owned());
    let tickets = column(deliveries, |one| (one.tenant_id, one.ticket_id));
    let erased = erasing::erased_of(connection, &tickets).await?;
    let body = |one: &NewDelivery| {
        if erased.contains(&(one.tenant_id, one.ticket_id)) {
            without_customer_data(&one.body.0).unwrap_or_else(|| one.body.0.clone())
        } else {
            one.body.0.clone()
        }
    };
    sqlx::query_file_scalar!(
        "queries/enqueue_events.sql",
        &column(deliveries, |one| one.tenant_id),
        &column(deliveries, |one| one.subscription_id),
        &column(deliveries, |one| one.event_id),
        &column(deliveries, |one| one.ticket_id),
        &column(deliveries, |one| one.ticket_seq),
        &column(deliveries, |one| one.feed_index),
        &event_types,
        &column(deliveries, body),
        again_if_before.map(ToSqlx::to_sqlx) as Option<jiff_sqlx::Timestamp>
    )
    .fetch_one(connection)
    .await
}

/// Takes events that are due. See the query for the limits' meaning.
pub(crate) async fn claim(
    pool: &PgPool,
    limits: &EventClaimLimits,
) -> Result<Vec<ClaimedEvent>, sqlx::Error> {
    let (busy, rooms): (Vec<i64>, Vec<i64>) = limits.room.iter().copied().unzip();
    sqlx::query_file_as!(
        ClaimedEvent,
        "queries/claim_events.sql",
        i64::from(limits.total),
        i64::from(limits.per_subscription),
        &busy,
        &rooms,
        limits.lease.as_secs_f64(),
        limits.after_subscription
    )
    .fetch_all(pool)
    .await
}

/// Writes what became of attempts; how many counted. The subscriptions must be locked.
pub(crate) async fn settle(
    connection: &mut PgConnection,
    settlements: &[EventSettlement],
) -> Result<i64, sqlx::Error> {
    let milliseconds =
        |one: &EventSettlement| i32::try_from(one.duration.as_millis()).unwrap_or(i32::MAX);
    let http_status = |one: &EventSettlement| i16::try_from(one.http_status).unwrap_or_default();
    sqlx::query_file_scalar!(
        "queries/settle_events.sql",
        &column(settlements, |one| one.tenant_id),
        &column(settlements, |one| one.subscription_id),
        &column(settlements, |one| one.event_id),
        &column(settlements, |one| one.attempt),
        &column(settlements, |one| one.attempt_at.to_sqlx()),
        &column(settlements, milliseconds),
        &column(settlements, http_status),
        &column(settlements, |one| one.outcome.clone()),
        &column(settlements, |one| one.new_state),
        &column(settlements, |one| one.retry_after.as_secs_f64()),
        &column(settlements, |one| one.rest.as_secs_f64()),
        &column(settlements, |one| one.is_gone)
    )
    .fetch_one(connection)
    .await
}

/// One page of a subscription's deliveries, the last first, with ids below `before`.
pub(crate) async fn list(
    connection: &mut PgConnection,
    tenant_id: i64,
    subscription_id: i64,
    state: Option<i16>,
    before: i64,
    limit: i64,
) -> Result<Vec<StoredDelivery>, sqlx::Error> {
    // The lane's next attempt is that of its first waiting event alone. The states are named one by one, so that the
    // index by state serves both a list of one and of all.
    sqlx::query_as!(
        StoredDelivery,
        r#"SELECT d.delivery_id, d.event_id, d.event_type, d.ticket_id, d.ticket_seq, d.feed_index, d.state,
             d.created_at, d.settled_at, l.next_attempt_at AS "next_attempt_at?"
           FROM (
               SELECT p.* FROM unnest(CASE WHEN $3::smallint IS NULL THEN '{1,2,3}'::smallint[] ELSE ARRAY[$3] END)
                   AS wanted (state)
               CROSS JOIN LATERAL (
                   SELECT * FROM event_deliveries AS e
                   WHERE e.tenant_id = $1 AND e.subscription_id = $2 AND e.state = wanted.state
                       AND e.delivery_id < $4
                   ORDER BY e.delivery_id DESC LIMIT $5
               ) AS p
               ORDER BY p.delivery_id DESC LIMIT $5
           ) AS d
           LEFT JOIN event_lanes AS l
               ON d.state = 1 AND l.tenant_id = d.tenant_id AND l.subscription_id = d.subscription_id
               AND l.ticket_id = d.ticket_id AND l.leased_until IS NULL
               AND NOT EXISTS (
                   SELECT 1 FROM event_deliveries AS f
                   WHERE f.tenant_id = d.tenant_id AND f.subscription_id = d.subscription_id
                       AND f.ticket_id = d.ticket_id AND f.state = 1 AND f.ticket_seq < d.ticket_seq
               )
           ORDER BY d.delivery_id DESC"#,
        tenant_id,
        subscription_id,
        state,
        before,
        limit
    )
    .fetch_all(connection)
    .await
}

/// The attempts of events of a subscription, by event and number.
pub(crate) async fn attempts(
    connection: &mut PgConnection,
    tenant_id: i64,
    subscription_id: i64,
    event_ids: &[i64],
) -> Result<Vec<StoredAttempt>, sqlx::Error> {
    sqlx::query_as!(
        StoredAttempt,
        "SELECT event_id, attempt, attempt_at, duration_ms, http_status, outcome FROM event_attempts
         WHERE tenant_id = $1 AND subscription_id = $2 AND event_id = ANY($3)
         ORDER BY event_id, attempt",
        tenant_id,
        subscription_id,
        event_ids
    )
    .fetch_all(connection)
    .await
}

/// What waits now.
pub(crate) async fn stats(pool: &PgPool) -> Result<EventStats, sqlx::Error> {
    sqlx::query_as!(
        EventStats,
        r#"SELECT coalesce(sum(s.waiting), 0)::bigint AS "waiting!",
             count(*) FILTER (WHERE s.paused_reason <> '') AS "paused!",
             count(*) FILTER (WHERE s.is_behind) AS "behind!",
             greatest(
                 0, max(extract(epoch FROM clock_timestamp() - first.next_attempt_at)) FILTER (WHERE s.paused_reason = '')
             )::double precision AS "oldest_due_secs!"
           FROM webhook_subscriptions AS s
           LEFT JOIN LATERAL (
               SELECT l.next_attempt_at FROM event_lanes AS l
               WHERE l.subscription_id = s.subscription_id
               ORDER BY l.next_attempt_at LIMIT 1
           ) AS first ON true
           WHERE s.deleted_at IS NULL"#
    )
    .fetch_one(pool)
    .await
}
