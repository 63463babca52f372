//! A timer with everything around it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use plazo_local::{RedisOptions, RedisServer};
use plazo_proto::FILE_DESCRIPTOR_SET;
use plazo_proto::notification::v1::notification_service_server::NotificationServiceServer;
use plazo_proto::timer::v1 as proto;
use plazo_proto::timer::v1::ticket_handler_service_server::TicketHandlerServiceServer;
use plazo_proto::timer::v1::timer_service_client::TimerServiceClient;
use plazo_service::config::ConfigSources;
use plazo_service::{
    Actor, ClientConfig, Listeners, Metrics, Server, ServerConfig, ServiceChannel, connect_lazy,
};
use plazo_timer::{App, Config, TimerError};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::desk::{Desk, PERMISSIONS, TicketId, timestamp};

pub(crate) type Client = TimerServiceClient<ServiceChannel>;

/// Bound of every wait. Far more than anything takes, even on a machine that does other work too.
pub(crate) const BOUND: Duration = Duration::from_mins(1);

/// A desk that is served, a Redis, and as many timers as the test starts.
pub(crate) struct Bed {
    pub(crate) desk: Desk,
    pub(crate) redis_url: String,
    pub(crate) namespace: String,
    /// Keys of the configuration, as in `timer.lease_ms`, with their values.
    pub(crate) settings: HashMap<&'static str, String>,
    desk_address: String,
    tasks: JoinSet<()>,
    stop: CancellationToken,
}

/// A timer that runs in this process.
pub(crate) struct RunningTimer {
    pub(crate) client: Client,
    metrics_address: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<Result<(), TimerError>>,
}

impl Bed {
    /// A bed on the Redis that all tests of this process share, in a namespace of its own.
    pub(crate) async fn new() -> Self {
        Self::on(shared_redis().await.url()).await
    }

    /// A bed on a Redis of the test's own.
    pub(crate) async fn on(redis_url: String) -> Self {
        static NAMESPACES: AtomicU32 = AtomicU32::new(0);
        let desk = Desk::default();
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let desk_address = serve(&desk, &mut tasks, &stop).await;
        let settings = HashMap::from([
            ("timer.failure_backoff_ms", "20".to_owned()),
            ("timer.failure_backoff_max_ms", "50".to_owned()),
            ("guard.interval_ms", "100".to_owned()),
            ("guard.replica_alive_ms", "500".to_owned()),
            ("guard.rebuild_backoff_ms", "20".to_owned()),
            ("guard.rebuild_backoff_max_ms", "100".to_owned()),
            ("handler.max_backoff_ms", "50".to_owned()),
        ]);
        Self {
            desk,
            redis_url,
            namespace: format!("test{}", NAMESPACES.fetch_add(1, Ordering::Relaxed)),
            settings,
            desk_address,
            tasks,
            stop,
        }
    }

    /// Short leases, with deadlines to match.
    pub(crate) fn with_short_leases(mut self) -> Self {
        for (key, value) in [
            ("handler.request_timeout_ms", "300"),
            ("handler.max_attempts", "1"),
            ("notification.request_timeout_ms", "100"),
            ("notification.max_attempts", "1"),
            ("timer.lease_margin_ms", "100"),
            ("timer.lease_ms", "1000"),
            ("timer.repair_grace_ms", "2000"),
        ] {
            self.settings.insert(key, value.to_owned());
        }
        self
    }

    pub(crate) fn set(mut self, key: &'static str, value: &(impl ToString + ?Sized)) -> Self {
        self.settings.insert(key, value.to_string());
        self
    }

    /// The environment that configures a timer of this bed.
    pub(crate) fn environment(&self) -> BTreeMap<String, String> {
        let mut settings = self.settings.clone();
        settings.insert("server.listen", "127.0.0.1:0".to_owned());
        settings.insert("server.metrics_listen", "127.0.0.1:0".to_owned());
        settings.insert("redis.url", self.redis_url.clone());
        settings.insert("timer.namespace", self.namespace.clone());
        settings.insert("handler.endpoint", self.desk_address.clone());
        settings.insert("notification.endpoint", self.desk_address.clone());
        let variable =
            |key: &str| format!("PLAZO_TIMER__{}", key.to_uppercase().replace('.', "__"));
        settings
            .into_iter()
            .map(|(key, value)| (variable(key), value))
            .collect()
    }

    pub(crate) fn config(&self) -> Config {
        let sources = ConfigSources {
            file: None,
            environment: self.environment(),
        };
        plazo_service::config::load(&sources).expect("the test's settings are valid")
    }

    /// Starts a timer, or says why it refuses.
    pub(crate) async fn try_start(&mut self) -> Result<RunningTimer, TimerError> {
        let config = self.config();
        let listeners = Listeners::bind(&config.server).await?;
        let metrics = listeners.metrics.as_ref().expect("metrics are served");
        let metrics_address = metrics.local_addr().expect("it is bound");
        let app = App::build(config, listeners).await?;
        let address = app.grpc_address().expect("it is bound");
        let stop = CancellationToken::new();
        let task = spawn(app.run(stop.clone()));
        let client = client(&format!("http://{address}"), Actor::service("ticketing"));
        Ok(RunningTimer {
            client,
            metrics_address,
            stop,
            task,
        })
    }

    pub(crate) async fn start(&mut self) -> RunningTimer {
        self.try_start().await.expect("the timer starts")
    }

    pub(crate) async fn redis(&self) -> redis::aio::MultiplexedConnection {
        let client = redis::Client::open(self.redis_url.as_str()).expect("the URL is valid");
        client
            .get_multiplexed_async_connection()
            .await
            .expect("redis is there")
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        self.stop.cancel();
        self.tasks.abort_all();
    }
}

impl RunningTimer {
    /// Ends the timer in order.
    pub(crate) async fn stop(self) {
        self.begin_stop();
        self.ended().await;
    }

    /// Asks the timer to end, as SIGTERM does.
    pub(crate) fn begin_stop(&self) {
        self.stop.cancel();
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.task.is_finished()
    }

    pub(crate) async fn ended(self) {
        self.task
            .await
            .expect("it does not panic")
            .expect("it ends well");
    }

    /// Arms a ticket.
    pub(crate) async fn arm(&mut self, ticket: TicketId, generation: i64, due_ms: i64) {
        self.arm_all(vec![arm(ticket, generation, Some(due_ms), 0)])
            .await;
    }

    pub(crate) async fn arm_all(
        &mut self,
        arms: Vec<proto::TicketArm>,
    ) -> proto::ArmTicketsResponse {
        let request = proto::ArmTicketsRequest { arms };
        self.client
            .arm_tickets(request)
            .await
            .expect("arming works")
            .into_inner()
    }

    pub(crate) async fn entries(&mut self, ticket: TicketId) -> Vec<proto::TimerEntry> {
        let request = proto::GetTicketEntriesRequest {
            tenant_id: ticket.0,
            ticket_id: ticket.1,
        };
        self.client
            .get_ticket_entries(request)
            .await
            .expect("reading works")
            .into_inner()
            .entries
    }

    pub(crate) async fn quarantined(&mut self) -> Vec<proto::TimerEntry> {
        let request = proto::ListQuarantinedEntriesRequest::default();
        let response = self.client.list_quarantined_entries(request).await;
        response.expect("reading works").into_inner().entries
    }

    pub(crate) async fn stats(&mut self) -> proto::GetTimerStatsResponse {
        let response = self
            .client
            .get_timer_stats(proto::GetTimerStatsRequest {})
            .await;
        response.expect("reading works").into_inner()
    }

    /// The value of a metric, with its labels as they are written; zero when it isn't there.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let mut stream = TcpStream::connect(self.metrics_address)
            .await
            .expect("metrics are served");
        let request = b"GET /metrics HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n";
        stream.write_all(request).await.expect("it is sent");
        let mut text = String::new();
        stream.read_to_string(&mut text).await.expect("it is read");
        let name = format!("plazo_timer_{name} ");
        text.lines()
            .find_map(|line| line.strip_prefix(&name))
            .map_or(0.0, |value| value.trim().parse().expect("a number"))
    }

    /// The owners of all shards, as this replica sees them, each once.
    pub(crate) async fn owners(&mut self) -> BTreeSet<String> {
        let shards = self.stats().await.shards;
        shards.into_iter().map(|s| s.owner_replica_id).collect()
    }

    /// Waits until the shards are divided among so many replicas, and each claims from its own.
    pub(crate) async fn divided(&mut self, others: &[&Self], replicas: usize) {
        wait_for("the shards to be divided", async || {
            let stats = self.stats().await;
            let mut owned = self.metric("owned_shards").await;
            for other in others {
                owned += other.metric("owned_shards").await;
            }
            stats.replica_ids.len() == replicas && (owned - 16.0).abs() < 0.5
        })
        .await;
    }

    /// Waits until no shard is being rebuilt.
    pub(crate) async fn rebuilt(&mut self) {
        let mut client = self.client.clone();
        wait_for("the rebuild", async move || {
            let response = client.get_timer_stats(proto::GetTimerStatsRequest {}).await;
            response.is_ok_and(|stats| stats.into_inner().shards.iter().all(|s| !s.rebuilding))
        })
        .await;
    }
}

pub(crate) fn member(ticket: TicketId, generation: i64) -> proto::TicketGeneration {
    proto::TicketGeneration {
        tenant_id: ticket.0,
        ticket_id: ticket.1,
        generation,
    }
}

pub(crate) fn arm(
    ticket: TicketId,
    generation: i64,
    due_ms: Option<i64>,
    first_superseded_generation: i64,
) -> proto::TicketArm {
    proto::TicketArm {
        ticket: Some(member(ticket, generation)),
        due_time: due_ms.map(timestamp),
        first_superseded_generation,
    }
}

/// A client of a timer, whose calls are made by this actor.
pub(crate) fn client(endpoint: &str, actor: Actor) -> Client {
    let config = ClientConfig::new(endpoint);
    TimerServiceClient::new(connect_lazy(&config, actor).expect("the address is valid"))
}

/// Waits until the condition holds, and fails after a bound.
pub(crate) async fn wait_for(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let give_up_at = Instant::now() + BOUND;
    while !condition().await {
        assert!(Instant::now() < give_up_at, "waited too long for {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits until the desk has seen so many firings.
pub(crate) async fn wait_for_firings(desk: &Desk, count: usize) {
    wait_for(&format!("{count} firings"), async || {
        desk.firing_count() >= count
    })
    .await;
}

async fn shared_redis() -> &'static RedisServer {
    static SHARED: OnceCell<RedisServer> = OnceCell::const_new();
    SHARED.get_or_init(async || own_redis(&[]).await).await
}

/// A Redis of the test's own, with more lines of configuration.
pub(crate) async fn own_redis(settings: &[&str]) -> RedisServer {
    let mut options = RedisOptions::temporary().append_only(false);
    for setting in settings {
        options = options.setting(*setting);
    }
    RedisServer::start(options).await.expect("redis starts")
}

async fn serve(desk: &Desk, tasks: &mut JoinSet<()>, stop: &CancellationToken) -> String {
    let config = ServerConfig::default();
    let listeners = Listeners::bind(&config).await.expect("a port is free");
    let address = listeners.grpc_address().expect("it is bound");
    let server = Server::new(
        &config,
        Metrics::new("desk"),
        FILE_DESCRIPTOR_SET,
        PERMISSIONS,
    )
    .add_service(TicketHandlerServiceServer::new(desk.clone()))
    .add_service(NotificationServiceServer::new(desk.clone()));
    let stop = stop.clone();
    tasks.spawn(async move {
        server
            .run(listeners, stop)
            .await
            .expect("the desk is served");
    });
    format!("http://{address}")
}

#[expect(clippy::disallowed_methods, reason = "the test stops what it starts")]
fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    tokio::spawn(future)
}
