//! Four services as four processes on private servers.

mod certificates;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use plazo_local::{PostgresOptions, PostgresServer, RedisOptions, RedisServer};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::metrics::MetricsText;
use crate::ports::PortBlock;
use crate::process::{Service, ServiceProcess};
use certificates::Certificates;

/// The lease of the timer in these clusters. Just long enough for its checks: one attempt at ticketing (3 s), one at
/// notification (0.5 s), and the margin (0.5 s).
pub const LEASE: Duration = Duration::from_millis(4_500);

/// How long a service may take to start, its migrations included.
const START_BOUND: Duration = Duration::from_mins(1);
/// Lines of each log that a failed test shows.
const LOG_TAIL_LINES: usize = 15;

/// What outlives a kill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Nothing needs to: the servers aren't killed.
    Fast,
    /// PostgreSQL's commits; Redis keeps nothing over a restart.
    PostgresOnly,
    /// PostgreSQL's commits, and Redis' append-only file.
    Full,
}

/// What a cluster has beyond the usual.
#[derive(Debug, Clone)]
pub struct Setup {
    /// What outlives a kill.
    pub durability: Durability,
    /// Whether everything goes over TLS, with a certificate for each service.
    pub is_secure: bool,
    /// More configuration of services, as in `(Ticketing, "DATABASE__MAX_CONNECTIONS", "8")`.
    pub configuration: Vec<(Service, &'static str, String)>,
}

impl Setup {
    /// Nothing but this.
    pub fn new(durability: Durability) -> Self {
        Self {
            durability,
            is_secure: false,
            configuration: Vec::new(),
        }
    }

    /// The same, over TLS.
    #[must_use]
    pub fn secure(mut self) -> Self {
        self.is_secure = true;
        self
    }

    /// The same, with a service configured otherwise.
    #[must_use]
    pub fn configure(
        mut self,
        service: Service,
        key: &'static str,
        value: impl Into<String>,
    ) -> Self {
        self.configuration.push((service, key, value.into()));
        self
    }
}

/// Four services and their servers. When it is dropped, all of them are killed.
#[derive(Debug)]
pub struct Cluster {
    // Before the servers, so that the services go first.
    processes: BTreeMap<Service, ServiceProcess>,
    replicas: Vec<ServiceProcess>,
    postgres: PostgresServer,
    redis: RedisServer,
    ports: PortBlock,
    folder: TempDir,
    certificates: Option<Certificates>,
    setup: Setup,
}

impl Cluster {
    /// Starts servers and all four services.
    pub async fn start(durability: Durability) -> Self {
        Self::start_with(Setup::new(durability)).await
    }

    /// Starts servers and all four services as this says.
    pub async fn start_with(setup: Setup) -> Self {
        let durability = setup.durability;
        let postgres = PostgresOptions::temporary().durable(durability != Durability::Fast);
        let redis = RedisOptions::temporary().append_only(durability == Durability::Full);
        let (postgres, redis) =
            tokio::try_join!(PostgresServer::start(postgres), RedisServer::start(redis))
                .expect("the servers start");
        for service in Service::ALL {
            if service != Service::Timer {
                postgres
                    .create_database(service.name())
                    .await
                    .expect("a database can be made");
            }
        }
        let mut cluster = Self {
            processes: BTreeMap::new(),
            replicas: Vec::new(),
            postgres,
            redis,
            ports: PortBlock::claim(),
            folder: TempDir::new().expect("a folder for logs"),
            certificates: setup.is_secure.then(Certificates::new),
            setup,
        };
        cluster.start_services(&Service::ALL).await;
        cluster
    }

    /// Starts services, and waits until all of them serve.
    pub async fn start_services(&mut self, services: &[Service]) {
        for service in services {
            self.spawn(*service, &[]);
        }
        for service in services {
            self.wait_until_serving(*service).await;
        }
    }

    /// Starts one service with more configuration, as in `("FAULT__ABORT_AFTER_CLAIM", "3")`, and does not wait.
    pub fn spawn(&mut self, service: Service, more: &[(&str, &str)]) {
        let process = self.process(service, more);
        let before = self.processes.insert(service, process);
        assert!(before.is_none(), "{} was running", service.name());
    }

    /// Starts one more replica of a service, at an address that nobody asks for, and does not wait.
    pub fn spawn_replica(&mut self, service: Service) {
        let anywhere = "127.0.0.1:0";
        let addresses = [
            ("SERVER__LISTEN", anywhere),
            ("SERVER__METRICS_LISTEN", anywhere),
        ];
        let process = self.process(service, &addresses);
        self.replicas.push(process);
    }

    /// Kills all that were started besides the first of each service with SIGKILL.
    pub async fn kill_replicas(&mut self) {
        for replica in self.replicas.drain(..) {
            replica.kill().await;
        }
    }

    fn process(&self, service: Service, more: &[(&str, &str)]) -> ServiceProcess {
        let prefix = format!("PLAZO_{}__", service.name().to_uppercase());
        let environment: Vec<_> = self
            .configuration(service)
            .into_iter()
            .chain(self.setup_of(service))
            .chain(more.iter().map(|(key, value)| (*key, (*value).to_owned())))
            .map(|(key, value)| (format!("{prefix}{key}"), value))
            .collect();
        let file = self.certificates.as_ref().map(|it| it.file(service));
        ServiceProcess::spawn(service, &environment, file.as_deref(), &self.log(service))
    }

    /// Waits until the service says that it serves.
    pub async fn wait_until_serving(&mut self, service: Service) {
        let channel = self.channel(service);
        let what = format!("{} serves", service.name());
        let mut process = self.processes.remove(&service).expect("it was started");
        crate::eventually(&what, START_BOUND, async || {
            if let Some(status) = process.try_ended() {
                panic!("{} ended at its start: {status}", service.name());
            }
            let answer = HealthClient::new(channel.clone())
                .check(HealthCheckRequest::default())
                .await;
            answer.is_ok_and(|answer| answer.get_ref().status() == ServingStatus::Serving)
        })
        .await;
        self.processes.insert(service, process);
    }

    /// Kills a service with SIGKILL.
    pub async fn kill(&mut self, service: Service) {
        self.take(service).kill().await;
    }

    /// Ends a service with SIGTERM, and sees that it ends in order within ten seconds.
    pub async fn terminate(&mut self, service: Service) {
        let status = self.take(service).terminate().await;
        assert!(status.success(), "{} ended with {status}", service.name());
    }

    /// Waits until a failpoint has ended the service.
    pub async fn aborted(&mut self, service: Service, bound: Duration) {
        let status = self.take(service).ended(bound).await;
        assert_eq!(
            status.signal(),
            Some(Signal::SIGABRT as i32),
            "{} was to abort: {status}",
            service.name()
        );
    }

    /// Ends everything in order, and sees that no process is left.
    pub async fn stop(mut self) {
        // Those that call others first: nobody then waits for somebody who is gone.
        for service in [
            Service::Timer,
            Service::History,
            Service::Notification,
            Service::Ticketing,
        ] {
            self.terminate(service).await;
        }
        let servers = [
            self.postgres.pid().expect("PostgreSQL runs"),
            self.redis.pid().expect("Redis runs"),
        ];
        self.postgres.stop().await.expect("PostgreSQL ends");
        self.redis.stop().await.expect("Redis ends");
        for pid in servers {
            let is_there = kill(Pid::from_raw(pid), None);
            assert_eq!(is_there, Err(Errno::ESRCH), "process {pid} is left");
        }
    }

    /// The PostgreSQL server.
    pub fn postgres(&mut self) -> &mut PostgresServer {
        &mut self.postgres
    }

    /// The Redis server.
    pub fn redis(&mut self) -> &mut RedisServer {
        &mut self.redis
    }

    /// Removes everything from Redis.
    pub async fn flush_redis(&self) {
        let mut stream = UnixStream::connect(self.redis.socket_path())
            .await
            .expect("Redis can be reached");
        stream
            .write_all(b"FLUSHALL\r\n")
            .await
            .expect("Redis takes a command");
        let mut answer = [0; 5];
        stream.read_exact(&mut answer).await.expect("Redis answers");
        assert_eq!(&answer, b"+OK\r\n");
    }

    /// A connection to a service, which comes about at the first call and again after it was lost.
    pub fn channel(&self, service: Service) -> Channel {
        let address = self.grpc_address(service);
        let endpoint = match &self.certificates {
            None => Endpoint::from_shared(format!("http://{address}")),
            Some(certificates) => Endpoint::from_shared(format!("https://{address}"))
                .and_then(|endpoint| endpoint.tls_config(certificates.of_gateway())),
        };
        endpoint
            .expect("an address")
            .connect_timeout(Duration::from_secs(1))
            .connect_lazy()
    }

    /// Connections to the service's database.
    pub async fn database(&self, service: Service) -> PgPool {
        PgPoolOptions::new()
            .max_connections(3)
            .connect(&self.postgres.database_url(service.name()))
            .await
            .expect("the database can be reached")
    }

    /// The service's metrics as they are now.
    pub async fn metrics(&self, service: Service) -> MetricsText {
        MetricsText::read(self.metrics_address(service)).await
    }

    /// The services' process ids.
    pub fn pids(&self) -> BTreeMap<Service, i32> {
        let pid = |(service, process): (&Service, &ServiceProcess)| (*service, process.pid());
        self.processes.iter().map(pid).collect()
    }

    /// The URL of the service's database.
    pub fn database_url(&self, service: Service) -> String {
        self.postgres.database_url(service.name())
    }

    /// Replaces the certificates and keys of all services by new ones of the same authority.
    pub fn rotate_certificates(&self) {
        let certificates = self.certificates.as_ref();
        certificates.expect("a secure cluster").rotate();
    }

    fn setup_of(&self, service: Service) -> Vec<(&'static str, String)> {
        let keys = self.setup.configuration.iter();
        keys.filter(|(of, ..)| *of == service)
            .map(|(_, key, value)| (*key, value.clone()))
            .collect()
    }

    /// Where providers call notification back.
    pub fn callbacks_address(&self) -> SocketAddr {
        self.ports.address(8)
    }

    fn take(&mut self, service: Service) -> ServiceProcess {
        self.processes.remove(&service).expect("it is running")
    }

    fn grpc_address(&self, service: Service) -> SocketAddr {
        self.ports.address(service as u16)
    }

    fn metrics_address(&self, service: Service) -> SocketAddr {
        self.ports.address(4 + service as u16)
    }

    fn log(&self, service: Service) -> PathBuf {
        self.folder.path().join(format!("{}.log", service.name()))
    }

    fn configuration(&self, service: Service) -> Vec<(&'static str, String)> {
        let scheme = if self.setup.is_secure {
            "https"
        } else {
            "http"
        };
        let endpoint = |of| format!("{scheme}://{}", self.grpc_address(of));
        let mut keys = vec![
            ("SERVER__LISTEN", self.grpc_address(service).to_string()),
            (
                "SERVER__METRICS_LISTEN",
                self.metrics_address(service).to_string(),
            ),
            // Not each call: what matters must be found among thousands of them.
            (
                "TELEMETRY__LOG_FILTER",
                "info,plazo_request=warn,plazo_notification::sending=warn".to_owned(),
            ),
        ];
        if service != Service::Timer {
            let url = self.postgres.database_url(service.name());
            keys.push(("DATABASE__URL", url));
            keys.push(("DATABASE__MIGRATE", "true".to_owned()));
        }
        if service == Service::Notification {
            keys.push(("CALLBACKS__LISTEN", self.callbacks_address().to_string()));
        }
        match service {
            Service::Ticketing => keys.push(("TIMER__ENDPOINT", endpoint(Service::Timer))),
            Service::Notification | Service::History => {
                keys.push(("TICKETING__ENDPOINT", endpoint(Service::Ticketing)));
            }
            Service::Timer => {
                keys.extend([
                    ("REDIS__URL", self.redis.url()),
                    ("HANDLER__ENDPOINT", endpoint(Service::Ticketing)),
                    ("NOTIFICATION__ENDPOINT", endpoint(Service::Notification)),
                ]);
                // A short lease, so that a test sees one end.
                keys.extend(
                    [
                        ("HANDLER__REQUEST_TIMEOUT_MS", "3000"),
                        ("HANDLER__MAX_ATTEMPTS", "1"),
                        ("NOTIFICATION__REQUEST_TIMEOUT_MS", "500"),
                        ("NOTIFICATION__MAX_ATTEMPTS", "1"),
                        ("TIMER__LEASE_MARGIN_MS", "500"),
                    ]
                    .map(|(key, value)| (key, value.to_owned())),
                );
                keys.push(("TIMER__LEASE_MS", LEASE.as_millis().to_string()));
            }
        }
        if let Some(certificates) = &self.certificates {
            keys.extend(certificates.configuration(service));
        }
        keys
    }
}

impl Drop for Cluster {
    /// A failed test shows what the services said last.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        for service in Service::ALL {
            let text = std::fs::read_to_string(self.log(service)).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            eprintln!("-- {} said last:", service.name());
            for line in &lines[lines.len().saturating_sub(LOG_TAIL_LINES)..] {
                eprintln!("{line}");
            }
        }
    }
}
