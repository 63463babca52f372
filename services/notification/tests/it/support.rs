//! What all tests share: the service under test, and those around it.

pub(crate) mod blip;
pub(crate) mod callers;
pub(crate) mod endpoint;
pub(crate) mod erasures;
pub(crate) mod inbound;
pub(crate) mod mail;
pub(crate) mod process;
pub(crate) mod subscriptions;
pub(crate) mod ticketing;
pub(crate) mod whatsapp;

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use plazo_local::TestServers;
use plazo_notification::{App, AppError, Config};
use plazo_proto::common::v1::{Channel, ChannelIdentity};
use plazo_proto::notification::v1::channel_account::Settings;
use plazo_proto::notification::v1::channel_account_service_client::ChannelAccountServiceClient;
use plazo_proto::notification::v1::notification_service_client::NotificationServiceClient;
use plazo_proto::notification::v1::{
    AcceptedMessage, ActiveMessage, ActiveMessageKind, ActiveMessageState, ChannelAccount,
    CreateChannelAccountRequest, GetActiveMessageRequest, SendActiveMessagesRequest, SentMessage,
    WebhookSettings,
};
use plazo_service::config::{ConfigSources, load};
use plazo_service::{
    Actor, ActorKind, BotScope, ClientConfig, Listeners, Permission, Permissions, ServiceChannel,
    connect_lazy,
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use ticketing::ScriptedTicketing;

pub(crate) const TENANT: i64 = 7;
pub(crate) const BOT: i64 = 11;

/// Long enough for two busy cores; reached only when something is wrong.
const BOUND: Duration = Duration::from_secs(20);

/// Waits until `find` gives something.
pub(crate) async fn eventually<T, Fut>(what: &str, mut find: impl FnMut() -> Fut) -> T
where
    Fut: Future<Output = Option<T>>,
{
    let searching = async {
        loop {
            if let Some(found) = find().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(BOUND, searching)
        .await
        .unwrap_or_else(|_| panic!("in vain: {what}"))
}

#[expect(
    clippy::disallowed_methods,
    reason = "tests own these tasks, and end them"
)]
pub(crate) fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    tokio::spawn(future)
}

/// A database, a ticketing, and settings that make tests quick.
pub(crate) struct World {
    pub(crate) ticketing: ScriptedTicketing,
    pub(crate) database_url: String,
    settings: BTreeMap<String, String>,
    webhook_delays: String,
    provider_delays: String,
    file: tempfile::NamedTempFile,
}

impl World {
    pub(crate) async fn new() -> Self {
        crate::logs::capture();
        let database_url = TestServers::shared()
            .await
            .fresh_database("notification")
            .await
            .expect("a database can be made");
        let world = Self {
            ticketing: ScriptedTicketing::start().await,
            database_url: database_url.clone(),
            settings: BTreeMap::new(),
            webhook_delays: String::new(),
            provider_delays: "20".to_owned(),
            file: tempfile::NamedTempFile::new().expect("a temporary file"),
        };
        let endpoint = format!("http://{}", world.ticketing.address);
        world
            .with("server.listen", "127.0.0.1:0")
            .with("server.metrics_listen", "127.0.0.1:0")
            .with("database.url", &database_url)
            .with("database.migrate", "true")
            .with("ticketing.endpoint", &endpoint)
            .with("ticketing.request_timeout_ms", "500")
            .with("webhook.allow_http", "true")
            .with("webhook.allow_private_networks", "true")
            // Leases are as long as the longest attempt of a channel.
            .with("blip.request_timeout_ms", "600")
            .with("email.request_timeout_ms", "600")
            .with("sender.poll_ms", "50")
            .with("sender.warning_hold_ms", "0")
            .with_retry_delays_ms("20, 20, 20")
    }

    /// The same with another schedule of attempts of webhooks.
    pub(crate) fn with_retry_delays_ms(mut self, delays: &str) -> Self {
        delays.clone_into(&mut self.webhook_delays);
        self.write_file();
        self
    }

    /// The same with another schedule of attempts of all other channels.
    pub(crate) fn with_provider_delays_ms(mut self, delays: &str) -> Self {
        delays.clone_into(&mut self.provider_delays);
        self.write_file();
        self
    }

    fn write_file(&self) {
        let content = format!(
            "[sender]\nretry_delays_ms = [{}]\n[providers]\nretry_delays_ms = [{}]\n",
            self.webhook_delays, self.provider_delays
        );
        std::fs::write(self.file.path(), content).expect("the file is ours");
    }

    /// The configuration file.
    pub(crate) fn file(&self) -> &Path {
        self.file.path()
    }

    /// The same with another value of a setting, by its dotted key.
    pub(crate) fn with(mut self, key: &str, value: &str) -> Self {
        self.set(key, value);
        self
    }

    pub(crate) fn set(&mut self, key: &str, value: &str) {
        let variable = format!(
            "PLAZO_NOTIFICATION__{}",
            key.replace('.', "__").to_uppercase()
        );
        self.settings.insert(variable, value.to_owned());
    }

    /// The settings as environment variables.
    pub(crate) fn environment(&self) -> impl Iterator<Item = (&String, &String)> {
        self.settings.iter()
    }

    pub(crate) async fn build(&self) -> Result<(App, Option<SocketAddr>), AppError> {
        let sources = ConfigSources {
            file: Some(self.file().to_owned()),
            environment: self.settings.clone(),
        };
        let config: Config = load(&sources)?;
        let listeners = Listeners::bind(&config.server).await?;
        let metrics = listeners
            .metrics
            .as_ref()
            .and_then(|listener| listener.local_addr().ok());
        Ok((App::build(config, listeners).await?, metrics))
    }

    /// Starts the service.
    pub(crate) async fn start(&self) -> Service {
        let (app, metrics_address) = self.build().await.expect("the service can be built");
        let address = app.grpc_address();
        let callbacks_address = app.callbacks_address();
        let shutdown = CancellationToken::new();
        let running = spawn(app.run(shutdown.clone()));
        Service {
            api: Api { address },
            metrics_address,
            callbacks_address,
            shutdown,
            running,
        }
    }

    /// The number that a query gives.
    pub(crate) async fn count(&self, query: &'static str) -> i64 {
        use sqlx::Connection as _;
        let mut connection = sqlx::PgConnection::connect(&self.database_url)
            .await
            .expect("the database is there");
        sqlx::query_scalar(query)
            .fetch_one(&mut connection)
            .await
            .expect("the query is right")
    }
}

/// A running service.
pub(crate) struct Service {
    pub(crate) api: Api,
    pub(crate) metrics_address: Option<SocketAddr>,
    pub(crate) callbacks_address: Option<SocketAddr>,
    shutdown: CancellationToken,
    running: JoinHandle<Result<(), AppError>>,
}

impl Service {
    /// Ends it in order.
    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        let ended = tokio::time::timeout(BOUND, self.running)
            .await
            .expect("it ends in time");
        ended.expect("it does not panic").expect("it ends well");
    }

    pub(crate) async fn metrics(&self) -> String {
        let address = self.metrics_address.expect("metrics are served");
        let answer = reqwest::get(format!("http://{address}/metrics"))
            .await
            .expect("an answer");
        answer.text().await.expect("text")
    }
}

/// The service's API.
#[derive(Clone, Copy)]
pub(crate) struct Api {
    pub(crate) address: SocketAddr,
}

impl Api {
    pub(crate) fn channel(self, actor: Actor) -> ServiceChannel {
        let config = ClientConfig::new(format!("http://{}", self.address));
        connect_lazy(&config, actor).expect("the address is one")
    }

    pub(crate) fn messages(self, actor: Actor) -> NotificationServiceClient<ServiceChannel> {
        NotificationServiceClient::new(self.channel(actor))
    }

    pub(crate) fn accounts(self, actor: Actor) -> ChannelAccountServiceClient<ServiceChannel> {
        ChannelAccountServiceClient::new(self.channel(actor))
    }

    /// Hands messages over as the timer does.
    pub(crate) async fn send(self, messages: Vec<ActiveMessage>) -> Vec<SentMessage> {
        let request = SendActiveMessagesRequest { messages };
        let answer = self
            .messages(Actor::service("timer"))
            .send_active_messages(request)
            .await;
        answer.expect("the call is good").into_inner().results
    }

    pub(crate) async fn send_one(self, message: ActiveMessage) -> SentMessage {
        self.send(vec![message]).await.remove(0)
    }

    pub(crate) async fn get(self, message_id: i64) -> AcceptedMessage {
        let request = GetActiveMessageRequest { message_id };
        let answer = self
            .messages(administrator())
            .get_active_message(request)
            .await;
        answer
            .expect("the message is there")
            .into_inner()
            .message
            .expect("it is set")
    }

    pub(crate) async fn until(self, message_id: i64, state: ActiveMessageState) -> AcceptedMessage {
        eventually(
            &format!("message {message_id} is {state:?}"),
            || async move {
                let message = self.get(message_id).await;
                (message.state() == state).then_some(message)
            },
        )
        .await
    }

    /// Creates a webhook account; its id and secret.
    pub(crate) async fn create_account(self, url: &str) -> (i64, String) {
        let request = CreateChannelAccountRequest {
            account: Some(account(url)),
            request_id: String::new(),
        };
        let answer = self
            .accounts(administrator())
            .create_channel_account(request)
            .await;
        let answer = answer.expect("the account is good").into_inner();
        (
            answer.account.expect("it is set").channel_account_id,
            answer.signing_secret,
        )
    }
}

pub(crate) fn account(url: &str) -> ChannelAccount {
    ChannelAccount {
        name: "endpoint".to_owned(),
        channel: Channel::Webhook.into(),
        settings: Some(Settings::Webhook(WebhookSettings {
            url: url.to_owned(),
        })),
        enabled: true,
        ..ChannelAccount::default()
    }
}

/// Everything of the tenant is permitted.
pub(crate) fn administrator() -> Actor {
    Actor {
        tenant_id: TENANT,
        kind: ActorKind::Administrator(1),
        permissions: Permissions::NONE
            .with(Permission::MessagesSend)
            .with(Permission::HelpdeskView)
            .with(Permission::HelpdeskEdit),
        bots: BotScope::All,
    }
}

/// A warning of a ticket's cycle, by the log channel.
pub(crate) fn warning(ticket_id: i64, cycle: i32) -> ActiveMessage {
    ActiveMessage {
        tenant_id: TENANT,
        idempotency_key: format!("ticket/{ticket_id}/cycle/{cycle}/warning"),
        kind: ActiveMessageKind::Warning.into(),
        bot_id: BOT,
        ticket_id,
        contact_id: 5,
        recipient: Some(ChannelIdentity {
            channel: Channel::Log.into(),
            address: "+5511987654321".to_owned(),
        }),
        channel_account_id: 0,
        text: "Are you still there?".to_owned(),
        image_url: String::new(),
        last_customer_message_time: None,
        valid_until_time: None,
    }
}

/// The same by a webhook account.
pub(crate) fn by_webhook(mut message: ActiveMessage, channel_account_id: i64) -> ActiveMessage {
    message.channel_account_id = channel_account_id;
    message.recipient.get_or_insert_default().channel = Channel::Webhook.into();
    message
}
