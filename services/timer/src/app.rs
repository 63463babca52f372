//! The wiring of the timer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use plazo_proto::timer::v1::timer_service_server::TimerServiceServer;
use plazo_service::status::chain;
use plazo_service::{
    Listeners, Metrics, OnEnd, Server, ServiceConfig, Supervisor, Tls, limit_messages,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::arming::{ArmQueue, Armer};
use crate::checks;
use crate::claiming;
use crate::config::Config;
use crate::core::Core;
use crate::error::TimerError;
use crate::grpc::{PERMISSIONS, TimerGrpc};
use crate::guard;
use crate::metrics::TimerMetrics;
use crate::rebuild;
use crate::store::Store;

const CONNECT_PAUSE: Duration = Duration::from_millis(200);
/// After calls have had their time, dispatches get this much more to ack.
pub(crate) const TASKS_GRACE: Duration = Duration::from_secs(1);

/// A timer that is ready to run.
#[derive(Debug)]
pub struct App {
    core: Arc<Core>,
    arm_queue: ArmQueue,
    server: Server,
    tls: Tls,
    listeners: Listeners,
}

impl App {
    /// Connects to Redis, for which it waits a while, and checks that it is fit. Nothing is claimed yet. The handler and
    /// notification needn't be there.
    pub async fn build(config: Config, listeners: Listeners) -> Result<Self, TimerError> {
        config.validate()?;
        let tls = Tls::load(config.tls.as_ref())?;
        let mut metrics = Metrics::new(Config::NAME);
        let timer_metrics = TimerMetrics::register(metrics.service_registry());
        let store = connect(&config, &timer_metrics).await?;
        checks::check(&store).await?;

        let server_config = config.server.clone();
        let access = config.access.clone();
        let core = Arc::new(Core::new(config, &tls, store, timer_metrics)?);
        let (armer, arm_queue) = Armer::new();
        let service = TimerServiceServer::new(TimerGrpc::new(Arc::clone(&core), armer));
        let service = limit_messages!(service, server_config);
        let server = Server::new(
            &server_config,
            metrics,
            plazo_proto::FILE_DESCRIPTOR_SET,
            PERMISSIONS,
        )
        .access(&access)
        .with_tls(&tls)
        .add_service(service);
        Ok(Self {
            core,
            arm_queue,
            server,
            tls,
            listeners,
        })
    }

    /// The address at which gRPC is served.
    pub fn grpc_address(&self) -> std::io::Result<SocketAddr> {
        self.listeners.grpc_address()
    }

    /// Runs until `shutdown` is cancelled, or a part of it can't go on. Calls and dispatches have the grace time of
    /// the configuration to end; leases that are left then end by themselves.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), TimerError> {
        let grace = Duration::from_millis(self.core.config.server.shutdown_grace_ms);
        let supervisor = Supervisor::new(Config::NAME, &shutdown);
        self.tls.supervise(&supervisor);
        let core = Arc::clone(&self.core);
        supervisor.spawn("keeper", OnEnd::Restart, move |shutdown| {
            let core = Arc::clone(&core);
            async move {
                core.store.connection().keep(&shutdown).await;
                Ok(())
            }
        });
        let core = Arc::clone(&self.core);
        supervisor.spawn("guard", OnEnd::Restart, move |shutdown| {
            guard::run(Arc::clone(&core), shutdown)
        });
        let core = Arc::clone(&self.core);
        supervisor.spawn("rebuild", OnEnd::Restart, move |shutdown| {
            rebuild::run(Arc::clone(&core), shutdown)
        });
        let core = Arc::clone(&self.core);
        supervisor.spawn("arming", OnEnd::Restart, move |shutdown| {
            let (queue, core) = (self.arm_queue.clone(), Arc::clone(&core));
            async move {
                queue.run(core, shutdown).await;
                Ok(())
            }
        });
        let core = Arc::clone(&self.core);
        supervisor.spawn("claiming", OnEnd::Restart, move |shutdown| {
            claiming::run(Arc::clone(&core), shutdown)
        });

        let served = self
            .server
            .run(self.listeners, supervisor.shutdown_token())
            .await;
        // When the server can't go on, the rest ends too.
        let ended = supervisor.shut_down(grace + TASKS_GRACE).await;
        // Not before the dispatches have ended: whoever starts and finds nobody, not even one that is leaving as this one
        // has been since the guard ended, ends all leases.
        if let Err(error) = self.core.store.leave(&self.core.replica_id).await {
            tracing::warn!(
                error = chain(&error),
                "this replica is missed only when its heartbeat is old"
            );
        }
        served?;
        Ok(ended?)
    }
}

/// Redis may be starting at the same time.
async fn connect(config: &Config, metrics: &TimerMetrics) -> Result<Store, TimerError> {
    let give_up_at = Instant::now() + Duration::from_millis(config.redis.start_timeout_ms);
    loop {
        let error = match Store::open(config, metrics.clone()).await {
            Ok(store) => return Ok(store),
            Err(error) => error,
        };
        if Instant::now() + CONNECT_PAUSE >= give_up_at {
            return Err(TimerError::Redis(error.into()));
        }
        tokio::time::sleep(CONNECT_PAUSE).await;
    }
}
