//! Putting the service together.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use plazo_database::{HousekeepingMetrics, SchemaError, TenantPool};
use plazo_proto::FILE_DESCRIPTOR_SET;
use plazo_proto::notification::v1::channel_account_service_server::ChannelAccountServiceServer;
use plazo_proto::notification::v1::notification_service_server::NotificationServiceServer;
use plazo_proto::notification::v1::webhook_subscription_service_server::WebhookSubscriptionServiceServer;
use plazo_proto::ticketing::v1::erasure_service_client::ErasureServiceClient;
use plazo_proto::ticketing::v1::feed_service_client::FeedServiceClient;
use plazo_proto::ticketing::v1::inbound_service_client::InboundServiceClient;
use plazo_proto::ticketing::v1::message_state_service_client::MessageStateServiceClient;
use plazo_service::supervisor::TaskFailed;
use plazo_service::{
    Actor, ConfigError, Listeners, Metrics, OnEnd, Server, ServerError, ServiceChannel, Supervisor,
    Tls, limit_messages,
};
use sqlx::PgPool;
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::accepting::{Accepting, Wakers};
use crate::account::AccountRules;
use crate::callbacks::{CallbackServer, Taking};
use crate::config::Config;
use crate::credentials::Credentials;
use crate::erasing::Eraser;
use crate::feed::FeedConsumer;
use crate::grpc::{ChannelAccounts, Notifications, PERMISSIONS, WebhookSubscriptions};
use crate::housekeeping;
use crate::inbound::InboundDelivery;
use crate::metrics::NotificationMetrics;
use crate::reporting::Reporter;
use crate::sending::{Roots, Sender, Senders, WebhookClientError, WebhookSender};
use crate::store::schema::{self, Pools};
use crate::subscriptions::{EventMetrics, EventSender, EventWakers, LiveFeed, Replays};

/// How long connections may take to close.
const CLOSE_BOUND: Duration = Duration::from_secs(5);

/// The notification service, built and bound, and not yet running.
#[derive(Debug)]
pub struct App {
    config: Config,
    listeners: Listeners,
    address: SocketAddr,
    pools: Pools,
    tls: Tls,
    ticketing: ServiceChannel,
    senders: Senders,
    /// With the secrets by which callers are known.
    callbacks: Option<(CallbackServer, Credentials)>,
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
    /// The address for callbacks can't be taken.
    #[error("callbacks can't be listened for")]
    Callbacks(#[source] std::io::Error),
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
        let tls = Tls::load(config.tls.as_ref())?;
        let ticketing = tls.connect_lazy(&config.ticketing, Actor::service("notification"))?;
        let variables = std::env::vars_os().filter_map(|(variable, value)| {
            Some((variable.into_string().ok()?, value.into_string().ok()?))
        });
        let credentials = Credentials::new(&config.credentials, variables);
        let roots = Roots::read(&config.trust)?;
        let senders = Senders::new(&config, &credentials, &roots)?;
        let callbacks = CallbackServer::bind(&config.callbacks)
            .await
            .map_err(AppError::Callbacks)?
            .map(|server| (server, credentials));
        let pools = schema::open(&config.database).await?;
        Ok(Self {
            config,
            listeners,
            address,
            pools,
            tls,
            ticketing,
            senders,
            callbacks,
        })
    }

    /// Brings the schema of the configured database up to date.
    pub async fn migrate(config: Config) -> Result<(), AppError> {
        Ok(schema::migrate(&config.database).await?)
    }

    /// The address at which gRPC will be served.
    pub fn grpc_address(&self) -> SocketAddr {
        self.address
    }

    /// The address at which providers will be able to call back, if they are.
    pub fn callbacks_address(&self) -> Option<SocketAddr> {
        self.callbacks.as_ref().map(|(server, _)| server.address())
    }

    /// Serves and sends until `shutdown` is cancelled, then ends within the grace time of the configuration.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), AppError> {
        let Self {
            config,
            listeners,
            address,
            pools,
            tls,
            ticketing,
            senders,
            callbacks,
        } = self;
        let pool = pools.background.clone();
        let mut metrics = Metrics::new("notification");
        let ours = NotificationMetrics::register(&mut metrics);
        let wakers = Wakers::default();
        let event_metrics = EventMetrics::register(&mut metrics);
        let event_wakers = EventWakers::default();
        let supervisor = Supervisor::new("notification", &shutdown);
        tls.supervise(&supervisor);
        let rounds = pools.register(&mut metrics);
        let calls = Calls {
            requests: pools.requests.clone(),
            accepting: Accepting::new(pool.clone(), &config, wakers.clone(), ours.clone()),
            wakers: wakers.clone(),
            event_wakers: event_wakers.clone(),
            metrics: ours.clone(),
        };
        let server = calls.server(&config, &tls, &senders, metrics);

        start_event_tasks(
            &supervisor,
            &config,
            &pool,
            &ticketing,
            senders.webhook(),
            &event_wakers,
            &event_metrics,
        );
        let sender = Sender::new(pool.clone(), &config, senders, wakers.clone(), ours.clone());
        start_tasks(
            &supervisor,
            &config,
            &pool,
            &ticketing,
            sender,
            &wakers,
            &ours,
        );
        start_eraser(&supervisor, &config, &pool, &ticketing, &wakers, &ours);
        start_housekeeping(&supervisor, &config, &pool, &ours, &event_metrics, rounds);

        start_inbound(
            &supervisor,
            &config,
            &pools,
            &ticketing,
            callbacks,
            &wakers,
            &ours,
        );

        tracing::info!(%address, "serving");
        let outcome = server.run(listeners, supervisor.shutdown_token()).await;
        // Ends the tasks as well when the server could not go on.
        let ended = supervisor
            .shut_down(Duration::from_millis(config.server.shutdown_grace_ms))
            .await;
        // A statement that hangs must not hold the process.
        let _ = timeout(CLOSE_BOUND, pools.close()).await;
        outcome?;
        Ok(ended?)
    }
}

/// What answers requests.
struct Calls {
    requests: TenantPool,
    accepting: Accepting,
    wakers: Wakers,
    event_wakers: EventWakers,
    metrics: NotificationMetrics,
}

impl Calls {
    fn server(self, config: &Config, tls: &Tls, senders: &Senders, metrics: Metrics) -> Server {
        let rules = AccountRules {
            addresses: senders.policy(),
            allow_smtp_without_tls: config.email.allow_without_tls,
        };
        let accounts = ChannelAccountServiceServer::new(ChannelAccounts {
            requests: self.requests.clone(),
            rules,
            wakers: self.wakers.clone(),
        });
        let subscriptions = WebhookSubscriptionServiceServer::new(WebhookSubscriptions {
            requests: self.requests.clone(),
            webhook: senders.webhook().clone(),
            max_waiting: config.subscriptions.max_waiting,
            wakers: self.event_wakers,
        });
        let notifications = NotificationServiceServer::new(Notifications {
            requests: self.requests,
            accepting: self.accepting,
            wakers: self.wakers,
            metrics: self.metrics,
        });
        Server::new(&config.server, metrics, FILE_DESCRIPTOR_SET, PERMISSIONS)
            .access(&config.access)
            .with_tls(tls)
            .add_service(limit_messages!(notifications, config.server))
            .add_service(limit_messages!(accounts, config.server))
            .add_service(limit_messages!(subscriptions, config.server))
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
}

fn start_eraser(
    supervisor: &Supervisor,
    config: &Config,
    pool: &PgPool,
    ticketing: &ServiceChannel,
    wakers: &Wakers,
    metrics: &NotificationMetrics,
) {
    let eraser = Eraser {
        pool: pool.clone(),
        client: limit_messages!(
            ErasureServiceClient::new(ticketing.clone()),
            config.ticketing
        ),
        request_timeout: config.ticketing.request_timeout(),
        config: config.reporter.clone(),
        wakers: wakers.clone(),
        metrics: metrics.clone(),
    };
    supervisor.spawn("eraser", OnEnd::Restart, move |shutdown| {
        let eraser = eraser.clone();
        async move {
            eraser.run(shutdown).await;
            Ok(())
        }
    });
}

fn start_housekeeping(
    supervisor: &Supervisor,
    config: &Config,
    pool: &PgPool,
    metrics: &NotificationMetrics,
    event_metrics: &EventMetrics,
    rounds: HousekeepingMetrics,
) {
    let (queue, gauges, events) = (pool.clone(), metrics.clone(), event_metrics.clone());
    supervisor.spawn("measure", OnEnd::Restart, move |shutdown| {
        let measuring =
            housekeeping::measure(queue.clone(), gauges.clone(), events.clone(), shutdown);
        async move {
            measuring.await;
            Ok(())
        }
    });
    let (old_rows, purge) = (pool.clone(), config.purge.clone());
    let old_events = config.subscriptions.clone();
    supervisor.spawn("purge", OnEnd::Restart, move |shutdown| {
        let purging = housekeeping::purge(
            old_rows.clone(),
            purge.clone(),
            old_events.clone(),
            rounds.clone(),
            shutdown,
        );
        async move {
            purging.await;
            Ok(())
        }
    });
}

/// Starts what takes callbacks, if it is wanted, and what hands over what customers wrote.
fn start_inbound(
    supervisor: &Supervisor,
    config: &Config,
    pools: &Pools,
    ticketing: &ServiceChannel,
    callbacks: Option<(CallbackServer, Credentials)>,
    wakers: &Wakers,
    metrics: &NotificationMetrics,
) {
    let waker = Arc::new(Notify::new());
    let delivery = InboundDelivery {
        pool: pools.background.clone(),
        client: limit_messages!(
            InboundServiceClient::new(ticketing.clone()),
            config.ticketing
        ),
        request_timeout: config.ticketing.request_timeout(),
        config: config.inbound.clone(),
        waker: Arc::clone(&waker),
        metrics: metrics.callbacks.clone(),
    };
    supervisor.spawn("inbound", OnEnd::Restart, move |shutdown| {
        let delivery = delivery.clone();
        async move {
            delivery.run(shutdown).await;
            Ok(())
        }
    });
    let Some((server, credentials)) = callbacks else {
        return;
    };
    let taking = Taking {
        requests: pools.requests.clone(),
        wakers: wakers.clone(),
        inbound: waker,
        metrics: metrics.callbacks.clone(),
    };
    let config = config.callbacks.clone();
    supervisor.spawn("callbacks", OnEnd::Restart, move |shutdown| {
        let serving = server.clone().run(
            config.clone(),
            credentials.clone(),
            taking.clone(),
            shutdown,
        );
        async move {
            serving.await;
            Ok(())
        }
    });
}

/// What serves the webhook subscriptions.
fn start_event_tasks(
    supervisor: &Supervisor,
    config: &Config,
    pool: &PgPool,
    ticketing: &ServiceChannel,
    webhook: &WebhookSender,
    wakers: &EventWakers,
    metrics: &EventMetrics,
) {
    let client = limit_messages!(
        FeedServiceClient::new(ticketing.for_streams()),
        config.ticketing
    );
    let live = LiveFeed {
        pool: pool.clone(),
        client: client.clone(),
        config: config.feed.clone(),
        max_waiting: config.subscriptions.max_waiting,
        wakers: wakers.clone(),
        metrics: metrics.clone(),
    };
    let replays = Replays {
        pool: pool.clone(),
        client,
        poll: Duration::from_millis(config.subscriptions.poll_ms),
        max_waiting: config.subscriptions.max_waiting,
        wakers: wakers.clone(),
        metrics: metrics.clone(),
    };
    let sender = EventSender::new(
        pool.clone(),
        config,
        webhook.clone(),
        wakers.clone(),
        metrics.clone(),
    );
    supervisor.spawn("event feed", OnEnd::Restart, move |shutdown| {
        let live = live.clone();
        async move {
            live.run(shutdown).await;
            Ok(())
        }
    });
    supervisor.spawn("event replays", OnEnd::Restart, move |shutdown| {
        let replays = replays.clone();
        async move {
            replays.run(shutdown).await;
            Ok(())
        }
    });
    supervisor.spawn("event sender", OnEnd::Restart, move |shutdown| {
        let sender = sender.clone();
        async move {
            sender.run(shutdown).await;
            Ok(())
        }
    });
}
