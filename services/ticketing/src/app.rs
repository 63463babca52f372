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
    let app = App::bind(config).await?;
    Box::pin(app.run(shutdown)).await
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
        let wiring = Parts::new(&config, &requests, &background, &mut metrics);
        let supervisor = Supervisor::new(Config::NAME, &shutdown);
        tls.supervise(&supervisor);
        wiring.start_arming(&supervisor, &config, &tls)?;
        wiring.start_tasks(&supervisor, &config);
        let server = wiring.server(&config, &tls, metrics);

        let outcome = server.run(listeners, supervisor.shutdown_token()).await;
        // Ends the tasks as well when the server could not go on.
        let ended = supervisor.shut_down(END_TASKS_WITHIN).await;
        // A statement that hangs must not hold the process.
        let _ = timeout(END_TASKS_WITHIN, requests.close()).await;
        let _ = timeout(END_TASKS_WITHIN, background.close()).await;
        outcome?;
        Ok(ended?)
    }
}

/// What does the work, of requests and in the background.
struct Parts {
    changes: Changes,
    policies: Arc<PolicyCache>,
    hub: Hub,
    applying: Applying,
    eraser: Eraser,
    firing: Firing,
    feed_metrics: FeedMetrics,
    relay_metrics: RelayMetrics,
    housekeeping: HousekeepingMetrics,
}

impl Parts {
    fn new(
        config: &Config,
        requests: &TenantPool,
        background: &PgPool,
        metrics: &mut Metrics,
    ) -> Self {
        let pools = [
            ("requests", requests.into()),
            ("background", background.into()),
        ];
        let housekeeping = plazo_database::register_metrics(metrics, pools);
        let registry = metrics.service_registry();
        let feed_metrics = FeedMetrics::register(registry);
        let changes = Changes::new(requests.clone(), background.clone());
        let policies = Arc::new(PolicyCache::new());
        Self {
            hub: Hub::new(
                changes.clone(),
                Arc::clone(&policies),
                &config.watch,
                feed_metrics.clone(),
            ),
            applying: Applying::new(
                changes.clone(),
                Arc::clone(&policies),
                ApplyingMetrics::register(registry),
            ),
            eraser: Eraser::new(changes.clone(), ErasingMetrics::register(registry)),
            firing: Firing::new(
                changes.clone(),
                Arc::clone(&policies),
                FiringMetrics::register(registry),
            ),
            relay_metrics: RelayMetrics::register(registry),
            changes,
            policies,
            feed_metrics,
            housekeeping,
        }
    }

    /// Starts what tells the timer of deadlines.
    fn start_arming(
        &self,
        supervisor: &Supervisor,
        config: &Config,
        tls: &Tls,
    ) -> Result<(), ConfigError> {
        let channel = tls.connect_lazy(&config.timer, Actor::service(Config::NAME))?;
        let timer = limit_messages!(TimerServiceClient::new(channel), config.timer);
        let relay = Relay::new(
            self.changes.clone(),
            timer.clone(),
            config.relay.clone(),
            self.relay_metrics.clone(),
        );
        supervisor.spawn("relay", OnEnd::Restart, move |stop| relay.clone().run(stop));
        let sweep = Sweep::new(
            self.changes.clone(),
            timer,
            config.sweep.clone(),
            self.relay_metrics.clone(),
        );
        supervisor.spawn("sweep", OnEnd::Restart, move |stop| sweep.clone().run(stop));
        Ok(())
    }

    /// Starts all else that runs in the background.
    fn start_tasks(&self, supervisor: &Supervisor, config: &Config) {
        let hub = self.hub.clone();
        supervisor.spawn("hub", OnEnd::Restart, move |stop| hub.clone().run(stop));
        let (pool, feed_lag) = (self.changes.pool().clone(), self.feed_metrics.lag.clone());
        supervisor.spawn("feed lag", OnEnd::Restart, move |stop| {
            lag::run(pool.clone(), feed_lag.clone(), stop)
        });
        let pool = self.changes.pool().clone();
        let (feed, requests) = (config.feed.clone(), config.requests.clone());
        let rounds = self.housekeeping.clone();
        supervisor.spawn("maintenance", OnEnd::Restart, move |stop| {
            maintenance::run(
                pool.clone(),
                feed.clone(),
                requests.clone(),
                rounds.clone(),
                stop,
            )
        });
        let applying = self.applying.clone();
        supervisor.spawn("applying", OnEnd::Restart, move |stop| {
            applying.clone().run(stop)
        });
        let eraser = self.eraser.clone();
        supervisor.spawn("eraser", OnEnd::Restart, move |stop| {
            eraser.clone().run(stop)
        });
    }

    /// What answers requests.
    fn server(self, config: &Config, tls: &Tls, metrics: Metrics) -> Server {
        let (changes, policies) = (self.changes, self.policies);
        let settings = SettingsService::new(changes.clone(), self.applying);
        let tickets = TicketService::new(changes.clone(), Arc::clone(&policies), self.hub);
        let contacts = ContactService::new(changes.clone());
        let erasures = ErasureService::new(changes.clone(), self.eraser);
        let handler = HandlerService::new(changes.clone(), self.firing);
        let feed = FeedService::new(changes.clone(), self.feed_metrics);
        let snapshots = SnapshotService::new(changes.clone(), &config.snapshot);
        let outreach = OutreachService::new(changes.clone(), Arc::clone(&policies));
        let inbound = InboundService::new(changes.clone(), Arc::clone(&policies));
        let states = MessageStateService::new(changes, policies);
        let settings = SettingsServiceServer::new(settings);
        let handler = TicketHandlerServiceServer::new(handler);
        let snapshots = SnapshotServiceServer::new(snapshots);
        let states = MessageStateServiceServer::new(states);
        let outreach = OutreachServiceServer::new(outreach);
        let limits = &config.server;
        Server::new(&config.server, metrics, FILE_DESCRIPTOR_SET, PERMISSIONS)
            .access(&config.access)
            .with_tls(tls)
            .add_service(limit_messages!(settings, limits))
            .add_service(limit_messages!(ContactServiceServer::new(contacts), limits))
            .add_service(limit_messages!(ErasureServiceServer::new(erasures), limits))
            .add_service(limit_messages!(TicketServiceServer::new(tickets), limits))
            .add_service(limit_messages!(handler, limits))
            .add_service(limit_messages!(FeedServiceServer::new(feed), limits))
            .add_service(limit_messages!(snapshots, limits))
            .add_service(limit_messages!(states, limits))
            .add_service(limit_messages!(InboundServiceServer::new(inbound), limits))
            .add_service(limit_messages!(outreach, limits))
    }
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
