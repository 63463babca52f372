//! Notification on a private server with durable commits, between a ticketing and endpoints that take everything.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use plazo_proto::common::v1::Channel;
use plazo_proto::notification::v1::channel_account::Settings;
use plazo_proto::notification::v1::channel_account_service_client::ChannelAccountServiceClient;
use plazo_proto::notification::v1::{
    ActiveMessageKind, ChannelAccount, CreateChannelAccountRequest, WebhookSettings,
};
use plazo_tests::desk::sign;
use plazo_tests::process::Service;
use plazo_tests::solo::Solo;
use sqlx::PgPool;
use tokio::task::JoinSet;

use crate::notification::endpoints::PORTS;
use crate::notification::{ENDPOINTS_ARGUMENT, ticketing};
use crate::ticketing::bed::Bed as DatabaseBed;
use crate::timer::recorder::Recorder;

/// Everything that was asked for must have happened by then.
pub(super) const BOUND: Duration = Duration::from_mins(2);
/// The text of all messages.
pub(super) const TEXT: &str =
    "We have closed your ticket, since we have not heard from you. Write to us at any time.";
/// The bot of all messages.
pub(super) const BOT: i64 = 1;

/// What stands around the service.
pub(super) struct Bed {
    pub(super) database: DatabaseBed,
    /// Those of most accounts.
    pub(super) endpoints: Recorder,
    /// Those that can be made to hang.
    pub(super) troubled: Recorder,
    ticketing: SocketAddr,
    _tasks: JoinSet<()>,
}

/// What sends, and where it goes.
#[derive(Debug, Clone)]
pub(super) struct Account {
    pub(super) tenant_id: i64,
    pub(super) id: i64,
    pub(super) url: String,
}

/// The service with its accounts, one for each tenant.
pub(super) struct Notification {
    pub(super) service: Solo,
    pub(super) pool: PgPool,
    pub(super) accounts: Vec<Account>,
    /// Those whose endpoints can be made to hang.
    pub(super) troubled: Vec<Account>,
}

impl Bed {
    pub(super) async fn start() -> Self {
        let program = std::env::current_exe().expect("this program has a path");
        let endpoints = async || {
            Recorder::start(&program, &[ENDPOINTS_ARGUMENT], Path::new("/"))
                .await
                .expect("endpoints are served")
        };
        let mut tasks = JoinSet::new();
        Self {
            database: DatabaseBed::start().await,
            endpoints: endpoints().await,
            troubled: endpoints().await,
            ticketing: ticketing::serve(&mut tasks).await,
            _tasks: tasks,
        }
    }

    /// Starts the service, with accounts if the database is new.
    pub(super) async fn notification(&self, database: &str) -> Notification {
        self.database.create_database(database).await;
        let configuration = [
            ("DATABASE__URL", self.database.database_url(database)),
            ("DATABASE__MIGRATE", "true".to_owned()),
            ("TICKETING__ENDPOINT", format!("http://{}", self.ticketing)),
            // The endpoints are on the loopback, without TLS.
            ("WEBHOOK__ALLOW_HTTP", "true".to_owned()),
            ("WEBHOOK__ALLOW_PRIVATE_NETWORKS", "true".to_owned()),
        ];
        let service = Solo::start(Service::Notification, &configuration).await;
        let pool = self.database.pool(database, 4).await;
        let stored: Vec<(i64, i64)> = sqlx::query_as(
            "SELECT tenant_id, channel_account_id FROM channel_accounts ORDER BY channel_account_id",
        )
        .fetch_all(&pool)
        .await
        .expect("accounts can be read");
        let mut accounts = Vec::with_capacity(2 * PORTS);
        let urls = urls(&self.endpoints).chain(urls(&self.troubled));
        for (place, url) in urls.enumerate() {
            let (tenant_id, id) = match stored.get(place) {
                Some(ids) => *ids,
                None => create_account(&service, place, &url).await,
            };
            accounts.push(Account { tenant_id, id, url });
        }
        let troubled = accounts.split_off(PORTS);
        Notification {
            service,
            pool,
            accounts,
            troubled,
        }
    }

    /// Ends everything.
    pub(super) async fn stop(self) {
        self.database.stop().await;
    }
}

/// Where endpoints are.
fn urls(endpoints: &Recorder) -> impl Iterator<Item = String> {
    let ports = endpoints.greeting.split(' ');
    ports.map(|port| format!("http://127.0.0.1:{port}/hook"))
}

async fn create_account(service: &Solo, place: usize, url: &str) -> (i64, i64) {
    let tenant_id = 1 + i64::try_from(place).expect("a small number");
    let mut client = ChannelAccountServiceClient::new(sign(service.channel(), tenant_id));
    let request = CreateChannelAccountRequest {
        account: Some(ChannelAccount {
            name: "endpoint".to_owned(),
            channel: Channel::Webhook.into(),
            settings: Some(Settings::Webhook(WebhookSettings {
                url: url.to_owned(),
            })),
            ..ChannelAccount::default()
        }),
        ..CreateChannelAccountRequest::default()
    };
    let answer = client.create_channel_account(request).await;
    let account = answer.expect("an account is created").into_inner().account;
    let account = account.expect("the account comes back");
    (tenant_id, account.channel_account_id)
}

/// Puts so many messages into the queue, all in one transaction, spread over accounts in turns; due at once, or within
/// a day after the next hour. Plans are made for the table as it will be.
pub(super) async fn put(pool: &PgPool, key: &str, count: usize, accounts: &[Account], due: bool) {
    let mut transaction = pool.begin().await.expect("a transaction begins");
    sqlx::query(
        "INSERT INTO active_messages (tenant_id, idempotency_key, kind, bot_id, ticket_id, contact_id, channel,
             recipient_address, channel_account_id, body_text, image_url, state_at, accepted_at, queued_at,
             next_attempt_at)
         SELECT account.tenant_id, $1 || '/' || n, $2, $3, n, n, $4, 'customer-' || n, account.id, $5, '', at, at, at,
             CASE WHEN $6 THEN at ELSE at + interval '1 hour' + random() * interval '1 day' END
         FROM generate_series(1, $7) AS n
         JOIN unnest($8::bigint[], $9::bigint[]) WITH ORDINALITY AS account (tenant_id, id, place)
             ON account.place = 1 + n % cardinality($8),
             clock_timestamp() AS at",
    )
    .bind(key)
    .bind(i16_of(ActiveMessageKind::ClosingText))
    .bind(BOT)
    .bind(i16_of(Channel::Webhook))
    .bind(TEXT)
    .bind(due)
    .bind(i64::try_from(count).expect("a count"))
    .bind(accounts.iter().map(|one| one.tenant_id).collect::<Vec<_>>())
    .bind(accounts.iter().map(|one| one.id).collect::<Vec<_>>())
    .execute(&mut *transaction)
    .await
    .expect("messages fit the schema");
    sqlx::query("ANALYZE active_messages")
        .execute(&mut *transaction)
        .await
        .expect("tables can be analysed");
    transaction.commit().await.expect("it is committed");
}

/// Forgets all messages.
pub(super) async fn forget_all(pool: &PgPool) {
    sqlx::query("TRUNCATE active_messages, send_attempts, state_reports")
        .execute(pool)
        .await
        .expect("tables can be emptied");
}

/// A number of an enum as columns have it.
pub(super) fn i16_of(number: impl Into<i32>) -> i16 {
    i16::try_from(number.into()).expect("a small number")
}
