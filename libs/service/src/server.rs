//! Serving gRPC as every Plazo service does.

mod body;
mod connection;
mod deadline;
mod health;
mod incoming;
mod methods;
mod observe;
mod places;
mod unreadable;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request as HttpRequest;
use axum::middleware::from_fn_with_state;
use axum::response::IntoResponse;
use rand::Rng as _;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::server::NamedService;
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;
use tower::Service;
use tower::util::MapRequestLayer;

use crate::access::{Access, AccessConfig};
use crate::actor::{ActorRules, MethodPermissions, check_actor};
use crate::config::{ConfigError, ServerConfig};
use crate::metrics::{self, Metrics};
use crate::tls::Tls;
use connection::ConnectionInfo;
pub(crate) use deadline::parse_timeout;
use deadline::{Arrival, DeadlineRules, limit_time};
use incoming::{IncomingRules, incoming};
use methods::Methods;
use observe::{Observer, observe};
pub(crate) use places::ConnectionMetrics;
use places::WhenFull;

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
    /// Who may call can't be known from the configuration, or anybody could.
    #[error("the rules of access cannot be used")]
    Access(#[source] ConfigError),
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
    /// For health in plain text, if it is served.
    pub health: Option<TcpListener>,
}

impl Listeners {
    /// Binds what the configuration names.
    pub async fn bind(config: &ServerConfig) -> Result<Self, ServerError> {
        let grpc = bind(config.listen).await?;
        let metrics = bind_if(config.metrics_listen).await?;
        let health = bind_if(config.health_listen).await?;
        Ok(Self {
            grpc,
            metrics,
            health,
        })
    }

    /// The address at which gRPC is served.
    pub fn grpc_address(&self) -> std::io::Result<SocketAddr> {
        self.grpc.local_addr()
    }
}

async fn bind_if(address: Option<SocketAddr>) -> Result<Option<TcpListener>, ServerError> {
    match address {
        Some(address) => bind(address).await.map(Some),
        None => Ok(None),
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
/// Health (overall and by service) and, if configured, reflection are served as well. Over TLS, each request has its
/// [`PeerIdentity`](crate::PeerIdentity) in its extensions.
#[derive(Debug)]
pub struct Server {
    config: ServerConfig,
    access: AccessConfig,
    tls: Tls,
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
            access: AccessConfig::default(),
            tls: Tls::off(),
            metrics: Arc::new(metrics),
            permissions,
            descriptors,
            routes: Routes::new(health_service),
            services: Vec::new(),
            health,
        }
    }

    /// Says who may call. Without it, whoever reaches a loopback address may, and no other address is served.
    #[must_use]
    pub fn access(mut self, access: &AccessConfig) -> Self {
        self.access = access.clone();
        self
    }

    /// Serves over TLS, unless it is off.
    #[must_use]
    pub fn with_tls(mut self, tls: &Tls) -> Self {
        // Nobody else has them before the server runs.
        if let Some(metrics) = Arc::get_mut(&mut self.metrics) {
            tls.register(metrics);
        }
        self.tls = tls.clone();
        self
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

    /// Serves until `shutdown` is cancelled. Health says SERVING once the keys of each issuer of tokens were fetched, or
    /// after a bounded time. When `shutdown` is cancelled, health says NOT_SERVING, no connection is accepted, the
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
        for (path, _) in self.permissions {
            self.metrics.rpc.show(methods.label(path));
        }

        let address = listeners
            .grpc_address()
            .map_err(|source| ServerError::Listen {
                address: self.config.listen,
                source,
            })?;
        let refusals = self.metrics.access.clone();
        let access = Access::start(&self.access, address, self.permissions, refusals)
            .await
            .map_err(ServerError::Access)?;
        let access = Arc::new(access);

        let metrics = Arc::clone(&self.metrics);
        let reporter = self.health.clone();
        let grpc = self.serve_grpc(
            listeners.grpc,
            Arc::new(methods),
            Arc::clone(&access),
            shutdown.clone(),
        );
        // These go on until gRPC has ended, so that the last figures of a shutdown can be read.
        let metrics = async {
            match listeners.metrics {
                Some(listener) => metrics::serve(listener, metrics, shutdown)
                    .await
                    .map_err(ServerError::Metrics),
                None => std::future::pending().await,
            }
        };
        let health = async {
            match listeners.health {
                Some(listener) => health::serve(listener, reporter).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            outcome = grpc => outcome,
            outcome = metrics => outcome,
            outcome = health => outcome,
            never = access.keep() => match never {},
        }
    }

    async fn serve_grpc(
        self,
        listener: TcpListener,
        methods: Arc<Methods>,
        access: Arc<Access>,
        shutdown: CancellationToken,
    ) -> Result<(), ServerError> {
        let has_keys = access.has_keys();
        let at_first = if has_keys {
            ServingStatus::Serving
        } else {
            ServingStatus::NotServing
        };
        set_health(&self.health, &self.services, at_first).await;
        let end_streams = CancellationToken::new();
        let stop_accepting = {
            let (shutdown, end_streams) = (shutdown.clone(), end_streams.clone());
            let (health, services) = (self.health.clone(), self.services.clone());
            let access = Arc::clone(&access);
            async move {
                // Until then whoever has a token is refused here, and served by another replica.
                if !has_keys {
                    let waiting = shutdown.run_until_cancelled(access.wait_for_keys());
                    if waiting.await.is_some() {
                        set_health(&health, &services, ServingStatus::Serving).await;
                    }
                }
                shutdown.cancelled().await;
                // Before streams end, so that those who watch health learn it.
                set_health(&health, &services, ServingStatus::NotServing).await;
                end_streams.cancel();
            }
        };

        let cut = CancellationToken::new();
        let _cut_when_dropped = cut.clone().drop_guard();
        let connections = incoming(listener, self.tls.clone(), self.incoming_rules(), &cut);
        let grace = Duration::from_millis(self.config.shutdown_grace_ms);
        let keepalive_interval = Duration::from_millis(self.config.keepalive_interval_ms);
        let keepalive_timeout = Duration::from_millis(self.config.keepalive_timeout_ms);
        let mut builder = tonic::transport::Server::builder();
        if let Some(age) = self.max_connection_age() {
            // With a grace set as well, connections would be cut instead of being told to go away.
            builder = builder.max_connection_age(age);
        }
        let serving = builder
            .http2_keepalive_interval(Some(keepalive_interval))
            .http2_keepalive_timeout(Some(keepalive_timeout))
            .http2_max_header_list_size(self.config.max_header_bytes)
            .max_concurrent_streams(self.config.max_concurrent_streams)
            // Outermost, where the call's time begins for tonic as well.
            .layer(MapRequestLayer::new(mark_arrival))
            .add_routes(self.routes_with_layers(methods, access, end_streams)?)
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

    fn incoming_rules(&self) -> IncomingRules {
        IncomingRules {
            handshake_timeout: Duration::from_millis(self.config.handshake_timeout_ms),
            max_handshakes: self.config.max_handshakes,
            max_connections: self.config.max_connections,
            when_full: WhenFull::Refuse(self.metrics.connections.clone()),
        }
    }

    /// Give or take a tenth, so that replicas that started together don't send their clients away together.
    fn max_connection_age(&self) -> Option<Duration> {
        let age = Duration::from_millis(self.config.max_connection_age_ms);
        (!age.is_zero()).then(|| age.mul_f64(rand::rng().random_range(0.9..=1.1)))
    }

    fn routes_with_layers(
        mut self,
        methods: Arc<Methods>,
        access: Arc<Access>,
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
        let access_metrics = self.metrics.access.clone();
        let observer = Observer {
            methods: Arc::clone(&methods),
            metrics: self.metrics,
        };
        let time = DeadlineRules {
            methods,
            default: Duration::from_millis(self.config.default_deadline_ms),
            max: Duration::from_millis(self.config.max_deadline_ms),
            end_streams,
            metrics: access_metrics,
        };
        let actors = ActorRules::new(self.permissions, access);
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

/// Notes when a call came in and from whom.
fn mark_arrival(mut request: http::Request<tonic::body::Body>) -> http::Request<tonic::body::Body> {
    let extensions = request.extensions_mut();
    extensions.insert(Arrival(Instant::now()));
    if let Some(connection) = extensions.remove::<ConnectionInfo>() {
        extensions.insert(connection.tcp);
        if let Some(peer) = connection.peer {
            extensions.insert(peer);
        }
    }
    request
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
