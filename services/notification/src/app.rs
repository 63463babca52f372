//! Putting the service together.

use std::net::SocketAddr;
use std::time::Duration;

use plazo_database::SchemaError;
use plazo_proto::notification::v1::channel_account_service_server::ChannelAccountServiceServer;
use plazo_proto::notification::v1::notification_service_server::NotificationServiceServer;
use plazo_proto::ticketing::v1::feed_service_client::FeedServiceClient;
use plazo_proto::ticketing::v1::message_state_service_client::MessageStateServiceClient;
use plazo_service::supervisor::TaskFailed;
use plazo_service::{
    Actor, ConfigError, Listeners, Metrics, OnEnd, Server, ServerError, ServiceChannel, Supervisor,
    connect_lazy, limit_messages,
};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::accepting::{Accepting, Wakers};
use crate::account::AccountRules;
use crate::config::Config;
use crate::credentials::Credentials;
use crate::feed::FeedConsumer;
use crate::grpc::{ChannelAccounts, Notifications, PERMISSIONS};
use crate::housekeeping;
use crate::metrics::NotificationMetrics;
use crate::reporting::Reporter;
use crate::sending::{Sender, WebhookClientError, WebhookSender, WhatsAppSender};
use crate::store::schema;

/// The notification service, built and bound, and not yet running.
#[derive(Debug)]
pub struct App {
    config: Config,
    listeners: Listeners,
    address: SocketAddr,
    pool: PgPool,
    ticketing: ServiceChannel,
    webhook: WebhookSender,
    whatsapp: WhatsAppSender,
}

/// Why the service can't start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// A value of the configuration can't be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// No connection to the database.
    #[error("the database can't be reached")]
    Database(#[source] sqlx::Error),
    /// The database's schema.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// The HTTP client.
    #[error(transparent)]
    Webhook(#[from] WebhookClientError),
    /// The listener has no address.
    #[error("the listener has no address")]
    Listener(#[source] std::io::Error),
    /// gRPC could not be served.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// A task that must run ended.
    #[error(transparent)]
    Task(#[from] TaskFailed),
}

impl App {
    /// Connects to the database and migrates or checks its schema. Nothing is sent or served yet.
    pub async fn build(config: Config, listeners: Listeners) -> Result<Self, AppError> {
        let address = listeners.grpc_address().map_err(AppError::Listener)?;
        let ticketing = connect_lazy(&config.ticketing, Actor::service("notification"))?;
        let webhook = WebhookSender::new(&config.webhook)?;
        let credentials = Credentials::new(&config.credentials, std::env::vars());
        let whatsapp = WhatsAppSender::new(&config.whatsapp, credentials)?;
        let pool = schema::open(&config.database).await?;
        Ok(Self {
            config,
            listeners,
            address,
            pool,
            ticketing,
            webhook,
            whatsapp,
        })
    }

    /// The address at which gRPC will be served.
    pub fn grpc_address(&self) -> SocketAddr {
        self.address
    }

    /// Serves and sends until `shutdown` is cancelled, then ends within the grace time of the configuration.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), AppError> {
        let Self {
            config,
            listeners,
            address,
            pool,
            ticketing,
            webhook,
            whatsapp,
        } = self;
        let mut metrics = Metrics::new("notification");
        let ours = NotificationMetrics::register(&mut metrics);
        let wakers = Wakers::default();
        let supervisor = Supervisor::new("notification", &shutdown);

        let notifications = Notifications {
            pool: pool.clone(),
            accepting: Accepting::new(pool.clone(), &config, wakers.clone(), ours.clone()),
            wakers: wakers.clone(),
            metrics: ours.clone(),
        };
        let accounts = ChannelAccounts {
            pool: pool.clone(),
            rules: AccountRules {
                addresses: webhook.policy(),
                allow_smtp_without_tls: config.email.allow_without_tls,
            },
            wakers: wakers.clone(),
        };
        let sender = Sender::new(
            pool.clone(),
            &config,
            webhook,
            whatsapp,
            wakers.clone(),
            ours.clone(),
        );
        start_tasks(
            &supervisor,
            &config,
            &pool,
            &ticketing,
            sender,
            &wakers,
            &ours,
        );

        let server = Server::new(
            &config.server,
            metrics,
            plazo_proto::FILE_DESCRIPTOR_SET,
            PERMISSIONS,
        )
        .add_service(limit_messages!(
            NotificationServiceServer::new(notifications),
            config.server
        ))
        .add_service(limit_messages!(
            ChannelAccountServiceServer::new(accounts),
            config.server
        ));
        tracing::info!(%address, "serving");
        let outcome = server.run(listeners, supervisor.shutdown_token()).await;
        // Ends the tasks as well when the server could not go on.
        let ended = supervisor
            .shut_down(Duration::from_millis(config.server.shutdown_grace_ms))
            .await;
        pool.close().await;
        outcome?;
        Ok(ended?)
    }
}

fn start_tasks(
    supervisor: &Supervisor,
    config: &Config,
    pool: &PgPool,
    ticketing: &ServiceChannel,
    sender: Sender,
    wakers: &Wakers,
    metrics: &NotificationMetrics,
) {
    let consumer = FeedConsumer {
        pool: pool.clone(),
        client: limit_messages!(
            FeedServiceClient::new(ticketing.for_streams()),
            config.ticketing
        ),
        config: config.feed.clone(),
        warning_hold: Duration::from_millis(config.sender.warning_hold_ms),
        wakers: wakers.clone(),
        metrics: metrics.clone(),
    };
    let reporter = Reporter {
        pool: pool.clone(),
        client: limit_messages!(
            MessageStateServiceClient::new(ticketing.clone()),
            config.ticketing
        ),
        request_timeout: config.ticketing.request_timeout(),
        config: config.reporter.clone(),
        wakers: wakers.clone(),
        metrics: metrics.clone(),
    };
    supervisor.spawn("sender", OnEnd::Restart, move |shutdown| {
        let sender = sender.clone();
        async move {
            sender.run(shutdown).await;
            Ok(())
        }
    });
    supervisor.spawn("feed", OnEnd::Restart, move |shutdown| {
        let consumer = consumer.clone();
        async move {
            consumer.run(shutdown).await;
            Ok(())
        }
    });
    supervisor.spawn("reporter", OnEnd::Restart, move |shutdown| {
        let reporter = reporter.clone();
        async move {
            reporter.run(shutdown).await;
            Ok(())
        }
    });
    let (queue, gauges) = (pool.clone(), metrics.clone());
    supervisor.spawn("measure", OnEnd::Restart, move |shutdown| {
        let measuring = housekeeping::measure(queue.clone(), gauges.clone(), shutdown);
        async move {
            measuring.await;
            Ok(())
        }
    });
    let (old_rows, purge) = (pool.clone(), config.purge.clone());
    supervisor.spawn("purge", OnEnd::Restart, move |shutdown| {
        let purging = housekeeping::purge(old_rows.clone(), purge.clone(), shutdown);
        async move {
            purging.await;
            Ok(())
        }
    });
}
