//! A private server with durable commits, and ticketing on it, with a timer that takes everything.

use std::net::{Ipv4Addr, SocketAddr};

use plazo_local::{PostgresOptions, PostgresServer};
use plazo_proto::timer::v1::timer_service_server::{TimerService, TimerServiceServer};
use plazo_proto::timer::v1::{
    ArmTicketsRequest, ArmTicketsResponse, GetTicketEntriesRequest, GetTicketEntriesResponse,
    GetTimerStatsRequest, GetTimerStatsResponse, ListDueEntriesRequest, ListDueEntriesResponse,
    ListQuarantinedEntriesRequest, ListQuarantinedEntriesResponse,
    ReleaseQuarantinedEntriesRequest, ReleaseQuarantinedEntriesResponse, RepairTicketsRequest,
    RepairTicketsResponse, StreamArmsRequest, StreamArmsResponse,
};
use plazo_tests::process::Service;
use plazo_tests::solo::Solo;
use sqlx::postgres::PgPoolOptions;
use sqlx::{Connection, PgConnection, PgPool};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

use crate::machine::CpuSeconds;
use crate::measure::Done;
use crate::rates::Measured;
use crate::report::Report;

/// Settings that are not PostgreSQL's defaults. Commits are durable.
const SETTINGS: [(&str, &str); 6] = [
    ("shared_buffers", "1GB"),
    ("max_wal_size", "8GB"),
    ("maintenance_work_mem", "512MB"),
    // Loading is no part of what is measured.
    ("checkpoint_timeout", "30min"),
    ("log_checkpoints", "off"),
    // Tells in the log whose query a plan belongs to.
    ("log_line_prefix", "%m [%p] %a "),
];

/// What decides about durability and speed, for the report.
const TOLD_SETTINGS: [&str; 8] = [
    "server_version",
    "fsync",
    "synchronous_commit",
    "full_page_writes",
    "wal_sync_method",
    "shared_buffers",
    "max_wal_size",
    "jit",
];

/// The server, and the timer's stand-in.
pub(crate) struct Bed {
    postgres: PostgresServer,
    timer: SocketAddr,
    _tasks: JoinSet<()>,
}

impl Bed {
    /// Starts both.
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// The same, with more settings of the server.
    pub(crate) async fn start_with(more: &[(&'static str, &'static str)]) -> Self {
        let mut options = PostgresOptions::temporary().durable(true);
        for (name, value) in SETTINGS.iter().chain(more).copied() {
            options = options.setting(name, value);
        }
        let postgres = PostgresServer::start(options)
            .await
            .expect("PostgreSQL starts");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("a port is free");
        let timer = listener.local_addr().expect("it is bound");
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            Server::builder()
                .add_service(TimerServiceServer::new(TakesAll))
                .serve_with_incoming(TcpListenerStream::new(listener))
                .await
                .expect("the timer's stand-in serves");
        });
        Self {
            postgres,
            timer,
            _tasks: tasks,
        }
    }

    /// Starts ticketing on a database of its own, made if it is missing.
    pub(crate) async fn ticketing(&self, database: &str, more: &[(&str, String)]) -> Solo {
        self.postgres
            .create_database(database)
            .await
            .expect("a database can be made");
        let mut configuration = vec![
            ("DATABASE__URL", self.postgres.database_url(database)),
            ("DATABASE__MIGRATE", "true".to_owned()),
            ("TIMER__ENDPOINT", format!("http://{}", self.timer)),
        ];
        configuration.extend(more.iter().cloned());
        Solo::start(Service::Ticketing, &configuration).await
    }

    /// A new database.
    pub(crate) async fn create_database(&self, name: &str) {
        self.postgres
            .create_database(name)
            .await
            .expect("a database can be made");
    }

    /// The URL of a database.
    pub(crate) fn database_url(&self, name: &str) -> String {
        self.postgres.database_url(name)
    }

    /// One connection to a database.
    pub(crate) async fn connection(&self, database: &str) -> PgConnection {
        PgConnection::connect(&self.postgres.database_url(database))
            .await
            .expect("the database can be reached")
    }

    /// Some connections to a database.
    pub(crate) async fn pool(&self, database: &str, connections: u32) -> PgPool {
        PgPoolOptions::new()
            .max_connections(connections)
            .connect(&self.postgres.database_url(database))
            .await
            .expect("the database can be reached")
    }

    /// What the server has logged.
    pub(crate) fn log(&self) -> String {
        let bytes = std::fs::read(self.postgres.log_path()).expect("the server has a log");
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Time of the cores that was taken by ticketing, the server and this program.
    pub(crate) fn cpu(&self, service: &Solo) -> CpuSeconds {
        let database = self.postgres.pid().expect("the server runs");
        CpuSeconds::read(
            service.pid(),
            u32::try_from(database).expect("ids of processes are above zero"),
        )
    }

    /// What one measurement gave, and what it took since `before`.
    pub(crate) fn measured(&self, service: &Solo, before: CpuSeconds, done: Done) -> Measured {
        let taken = self.cpu(service).since(before);
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let each_us = |seconds: f64| 1e6 * seconds / done.count as f64;
        Measured {
            per_s: done.per_s(),
            cpu_us: [taken.service, taken.database, taken.callers].map(each_us),
        }
    }

    /// Settings into the report, and shown.
    pub(crate) async fn describe(&self, report: &mut Report, rounds: usize) {
        let mut connection = self.connection("postgres").await;
        report.set("rounds", rounds);
        let mut told = Vec::new();
        for name in TOLD_SETTINGS {
            let value: String = sqlx::query_scalar("SELECT current_setting($1)")
                .bind(name)
                .fetch_one(&mut connection)
                .await
                .expect("settings can be read");
            told.push(format!("{name} {value}"));
            report.set(&format!("postgres_{name}"), value);
        }
        println!("  PostgreSQL: {}", told.join(", "));
    }

    /// Ends the server.
    pub(crate) async fn stop(mut self) {
        self.postgres.stop().await.expect("PostgreSQL ends");
    }
}

/// A timer that takes every ticket and has lost none.
struct TakesAll;

#[tonic::async_trait]
impl TimerService for TakesAll {
    async fn arm_tickets(
        &self,
        _: Request<ArmTicketsRequest>,
    ) -> Result<Response<ArmTicketsResponse>, Status> {
        Ok(Response::new(ArmTicketsResponse::default()))
    }

    type StreamArmsStream = futures::stream::Empty<Result<StreamArmsResponse, Status>>;

    async fn stream_arms(
        &self,
        _: Request<tonic::Streaming<StreamArmsRequest>>,
    ) -> Result<Response<Self::StreamArmsStream>, Status> {
        Err(Status::unimplemented("nobody asks"))
    }

    async fn repair_tickets(
        &self,
        _: Request<RepairTicketsRequest>,
    ) -> Result<Response<RepairTicketsResponse>, Status> {
        Ok(Response::new(RepairTicketsResponse::default()))
    }

    async fn get_ticket_entries(
        &self,
        _: Request<GetTicketEntriesRequest>,
    ) -> Result<Response<GetTicketEntriesResponse>, Status> {
        Err(Status::unimplemented("nobody asks"))
    }

    async fn list_due_entries(
        &self,
        _: Request<ListDueEntriesRequest>,
    ) -> Result<Response<ListDueEntriesResponse>, Status> {
        Err(Status::unimplemented("nobody asks"))
    }

    async fn list_quarantined_entries(
        &self,
        _: Request<ListQuarantinedEntriesRequest>,
    ) -> Result<Response<ListQuarantinedEntriesResponse>, Status> {
        Err(Status::unimplemented("nobody asks"))
    }

    async fn release_quarantined_entries(
        &self,
        _: Request<ReleaseQuarantinedEntriesRequest>,
    ) -> Result<Response<ReleaseQuarantinedEntriesResponse>, Status> {
        Err(Status::unimplemented("nobody asks"))
    }

    async fn get_timer_stats(
        &self,
        _: Request<GetTimerStatsRequest>,
    ) -> Result<Response<GetTimerStatsResponse>, Status> {
        Err(Status::unimplemented("nobody asks"))
    }
}
