//! Every RPC of every service, called by those who may not: each is refused with its code, and nothing is changed or told.

mod rights;
mod wire;

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use plazo::cluster::{Cluster, ClusterOptions, Service};
use plazo::issuer::{AUDIENCE, DevelopmentIssuer, ISSUER, TokenRequest};
use plazo_proto::ticketing::v1::contact_service_client::ContactServiceClient;
use plazo_proto::ticketing::v1::settings_service_client::SettingsServiceClient;
use plazo_proto::ticketing::v1::ticket_service_client::TicketServiceClient;
use plazo_proto::ticketing::v1::{
    Agent, Bot, Contact, CreateAgentRequest, CreateBotRequest, CreateContactRequest,
    ListBotsRequest, OpenTicketRequest,
};
use plazo_service::{ActorKind, BotScope, Permission};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgPool};
use tempfile::TempDir;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request};
use uuid::Uuid;

use crate::plazo::{command, data_folder};
use wire::{Answer, Api, Rpc, call};

/// No id of anything.
const NOWHERE: i64 = 987_654_321;

/// A cluster that believes nobody without a token, and a tenant in it with a ticket.
struct Desk {
    cluster: Cluster,
    issuer: DevelopmentIssuer,
    folder: TempDir,
    api: Api,
    bot_id: i64,
    agent_id: i64,
    contact_id: i64,
    ticket_id: i64,
}

impl Desk {
    async fn open() -> Self {
        let folder = data_folder();
        let mut options = ClusterOptions {
            port: 0,
            durable: false,
            ..ClusterOptions::persistent(folder.path())
        };
        for service in Service::ALL {
            let name = service.name().to_uppercase();
            options = options.setting(format!("PLAZO_{name}__ACCESS__BELIEVE_METADATA"), "false");
        }
        let cluster = Cluster::start(options).await.expect("it starts");
        let issuer = DevelopmentIssuer::open(folder.path()).expect("it was made");
        let mut desk = Self {
            cluster,
            issuer,
            folder,
            api: Api::read(),
            bot_id: 0,
            agent_id: 0,
            contact_id: 0,
            ticket_id: 0,
        };
        desk.fill().await;
        desk
    }

    /// A bot, an agent, a contact and a ticket of tenant 1.
    async fn fill(&mut self) {
        let channel = self.channel(Service::Ticketing);
        let token = self.token(&all_rights(1, Some(BotScope::All)));
        let mut settings = SettingsServiceClient::new(channel.clone());
        let bot = CreateBotRequest {
            bot: Some(Bot {
                name: "Padaria".to_owned(),
                ..Bot::default()
            }),
            request_id: Uuid::new_v4().to_string(),
        };
        let answer = settings.create_bot(bearing(bot, &token)).await;
        self.bot_id = answer
            .expect("a bot")
            .into_inner()
            .bot
            .unwrap_or_default()
            .bot_id;
        let agent = CreateAgentRequest {
            agent: Some(Agent {
                name: "Ana".to_owned(),
                bot_ids: vec![self.bot_id],
                ..Agent::default()
            }),
            request_id: Uuid::new_v4().to_string(),
        };
        let answer = settings.create_agent(bearing(agent, &token)).await;
        let agent = answer.expect("an agent").into_inner().agent;
        self.agent_id = agent.unwrap_or_default().agent_id;
        let contact = CreateContactRequest {
            contact: Some(Contact {
                name: "Rui".to_owned(),
                channel_identity: Some(plazo_proto::common::v1::ChannelIdentity {
                    channel: plazo_proto::common::v1::Channel::Log.into(),
                    address: "rui".to_owned(),
                }),
                ..Contact::default()
            }),
            request_id: Uuid::new_v4().to_string(),
        };
        let mut contacts = ContactServiceClient::new(channel.clone());
        let answer = contacts.create_contact(bearing(contact, &token)).await;
        let contact = answer.expect("a contact").into_inner().contact;
        self.contact_id = contact.unwrap_or_default().contact_id;
        let ticket = OpenTicketRequest {
            bot_id: self.bot_id,
            contact_id: self.contact_id,
            agent_id: self.agent_id,
            request_id: Uuid::new_v4().to_string(),
            ..OpenTicketRequest::default()
        };
        let mut tickets = TicketServiceClient::new(channel);
        let answer = tickets.open_ticket(bearing(ticket, &token)).await;
        let ticket = answer.expect("a ticket").into_inner().ticket;
        self.ticket_id = ticket.unwrap_or_default().ticket_id;
    }

    fn channel(&self, service: Service) -> Channel {
        Endpoint::from_shared(self.cluster.endpoint(service))
            .expect("an address")
            .connect_lazy()
    }

    fn token(&self, request: &TokenRequest) -> String {
        let token = self.issuer.token(request, Timestamp::now());
        token.expect("it is signed")
    }

    /// A token with whatever header and claims, signed with the issuer's key.
    fn forged(&self, header: &Header, claims: &Value) -> String {
        let path = self.folder.path().join("issuer/key.der");
        let key = EncodingKey::from_ec_der(&std::fs::read(path).expect("the key"));
        jsonwebtoken::encode(header, claims, &key).expect("it is signed")
    }

    /// The id of what is there, by the name of the field.
    fn id(&self, field: &str) -> i64 {
        match field {
            "ticket_id" => self.ticket_id,
            "bot_id" => self.bot_id,
            "agent_id" | "id" => self.agent_id,
            "contact_id" => self.contact_id,
            _ => 1,
        }
    }

    async fn call(&self, rpc: &Rpc, message: Vec<u8>, token: Option<&str>) -> Answer {
        let authorization = token.map(|token| format!("Bearer {token}"));
        let metadata: Vec<_> = authorization
            .iter()
            .map(|value| ("authorization", value.as_str()))
            .collect();
        call(&self.channel(server_of(rpc)), rpc, message, &metadata).await
    }

    /// All rows of all databases, as a digest for each table. With a tenant, only its rows.
    async fn rows(&self, tenant_id: Option<i64>) -> BTreeMap<String, String> {
        let mut all = BTreeMap::new();
        for service in Service::ALL {
            let Some(url) = self.cluster.database_url(service) else {
                continue;
            };
            let pool = PgPool::connect(&url).await.expect("the database is there");
            let tables: Vec<(String, bool)> = sqlx::query_as(
                "SELECT c.oid::regclass::text, EXISTS (
                     SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'tenant_id')
                 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                 WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition
                   AND n.nspname NOT IN ('pg_catalog', 'information_schema')",
            )
            .fetch_all(&pool)
            .await
            .expect("the tables");
            for (table, has_tenant) in tables {
                let of_tenant = match tenant_id {
                    Some(_) if !has_tenant => continue,
                    Some(id) => format!("WHERE tenant_id = {id}"),
                    None => String::new(),
                };
                let digest = format!(
                    "SELECT count(*) || ' ' || coalesce(md5(string_agg(t::text, '|' ORDER BY t::text)), '')
                     FROM {table} t {of_tenant}"
                );
                let digest: String = sqlx::query_scalar(AssertSqlSafe(digest))
                    .fetch_one(&pool)
                    .await
                    .expect("a digest");
                all.insert(format!("{service} {table}"), digest);
            }
            pool.close().await;
        }
        all
    }
}

/// Which service serves an RPC.
fn server_of(rpc: &Rpc) -> Service {
    match rpc.path.split('.').nth(1) {
        Some("timer") if !rpc.path.contains("TicketHandlerService") => Service::Timer,
        Some("ticketing" | "timer") => Service::Ticketing,
        Some("notification") => Service::Notification,
        Some("history") => Service::History,
        _ => panic!("nobody serves {}", rpc.path),
    }
}

fn bearing<T>(message: T, token: &str) -> Request<T> {
    let mut request = Request::new(message);
    let value = format!("Bearer {token}").parse().expect("a header value");
    request.metadata_mut().insert("authorization", value);
    request
}

fn outside_rights() -> Vec<Permission> {
    let all = Permission::ALL.into_iter();
    all.filter(|it| *it != Permission::Service).collect()
}

fn all_rights(tenant_id: i64, bots: Option<BotScope>) -> TokenRequest {
    TokenRequest {
        tenant_id,
        kind: ActorKind::Administrator(1),
        permissions: outside_rights(),
        bots,
        ttl: Duration::from_hours(1),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_calls_what_is_not_theirs() {
    let mut desk = Desk::open().await;
    assert!(desk.api.rpcs.len() > 100, "{} RPCs", desk.api.rpcs.len());
    strangers_get_nothing(&desk).await;
    other_tenants_get_nothing(&desk).await;
    other_bots_stay_hidden(&desk).await;
    rights::are_as_the_table_says(&desk).await;
    tokens_come_from_the_command(&desk).await;
    desk.cluster.stop().await.expect("it ends");
}

async fn strangers_get_nothing(desk: &Desk) {
    let now = Timestamp::now().as_second();
    let good = json!({
        "iss": ISSUER, "aud": AUDIENCE, "sub": "a", "exp": now + 600, "plazo_tenant": 1,
        "plazo_actor": "administrator/1", "plazo_bots": "*",
        "plazo_permissions": outside_rights().iter().map(|it| it.name()).collect::<Vec<_>>(),
    });
    let with = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        claims
    };
    let header = Header::new(Algorithm::ES256);
    let forged = |claims: &Value| desk.forged(&header, claims);
    let stranger = tempfile::tempdir().expect("a folder");
    let stranger = DevelopmentIssuer::open_or_make(stranger.path()).expect("an issuer");
    let symmetric = EncodingKey::from_secret(b"the public key, say");
    let symmetric = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &good, &symmetric);
    let tokens = [
        ("TOKEN_MISSING", None),
        (
            "ISSUER_UNKNOWN",
            Some(forged(&with("iss", "https://id.example".into()))),
        ),
        ("AUDIENCE_WRONG", Some(forged(&with("aud", "else".into())))),
        ("ALGORITHM_REFUSED", Some(symmetric.expect("it is signed"))),
        ("TOKEN_EXPIRED", Some(forged(&with("exp", json!(now - 60))))),
        (
            "TOKEN_NOT_YET_VALID",
            Some(forged(&with("nbf", json!(now + 60)))),
        ),
        (
            "CLAIM_INVALID",
            Some(forged(&with("plazo_actor", "service/timer".into()))),
        ),
        (
            "CLAIM_INVALID",
            Some(forged(&with("plazo_permissions", json!(["service"])))),
        ),
        (
            "KEY_UNKNOWN",
            stranger.token(&all_rights(1, None), Timestamp::now()).ok(),
        ),
    ];
    let metadata = [
        ("plazo-tenant", "1"),
        ("plazo-actor", "service/timer"),
        ("plazo-permissions", "service"),
    ];
    let before = settled_rows(desk).await;
    let mut told = Vec::new();
    for rpc in &desk.api.rpcs {
        let message = desk.api.request(rpc, &|field| desk.id(field));
        for (reason, token) in &tokens {
            let answer = desk.call(rpc, message.clone(), token.as_deref()).await;
            if (answer.code, answer.reason.as_deref()) != (Code::Unauthenticated, Some(reason)) {
                told.push(format!("{} {reason}: {answer:?}", rpc.path));
            }
        }
        let channel = desk.channel(server_of(rpc));
        let answer = call(&channel, rpc, message.clone(), &metadata).await;
        if answer.reason.as_deref() != Some("TOKEN_MISSING") {
            told.push(format!("{} metadata: {answer:?}", rpc.path));
        }
        let nothing = TokenRequest {
            permissions: Vec::new(),
            ..all_rights(1, Some(BotScope::All))
        };
        let answer = desk.call(rpc, message, Some(&desk.token(&nothing))).await;
        if answer.code != Code::PermissionDenied || !answer.is_denied() {
            told.push(format!("{} no rights: {answer:?}", rpc.path));
        }
    }
    assert!(told.is_empty(), "{told:#?}");
    assert_same(&before, &settled_rows(desk).await);
}

/// An actor of another tenant learns of nothing and changes nothing, whatever it asks for by its id: the answers are those
/// for ids of nothing.
async fn other_tenants_get_nothing(desk: &Desk) {
    let token = desk.token(&all_rights(2, Some(BotScope::All)));
    let before = desk.rows(Some(1)).await;
    let mut told = Vec::new();
    let mut reached = 0;
    for rpc in &desk.api.rpcs {
        let there = desk.api.request(rpc, &|field| desk.id(field));
        let nowhere = desk.api.request(rpc, &|_| NOWHERE);
        let there = desk.call(rpc, there, Some(&token)).await;
        let nowhere = desk.call(rpc, nowhere, Some(&token)).await;
        if (there.code, &there.reason) != (nowhere.code, &nowhere.reason) {
            told.push(format!("{}: {there:?} and {nowhere:?}", rpc.path));
        }
        reached += u32::from(there.code != Code::InvalidArgument && !there.is_denied());
    }
    println!(
        "{reached} of {} RPCs took the request of another tenant as well formed",
        desk.api.rpcs.len()
    );
    assert!(told.is_empty(), "{told:#?}");
    assert_same(&before, &desk.rows(Some(1)).await);
}

/// An actor of the tenant who may use no bot gets the same answer for a bot and a ticket that are there as for others.
async fn other_bots_stay_hidden(desk: &Desk) {
    let token = desk.token(&TokenRequest {
        kind: ActorKind::Agent(desk.agent_id),
        ..all_rights(1, Some(BotScope::Only(Vec::new())))
    });
    let mut told = Vec::new();
    for rpc in &desk.api.rpcs {
        let of_bot = |field: &str| matches!(field, "bot_id" | "ticket_id" | "message_id");
        let there = desk.api.request(rpc, &|field| desk.id(field));
        let nowhere = desk.api.request(rpc, &|field| {
            if of_bot(field) {
                NOWHERE
            } else {
                desk.id(field)
            }
        });
        let there = desk.call(rpc, there, Some(&token)).await;
        let nowhere = desk.call(rpc, nowhere, Some(&token)).await;
        if (there.code, &there.reason) != (nowhere.code, &nowhere.reason) {
            told.push(format!("{}: {there:?} and {nowhere:?}", rpc.path));
        }
    }
    assert!(told.is_empty(), "{told:#?}");
}

async fn tokens_come_from_the_command(desk: &Desk) {
    let data = desk.folder.path().to_str().expect("a path in UTF-8");
    let run = async |more: &[&str]| {
        let arguments = [&["token", "--data", data], more].concat();
        let output = command(&arguments).output().await.expect("it runs");
        let text = |bytes| String::from_utf8(bytes).expect("text").trim().to_owned();
        (
            output.status.code(),
            text(output.stdout),
            text(output.stderr),
        )
    };
    let list = async |token: &str| {
        let mut settings = SettingsServiceClient::new(desk.channel(Service::Ticketing));
        let request = bearing(ListBotsRequest::default(), token);
        settings
            .list_bots(request)
            .await
            .map(|answer| answer.into_inner().bots.len())
    };
    let rights = "--permissions=helpdesk:view,tickets:attend";
    let (code, token, _) = run(&["--tenant", "1", "--administrator", "1", rights]).await;
    assert_eq!(code, Some(0));
    assert!(list(&token).await.expect("it is let in") >= 1);
    let (_, token, _) = run(&["--tenant", "1", "--agent", "1", "--bots", "7", rights]).await;
    assert_eq!(list(&token).await.expect("it is let in"), 0);
    let (_, token, _) = run(&["--tenant", "1", "--bot", "1", "--ttl", "5m"]).await;
    let refused = list(&token).await.expect_err("it has no right");
    assert_eq!(refused.code(), Code::PermissionDenied);

    for (wrong, told) in [
        (&["--tenant", "1"][..], "--agent"),
        (&["--tenant", "0", "--bot", "1"], "--tenant"),
        (&["--tenant", "1", "--bot", "1", "--agent", "1"], "--agent"),
        (
            &["--tenant", "1", "--bot", "1", "--permissions", "service"],
            "no token makes a service",
        ),
        (&["--tenant", "1", "--bot", "1", "--ttl", "1"], "15m"),
    ] {
        let (code, token, stderr) = run(wrong).await;
        assert_eq!((code, token.as_str()), (Some(64), ""), "{wrong:?}");
        assert!(stderr.contains(told), "{stderr}");
    }
    let elsewhere = tempfile::tempdir().expect("a folder");
    let elsewhere = elsewhere.path().to_str().expect("a path in UTF-8");
    let arguments = ["token", "--data", elsewhere, "--tenant", "1", "--bot", "1"];
    let output = command(&arguments).output().await.expect("it runs");
    let stderr = String::from_utf8(output.stderr).expect("text");
    assert!(stderr.contains("plazo up --data"), "{stderr}");

    let key = desk.folder.path().join("issuer/key.der");
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(key).expect("the key").permissions(),
    );
    assert_eq!(mode & 0o777, 0o600, "nobody else may read the key");
}

/// All rows, once the background has nothing left to do.
async fn settled_rows(desk: &Desk) -> BTreeMap<String, String> {
    let mut rows = desk.rows(None).await;
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let later = desk.rows(None).await;
        if later == rows {
            return rows;
        }
        rows = later;
    }
    panic!("the rows don't come to rest");
}

fn assert_same(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) {
    let changed: Vec<_> = before
        .iter()
        .filter(|(table, digest)| after.get(*table) != Some(digest))
        .collect();
    assert!(changed.is_empty(), "changed: {changed:?}");
    assert_eq!(before.len(), after.len());
}
