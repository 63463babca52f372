//! What every Plazo service shares: configuration, logs and traces, metrics, the server with its layers,
//! the client, errors, background tasks, and shutdown.
//!
//! A service is a library plus a thin `main.rs`:
//!
//! ```ignore
//! // main.rs
//! fn main() -> std::process::ExitCode {
//!     plazo_service::run_main(plazo_ticketing::app::run)
//! }
//! ```
//!
//! ```ignore
//! // config.rs: every key has its default, with a comment, in config.default.toml.
//! #[derive(Debug, Clone, Deserialize)]
//! #[serde(deny_unknown_fields)]
//! pub struct Config {
//!     pub server: ServerConfig,
//!     pub access: AccessConfig,
//!     pub tls: Option<TlsConfig>,
//!     pub telemetry: TelemetryConfig,
//!     pub timer: ClientConfig,
//!     pub sweep: SweepConfig,
//! }
//!
//! impl ServiceConfig for Config {
//!     const NAME: &'static str = "ticketing"; // PLAZO_TICKETING__SERVER__LISTEN=…, plazo_ticketing_… metrics
//!     const DEFAULTS: &'static str = include_str!("../config.default.toml");
//!
//!     fn telemetry(&self) -> &TelemetryConfig {
//!         &self.telemetry
//!     }
//!
//!     fn validate(&self) -> Result<(), ConfigError> {
//!         self.server.validate("server")?;
//!         self.access.validate("access", self.server.listen)?;
//!         TlsConfig::validate(self.tls.as_ref(), &self.server)?;
//!         self.timer.validate("timer")?;
//!         if self.sweep.batch == 0 {
//!             return Err(ConfigError::value("sweep.batch", "must be above zero"));
//!         }
//!         Ok(())
//!     }
//! }
//! ```
//!
//! ```ignore
//! // app.rs: wiring only. `bind` builds and binds, `run` runs: so a process that holds several services,
//! // and a test, know the ports before anything runs.
//! pub async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
//!     App::bind(config).await?.run(shutdown).await
//! }
//!
//! pub struct App {
//!     config: Config,
//!     listeners: Listeners,
//!     tls: Tls,
//!     store: Store,
//! }
//!
//! impl App {
//!     pub async fn bind(config: Config) -> anyhow::Result<Self> {
//!         let tls = Tls::load(config.tls.as_ref())?;
//!         let store = Store::connect(&config.database).await?;
//!         let listeners = Listeners::bind(&config.server).await?;
//!         Ok(Self { config, listeners, tls, store })
//!     }
//!
//!     pub fn grpc_address(&self) -> std::io::Result<SocketAddr> {
//!         self.listeners.grpc_address()
//!     }
//!
//!     pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
//!         let Self { config, listeners, tls, store } = self;
//!         let mut metrics = Metrics::new(Config::NAME);
//!         let relay_metrics = RelayMetrics::register(metrics.service_registry());
//!
//!         let channel = tls.connect_lazy(&config.timer, Actor::service(Config::NAME))?;
//!         let timer = limit_messages!(TimerServiceClient::new(channel), config.timer);
//!
//!         let supervisor = Supervisor::new(Config::NAME, &shutdown);
//!         tls.supervise(&supervisor);
//!         let relay = Relay::new(store.clone(), timer, Retry::new(&config.timer), relay_metrics);
//!         supervisor.spawn("relay", OnEnd::Restart, move |stop| {
//!             let relay = relay.clone();
//!             async move { Ok(relay.run(stop).await?) }
//!         });
//!
//!         let tickets = limit_messages!(TicketServiceServer::new(Tickets::new(store)), config.server);
//!         let served = Server::new(&config.server, metrics, FILE_DESCRIPTOR_SET, PERMISSIONS)
//!             .access(&config.access)
//!             .with_tls(&tls)
//!             .add_service(tickets)
//!             .run(listeners, supervisor.shutdown_token())
//!             .await;
//!         // Ends the tasks as well when the server could not go on.
//!         let ended = supervisor.shut_down(Duration::from_secs(5)).await;
//!         served?;
//!         Ok(ended?)
//!     }
//! }
//!
//! const PERMISSIONS: MethodPermissions = &[
//!     ("/plazo.ticketing.v1.TicketService/OpenTicket", &[Permission::TicketsAttend]),
//!     ("/plazo.ticketing.v1.TicketService/WatchTickets", &[Permission::TicketsAttend]),
//! ];
//! ```
//!
//! ```ignore
//! // grpc/tickets.rs: a handler. Tenant, permissions and bots come from the actor and nowhere else.
//! async fn open_ticket(
//!     &self,
//!     request: Request<OpenTicketRequest>,
//! ) -> Result<Response<OpenTicketResponse>, Status> {
//!     let actor = Actor::of(&request)?.clone();
//!     let deadline = Deadline::of(&request);
//!     let message = request.into_inner();
//!
//!     let mut violations = FieldViolations::new();
//!     violations.check("bot_id", message.bot_id > 0, "must be above zero");
//!     violations.check("request_id", !message.request_id.is_empty(), "must not be empty");
//!     violations.into_result()?;
//!     actor.require_bot(message.bot_id)?;
//!
//!     // A caller that hangs up must not drop the commit half-way.
//!     let store = self.store.clone();
//!     let ticket = commit_in_background(async move { store.open(&actor, message).await }).await?;
//!
//!     // A call of our own, within what is left of the caller's deadline.
//!     self.retry
//!         .unavailable(deadline, || {
//!             let mut timer = self.timer.clone();
//!             async move { timer.arm(deadline.request(arm_request(&ticket))).await }
//!         })
//!         .await?;
//!     Ok(Response::new(OpenTicketResponse { ticket: Some(ticket.into()) }))
//! }
//! ```
//!
//! A process that holds several services calls [`telemetry::init`] once itself, loads each service's
//! configuration with [`config::load`], and runs the apps under one token.

pub mod access;
pub mod actor;
pub mod client;
pub mod config;
pub mod deadline;
pub mod metrics;
pub mod paging;
pub mod peer;
pub mod process;
pub mod redacted;
pub mod request_key;
pub mod server;
pub mod status;
pub mod supervisor;
pub mod telemetry;
pub mod tls;

pub use access::AccessConfig;
pub use actor::{Actor, ActorKind, BotScope, MethodPermissions, Permission, Permissions};
pub use client::{Retry, ServiceChannel, connect_lazy};
pub use config::{
    ClientConfig, ConfigError, ConfigSources, ServerConfig, ServiceConfig, TelemetryConfig,
    TlsConfig,
};
pub use deadline::Deadline;
pub use metrics::Metrics;
pub use peer::PeerIdentity;
pub use process::{run_main, run_main_with_schema};
pub use redacted::Redacted;
pub use request_key::{RequestIdInvalid, RequestKey, parse_request_id, request_id_reused};
pub use server::{Listeners, Server, ServerError};
pub use status::FieldViolations;
pub use supervisor::{OnEnd, Supervisor, TaskError, TaskFailed, commit_in_background};
pub use tls::Tls;
