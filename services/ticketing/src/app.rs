//! Wiring: `build` builds, `run` runs.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use plazo_database::{HousekeepingMetrics, Logins, SchemaError, TenantPool};
use plazo_proto::FILE_DESCRIPTOR_SET;
use plazo_proto::ticketing::v1::contact_service_server::ContactServiceServer;
use plazo_proto::ticketing::v1::erasure_service_server::ErasureServiceServer;
use plazo_proto::ticketing::v1::feed_service_server::FeedServiceServer;
use plazo_proto::ticketing::v1::inbound_service_server::InboundServiceServer;
use plazo_proto::ticketing::v1::message_state_service_server::MessageStateServiceServer;
use plazo_proto::ticketing::v1::outreach_service_server::OutreachServiceServer;
use plazo_proto::ticketing::v1::settings_service_server::SettingsServiceServer;
use plazo_proto::ticketing::v1::snapshot_service_server::SnapshotServiceServer;
use plazo_proto::ticketing::v1::ticket_service_server::TicketServiceServer;
use plazo_proto::timer::v1::ticket_handler_service_server::TicketHandlerServiceServer;
use plazo_proto::timer::v1::timer_service_client::TimerServiceClient;
use plazo_service::{
    Actor, ConfigError, Listeners, Metrics, OnEnd, Server, ServiceConfig as _, Supervisor, Tls,
    limit_messages,
};
use sqlx::PgPool;
use sqlx::migrate::Migrator;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::applying::Applying;
use crate::changes::Changes;
use crate::config::{Config, DatabaseConfig};
use crate::erasing::worker::Eraser;
use crate::feed::hub::Hub;
use crate::feed::lag;
use crate::firing::Firing;
use crate::grpc::permissions::PERMISSIONS;
use crate::grpc::{
    ContactService, ErasureService, FeedService, HandlerService, InboundService,
    MessageStateService, OutreachService, SettingsService, SnapshotService, TicketService,
};
use crate::maintenance;
use crate::metrics::{ApplyingMetrics, ErasingMetrics, FeedMetrics, FiringMetrics, RelayMetrics};
use crate::relay::Relay;
use crate::store::settings::PolicyCache;
use crate::sweep::Sweep;

static MIGRATOR: Migrator = sqlx::migrate!();

const END_TASKS_WITHIN: Duration = Duration::from_secs(5);

/// The service, bound to its addresses and connected to its database, but not serving yet.
#[derive(Debug)]
pub struct App {
    config: Config,
    listeners: Listeners,
    tls: Tls,
    requests: TenantPool,
    background: PgPool,
}

/// Runs the service with a configuration until `shutdown`.
pub async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    App::bind(config).await?.run(shutdown).await
}

/// Brings the schema of the configured database up to date.
pub async fn migrate(config: Config) -> Result<(), SchemaError> {
    logins(&config.database).migrate(&MIGRATOR).await
}

impl App {
    /// Takes the addresses of the configuration, and builds.
    pub async fn bind(config: Config) -> anyhow::Result<Self> {
        let listeners = Listeners::bind(&config.server).await?;
        Self::build(config, listeners).await
    }

    /// Connects to the database, and brings its schema up to date or refuses an unknown one.
    pub async fn build(config: Config, listeners: Listeners) -> anyhow::Result<Self> {
        let tls = Tls::load(config.tls.as_ref())?;
        let logins = logins(&config.database);
        logins.prepare(&MIGRATOR, config.database.migrate).await?;
        let (requests, background) = connect(&config.database, logins).await?;
        Ok(Self {
            config,
            listeners,
            tls,
            requests,
            background,
        })
    }

    /// Where gRPC is served.
    pub fn grpc_address(&self) -> std::io::Result<SocketAddr> {
        self.listeners.grpc_address()
    }

    /// Serves until `shutdown`.
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let Self {
            config,
            listeners,
            tls,
            requests,
            background,
        } = self;
        let mut metrics = Metrics::new(Config::NAME);
        let firing_metrics = FiringMetrics::register(metrics.service_registry());
        let relay_metrics = RelayMetrics::register(metrics.service_registry());
        let feed_metrics = FeedMetrics::register(metrics.service_registry());
        let applying_metrics = ApplyingMetrics::register(metrics.service_registry());
        let erasing_metrics = ErasingMetrics::register(metrics.service_registry());
        let housekeeping = plazo_database::register_metrics(
            &mut metrics,
            [
                ("requests", (&requests).into()),
                ("background", (&background).into()),
            ],
        );

        let changes = Changes::new(requests.clone(), background.clone());
        let policies = Arc::new(PolicyCache::new());
        let hub = Hub::new(
            changes.clone(),
            Arc::clone(&policies),
            &config.watch,
            feed_metrics.clone(),
        );
        let supervisor = Supervisor::new(Config::NAME, &shutdown);
        tls.supervise(&supervisor);
        start_arming(&supervisor, &config, &tls, &changes, &relay_metrics)?;
        start_tasks(
            &supervisor,
            &config,
            &changes,
            &hub,
            &feed_metrics,
            &housekeeping,
        );
        let applying = Applying::new(changes.clone(), Arc::clone(&policies), applying_metrics);
        let worker = applying.clone();
        supervisor.spawn("applying", OnEnd::Restart, move |stop| {
            worker.clone().run(stop)
        });

        let eraser = Eraser::new(changes.clone(), erasing_metrics);
        let worker = eraser.clone();
        supervisor.spawn("eraser", OnEnd::Restart, move |stop| {
            worker.clone().run(stop)
        });

        let firing = Firing::new(changes.clone(), Arc::clone(&policies), firing_metrics);
        let settings = SettingsService::new(changes.clone(), applying);
        let tickets = TicketService::new(changes.clone(), Arc::clone(&policies), hub);
        let contacts = ContactService::new(changes.clone());
        let erasures = ErasureService::new(changes.clone(), eraser);
        let handler = HandlerService::new(changes.clone(), firing);
        let feed = FeedService::new(changes.clone(), feed_metrics);
        let snapshots = SnapshotService::new(changes.clone(), &config.snapshot);
        let outreach = OutreachService::new(changes.clone(), Arc::clone(&policies));
        let inbound = InboundService::new(changes.clone(), Arc::clone(&policies));
        let states = MessageStateService::new(changes, policies);
        let limits = &config.server;
        let served = Server::new(&config.server, metrics, FILE_DESCRIPTOR_SET, PERMISSIONS)
            .access(&config.access)
            .with_tls(&tls)
            .add_service(limit_messages!(
                SettingsServiceServer::new(settings),
                limits
            ))
            .add_service(limit_messages!(ContactServiceServer::new(contacts), limits))
            .add_service(limit_messages!(ErasureServiceServer::new(erasures), limits))
            .add_service(limit_messages!(TicketServiceServer::new(tickets), limits))
            .add_service(limit_messages!(
                TicketHandlerServiceServer::new(handler),
                limits
            ))
            .add_service(limit_messages!(FeedServiceServer::new(feed), limits))
            .add_service(limit_messages!(
                SnapshotServiceServer::new(snapshots),
                limits
            ))
            .add_service(limit_messages!(
                MessageStateServiceServer::new(states),
                limits
            ))
            .add_service(limit_messages!(InboundServiceServer::new(inbound), limits))
            .add_service(limit_messages!(
                OutreachServiceServer::new(outreach),
                limits
            ))
            .run(listeners, supervisor.shutdown_token())
            .await;
        // Ends the tasks as well when the server could not go on.
        let ended = supervisor.shut_down(END_TASKS_WITHIN).await;
        // A statement that hangs must not hold the process.
        let _ = timeout(END_TASKS_WITHIN, requests.close()).await;
        let _ = timeout(END_TASKS_WITHIN, background.close()).await;
        served?;
        Ok(ended?)
    }
}

/// What tells the timer of deadlines.
fn start_arming(
    supervisor: &Supervisor,
    config: &Config,
    tls: &Tls,
    changes: &Changes,
    relay_metrics: &RelayMetrics,
) -> Result<(), ConfigError> {
    let channel = tls.connect_lazy(&config.timer, Actor::service(Config::NAME))?;
    let timer = limit_messages!(TimerServiceClient::new(channel), config.timer);
    let relay = Relay::new(
        changes.clone(),
        timer.clone(),
        config.relay.clone(),
        relay_metrics.clone(),
    );
    supervisor.spawn("relay", OnEnd::Restart, move |stop| relay.clone().run(stop));
    let sweep = Sweep::new(
        changes.clone(),
        timer,
        config.sweep.clone(),
        relay_metrics.clone(),
    );
    supervisor.spawn("sweep", OnEnd::Restart, move |stop| sweep.clone().run(stop));
    Ok(())
}

fn start_tasks(
    supervisor: &Supervisor,
    config: &Config,
    changes: &Changes,
    hub: &Hub,
    feed_metrics: &FeedMetrics,
    housekeeping: &HousekeepingMetrics,
) {
    let hub = hub.clone();
    supervisor.spawn("hub", OnEnd::Restart, move |stop| hub.clone().run(stop));
    let (pool, feed_lag) = (changes.pool().clone(), feed_metrics.lag.clone());
    supervisor.spawn("feed lag", OnEnd::Restart, move |stop| {
        lag::run(pool.clone(), feed_lag.clone(), stop)
    });
    let pool = changes.pool().clone();
    let (feed, requests) = (config.feed.clone(), config.requests.clone());
    let rounds = housekeeping.clone();
    supervisor.spawn("maintenance", OnEnd::Restart, move |stop| {
        maintenance::run(
            pool.clone(),
            feed.clone(),
            requests.clone(),
            rounds.clone(),
            stop,
        )
    });
}

fn logins(config: &DatabaseConfig) -> Logins<'_> {
    Logins {
        service: Config::NAME,
        url: &config.url,
        request_url: config.request_url.as_deref(),
        migration_url: config.migration_url.as_deref(),
    }
}

/// The pool of requests, and that of all else.
async fn connect(
    config: &DatabaseConfig,
    logins: Logins<'_>,
) -> anyhow::Result<(TenantPool, PgPool)> {
    let timeout_ms = config.statement_timeout_ms;
    let pool = |connections| plazo_database::pool_options(connections, config.acquire_timeout_ms);
    let background = pool(config.background_connections)
        .connect_with(logins.background_options(timeout_ms)?)
        .await?;
    let options = logins.request_options(timeout_ms)?;
    let requests = pool(config.max_connections);
    let requests = TenantPool::connect(requests, options, config.max_waiting).await?;
    Ok((requests, background))
}
