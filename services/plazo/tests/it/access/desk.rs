//! A cluster, and calls of it in anybody's name.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use plazo::cluster::{Cluster, ClusterOptions, Service};
use plazo::issuer::{DevelopmentIssuer, TokenRequest};
use plazo_service::{ActorKind, BotScope, Permission};
use prost::Message;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

use super::rows::Databases;
use super::wire::{Answer, call, rpcs};

/// The tenant whose things others try to reach.
pub(super) const TENANT: i64 = 1;
/// Another one.
pub(super) const OTHER_TENANT: i64 = 2;
/// A third, whose actors make things of their own.
pub(super) const BUSY_TENANT: i64 = 3;
/// One in which there is nothing.
pub(super) const EMPTY_TENANT: i64 = 999;

/// A cluster, and calls of it in anybody's name.
pub(super) struct Desk {
    pub(super) cluster: Cluster,
    pub(super) databases: Databases,
    pub(super) issuer: DevelopmentIssuer,
    /// The paths of all RPCs, and whether they answer with a stream.
    pub(super) rpcs: BTreeMap<String, bool>,
    channels: BTreeMap<Service, Channel>,
}

/// How a call says who makes it.
#[derive(Debug, Clone)]
pub(super) enum Caller {
    /// Not at all.
    Nobody,
    /// With a token.
    Token(String),
    /// As a service, with metadata.
    Service,
}

impl Desk {
    /// With its data in a folder; believes metadata if told so, and tokens in any case.
    pub(super) async fn open(folder: &Path, believes_metadata: bool) -> Self {
        let mut options = ClusterOptions {
            port: 0,
            durable: false,
            ..ClusterOptions::persistent(folder)
        };
        for service in Service::ALL {
            let name = service.name().to_uppercase();
            options = options.setting(
                format!("PLAZO_{name}__ACCESS__BELIEVE_METADATA"),
                believes_metadata.to_string(),
            );
        }
        let cluster = Cluster::start(options).await.expect("it starts");
        let channel = |service| {
            let endpoint = Endpoint::from_shared(cluster.endpoint(service)).expect("an address");
            (service, endpoint.connect_lazy())
        };
        let channels = Service::ALL.into_iter().map(channel).collect();
        Self {
            databases: Databases::of(&cluster).await,
            issuer: DevelopmentIssuer::open(folder).expect("it was made"),
            rpcs: rpcs(),
            channels,
            cluster,
        }
    }

    pub(super) async fn close(mut self) {
        self.databases.close().await;
        self.cluster.stop().await.expect("it ends");
    }

    pub(super) fn channel(&self, service: Service) -> Channel {
        self.channels[&service].clone()
    }

    pub(super) fn token(&self, request: &TokenRequest) -> String {
        let token = self.issuer.token(request, Timestamp::now());
        token.expect("it is signed")
    }

    /// Somebody with a token.
    pub(super) fn caller(
        &self,
        tenant_id: i64,
        kind: ActorKind,
        permissions: &[Permission],
        bots: BotScope,
    ) -> Caller {
        Caller::Token(self.token(&TokenRequest {
            tenant_id,
            kind,
            permissions: permissions.to_vec(),
            bots: Some(bots),
            ttl: Duration::from_hours(1),
        }))
    }

    /// One who may do all that can be done with a token.
    pub(super) fn administrator(&self, tenant_id: i64) -> Caller {
        let kind = ActorKind::Administrator(1);
        self.caller(tenant_id, kind, &outside_rights(), BotScope::All)
    }

    pub(super) async fn call(&self, path: &str, message: Vec<u8>, caller: &Caller) -> Answer {
        let metadata = match caller {
            Caller::Nobody => Vec::new(),
            Caller::Token(token) => vec![("authorization", format!("Bearer {token}"))],
            Caller::Service => service_metadata(),
        };
        self.call_with(path, message, &metadata).await
    }

    pub(super) async fn call_with(
        &self,
        path: &str,
        message: Vec<u8>,
        metadata: &[(&'static str, String)],
    ) -> Answer {
        let channel = &self.channels[&server_of(path)];
        call(channel, path, self.rpcs[path], message, metadata).await
    }

    /// The answer to a call that must succeed.
    pub(super) async fn done<A: Message + Default>(
        &self,
        path: &str,
        message: impl Message,
        caller: &Caller,
    ) -> A {
        let answer = self.call(path, message.encode_to_vec(), caller).await;
        assert_eq!(answer.code, Code::Ok, "{path}: {answer:?}");
        let bytes = answer.messages.first().map(Vec::as_slice);
        A::decode(bytes.unwrap_or_default()).expect("an answer")
    }
}

/// What a service says of itself where metadata are believed.
pub(super) fn service_metadata() -> Vec<(&'static str, String)> {
    vec![
        ("plazo-actor", "service/timer".to_owned()),
        ("plazo-permissions", "service".to_owned()),
    ]
}

/// All that a token can give.
pub(super) fn outside_rights() -> Vec<Permission> {
    let all = Permission::ALL.into_iter();
    all.filter(|it| *it != Permission::Service).collect()
}

/// Which service serves an RPC.
fn server_of(path: &str) -> Service {
    match path.split('.').nth(1) {
        Some("timer") if !path.contains("TicketHandlerService") => Service::Timer,
        Some("ticketing" | "timer") => Service::Ticketing,
        Some("notification") => Service::Notification,
        Some("history") => Service::History,
        _ => panic!("nobody serves {path}"),
    }
}
