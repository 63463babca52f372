//! Wiring: what the service consists of, and how it runs.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use plazo_proto::FILE_DESCRIPTOR_SET;
use plazo_proto::history::v1::history_service_server::HistoryServiceServer;
use plazo_proto::history::v1::history_settings_service_server::HistorySettingsServiceServer;
use plazo_proto::history::v1::outreach_service_server::OutreachServiceServer;
use plazo_proto::history::v1::projection_service_server::ProjectionServiceServer;
use plazo_proto::history::v1::report_service_server::ReportServiceServer;
use plazo_proto::ticketing::v1::erasure_service_client::ErasureServiceClient;
use plazo_proto::ticketing::v1::feed_service_client::FeedServiceClient;
use plazo_proto::ticketing::v1::outreach_service_client::OutreachServiceClient;
use plazo_proto::ticketing::v1::snapshot_service_client::SnapshotServiceClient;
use plazo_service::{
    Actor, Listeners, Metrics, OnEnd, Retry, Server, ServiceChannel, ServiceConfig as _,
    Supervisor, Tls, limit_messages,
};
use sqlx::PgPool;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic_health::server::HealthReporter;

use crate::config::Config;
use crate::erasures::ErasureReports;
use crate::error::AppError;
use crate::grpc::{History, HistorySettings, Operation, Outreach, PERMISSIONS, Reports};
use crate::metrics::{ProjectionMetrics, RebuildMetrics, RetentionMetrics};
use crate::projection::{Projection, Source};
use crate::rebuild::Rebuild;
use crate::reports::ReportBudget;
use crate::retention::Retention;
use crate::store::{
    MIGRATOR, Pools, ProjectionStore, ReadStore, RebuildStore, ReportStore, logins,
};

/// How long a batch that is being applied may go on after shutdown has begun.
const TASKS_BOUND: Duration = Duration::from_secs(5);

/// The history service, ready to run.
pub struct App {
    config: Config,
    listeners: Listeners,
    tls: Tls,
    pools: Pools,
}

impl App {
    /// Prepares the service on sockets that are bound already: brings the database's schema up to date if the
    /// configuration says so, and otherwise refuses one that is not this program's. Ticketing need not be there yet.
    pub async fn build(config: Config, listeners: Listeners) -> Result<Self, AppError> {
        let tls = Tls::load(config.tls.as_ref())?;
        let pools = Pools::new(&config.database)?;
        logins(&config.database)
            .prepare(&MIGRATOR, config.database.migrate)
            .await?;
        Ok(Self {
            config,
            listeners,
            tls,
            pools,
        })
    }

    /// Brings the schema of the configured database up to date.
    pub async fn migrate(config: Config) -> Result<(), AppError> {
        Ok(logins(&config.database).migrate(&MIGRATOR).await?)
    }

    /// The address at which gRPC is served.
    pub fn grpc_address(&self) -> std::io::Result<SocketAddr> {
        self.listeners.grpc_address()
    }

    /// Serves requests and follows the feed until `shutdown` is cancelled, then ends within the grace time of the
    /// configuration.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), AppError> {
        let Self {
            config,
            listeners,
            tls,
            pools,
        } = self;
        let mut metrics = Metrics::new(Config::NAME);
        let channel = tls.connect_lazy(&config.ticketing, Actor::service(Config::NAME))?;
        let tasks = Tasks::new(&config, &pools, &channel, &mut metrics);
        let server = server(&config, &tls, &pools, channel, metrics);
        let supervisor = Supervisor::new(Config::NAME, &shutdown);
        tls.supervise(&supervisor);
        tasks.start(&supervisor, server.health());

        let outcome = server.run(listeners, supervisor.shutdown_token()).await;
        // Ends the projection too when the server could not go on.
        let ended = supervisor.shut_down(TASKS_BOUND).await;
        // A statement that hangs must not hold the process.
        let _ = timeout(TASKS_BOUND, pools.close()).await;
        outcome?;
        Ok(ended?)
    }
}

/// What requests are answered by.
fn server(
    config: &Config,
    tls: &Tls,
    pools: &Pools,
    channel: ServiceChannel,
    metrics: Metrics,
) -> Server {
    let reading = ReadStore::new(pools.read.clone(), config.sight);
    let history = HistoryServiceServer::new(History::new(reading.clone()));
    let settings = HistorySettings::new(pools.read.clone(), config.sight);
    let settings = HistorySettingsServiceServer::new(settings);
    let outreach = OutreachServiceServer::new(Outreach::new(
        reading,
        limit_messages!(OutreachServiceClient::new(channel), config.ticketing),
        Retry::new(&config.ticketing),
    ));
    let reports = ReportServiceServer::new(Reports::new(
        ReportStore::new(pools.reports.clone()),
        ReportBudget::new(config.reports.max_conversations),
    ));
    let rebuilds = RebuildStore::new(pools.projection.clone(), pools.building.clone());
    let operation = ProjectionServiceServer::new(Operation::new(rebuilds));
    Server::new(&config.server, metrics, FILE_DESCRIPTOR_SET, PERMISSIONS)
        .access(&config.access)
        .with_tls(tls)
        .add_service(limit_messages!(history, config.server))
        .add_service(limit_messages!(settings, config.server))
        .add_service(limit_messages!(outreach, config.server))
        .add_service(limit_messages!(reports, config.server))
        .add_service(limit_messages!(operation, config.server))
}

/// What goes on in the background.
struct Tasks {
    source: Source,
    rebuild: Rebuild,
    retention: Retention,
    reports: ErasureReports,
    pool: PgPool,
}

impl Tasks {
    fn new(
        config: &Config,
        pools: &Pools,
        channel: &ServiceChannel,
        metrics: &mut Metrics,
    ) -> Self {
        let rounds = pools.register(metrics);
        let registry = metrics.service_registry();
        let streams = channel.for_streams();
        let source = Source {
            store: ProjectionStore::new(pools.projection.clone()),
            feed: limit_messages!(FeedServiceClient::new(streams.clone()), config.ticketing),
            snapshots: limit_messages!(SnapshotServiceClient::new(streams), config.ticketing),
            open_timeout: config.ticketing.request_timeout(),
            config: config.feed.clone(),
            metrics: ProjectionMetrics::register(registry),
        };
        let store = RebuildStore::new(pools.projection.clone(), pools.building.clone());
        let retention = Retention {
            config: config.retention.clone(),
            requests: config.requests,
            metrics: RetentionMetrics::register(registry),
            rounds,
        };
        let rebuild = Rebuild {
            store: store.clone(),
            source: source.clone(),
            retention: retention.clone(),
            metrics: RebuildMetrics::register(registry),
        };
        let client = ErasureServiceClient::new(channel.clone());
        let reports = ErasureReports {
            store,
            ticketing: limit_messages!(client, config.ticketing),
            metrics: retention.metrics.clone(),
        };
        Self {
            source,
            rebuild,
            retention,
            reports,
            pool: pools.projection.clone(),
        }
    }

    fn start(self, supervisor: &Supervisor, health: HealthReporter) {
        let (retention, pool) = (self.retention, self.pool);
        let (store, rebuilds) = (self.source.store.clone(), self.rebuild.store.clone());
        let projection = Arc::new(Projection {
            source: self.source,
            rebuilds: rebuilds.clone(),
            health,
        });
        supervisor.spawn("projection", OnEnd::Restart, move |shutdown| {
            let projection = Arc::clone(&projection);
            async move { projection.run(shutdown).await }
        });
        let rebuild = Arc::new(self.rebuild);
        supervisor.spawn("rebuild", OnEnd::Restart, move |shutdown| {
            let rebuild = Arc::clone(&rebuild);
            async move { rebuild.run(shutdown).await }
        });
        supervisor.spawn("retention", OnEnd::Restart, move |shutdown| {
            let (retention, store) = (retention.clone(), store.clone());
            let (rebuilds, pool) = (rebuilds.clone(), pool.clone());
            async move { retention.run(&store, &rebuilds, &pool, shutdown).await }
        });
        let reports = Arc::new(self.reports);
        supervisor.spawn("erasure-reports", OnEnd::Restart, move |shutdown| {
            let reports = Arc::clone(&reports);
            async move { reports.run(shutdown).await }
        });
    }
}
