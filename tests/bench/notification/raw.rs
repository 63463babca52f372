//! The same work done bare: what a program could do at best that talks to PostgreSQL and to the endpoints itself, with
//! prepared statements, one of each for a batch. These statements follow the schema of notification.

use std::time::Duration;

use futures::future::join_all;
use plazo_proto::common::v1::Channel;
use plazo_proto::notification::v1::{ActiveMessage, ActiveMessageKind};
use sqlx::{Connection, PgConnection};

use crate::measure::Caller;
use crate::notification::accepting::Batches;
use crate::notification::bed::{Account, BOT, TEXT, i16_of};

/// Stores a batch with a report of each.
const INSERT: &str = "
    WITH stored AS (
        INSERT INTO active_messages (tenant_id, idempotency_key, kind, bot_id, ticket_id, contact_id, channel,
            recipient_address, channel_account_id, body_text, image_url, state_at, accepted_at, queued_at,
            next_attempt_at)
        SELECT m.*, '', at, at, at, at
        FROM unnest($1::bigint[], $2::text[], $3::smallint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::smallint[],
            $8::text[], $9::bigint[], $10::text[]) AS m,
            clock_timestamp() AS at
        RETURNING tenant_id, ticket_id, idempotency_key, accepted_at
    )
    INSERT INTO state_reports (tenant_id, ticket_id, idempotency_key, state, state_at, failure_reason)
    SELECT tenant_id, ticket_id, idempotency_key, 1, accepted_at, '' FROM stored";

/// A caller that writes the rows of messages.
pub(super) struct RawAccepting {
    connection: PgConnection,
    batches: Batches,
}

impl RawAccepting {
    pub(super) fn new(connection: PgConnection, batches: Batches) -> Self {
        Self {
            connection,
            batches,
        }
    }
}

impl Caller for RawAccepting {
    async fn step(&mut self) -> u64 {
        let batch = self.batches.next();
        let address = |one: &ActiveMessage| {
            let recipient = one.recipient.as_ref();
            recipient.expect("each has one").address.clone()
        };
        let stored = sqlx::query(INSERT)
            .bind(column(&batch, |one| one.tenant_id))
            .bind(column(&batch, |one| one.idempotency_key.clone()))
            .bind(column(&batch, |_| i16_of(ActiveMessageKind::ClosingText)))
            .bind(column(&batch, |one| one.bot_id))
            .bind(column(&batch, |one| one.ticket_id))
            .bind(column(&batch, |one| one.contact_id))
            .bind(column(&batch, |_| i16_of(Channel::Webhook)))
            .bind(column(&batch, address))
            .bind(column(&batch, |one| one.channel_account_id))
            .bind(column(&batch, |one| one.text.clone()))
            .execute(&mut self.connection)
            .await
            .expect("messages are stored");
        stored.rows_affected()
    }
}

fn column<T>(batch: &[ActiveMessage], value: impl Fn(&ActiveMessage) -> T) -> Vec<T> {
    batch.iter().map(value).collect()
}

/// Messages that a caller has at the same time; with [`SENDERS`], as many as the service may have by default.
const IN_FLIGHT: usize = 64;
/// Callers side by side.
pub(super) const SENDERS: usize = 4;

const CLAIM: &str = "
    WITH due AS (
        SELECT d.tenant_id, d.message_id
        FROM unnest($1::bigint[]) AS account (id)
        CROSS JOIN LATERAL (
            SELECT tenant_id, message_id FROM active_messages
            WHERE channel_account_id = account.id AND next_attempt_at <= statement_timestamp()
            ORDER BY next_attempt_at LIMIT $2 FOR UPDATE SKIP LOCKED
        ) AS d
    )
    UPDATE active_messages AS m
    SET attempts = attempts + 1, leased_until = clock_timestamp() + interval '20 s',
        next_attempt_at = clock_timestamp() + interval '20 s'
    FROM due WHERE m.tenant_id = due.tenant_id AND m.message_id = due.message_id
    RETURNING m.tenant_id, m.message_id, m.channel_account_id";

/// The outcomes, with two reports of each.
const SETTLE: &str = "
    WITH settled AS (
        UPDATE active_messages AS m
        SET state = 3, state_at = clock_timestamp(), leased_until = NULL, next_attempt_at = NULL
        FROM unnest($1::bigint[], $2::bigint[]) AS sent (tenant_id, message_id)
        WHERE m.tenant_id = sent.tenant_id AND m.message_id = sent.message_id
        RETURNING m.tenant_id, m.message_id, m.ticket_id, m.idempotency_key, m.state_at
    ), attempted AS (
        INSERT INTO send_attempts (tenant_id, message_id, attempt, attempt_at, outcome)
        SELECT tenant_id, message_id, 1, state_at, 'OK' FROM settled
    )
    INSERT INTO state_reports (tenant_id, ticket_id, idempotency_key, state, state_at, failure_reason)
    SELECT tenant_id, ticket_id, idempotency_key, state, state_at, ''
    FROM settled, unnest('{2,3}'::smallint[]) AS state
    RETURNING report_id";

/// Reports, as if they were told.
const TOLD: &str = "DELETE FROM state_reports WHERE report_id = ANY ($1)";

/// A caller that claims, posts and writes the outcomes of what some accounts have.
pub(super) struct RawSending {
    connection: Option<PgConnection>,
    client: reqwest::Client,
    accounts: Vec<Account>,
    /// Posts without rows: how many are left.
    left: usize,
}

impl RawSending {
    /// With a connection, what waits in the database is sent; without one, so many posts are made.
    pub(super) fn new(connection: Option<PgConnection>, accounts: &[Account], left: usize) -> Self {
        let client = reqwest::Client::builder()
            .no_proxy()
            .pool_max_idle_per_host(IN_FLIGHT)
            .timeout(Duration::from_secs(15))
            .build()
            .expect("a client can be made");
        Self {
            connection,
            client,
            accounts: accounts.to_vec(),
            left,
        }
    }

    async fn post(&self, account: &Account, message_id: i64) {
        let answer = self
            .client
            .post(&account.url)
            .header("content-type", "application/json")
            .header("webhook-id", message_id.to_string())
            .body(body(account, message_id))
            .send()
            .await;
        let answer = answer.expect("endpoints answer");
        assert!(answer.status().is_success());
        answer.bytes().await.expect("an answer ends");
    }

    async fn send_rows(&mut self) -> u64 {
        let mut connection = self.connection.take().expect("it has one");
        let each = i64::try_from(IN_FLIGHT / self.accounts.len()).expect("a few");
        let account_ids: Vec<i64> = self.accounts.iter().map(|one| one.id).collect();
        let claimed: Vec<(i64, i64, i64)> = sqlx::query_as(CLAIM)
            .bind(&account_ids)
            .bind(each.max(1))
            .fetch_all(&mut connection)
            .await
            .expect("messages are claimed");
        join_all(claimed.iter().map(|(_, message_id, account_id)| {
            let account = self.accounts.iter().find(|one| one.id == *account_id);
            self.post(account.expect("they are of these accounts"), *message_id)
        }))
        .await;
        if !claimed.is_empty() {
            let tenant_ids: Vec<i64> = claimed.iter().map(|one| one.0).collect();
            let message_ids: Vec<i64> = claimed.iter().map(|one| one.1).collect();
            let mut transaction = connection.begin().await.expect("a transaction begins");
            let reports: Vec<i64> = sqlx::query_scalar(SETTLE)
                .bind(&tenant_ids)
                .bind(&message_ids)
                .fetch_all(&mut *transaction)
                .await
                .expect("outcomes are written");
            transaction.commit().await.expect("it is committed");
            sqlx::query(TOLD)
                .bind(&reports)
                .execute(&mut connection)
                .await
                .expect("reports are removed");
        }
        self.connection = Some(connection);
        claimed.len() as u64
    }

    async fn send_posts(&mut self) -> u64 {
        let now = self.left.min(IN_FLIGHT);
        let accounts = self.accounts.iter().cycle().take(now);
        join_all(accounts.map(|account| self.post(account, 1))).await;
        self.left -= now;
        now as u64
    }
}

impl Caller for RawSending {
    async fn step(&mut self) -> u64 {
        if self.connection.is_some() {
            self.send_rows().await
        } else {
            self.send_posts().await
        }
    }
}

fn body(account: &Account, message_id: i64) -> String {
    serde_json::json!({
        "type": "active_message.closing_text",
        "timestamp": "2026-01-01T00:00:00.123456Z",
        "data": {
            "message_id": message_id.to_string(),
            "tenant_id": account.tenant_id.to_string(),
            "bot_id": BOT.to_string(),
            "ticket_id": message_id.to_string(),
            "contact_id": message_id.to_string(),
            "recipient": {"channel": "webhook", "address": "customer-1"},
            "text": TEXT,
            "image_url": null,
            "last_customer_message_time": null,
        },
    })
    .to_string()
}
