//! A load of active messages, handed to notification as the timer does, and what became of them.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use plazo_proto::common::v1::{Channel, ChannelIdentity};
use plazo_proto::notification::v1::channel_account::Settings;
use plazo_proto::notification::v1::channel_account_service_client::ChannelAccountServiceClient;
use plazo_proto::notification::v1::notification_service_client::NotificationServiceClient;
use plazo_proto::notification::v1::{
    ActiveMessage, ActiveMessageKind, ActiveMessageState, ChannelAccount,
    CreateChannelAccountRequest, SendActiveMessagesRequest, SendOutcome, WebhookSettings,
    WhatsAppSettings,
};
use prost_types::Timestamp;
use sqlx::PgPool;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::cluster::Cluster;
use crate::desk::{sign, sign_as_timer};
use crate::process::Service;
use crate::truth::{now_us, proto_timestamp};

/// Time between two batches, and the most messages of one: whoever is behind sends more at a time.
const PERIOD: Duration = Duration::from_millis(50);
const BATCH_MAX: usize = 100;
/// Wait before a batch that was not acknowledged is handed over again.
const AGAIN_AFTER: Duration = Duration::from_millis(50);
/// The name of all credentials.
const CREDENTIAL: &str = "desk";
/// With it callbacks are signed.
pub const APP_SECRET: &str = "hush-hush";

/// What sends: a number or an endpoint of a tenant.
#[derive(Debug, Clone)]
pub struct Account {
    /// The tenant.
    pub tenant_id: i64,
    /// WHATSAPP or WEBHOOK.
    pub channel: Channel,
    /// The account.
    pub account_id: i64,
    /// The provider's id of the number; empty for an endpoint.
    pub number: String,
}

/// Puts the secrets of a tenant's numbers where notification finds them.
pub fn put_credential(folder: &Path, tenant_id: i64) {
    let folder = folder.join(tenant_id.to_string());
    std::fs::create_dir_all(&folder).expect("the folder is ours");
    let secrets = serde_json::json!({
        "access_token": "a-token", "app_secret": APP_SECRET, "verify_token": "is-it-you",
    });
    std::fs::write(folder.join(CREDENTIAL), secrets.to_string()).expect("the folder is ours");
}

/// Creates an account of a number.
pub async fn create_number(cluster: &Cluster, tenant_id: i64, number: &str) -> Account {
    let settings = Settings::Whatsapp(WhatsAppSettings {
        phone_number_id: number.to_owned(),
        templates: Vec::new(),
    });
    create(cluster, tenant_id, Channel::Whatsapp, settings, number).await
}

/// Creates an account of an endpoint.
pub async fn create_endpoint(cluster: &Cluster, tenant_id: i64, url: &str) -> Account {
    let settings = Settings::Webhook(WebhookSettings {
        url: url.to_owned(),
    });
    create(cluster, tenant_id, Channel::Webhook, settings, "").await
}

async fn create(
    cluster: &Cluster,
    tenant_id: i64,
    channel: Channel,
    settings: Settings,
    number: &str,
) -> Account {
    let connection = sign(cluster.channel(Service::Notification), tenant_id);
    let account = ChannelAccount {
        name: "load".to_owned(),
        channel: channel.into(),
        settings: Some(settings),
        credential_name: match channel {
            Channel::Whatsapp => CREDENTIAL.to_owned(),
            _ => String::new(),
        },
        ..ChannelAccount::default()
    };
    let request = CreateChannelAccountRequest {
        account: Some(account),
        ..CreateChannelAccountRequest::default()
    };
    let answer = ChannelAccountServiceClient::new(connection)
        .create_channel_account(request)
        .await;
    let account = answer.expect("an account is created").into_inner().account;
    Account {
        tenant_id,
        channel,
        account_id: account.expect("the account comes back").channel_account_id,
        number: number.to_owned(),
    }
}

/// A load under way.
#[derive(Debug)]
pub struct Mailing {
    stop: CancellationToken,
    task: JoinHandle<Mailed>,
}

/// What was handed over.
#[derive(Debug, Default)]
pub struct Mailed {
    /// The account of each acknowledged message, by the message's id.
    pub accounts: BTreeMap<i64, Account>,
    /// Calls that failed and were repeated until they were acknowledged.
    pub repeated: usize,
    /// Messages that were acknowledged as known before: their first call was lost.
    pub known: usize,
}

impl Mailing {
    /// Hands over so many messages in a second, by all the accounts in turn, each to a customer of its own who wrote a
    /// minute ago.
    #[expect(
        clippy::disallowed_methods,
        reason = "tests own these tasks, and end them"
    )]
    pub fn start(cluster: &Cluster, accounts: Vec<Account>, per_s: usize) -> Self {
        let channel = sign_as_timer(cluster.channel(Service::Notification));
        let client = NotificationServiceClient::new(channel);
        let stop = CancellationToken::new();
        let (stopped, pool) = (stop.clone(), cluster.database_url(Service::Notification));
        let task = tokio::spawn(async move {
            let pool = PgPool::connect(&pool).await.expect("the database is there");
            let wrote_at = proto_timestamp(now_us(&pool).await - 60_000_000);
            pool.close().await;
            let mut tick = tokio::time::interval(PERIOD);
            let began = Instant::now();
            let mut mailed = Mailed::default();
            let mut number = 0;
            while !stopped.is_cancelled() {
                tick.tick().await;
                let due = usize::try_from(began.elapsed().as_millis()).unwrap_or(0) * per_s / 1_000;
                let batch: Vec<(Account, ActiveMessage)> = (number..due)
                    .take(BATCH_MAX)
                    .map(|_| {
                        number += 1;
                        let account = accounts[number % accounts.len()].clone();
                        let message = message(&account, number, wrote_at);
                        (account, message)
                    })
                    .collect();
                if !batch.is_empty() {
                    hand_over(&client, batch, &mut mailed).await;
                }
            }
            mailed
        });
        Self { stop, task }
    }

    /// Ends the load.
    pub async fn stop(self) -> Mailed {
        self.stop.cancel();
        self.task.await.expect("the load does not panic")
    }
}

/// Hands a batch over until it is acknowledged.
async fn hand_over(
    client: &NotificationServiceClient<crate::desk::SignedChannel>,
    batch: Vec<(Account, ActiveMessage)>,
    mailed: &mut Mailed,
) {
    let (accounts, messages): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
    let results = loop {
        let request = SendActiveMessagesRequest {
            messages: messages.clone(),
        };
        match client.clone().send_active_messages(request).await {
            Ok(answer) => break answer.into_inner().results,
            Err(_) => mailed.repeated += 1,
        }
        tokio::time::sleep(AGAIN_AFTER).await;
    };
    for (account, result) in accounts.into_iter().zip(results) {
        assert_ne!(result.outcome(), SendOutcome::Invalid, "{result:?}");
        mailed.known += usize::from(result.outcome() == SendOutcome::Duplicate);
        mailed.accounts.insert(result.message_id, account);
    }
}

fn message(account: &Account, number: usize, wrote_at: Timestamp) -> ActiveMessage {
    ActiveMessage {
        tenant_id: account.tenant_id,
        idempotency_key: format!("load/{number}"),
        kind: ActiveMessageKind::Outreach.into(),
        bot_id: 1,
        contact_id: 1,
        recipient: Some(ChannelIdentity {
            channel: account.channel.into(),
            address: format!("+55119{:08}", number % 100_000_000),
        }),
        channel_account_id: account.account_id,
        text: "Are you still there?".to_owned(),
        last_customer_message_time: Some(wrote_at),
        ..ActiveMessage::default()
    }
}

/// The states of all messages of the load by their ids, as notification has them.
pub async fn states(notification: &PgPool) -> BTreeMap<i64, ActiveMessageState> {
    let rows: Vec<(i64, i16)> = sqlx::query_as(
        "SELECT message_id, state FROM active_messages WHERE idempotency_key LIKE 'load/%'",
    )
    .fetch_all(notification)
    .await
    .expect("messages can be read");
    let state = |state: i16| ActiveMessageState::try_from(i32::from(state)).expect("a known state");
    rows.into_iter()
        .map(|(id, number)| (id, state(number)))
        .collect()
}

/// The 99th percentile of the time from acceptance to delivery of messages of these accounts that were accepted within a
/// time, in milliseconds, and how many there are.
pub async fn delivery_p99_ms(
    notification: &PgPool,
    accounts: &[i64],
    (from_us, to_us): (i64, i64),
) -> (f64, i64) {
    sqlx::query_as(
        "SELECT coalesce(percentile_cont(0.99) WITHIN GROUP (
                 ORDER BY extract(epoch FROM coalesce(state_at, clock_timestamp()) - accepted_at) * 1000
             ), 0)::double precision, count(*)
         FROM active_messages
         WHERE channel_account_id = ANY($1)
             AND accepted_at >= 'epoch'::timestamptz + $2 * interval '1 microsecond'
             AND accepted_at < 'epoch'::timestamptz + $3 * interval '1 microsecond'",
    )
    .bind(accounts)
    .bind(from_us)
    .bind(to_us)
    .fetch_one(notification)
    .await
    .expect("messages can be read")
}
