//! A whole cluster in this process: private servers, or given ones, and the four services on sockets of their own.
//!
//! ```no_run
//! # async fn example() -> Result<(), plazo::cluster::ClusterError> {
//! use plazo::cluster::{Cluster, ClusterOptions, Service};
//!
//! let mut cluster = Cluster::start(ClusterOptions::temporary()).await?;
//! println!("ticketing is at {}", cluster.endpoint(Service::Ticketing));
//! cluster.stop().await?;
//! # Ok(())
//! # }
//! ```

mod databases;
mod error;
mod health;
mod options;
mod servers;
mod services;
mod sockets;

use std::net::SocketAddr;
use std::time::Duration;

use plazo_local::{PostgresServer, RedisServer};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::demo::Endpoints;
pub(crate) use databases::history_url;
pub use error::ClusterError;
pub use options::{ClusterOptions, DEFAULT_PORT, METRICS_PORT_OFFSET, Service};
use servers::Servers;
use services::Ended;
use sockets::{Addresses, Sockets};

/// How long the services may take to be healthy after their start.
const HEALTHY_BOUND: Duration = Duration::from_secs(30);
/// How long the services may take to end; each has a shorter bound of its own.
const END_BOUND: Duration = Duration::from_secs(15);

/// A running cluster. Dropping it ends everything, too, but waits for nothing.
#[derive(Debug)]
pub struct Cluster {
    // Fields are dropped in this order: services before their servers.
    services: JoinSet<Ended>,
    shutdown: CancellationToken,
    addresses: Addresses,
    servers: Servers,
}

impl Cluster {
    /// Starts a cluster and waits until all of it is healthy. When a part can't be started, nothing is left running.
    pub async fn start(options: ClusterOptions) -> Result<Self, ClusterError> {
        Self::start_unless(options, &CancellationToken::new()).await
    }

    /// The same, unless `cancelled` comes first: then what has been started is ended in order, and the answer is
    /// [`ClusterError::Cancelled`].
    pub async fn start_unless(
        options: ClusterOptions,
        cancelled: &CancellationToken,
    ) -> Result<Self, ClusterError> {
        // Before anything slow: a port in use is said at once.
        let sockets = Sockets::bind(options.port).await?;
        let addresses = sockets.addresses();
        let servers = cancelled.run_until_cancelled(Servers::start(&options));
        let mut servers = servers.await.unwrap_or(Err(ClusterError::Cancelled))?;

        let mut services = JoinSet::new();
        let shutdown = CancellationToken::new();
        let start = Box::pin(async {
            let start = services::start(&options, &servers, sockets, &mut services, &shutdown);
            Box::pin(start).await?;
            wait_healthy(&addresses, &mut services).await
        });
        let started = cancelled.run_until_cancelled(start).await;
        match started.unwrap_or(Err(ClusterError::Cancelled)) {
            Ok(()) => Ok(Self {
                services,
                shutdown,
                addresses,
                servers,
            }),
            Err(error) => {
                end_services(&mut services, &shutdown).await;
                // What went wrong first is of more use.
                let _ = servers.stop().await;
                Err(error)
            }
        }
    }

    /// Where a service serves gRPC.
    pub fn address(&self, service: Service) -> SocketAddr {
        self.addresses.grpc(service)
    }

    /// Where a service serves gRPC, as in `http://127.0.0.1:5001`.
    pub fn endpoint(&self, service: Service) -> String {
        format!("http://{}", self.address(service))
    }

    /// Where a service serves `/metrics` and `/healthz` over HTTP.
    pub fn metrics_address(&self, service: Service) -> SocketAddr {
        self.addresses.metrics(service)
    }

    /// What the demo needs to know.
    pub fn endpoints(&self) -> Endpoints {
        Endpoints {
            ticketing: self.endpoint(Service::Ticketing),
            notification: self.endpoint(Service::Notification),
            history: self.endpoint(Service::History),
        }
    }

    /// The private PostgreSQL server; none when one was given. Tests stop and start it through this.
    pub fn postgres(&mut self) -> Option<&mut PostgresServer> {
        self.servers.postgres.as_mut()
    }

    /// The private Redis server; none when one was given.
    pub fn redis(&mut self) -> Option<&mut RedisServer> {
        self.servers.redis.as_mut()
    }

    /// The URL of the database of a service; none for the timer.
    pub fn database_url(&self, service: Service) -> Option<String> {
        self.servers.database_url(service)
    }

    /// The URL of the timer's Redis.
    pub fn redis_url(&self) -> String {
        self.servers.redis_url()
    }

    /// Waits until a part of the cluster ends by itself, and says which. The rest still runs.
    pub async fn ended(&mut self) -> ClusterError {
        tokio::select! {
            error = next_ended(&mut self.services) => error,
            error = self.servers.ended() => error,
        }
    }

    /// Ends the services, then Redis, then PostgreSQL, each within a bound.
    pub async fn stop(&mut self) -> Result<(), ClusterError> {
        end_services(&mut self.services, &self.shutdown).await;
        self.servers.stop().await
    }

    /// Ends everything at once, as a crash would. What was committed is there after the next start.
    pub async fn kill(&mut self) -> Result<(), ClusterError> {
        self.services.shutdown().await;
        self.servers.kill().await
    }
}

async fn wait_healthy(
    addresses: &Addresses,
    services: &mut JoinSet<Ended>,
) -> Result<(), ClusterError> {
    let all_healthy = async {
        for service in Service::ALL {
            health::wait(service, addresses.grpc(service), HEALTHY_BOUND).await?;
        }
        Ok(())
    };
    tokio::select! {
        healthy = all_healthy => healthy,
        error = next_ended(services) => Err(error),
    }
}

/// The first service that ends although nobody asked it to.
async fn next_ended(services: &mut JoinSet<Ended>) -> ClusterError {
    match services.join_next().await {
        Some(Ok((service, outcome))) => ClusterError::ServiceEnded {
            service,
            source: outcome.err(),
        },
        Some(Err(error)) => ClusterError::ServicePanicked(error),
        None => std::future::pending().await,
    }
}

async fn end_services(services: &mut JoinSet<Ended>, shutdown: &CancellationToken) {
    shutdown.cancel();
    let all = async {
        while let Some(ended) = services.join_next().await {
            if let Ok((service, Err(error))) = ended {
                tracing::warn!(%service, error = plazo_service::status::chain(&*error), "ended with an error");
            }
        }
    };
    if tokio::time::timeout(END_BOUND, all).await.is_err() {
        tracing::warn!(
            services = services.len(),
            "services did not end in time and are cut off"
        );
        services.shutdown().await;
    }
}
