//! A running service on a fresh database, its callers, and how they read errors.

use plazo_database::{Logins, TenantPool};
use plazo_local::TestServers;
use plazo_proto::common::v1::{Channel as ContactChannel, ChannelIdentity, TimeUnit, TimeValue};
use plazo_proto::ticketing::v1::contact_service_client::ContactServiceClient;
use plazo_proto::ticketing::v1::erasure_service_client::ErasureServiceClient;
use plazo_proto::ticketing::v1::feed_service_client::FeedServiceClient;
use plazo_proto::ticketing::v1::inbound_service_client::InboundServiceClient;
use plazo_proto::ticketing::v1::message_state_service_client::MessageStateServiceClient;
use plazo_proto::ticketing::v1::outreach_service_client::OutreachServiceClient;
use plazo_proto::ticketing::v1::settings_service_client::SettingsServiceClient;
use plazo_proto::ticketing::v1::snapshot_service_client::SnapshotServiceClient;
use plazo_proto::ticketing::v1::ticket_service_client::TicketServiceClient;
use plazo_proto::ticketing::v1::{Bot, Contact, CreateBotRequest, CreateContactRequest};
use plazo_proto::timer::v1::ticket_handler_service_client::TicketHandlerServiceClient;
use plazo_service::ConfigSources;
use plazo_service::status::{reason_of, violations_of};
use plazo_ticketing::{App, Config};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::metadata::{AsciiMetadataValue, MetadataMap};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

use crate::fields::FieldCheck;

/// The tenant of everyone whose tenant is not named.
pub(crate) const TENANT: i64 = 7;

/// A running service. It ends with this value.
pub(crate) struct Fixture {
    /// The service's database.
    pub(crate) pool: PgPool,
    url: String,
    endpoint: Endpoint,
    channel: Channel,
    _shutdown: DropGuard,
}

impl Fixture {
    /// Starts the service on a fresh database, without a timer.
    pub(crate) async fn start() -> Self {
        Self::start_with_timer("http://127.0.0.1:1").await
    }

    /// Starts the service on a fresh database, with a timer at this address.
    pub(crate) async fn start_with_timer(timer_endpoint: &str) -> Self {
        Self::start_with(&[("TIMER__ENDPOINT", timer_endpoint)]).await
    }

    /// Starts the service on a fresh database, with these settings.
    pub(crate) async fn start_with(settings: &[(&str, &str)]) -> Self {
        let servers = TestServers::shared().await;
        let url = servers
            .fresh_database("ticketing")
            .await
            .expect("a database");
        Self::start_on(&url, settings).await
    }

    /// Starts another replica of the service, with these settings.
    pub(crate) async fn another(&self, settings: &[(&str, &str)]) -> Self {
        Self::start_on(&self.url, settings).await
    }

    /// Starts the service on this database, with these settings.
    pub(crate) async fn start_on(url: &str, settings: &[(&str, &str)]) -> Self {
        let pool = PgPoolOptions::new()
            .max_connections(10)
            .connect(url)
            .await
            .expect("a pool");

        let environment = [
            ("SERVER__LISTEN", "127.0.0.1:0"),
            ("SERVER__METRICS_LISTEN", "127.0.0.1:0"),
            ("DATABASE__URL", url),
            ("DATABASE__MIGRATE", "true"),
        ];
        let sources = ConfigSources {
            file: None,
            environment: environment
                .into_iter()
                .chain(settings.iter().copied())
                .map(|(key, value)| (format!("PLAZO_TICKETING__{key}"), value.to_owned()))
                .collect(),
        };
        let config: Config = plazo_service::config::load(&sources).expect("a configuration");
        let app = Box::pin(App::bind(config))
            .await
            .expect("the service starts");
        let address = app.grpc_address().expect("a bound socket");
        let shutdown = CancellationToken::new();
        let serving = Box::pin(app.run(shutdown.clone()));
        #[expect(
            clippy::disallowed_methods,
            reason = "ends with the fixture, through its token"
        )]
        tokio::spawn(async move { serving.await.expect("the server runs") });

        let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
        Self {
            pool,
            url: url.to_owned(),
            channel: endpoint.connect_lazy(),
            endpoint,
            _shutdown: shutdown.drop_guard(),
        }
    }

    /// The way of requests into the database, as the service takes it.
    pub(crate) fn requests(&self) -> TenantPool {
        let logins = Logins {
            service: "ticketing",
            url: &self.url,
            request_url: None,
            migration_url: None,
        };
        let options = logins.request_options(20_000).expect("a URL");
        TenantPool::connect_lazy(PgPoolOptions::new(), options, 10)
    }

    /// Clients of an actor of [`TENANT`]: `as_actor("agent/1", "tickets:attend", "*")`.
    pub(crate) fn as_actor(&self, actor: &str, permissions: &str, bots: &str) -> Clients {
        self.as_actor_of(TENANT, actor, permissions, bots)
    }

    /// Clients of an actor of any tenant.
    pub(crate) fn as_actor_of(
        &self,
        tenant_id: i64,
        actor: &str,
        permissions: &str,
        bots: &str,
    ) -> Clients {
        let mut metadata = MetadataMap::new();
        for (key, value) in [
            ("plazo-tenant", tenant_id.to_string()),
            ("plazo-actor", actor.to_owned()),
            ("plazo-permissions", permissions.to_owned()),
            ("plazo-bots", bots.to_owned()),
        ] {
            let value = AsciiMetadataValue::try_from(value).expect("ASCII");
            metadata.insert(key, value);
        }
        Clients::over(&self.channel, &Signature(metadata))
    }

    /// The clients with a connection of their own, over which a stream sends at most so many bytes that were not read.
    pub(crate) fn with_window(&self, clients: &Clients, bytes: u32) -> Clients {
        let endpoint = self.endpoint.clone().initial_stream_window_size(bytes);
        Clients::over(&endpoint.connect_lazy(), &clients.signature)
    }

    /// The connection, for calls that say themselves who makes them.
    pub(crate) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// Clients of an administrator of [`TENANT`] who may do all that people may.
    pub(crate) fn administrator(&self) -> Clients {
        self.administrator_of(TENANT)
    }

    /// Clients of another service, across tenants.
    pub(crate) fn service(&self) -> Clients {
        self.as_actor_of(0, "service/test", "service", "*")
    }

    /// Clients of an administrator of any tenant.
    pub(crate) fn administrator_of(&self, tenant_id: i64) -> Clients {
        let permissions = "helpdesk:view,helpdesk:edit,builder:edit,tickets:attend";
        self.as_actor_of(tenant_id, "administrator/1", permissions, "*")
    }
}

/// Says in the metadata who makes a call.
#[derive(Clone)]
pub(crate) struct Signature(MetadataMap);

impl Interceptor for Signature {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        for pair in self.0.iter() {
            if let tonic::metadata::KeyAndValueRef::Ascii(key, value) = pair {
                request.metadata_mut().insert(key.clone(), value.clone());
            }
        }
        Ok(request)
    }
}

/// A connection whose calls are made by one actor, and whose refusals name fields of the requests.
pub(crate) type SignedChannel = InterceptedService<FieldCheck, Signature>;

/// One actor's clients.
#[derive(Clone)]
pub(crate) struct Clients {
    signature: Signature,
    /// Of the settings.
    pub(crate) settings: SettingsServiceClient<SignedChannel>,
    /// Of the contacts.
    pub(crate) contacts: ContactServiceClient<SignedChannel>,
    /// Of the tickets.
    pub(crate) tickets: TicketServiceClient<SignedChannel>,
    /// Of the handler that the timer calls.
    pub(crate) handler: TicketHandlerServiceClient<SignedChannel>,
    /// Of the event feed.
    pub(crate) feed: FeedServiceClient<SignedChannel>,
    /// Of what customers write by channels.
    pub(crate) inbound: InboundServiceClient<SignedChannel>,
    /// Of what notification reports to.
    pub(crate) states: MessageStateServiceClient<SignedChannel>,
    /// Of snapshots.
    pub(crate) snapshots: SnapshotServiceClient<SignedChannel>,
    /// Of active messages that agents start.
    pub(crate) outreach: OutreachServiceClient<SignedChannel>,
    /// Of what erases personal data.
    pub(crate) erasures: ErasureServiceClient<SignedChannel>,
}

impl Clients {
    fn over(channel: &Channel, signature: &Signature) -> Self {
        let channel = || InterceptedService::new(FieldCheck(channel.clone()), signature.clone());
        Self {
            settings: SettingsServiceClient::new(channel()),
            contacts: ContactServiceClient::new(channel()),
            tickets: TicketServiceClient::new(channel()),
            handler: TicketHandlerServiceClient::new(channel()),
            feed: FeedServiceClient::new(channel()),
            inbound: InboundServiceClient::new(channel()),
            states: MessageStateServiceClient::new(channel()),
            snapshots: SnapshotServiceClient::new(channel()),
            outreach: OutreachServiceClient::new(channel()),
            erasures: ErasureServiceClient::new(channel()),
            signature: signature.clone(),
        }
    }

    /// Creates a bot with this name and the defaults.
    pub(crate) async fn create_bot(&mut self, name: &str) -> Bot {
        let bot = Bot {
            name: name.to_owned(),
            ..Bot::default()
        };
        let request = CreateBotRequest {
            bot: Some(bot),
            request_id: String::new(),
        };
        let answer = self
            .settings
            .create_bot(request)
            .await
            .expect("a bot is created");
        answer.into_inner().bot.expect("the bot")
    }

    /// Creates a contact that is reached through the log.
    pub(crate) async fn create_contact(&mut self, name: &str, address: &str) -> Contact {
        let contact = new_contact(name, address);
        let request = CreateContactRequest {
            contact: Some(contact),
            request_id: String::new(),
        };
        let answer = self
            .contacts
            .create_contact(request)
            .await
            .expect("a contact is created");
        answer.into_inner().contact.expect("the contact")
    }
}

/// A contact to be created, reached through the log.
pub(crate) fn new_contact(name: &str, address: &str) -> Contact {
    let channel_identity = ChannelIdentity {
        channel: ContactChannel::Log.into(),
        address: address.to_owned(),
    };
    Contact {
        name: name.to_owned(),
        channel_identity: Some(channel_identity),
        ..Contact::default()
    }
}

/// A length of time.
pub(crate) fn time_value(value: i32, unit: TimeUnit) -> TimeValue {
    TimeValue {
        value,
        unit: unit.into(),
    }
}

/// Seconds.
#[expect(clippy::unnecessary_wraps, reason = "messages have it so")]
pub(crate) fn seconds(value: i32) -> Option<TimeValue> {
    Some(time_value(value, TimeUnit::Second))
}

/// A fresh request id.
pub(crate) fn request_id() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// The code and reason of a refusal.
#[track_caller]
pub(crate) fn refusal<T>(answer: Result<T, Status>) -> (Code, String) {
    let Err(status) = answer else {
        panic!("it was not refused")
    };
    let reason = reason_of(&status).unwrap_or_else(|| panic!("no reason in {status:?}"));
    (status.code(), reason)
}

/// The fields that a refused request had wrong, in the order in which they were found.
#[track_caller]
pub(crate) fn wrong_fields<T>(answer: Result<T, Status>) -> Vec<String> {
    let Err(status) = answer else {
        panic!("it was not refused")
    };
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    violations_of(&status)
        .into_iter()
        .map(|(field, _)| field)
        .collect()
}
