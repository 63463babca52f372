//! A running history service, and how tests talk to it.

use std::net::SocketAddr;
use std::time::Duration;

use plazo_history::{App, Config};
use plazo_local::TestServers;
use plazo_proto::history::v1::history_service_client::HistoryServiceClient;
use plazo_proto::history::v1::history_settings_service_client::HistorySettingsServiceClient;
use plazo_proto::history::v1::outreach_service_client::OutreachServiceClient;
use plazo_proto::history::v1::report_service_client::ReportServiceClient;
use plazo_proto::history::v1::{
    ConversationEntry, GetTicketHistoryRequest, ListConversationRequest, TicketHistory,
};
use plazo_service::config::{ConfigSources, load};
use plazo_service::{Actor, ActorKind, BotScope, Listeners, Permission, Permissions};
use sqlx::{Connection as _, Executor as _, PgConnection};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::feed::Feed;

/// The longest that a condition is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// The history of the bots that tests use is on.
const BOTS_ON: &str = "
    INSERT INTO history_bots (tenant_id, bot_id)
    SELECT tenant_id, bot_id FROM generate_series(1, 9) AS tenant_id, generate_series(1, 20) AS bot_id
    ON CONFLICT DO NOTHING";

/// A database of the test's own, and the configuration of a service on it.
pub(crate) async fn fresh_config(feed: &Feed) -> Config {
    let servers = TestServers::shared().await;
    let mut config: Config = load(&ConfigSources::default()).expect("the defaults are valid");
    config.database.url = servers
        .fresh_database("history")
        .await
        .expect("a database is made");
    config.database.migrate = true;
    config.server.listen = "127.0.0.1:0".parse().expect("an address");
    config.server.metrics_listen = Some(config.server.listen);
    config.ticketing.endpoint = format!("http://{}", feed.address);
    config.feed.standby_ms = 50;
    config
}

/// The database that a URL names.
pub(crate) fn database_name(url: &str) -> String {
    let address = url
        .split('?')
        .next()
        .expect("a URL has a part before its options");
    address
        .rsplit('/')
        .next()
        .expect("the URL names a database")
        .to_owned()
}

/// A service that runs until it is dropped.
pub(crate) struct Running {
    pub(crate) client: HistoryServiceClient<Channel>,
    pub(crate) outreach: OutreachServiceClient<Channel>,
    pub(crate) settings: HistorySettingsServiceClient<Channel>,
    /// The name of its database.
    pub(crate) database: String,
    address: SocketAddr,
    metrics_address: SocketAddr,
    shutdown: CancellationToken,
    tasks: JoinSet<()>,
}

impl Running {
    /// A service on a database of its own.
    pub(crate) async fn fresh(feed: &Feed) -> Self {
        Self::start(fresh_config(feed).await).await
    }

    pub(crate) async fn start(config: Config) -> Self {
        let listeners = Listeners::bind(&config.server)
            .await
            .expect("ports are free");
        let metrics = listeners.metrics.as_ref().expect("metrics are served");
        let metrics_address = metrics.local_addr().expect("it is bound");
        let database = database_name(&config.database.url);
        let urls = &config.database;
        let owner_url = urls.migration_url.as_ref().unwrap_or(&urls.url).clone();
        let app = App::build(config, listeners)
            .await
            .expect("the service is built");
        let switched = PgConnection::connect(&owner_url)
            .await
            .expect("the database is reached")
            .execute(BOTS_ON)
            .await;
        switched.expect("the history of the tests' bots is switched on");
        let address = app.grpc_address().expect("it is bound");
        let shutdown = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let until = shutdown.clone();
        tasks.spawn(async move { Box::pin(app.run(until)).await.expect("the service runs") });
        let channel = Channel::from_shared(format!("http://{address}")).expect("an address");
        let channel = channel.connect().await.expect("the service is reached");
        Self {
            client: HistoryServiceClient::new(channel.clone()),
            settings: HistorySettingsServiceClient::new(channel.clone()),
            outreach: OutreachServiceClient::new(channel),
            database,
            address,
            metrics_address,
            shutdown,
            tasks,
        }
    }

    /// Where gRPC is served.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A client for reports.
    pub(crate) async fn reports(&self) -> ReportServiceClient<Channel> {
        let client = ReportServiceClient::connect(format!("http://{}", self.address));
        client.await.expect("the service is reached")
    }

    /// Ends it as SIGTERM does.
    pub(crate) async fn stop(mut self) {
        self.shutdown.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended.expect("the service ends in good order");
        }
    }

    /// Ends it in whatever it is doing: its connections break and its transactions with them.
    pub(crate) async fn kill(mut self) {
        self.tasks.shutdown().await;
    }

    pub(crate) async fn ticket(
        &self,
        actor: &Actor,
        ticket_id: i64,
    ) -> Result<TicketHistory, Status> {
        let request = actor.sign(Request::new(GetTicketHistoryRequest { ticket_id }));
        let response = self
            .client
            .clone()
            .get_ticket_history(request)
            .await?
            .into_inner();
        Ok(response.ticket.expect("an answer has a ticket"))
    }

    /// The ticket as soon as `ticket_seq` of it is known.
    pub(crate) async fn ticket_at(
        &self,
        actor: &Actor,
        ticket_id: i64,
        ticket_seq: i64,
    ) -> TicketHistory {
        eventually("the event is projected", async || {
            match self.ticket(actor, ticket_id).await {
                Ok(ticket) => (ticket.ticket_seq >= ticket_seq).then_some(ticket),
                Err(status) if status.code() == Code::NotFound => None,
                Err(status) => panic!("{status}"),
            }
        })
        .await
    }

    pub(crate) async fn conversation(
        &self,
        actor: &Actor,
        ticket_id: i64,
    ) -> Vec<ConversationEntry> {
        let mut entries = Vec::new();
        let mut page_token = String::new();
        loop {
            let message = ListConversationRequest {
                ticket_id,
                page_size: 500,
                page_token,
                newest_first: false,
            };
            let request = actor.sign(Request::new(message));
            let response = self.client.clone().list_conversation(request).await;
            let page = response.expect("the conversation is shown").into_inner();
            entries.extend(page.entries);
            if page.next_page_token.is_empty() {
                return entries;
            }
            page_token = page.next_page_token;
        }
    }

    /// The value of a metric, with its labels as they are written.
    pub(crate) async fn metric(&self, name: &str) -> Option<f64> {
        let mut stream = TcpStream::connect(self.metrics_address)
            .await
            .expect("metrics are served");
        let request = b"GET /metrics HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n";
        stream
            .write_all(request)
            .await
            .expect("the request is sent");
        let mut text = String::new();
        stream
            .read_to_string(&mut text)
            .await
            .expect("the answer is read");
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        Some(line.trim().parse().expect("a number"))
    }

    /// What the health service says of a name.
    pub(crate) async fn is_serving(&self, name: &str) -> bool {
        let channel = Channel::from_shared(format!("http://{}", self.address)).expect("an address");
        let channel = channel.connect().await.expect("the service is reached");
        let request = HealthCheckRequest {
            service: name.to_owned(),
        };
        let response = HealthClient::new(channel)
            .check(request)
            .await
            .expect("it is known");
        response.into_inner().status()
            == tonic_health::pb::health_check_response::ServingStatus::Serving
    }
}

/// An administrator of a tenant with the permission for the history of all bots, who is bound to no contacts.
pub(crate) fn viewer(tenant_id: i64) -> Actor {
    Actor {
        tenant_id,
        kind: ActorKind::Administrator(1),
        permissions: Permissions::NONE.with(Permission::HistoryView),
        bots: BotScope::All,
    }
}

/// The same for some bots only.
pub(crate) fn viewer_of(tenant_id: i64, bot_ids: &[i64]) -> Actor {
    Actor {
        bots: BotScope::Only(bot_ids.to_vec()),
        ..viewer(tenant_id)
    }
}

/// An agent of tenant 1 with the permission in his calls, for some bots.
pub(crate) fn agent(agent_id: i64, bot_ids: &[i64]) -> Actor {
    Actor {
        kind: ActorKind::Agent(agent_id),
        ..viewer_of(1, bot_ids)
    }
}

/// The first value that `look` has, looked for again and again.
pub(crate) async fn eventually<T>(what: &str, look: impl AsyncFn() -> Option<T>) -> T {
    let found = tokio::time::timeout(PATIENCE, async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    found
        .await
        .unwrap_or_else(|_| panic!("not within {PATIENCE:?}: {what}"))
}
