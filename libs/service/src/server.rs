//! Serving gRPC as every Plazo service does.

mod body;
mod connection;
mod deadline;
mod methods;
mod observe;
mod unreadable;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request as HttpRequest;
use axum::middleware::from_fn_with_state;
use axum::response::IntoResponse;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_stream::StreamExt as _;
use tokio_util::sync::CancellationToken;
use tonic::server::NamedService;
use tonic::service::Routes;
use tonic::transport::server::TcpIncoming;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;
use tower::Service;
use tower::util::MapRequestLayer;

use crate::actor::{ActorRules, MethodPermissions, check_actor};
use crate::config::ServerConfig;
use crate::metrics::{self, Metrics};
use connection::Connection;
use deadline::{Arrival, DeadlineRules, limit_time};
use methods::Methods;
use observe::{Observer, observe};

/// After connections are cut, their tasks need a moment to see it.
const CUT_BOUND: Duration = Duration::from_secs(1);

/// Why a server could not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The address is taken, or not ours.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address in the configuration.
        address: SocketAddr,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// The descriptor set is no `FileDescriptorSet`.
    #[error("the file descriptor set cannot be read")]
    Descriptors(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The table of permissions and the served services do not agree: a mistake in the program.
    #[error("{path} is {problem}")]
    Permissions {
        /// The method, as in `/plazo.ticketing.v1.TicketService/OpenTicket`.
        path: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// gRPC could not be served.
    #[error("cannot serve gRPC")]
    Serve(#[source] tonic::transport::Error),
    /// Metrics could not be served.
    #[error("cannot serve metrics")]
    Metrics(#[source] std::io::Error),
}

/// The sockets of a service, bound before it runs, so that their ports are known.
#[derive(Debug)]
pub struct Listeners {
    /// For gRPC.
    pub grpc: TcpListener,
    /// For `/metrics` and `/healthz`, if they are served.
    pub metrics: Option<TcpListener>,
}

impl Listeners {
    /// Binds what the configuration names.
    pub async fn bind(config: &ServerConfig) -> Result<Self, ServerError> {
        let grpc = bind(config.listen).await?;
        let metrics = match config.metrics_listen {
            Some(address) => Some(bind(address).await?),
            None => None,
        };
        Ok(Self { grpc, metrics })
    }

    /// The address at which gRPC is served.
    pub fn grpc_address(&self) -> std::io::Result<SocketAddr> {
        self.grpc.local_addr()
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener, ServerError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| ServerError::Listen { address, source })
}

/// A gRPC server with everything that services share. Around each handler, from the outside in:
///
/// 1. the request log, metrics, the caller's trace, and panics made INTERNAL (`server/observe.rs`);
/// 2. the deadline (`server/deadline.rs`);
/// 3. the actor and its permission (`actor/layer.rs`).
///
/// Health (overall and by service) and, if configured, reflection are served as well.
#[derive(Debug)]
pub struct Server {
    config: ServerConfig,
    metrics: Arc<Metrics>,
    permissions: MethodPermissions,
    descriptors: &'static [u8],
    routes: Routes,
    services: Vec<&'static str>,
    health: HealthReporter,
}

impl Server {
    /// A server without services yet. `descriptors` is an encoded `FileDescriptorSet` that holds at
    /// least the served services; `permissions` has an entry for each of their methods.
    pub fn new(
        config: &ServerConfig,
        metrics: Metrics,
        descriptors: &'static [u8],
        permissions: MethodPermissions,
    ) -> Self {
        let (health, health_service) = tonic_health::server::health_reporter();
        Self {
            config: config.clone(),
            metrics: Arc::new(metrics),
            permissions,
            descriptors,
            routes: Routes::new(health_service),
            services: Vec::new(),
            health,
        }
    }

    /// Adds a generated service. Give it the limit on message size first, with
    /// [`limit_messages!`](crate::limit_messages).
    #[must_use]
    pub fn add_service<S>(mut self, service: S) -> Self
    where
        S: Service<http::Request<tonic::body::Body>, Error = Infallible>
            + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
        S::Response: IntoResponse,
        S::Future: Send + 'static,
    {
        self.routes = self.routes.add_service(service);
        self.services.push(S::NAME);
        self
    }

    /// Changes what the health service says of this server and its services.
    pub fn health(&self) -> HealthReporter {
        self.health.clone()
    }

    /// Serves until `shutdown` is cancelled. Then health says NOT_SERVING, no connection is accepted, the
    /// open ones are told to go away, streams end with UNAVAILABLE (reason `SHUTTING_DOWN`), and other calls
    /// have the grace time of the configuration; what is left after it is cut off.
    pub async fn run(
        self,
        listeners: Listeners,
        shutdown: CancellationToken,
    ) -> Result<(), ServerError> {
        let methods = Methods::read(&[
            self.descriptors,
            tonic_health::pb::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
        ])
        .map_err(|error| ServerError::Descriptors(error.into()))?;
        methods.check_permissions(&self.services, self.permissions)?;

        let metrics = Arc::clone(&self.metrics);
        let grpc = self.serve_grpc(listeners.grpc, Arc::new(methods), shutdown.clone());
        let Some(listener) = listeners.metrics else {
            return grpc.await;
        };
        tokio::select! {
            outcome = grpc => outcome,
            outcome = metrics::serve(listener, metrics, shutdown) => {
                outcome.map_err(ServerError::Metrics)
            }
        }
    }

    async fn serve_grpc(
        self,
        listener: TcpListener,
        methods: Arc<Methods>,
        shutdown: CancellationToken,
    ) -> Result<(), ServerError> {
        set_health(&self.health, &self.services, ServingStatus::Serving).await;
        let end_streams = CancellationToken::new();
        let stop_accepting = {
            let (shutdown, end_streams) = (shutdown.clone(), end_streams.clone());
            let (health, services) = (self.health.clone(), self.services.clone());
            async move {
                shutdown.cancelled().await;
                // Before streams end, so that those who watch health learn it.
                set_health(&health, &services, ServingStatus::NotServing).await;
                end_streams.cancel();
            }
        };

        let cut = CancellationToken::new();
        let _cut_when_dropped = cut.clone().drop_guard();
        let connections = {
            let cut = cut.clone();
            TcpIncoming::from(listener)
                .with_nodelay(Some(true))
                .then(move |accepted| {
                    let cut = cut.clone();
                    async move {
                        if accepted.is_err() {
                            // Out of file descriptors, mostly. The next attempt fails at once as well.
                            tokio::time::sleep(Duration::from_millis(20)).await;
                        }
                        accepted.map(|stream| Connection::new(stream, &cut))
                    }
                })
        };
        let grace = Duration::from_millis(self.config.shutdown_grace_ms);
        let keepalive_interval = Duration::from_millis(self.config.keepalive_interval_ms);
        let keepalive_timeout = Duration::from_millis(self.config.keepalive_timeout_ms);
        let serving = tonic::transport::Server::builder()
            .http2_keepalive_interval(Some(keepalive_interval))
            .http2_keepalive_timeout(Some(keepalive_timeout))
            .http2_max_header_list_size(self.config.max_header_bytes)
            .max_concurrent_streams(self.config.max_concurrent_streams)
            // Outermost, where the call's time begins for tonic as well.
            .layer(MapRequestLayer::new(|mut request: http::Request<tonic::body::Body>| {
                request.extensions_mut().insert(Arrival(Instant::now()));
                request
            }))
            .add_routes(self.routes_with_layers(methods, end_streams)?)
            .serve_with_incoming_shutdown(connections, stop_accepting);

        let give_up = async {
            shutdown.cancelled().await;
            tokio::time::sleep(grace).await;
            tracing::warn!("calls still run after the grace time and are cut off");
            cut.cancel();
            tokio::time::sleep(CUT_BOUND).await;
        };
        tokio::select! {
            outcome = serving => outcome.map_err(ServerError::Serve),
            () = give_up => Ok(()),
        }
    }

    fn routes_with_layers(
        mut self,
        methods: Arc<Methods>,
        end_streams: CancellationToken,
    ) -> Result<Routes, ServerError> {
        if self.config.reflection {
            let reflection = tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(self.descriptors)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
                .build_v1()
                .map_err(|error| ServerError::Descriptors(error.into()))?;
            self.routes = self.routes.add_service(reflection);
        }
        let observer = Observer {
            methods: Arc::clone(&methods),
            metrics: self.metrics,
        };
        let time = DeadlineRules {
            methods,
            default: Duration::from_millis(self.config.default_deadline_ms),
            max: Duration::from_millis(self.config.max_deadline_ms),
            end_streams,
        };
        let actors = ActorRules::new(self.permissions);
        // The layer that is added last is the outermost.
        let router = self
            .routes
            .prepare()
            .into_axum_router()
            .layer(from_fn_with_state(Arc::new(actors), check_actor))
            .layer(from_fn_with_state(Arc::new(time), limit_time))
            .layer(from_fn_with_state(Arc::new(observer), observe));
        Ok(Routes::from(router))
    }
}

async fn set_health(health: &HealthReporter, services: &[&'static str], status: ServingStatus) {
    health.set_service_status("", status).await;
    for service in services {
        health.set_service_status(service, status).await;
    }
}

/// The time at which a call came in.
pub(crate) fn arrival_of(request: &HttpRequest) -> Instant {
    request
        .extensions()
        .get::<Arrival>()
        .map_or_else(Instant::now, |arrival| arrival.0)
}

/// Limits the messages of a generated server or client, in both directions, to `max_message_bytes` of a
/// [`ServerConfig`] or [`ClientConfig`](crate::config::ClientConfig):
/// `limit_messages!(TicketServiceServer::new(tickets), config.server)`.
#[macro_export]
macro_rules! limit_messages {
    ($service:expr, $config:expr) => {
        $service
            .max_decoding_message_size($config.max_message_bytes)
            .max_encoding_message_size($config.max_message_bytes)
    };
}
