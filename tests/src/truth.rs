//! What the databases of a cluster hold, read by plain SQL.

use std::collections::BTreeMap;
use std::time::Duration;

use plazo_proto::notification::v1::ActiveMessageState;
use prost_types::Timestamp;
use sqlx::PgPool;
use tokio::time::Instant;

use crate::cluster::Cluster;
use crate::process::Service;

/// Microseconds in a millisecond.
pub const MILLI_US: i64 = 1_000;

/// The time of the database, in microseconds since 1970.
pub async fn now_us(pool: &PgPool) -> i64 {
    sqlx::query_scalar("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint")
        .fetch_one(pool)
        .await
        .expect("the database tells the time")
}

/// Microseconds, rounded up to whole milliseconds as deadlines are.
pub fn ceil_to_millis(us: i64) -> i64 {
    (us + MILLI_US - 1).div_euclid(MILLI_US) * MILLI_US
}

/// Microseconds since 1970 as protos have them.
pub fn proto_timestamp(us: i64) -> Timestamp {
    Timestamp {
        seconds: us.div_euclid(1_000_000),
        nanos: i32::try_from(us.rem_euclid(1_000_000) * 1_000).expect("below a second"),
    }
}

/// An instant of a proto in microseconds since 1970.
pub fn us_of(instant: Option<&Timestamp>) -> i64 {
    let instant = instant.expect("an instant that must be there");
    instant.seconds * 1_000_000 + i64::from(instant.nanos) / 1_000
}

/// The databases of a cluster.
#[derive(Debug, Clone)]
pub struct Databases {
    /// Of ticketing.
    pub ticketing: PgPool,
    /// Of notification.
    pub notification: PgPool,
    /// Of history.
    pub history: PgPool,
}

impl Databases {
    /// Connects.
    pub async fn open(cluster: &Cluster) -> Self {
        Self {
            ticketing: cluster.database(Service::Ticketing).await,
            notification: cluster.database(Service::Notification).await,
            history: cluster.database(Service::History).await,
        }
    }

    /// Waits until nothing is due within a minute, no message waits, no report is unanswered, and notification and
    /// history have applied all events.
    pub async fn settle(&self, bound: Duration) {
        let until = Instant::now() + bound;
        let mut before = None;
        loop {
            let standing = self.standing().await;
            // Twice the same: what one database was asked for may have moved to another one meanwhile.
            if standing.is_settled() && before == Some(standing) {
                return;
            }
            before = Some(standing);
            assert!(
                Instant::now() < until,
                "not settled within {bound:?}: {standing:?}"
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Waits until notification and history have applied all events of the tickets, however many are due.
    pub async fn wait_for_consumers(&self, bound: Duration) {
        crate::eventually("all events are applied", bound, async || {
            let sums = "SELECT coalesce(sum(last), 0)::bigint FROM
                 (SELECT max(ticket_seq) AS last FROM ticket_events GROUP BY tenant_id, ticket_id) AS tickets";
            let truth = number(&self.ticketing, sums).await;
            truth == number(&self.notification, NOTIFICATION_APPLIED).await
                && truth == number(&self.history, HISTORY_APPLIED).await
        })
        .await;
    }

    /// How many clocks the timer has not been told of.
    pub async fn unarmed(&self) -> i64 {
        let count = "SELECT count(*) FROM ticket_clocks WHERE armed_generation < generation";
        number(&self.ticketing, count).await
    }

    /// The state of each active message by its key; notification holds each once.
    pub async fn messages(&self, tenant_id: i64) -> BTreeMap<String, ActiveMessageState> {
        let rows: Vec<(String, i16)> = sqlx::query_as(
            "SELECT idempotency_key, state FROM active_messages WHERE tenant_id = $1",
        )
        .bind(tenant_id)
        .fetch_all(&self.notification)
        .await
        .expect("messages can be read");
        let count = rows.len();
        let messages: BTreeMap<_, _> = rows
            .into_iter()
            .map(|(key, state)| {
                let state = ActiveMessageState::try_from(i32::from(state)).expect("a known state");
                (key, state)
            })
            .collect();
        assert_eq!(messages.len(), count, "a message is there twice");
        messages
    }

    /// Sees that history shows each ticket as ticketing has it.
    pub async fn check_history(&self, tenant_id: i64) {
        let truth: Vec<(i64, i64, i32, i64)> = sqlx::query_as(
            "SELECT ticket_id, ticket_seq, state::integer, coalesce(agent_id, 0)
             FROM tickets JOIN ticket_clocks USING (tenant_id, ticket_id)
             WHERE tenant_id = $1 ORDER BY ticket_id",
        )
        .bind(tenant_id)
        .fetch_all(&self.ticketing)
        .await
        .expect("tickets can be read");
        let shown: Vec<(i64, i64, i32, i64)> = sqlx::query_as(
            "SELECT ticket_id, ticket_seq, state, agent_id FROM tickets WHERE tenant_id = $1 ORDER BY ticket_id",
        )
        .bind(tenant_id)
        .fetch_all(&self.history)
        .await
        .expect("history can be read");
        let differs = truth
            .iter()
            .zip(&shown)
            .find(|(truth, shown)| truth != shown);
        assert_eq!(differs, None, "history differs from the truth");
        assert_eq!(truth.len(), shown.len(), "history differs in length");
    }

    async fn standing(&self) -> Standing {
        let waiting =
            "SELECT (SELECT count(*) FROM active_messages WHERE next_attempt_at IS NOT NULL)
                     + (SELECT count(*) FROM state_reports)";
        // Before the truth, which has the events of all reports that no longer wait.
        let waiting_messages = number(&self.notification, waiting).await;
        let (pending, applied) = sqlx::query_as(
            "SELECT count(*) FILTER (WHERE next_due_at < clock_timestamp() + interval '1 minute'),
                 coalesce(sum(ticket_seq), 0)::bigint
             FROM ticket_clocks",
        )
        .fetch_one(&self.ticketing)
        .await
        .expect("clocks can be read");
        Standing {
            pending,
            waiting_messages,
            truth: applied,
            notification: number(&self.notification, NOTIFICATION_APPLIED).await,
            history: number(&self.history, HISTORY_APPLIED).await,
        }
    }
}

const NOTIFICATION_APPLIED: &str =
    "SELECT coalesce(sum(ticket_seq), 0)::bigint FROM ticket_positions WHERE feed = 1";
const HISTORY_APPLIED: &str = "SELECT coalesce(sum(ticket_seq), 0)::bigint FROM tickets";

/// How far a cluster is. The last three are sums of `ticket_seq`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Standing {
    pending: i64,
    waiting_messages: i64,
    truth: i64,
    notification: i64,
    history: i64,
}

impl Standing {
    fn is_settled(&self) -> bool {
        self.pending == 0
            && self.waiting_messages == 0
            && self.truth == self.notification
            && self.truth == self.history
    }
}

async fn number(pool: &PgPool, query: &'static str) -> i64 {
    sqlx::query_scalar(query)
        .fetch_one(pool)
        .await
        .expect("a number can be read")
}
