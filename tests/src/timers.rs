//! Timers as processes on a private Redis, with an owner of tickets in the test's own process.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use plazo_local::{RedisCluster, RedisSentinels, RedisServer};
use plazo_proto::timer::v1 as proto;
use tempfile::TempDir;
use tokio::task::JoinSet;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::cluster::LEASE;
use crate::memory::resident_bytes;
use crate::metrics::MetricsText;
use crate::owner::{Owner, Relay, TimerClient, serve, timer_client};
use crate::ports::PortBlock;
use crate::process::{Service, ServiceProcess};
use crate::proxy::Proxy;
use crate::redis_shape::{Redis, RedisShape};
use crate::resp::RedisConnection;

const START_BOUND: Duration = Duration::from_mins(1);
/// The sweep asks about what is overdue for longer than this, longer than the lease.
pub const SWEEP_GRACE: Duration = Duration::from_secs(15);
const LOG_TAIL_LINES: usize = 15;

/// What a bed is made of.
#[derive(Debug, Clone)]
pub struct TimerSetup {
    /// How many timers there are, at most four.
    pub replicas: usize,
    /// What Redis is made of.
    pub redis: RedisShape,
    /// Whether Redis keeps an append-only file.
    pub append_only: bool,
    /// Whether there are proxies before Redis, which is one server then, and before the owner.
    pub has_proxies: bool,
    /// More configuration of the timers, as in `("TIMER__BATCH_LIMIT", "64")`.
    pub settings: Vec<(&'static str, String)>,
    /// More environment of the timers.
    pub environment: Vec<(String, String)>,
}

impl Default for TimerSetup {
    fn default() -> Self {
        Self {
            replicas: 2,
            redis: RedisShape::One,
            append_only: false,
            has_proxies: false,
            settings: Vec::new(),
            environment: Vec::new(),
        }
    }
}

impl TimerSetup {
    /// The same, with a key of the configuration.
    #[must_use]
    pub fn set(mut self, key: &'static str, value: impl fmt::Display) -> Self {
        self.settings.push((key, value.to_string()));
        self
    }
}

/// Timers, their Redis and their owner. When it is dropped, all are killed.
#[derive(Debug)]
pub struct Timers {
    // Before the server, so that they go first.
    processes: Vec<Option<ServiceProcess>>,
    /// The owner of the tickets.
    pub owner: Owner,
    redis: Redis,
    redis_proxy: Option<Proxy>,
    handler_proxy: Option<Proxy>,
    handler: SocketAddr,
    ports: PortBlock,
    folder: TempDir,
    setup: TimerSetup,
    _relay: Relay,
    _tasks: JoinSet<()>,
}

impl Timers {
    /// Starts Redis, the owner, and all timers, and waits until they serve.
    pub async fn start(setup: TimerSetup) -> Self {
        Self::start_skewed(setup, 0).await
    }

    /// The same, with an owner whose clock is so many milliseconds ahead.
    pub async fn start_skewed(setup: TimerSetup, skew_ms: i64) -> Self {
        let redis = Redis::start(setup.redis, setup.append_only, setup.has_proxies).await;
        let owner = Owner::default();
        owner.set_skew(skew_ms);
        let mut tasks = JoinSet::new();
        let mut handler = serve(&owner, &mut tasks);
        let mut redis_proxy = None;
        let mut handler_proxy = None;
        if setup.has_proxies {
            let Redis::One(redis) = &redis else {
                panic!("there is no proxy before several servers");
            };
            let port = redis.tcp_port().expect("it has a port");
            redis_proxy = Some(Proxy::start((Ipv4Addr::LOCALHOST, port).into()).await);
            let proxy = Proxy::start(handler).await;
            handler = proxy.address();
            handler_proxy = Some(proxy);
        }
        let ports = PortBlock::claim();
        let channels: Vec<_> = (0..setup.replicas)
            .map(|replica| channel(&ports, replica))
            .collect();
        let mut timers = Self {
            processes: (0..setup.replicas).map(|_| None).collect(),
            _relay: Relay::start(&owner, &channels, SWEEP_GRACE),
            owner,
            redis,
            redis_proxy,
            handler_proxy,
            handler,
            ports,
            folder: TempDir::new().expect("a folder for logs"),
            setup,
            _tasks: tasks,
        };
        for replica in 0..timers.processes.len() {
            timers.start_timer(replica).await;
        }
        timers
    }

    /// Starts a timer and waits until it serves.
    pub async fn start_timer(&mut self, replica: usize) {
        self.spawn(replica, &[]);
        self.wait_until_serving(replica).await;
    }

    /// The same with more in its environment.
    pub async fn start_timer_with(&mut self, replica: usize, environment: &[(&str, &str)]) {
        let own = environment.iter();
        let own = own.map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let before = self.setup.environment.clone();
        self.setup.environment.extend(own);
        self.start_timer(replica).await;
        self.setup.environment = before;
    }

    /// Starts a timer with more configuration, and doesn't wait.
    pub fn spawn(&mut self, replica: usize, more: &[(&str, &str)]) {
        let more = more.iter().map(|(key, value)| (*key, (*value).to_owned()));
        let mut environment: Vec<_> = self
            .configuration(replica)
            .into_iter()
            .chain(self.setup.settings.iter().cloned())
            .chain(more)
            .map(|(key, value)| (format!("PLAZO_TIMER__{key}"), value))
            .collect();
        environment.extend(self.setup.environment.iter().cloned());
        let process = ServiceProcess::spawn(Service::Timer, &environment, None, &self.log(replica));
        let before = self.processes[replica].replace(process);
        assert!(before.is_none(), "timer {replica} was running");
    }

    /// Waits until a timer says that it serves.
    pub async fn wait_until_serving(&mut self, replica: usize) {
        let mut health = HealthClient::new(channel(&self.ports, replica));
        let process = self.processes[replica].as_mut().expect("it was started");
        crate::eventually("a timer serves", START_BOUND, async || {
            if let Some(status) = process.try_ended() {
                panic!("a timer ended at its start: {status}");
            }
            let answer = health.check(HealthCheckRequest::default()).await;
            answer.is_ok_and(|answer| answer.get_ref().status() == ServingStatus::Serving)
        })
        .await;
    }

    /// Kills a timer with SIGKILL.
    pub async fn kill(&mut self, replica: usize) {
        self.take(replica).kill().await;
    }

    /// Ends a timer with SIGTERM, and sees that it ends in order within ten seconds.
    pub async fn terminate(&mut self, replica: usize) {
        let status = self.take(replica).terminate().await;
        assert!(status.success(), "timer {replica} ended with {status}");
    }

    /// Waits until a failpoint has ended a timer.
    pub async fn aborted(&mut self, replica: usize, bound: Duration) {
        let status = self.ended(replica, bound).await;
        assert_eq!(
            status.signal(),
            Some(Signal::SIGABRT as i32),
            "timer {replica} was to abort: {status}"
        );
    }

    /// Waits until a timer has ended by itself.
    pub async fn ended(&mut self, replica: usize, bound: Duration) -> ExitStatus {
        self.take(replica).ended(bound).await
    }

    /// Freezes a timer, or lets it go on.
    pub fn signal(&self, replica: usize, signal: Signal) {
        let process = self.processes[replica].as_ref().expect("it is running");
        kill(Pid::from_raw(process.pid()), signal).expect("a child can be signalled");
    }

    /// What a timer has said so far.
    pub fn said(&self, replica: usize) -> String {
        std::fs::read_to_string(self.log(replica)).unwrap_or_default()
    }

    /// The sum of a metric over all timers that run, and over all labels that contain this one.
    pub async fn sum(&self, name: &str, label: &str) -> f64 {
        let mut sum = 0.0;
        for (replica, process) in self.processes.iter().enumerate() {
            if process.is_some() {
                let address = self.ports.address(metrics_port(replica));
                sum += MetricsText::read(address).await.sum(name, label);
            }
        }
        sum
    }

    /// What the timers hold, by the first one that answers.
    pub async fn stats(&self) -> Option<proto::GetTimerStatsResponse> {
        for (replica, process) in self.processes.iter().enumerate() {
            if process.is_some() {
                let mut client = self.client(replica);
                let request = proto::GetTimerStatsRequest {};
                if let Ok(answer) = client.get_timer_stats(request).await {
                    return Some(answer.into_inner());
                }
            }
        }
        None
    }

    /// A client of a timer, whose calls are made by ticketing.
    pub fn client(&self, replica: usize) -> TimerClient {
        timer_client(channel(&self.ports, replica))
    }

    /// The Redis server, when it is one.
    pub fn redis(&mut self) -> &mut RedisServer {
        match &mut self.redis {
            Redis::One(server) => server,
            _ => panic!("the setup asks for several servers"),
        }
    }

    /// A connection to the Redis server, when it is one, past the proxy.
    pub fn redis_connection(&self) -> RedisConnection {
        match &self.redis {
            Redis::One(server) => RedisConnection::open(&server.socket_path()),
            _ => panic!("the setup asks for several servers"),
        }
    }

    /// The Redis Cluster.
    pub fn redis_cluster(&mut self) -> &mut RedisCluster {
        match &mut self.redis {
            Redis::Cluster(cluster) => cluster,
            _ => panic!("the setup asks for no cluster"),
        }
    }

    /// Redis with its sentinels.
    pub fn redis_sentinels(&self) -> &RedisSentinels {
        match &self.redis {
            Redis::Sentinels(sentinels) => sentinels,
            _ => panic!("the setup asks for no sentinels"),
        }
    }

    /// The proxy before Redis.
    pub fn redis_proxy(&self) -> &Proxy {
        self.redis_proxy.as_ref().expect("the setup asks for it")
    }

    /// The proxy before the owner.
    pub fn handler_proxy(&self) -> &Proxy {
        self.handler_proxy.as_ref().expect("the setup asks for it")
    }

    /// What each timer that runs takes of memory now, in bytes.
    pub fn memory(&self) -> BTreeMap<usize, u64> {
        let running = self.processes.iter().enumerate();
        running
            .filter_map(|(replica, process)| {
                Some((replica, resident_bytes(process.as_ref()?.pid())?))
            })
            .collect()
    }

    fn take(&mut self, replica: usize) -> ServiceProcess {
        self.processes[replica].take().expect("it is running")
    }

    fn log(&self, replica: usize) -> PathBuf {
        self.folder.path().join(format!("timer{replica}.log"))
    }

    fn configuration(&self, replica: usize) -> Vec<(&'static str, String)> {
        let handler = format!("http://{}", self.handler);
        let redis = match &self.redis_proxy {
            Some(proxy) => format!("redis://{}/0", proxy.address()),
            None => self.redis.url(replica),
        };
        let mut keys: Vec<_> = [
            ("TELEMETRY__LOG_FILTER", "info,plazo_request=warn"),
            // A short lease, so that a test sees one end.
            ("HANDLER__REQUEST_TIMEOUT_MS", "3000"),
            ("HANDLER__MAX_ATTEMPTS", "1"),
            ("NOTIFICATION__REQUEST_TIMEOUT_MS", "500"),
            ("NOTIFICATION__MAX_ATTEMPTS", "1"),
            ("TIMER__LEASE_MARGIN_MS", "500"),
            ("TIMER__REPAIR_GRACE_MS", "14000"),
        ]
        .map(|(key, value)| (key, value.to_owned()))
        .into();
        keys.extend([
            (
                "SERVER__LISTEN",
                self.ports.address(grpc_port(replica)).to_string(),
            ),
            (
                "SERVER__METRICS_LISTEN",
                self.ports.address(metrics_port(replica)).to_string(),
            ),
            ("REDIS__URL", redis),
            ("HANDLER__ENDPOINT", handler.clone()),
            ("NOTIFICATION__ENDPOINT", handler),
            ("TIMER__LEASE_MS", LEASE.as_millis().to_string()),
        ]);
        keys
    }
}

impl Drop for Timers {
    /// A failed test shows what the timers said last.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        for replica in 0..self.processes.len() {
            let text = self.said(replica);
            let lines: Vec<&str> = text.lines().collect();
            eprintln!("-- timer {replica} said last:");
            for line in &lines[lines.len().saturating_sub(LOG_TAIL_LINES)..] {
                eprintln!("{line}");
            }
        }
    }
}

fn channel(ports: &PortBlock, replica: usize) -> Channel {
    Endpoint::from_shared(format!("http://{}", ports.address(grpc_port(replica))))
        .expect("an address")
        .connect_timeout(Duration::from_secs(1))
        .tcp_nodelay(true)
        .connect_lazy()
}

fn grpc_port(replica: usize) -> u16 {
    u16::try_from(2 * replica).expect("few replicas")
}

fn metrics_port(replica: usize) -> u16 {
    grpc_port(replica) + 1
}
