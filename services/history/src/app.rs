//! Wiring: what the service consists of, and how it runs.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use plazo_proto::FILE_DESCRIPTOR_SET;
use plazo_proto::history::v1::history_service_server::HistoryServiceServer;
use plazo_proto::history::v1::outreach_service_server::OutreachServiceServer;
use plazo_proto::ticketing::v1::feed_service_client::FeedServiceClient;
use plazo_proto::ticketing::v1::outreach_service_client::OutreachServiceClient;
use plazo_service::{
    Actor, Listeners, Metrics, OnEnd, Retry, Server, ServiceConfig as _, Supervisor, connect_lazy,
    limit_messages,
};
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::error::AppError;
use crate::grpc::{History, Outreach, PERMISSIONS};
use crate::metrics::ProjectionMetrics;
use crate::projection::Projection;
use crate::store::{MIGRATOR, Pools, ProjectionStore, ReadStore};

/// How long a batch that is being applied may go on after shutdown has begun.
const TASKS_BOUND: Duration = Duration::from_secs(5);

/// The history service, ready to run.
pub struct App {
    config: Config,
    listeners: Listeners,
    pools: Pools,
}

impl App {
    /// Prepares the service on sockets that are bound already: brings the database's schema up to date if the
    /// configuration says so, and otherwise refuses one that is not this program's. Ticketing need not be there yet.
    pub async fn build(config: Config, listeners: Listeners) -> Result<Self, AppError> {
        let pools = Pools::new(&config.database)?;
        plazo_database::prepare_schema(&pools.projection, &MIGRATOR, config.database.migrate)
            .await?;
        Ok(Self {
            config,
            listeners,
            pools,
        })
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
            pools,
        } = self;
        let mut metrics = Metrics::new(Config::NAME);
        let projection_metrics = ProjectionMetrics::register(metrics.service_registry());
        let history = HistoryServiceServer::new(History::new(ReadStore::new(pools.read.clone())));
        let channel = connect_lazy(&config.ticketing, Actor::service(Config::NAME))?;
        let outreach = OutreachServiceServer::new(Outreach::new(
            ReadStore::new(pools.read.clone()),
            limit_messages!(
                OutreachServiceClient::new(channel.clone()),
                config.ticketing
            ),
            Retry::new(&config.ticketing),
        ));
        let server = Server::new(&config.server, metrics, FILE_DESCRIPTOR_SET, PERMISSIONS)
            .add_service(limit_messages!(history, config.server))
            .add_service(limit_messages!(outreach, config.server));

        let channel = channel.for_streams();
        let projection = Arc::new(Projection {
            store: ProjectionStore::new(pools.projection.clone()),
            feed: limit_messages!(FeedServiceClient::new(channel), config.ticketing),
            open_timeout: config.ticketing.request_timeout(),
            config: config.feed,
            metrics: projection_metrics,
            health: server.health(),
        });
        let supervisor = Supervisor::new(Config::NAME, &shutdown);
        supervisor.spawn("projection", OnEnd::Restart, move |shutdown| {
            let projection = Arc::clone(&projection);
            async move { projection.run(shutdown).await }
        });

        let outcome = server.run(listeners, supervisor.shutdown_token()).await;
        // Ends the projection too when the server could not go on.
        let ended = supervisor.shut_down(TASKS_BOUND).await;
        pools.close().await;
        outcome?;
        Ok(ended?)
    }
}
