//! A small service written by hand, in the shape of generated code, and a server that runs it. Messages
//! are strings; the request says how long or how often, where that matters.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use http::uri::PathAndQuery;
use plazo_service::metrics::Metrics;
use plazo_service::{
    AccessConfig, Actor, ActorKind, BotScope, ClientConfig, Deadline, Listeners, MethodPermissions,
    PeerIdentity, Permission, Permissions, Server, ServerConfig, ServerError, ServiceChannel, Tls,
    connect_lazy, status,
};
use prost::Message as _;
use prost_types::{
    FileDescriptorProto, FileDescriptorSet, MethodDescriptorProto, ServiceDescriptorProto,
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::server::{Grpc, NamedService, ServerStreamingService, UnaryService};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

pub(crate) const PERMISSIONS: MethodPermissions = &[
    (
        "/plazo.test.v1.Echo/WhoAmI",
        &[Permission::TicketsAttend, Permission::Service],
    ),
    (
        "/plazo.test.v1.Echo/Hang",
        &[Permission::TicketsAttend, Permission::Service],
    ),
    (
        "/plazo.test.v1.Echo/WhoIsThere",
        &[Permission::TicketsAttend, Permission::Service],
    ),
    ("/plazo.test.v1.Echo/Panic", &[Permission::TicketsAttend]),
    ("/plazo.test.v1.Echo/Flaky", &[Permission::Service]),
    (
        "/plazo.test.v1.Echo/Watch",
        &[Permission::TicketsAttend, Permission::Service],
    ),
    (
        "/plazo.test.v1.Echo/WatchPanic",
        &[Permission::TicketsAttend],
    ),
    ("/plazo.test.v1.Echo/Settings", &[Permission::HelpdeskEdit]),
];

const STREAMING: [&str; 2] = ["Watch", "WatchPanic"];

/// The descriptor set of the service.
pub(crate) fn descriptors() -> &'static [u8] {
    let method = |path: &str| {
        let name = path.rsplit('/').next().unwrap_or_default();
        MethodDescriptorProto {
            name: Some(name.to_owned()),
            input_type: Some(".plazo.test.v1.Text".to_owned()),
            output_type: Some(".plazo.test.v1.Text".to_owned()),
            server_streaming: Some(STREAMING.contains(&name)),
            ..Default::default()
        }
    };
    let service = ServiceDescriptorProto {
        name: Some("Echo".to_owned()),
        method: PERMISSIONS.iter().map(|(path, _)| method(path)).collect(),
        ..Default::default()
    };
    let file = FileDescriptorProto {
        name: Some("plazo/test/v1/echo.proto".to_owned()),
        package: Some("plazo.test.v1".to_owned()),
        message_type: vec![prost_types::DescriptorProto {
            name: Some("Text".to_owned()),
            ..Default::default()
        }],
        service: vec![service],
        syntax: Some("proto3".to_owned()),
        ..Default::default()
    };
    FileDescriptorSet { file: vec![file] }
        .encode_to_vec()
        .leak()
}

/// The service. It counts its calls and the handlers that run.
#[derive(Debug, Clone, Default)]
pub(crate) struct Echo {
    pub(crate) calls: Arc<AtomicU32>,
    pub(crate) running: Arc<AtomicU32>,
}

impl Echo {
    async fn answer(self, method: String, request: Request<String>) -> Result<String, Status> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        self.running.fetch_add(1, Ordering::SeqCst);
        let _running = CountDown(Arc::clone(&self.running));
        match method.as_str() {
            "WhoAmI" => {
                let actor = Actor::of(&request)?;
                let remaining = Deadline::of(&request).remaining().unwrap_or_default();
                Ok(format!(
                    "{} of {} for {}",
                    actor.kind,
                    actor.tenant_id,
                    remaining.as_millis()
                ))
            }
            "WhoIsThere" => Ok(match request.extensions().get::<PeerIdentity>() {
                Some(peer) => format!("peer {}", peer.uris.join(" ")),
                None => "nobody".to_owned(),
            }),
            "Hang" => std::future::pending().await,
            "Panic" => panic!("on purpose"),
            "Flaky" => {
                let failures: u32 = request.get_ref().parse().unwrap_or_default();
                if call < failures {
                    let wait = Duration::from_millis(1);
                    return Err(status::unavailable("TRY_AGAIN", "not yet", wait));
                }
                Ok(call.to_string())
            }
            _ => Ok("done".to_owned()),
        }
    }
}

struct CountDown(Arc<AtomicU32>);

impl Drop for CountDown {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

struct Method(Echo, String);

impl UnaryService<String> for Method {
    type Response = String;
    type Future = BoxFuture<'static, Result<Response<String>, Status>>;

    fn call(&mut self, request: Request<String>) -> Self::Future {
        let answer = self.0.clone().answer(self.1.clone(), request);
        Box::pin(async move { answer.await.map(Response::new) })
    }
}

impl ServerStreamingService<String> for Method {
    type Response = String;
    type ResponseStream = BoxStream<'static, Result<String, Status>>;
    type Future = BoxFuture<'static, Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, _request: Request<String>) -> Self::Future {
        let panics = self.1 == "WatchPanic";
        let after_the_first = stream::pending().boxed();
        // Later, so that the first message is not lost in the same write.
        let panicking = stream::once(async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            panic!("on purpose")
        })
        .boxed();
        let rest = if panics { panicking } else { after_the_first };
        let first = stream::once(async { Ok("first".to_owned()) });
        Box::pin(async move { Ok(Response::new(first.chain(rest).boxed())) })
    }
}

impl NamedService for Echo {
    const NAME: &'static str = "plazo.test.v1.Echo";
}

impl tower::Service<http::Request<Body>> for Echo {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let name = request
            .uri()
            .path()
            .rsplit('/')
            .next()
            .unwrap_or_default()
            .to_owned();
        let method = Method(self.clone(), name.clone());
        Box::pin(async move {
            let mut grpc = Grpc::new(ProstCodec::<String, String>::default());
            if STREAMING.contains(&name.as_str()) {
                Ok(grpc.server_streaming(method, request).await)
            } else {
                Ok(grpc.unary(method, request).await)
            }
        })
    }
}

/// A server of [`Echo`] that runs.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) metrics_address: SocketAddr,
    pub(crate) health_address: Option<SocketAddr>,
    pub(crate) echo: Echo,
    pub(crate) shutdown: CancellationToken,
    pub(crate) ended: JoinHandle<Result<(), ServerError>>,
}

impl Running {
    pub(crate) async fn start(change: impl FnOnce(&mut ServerConfig)) -> Self {
        Self::start_over(&Tls::off(), change).await
    }

    pub(crate) async fn start_over(tls: &Tls, change: impl FnOnce(&mut ServerConfig)) -> Self {
        // Over TLS metadata are not believed unless that is said.
        let access = AccessConfig {
            believe_metadata: Some(true),
            ..AccessConfig::default()
        };
        Self::start_as(tls, change, &access).await
    }

    pub(crate) async fn start_with(
        change: impl FnOnce(&mut ServerConfig),
        access: &AccessConfig,
    ) -> Self {
        Self::start_as(&Tls::off(), change, access).await
    }

    pub(crate) async fn start_as(
        tls: &Tls,
        change: impl FnOnce(&mut ServerConfig),
        access: &AccessConfig,
    ) -> Self {
        let mut config = ServerConfig {
            metrics_listen: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
            reflection: true,
            ..ServerConfig::default()
        };
        change(&mut config);
        let listeners = Listeners::bind(&config).await.expect("a free port");
        let address = listeners.grpc_address().expect("a bound socket");
        let metrics = listeners.metrics.as_ref().expect("configured");
        let metrics_address = metrics.local_addr().expect("a bound socket");
        let health = listeners.health.as_ref();
        let health_address = health.map(|socket| socket.local_addr().expect("a bound socket"));
        let shutdown = CancellationToken::new();
        let echo = Echo::default();
        let server = Server::new(&config, Metrics::new("test"), descriptors(), PERMISSIONS)
            .with_tls(tls)
            .access(access)
            .add_service(echo.clone());
        let ended = spawn(server.run(listeners, shutdown.clone()));
        Self {
            address,
            metrics_address,
            health_address,
            echo,
            shutdown,
            ended,
        }
    }

    pub(crate) fn config(&self) -> ClientConfig {
        ClientConfig::new(format!("http://{}", self.address))
    }

    pub(crate) fn channel(&self, actor: Actor) -> ServiceChannel {
        connect_lazy(&self.config(), actor).expect("a valid address")
    }

    /// A channel that adds nothing to a request.
    pub(crate) fn bare_channel(&self) -> tonic::transport::Channel {
        let address = format!("http://{}", self.address);
        tonic::transport::Endpoint::from_shared(address)
            .expect("a valid address")
            .connect_lazy()
    }
}

/// A unary call of `Echo`.
pub(crate) async fn call<C>(
    channel: C,
    name: &str,
    request: Request<String>,
) -> Result<String, Status>
where
    C: tonic::client::GrpcService<Body>,
    C::ResponseBody: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    <C::ResponseBody as http_body::Body>::Error:
        Into<Box<dyn std::error::Error + Send + Sync>> + Send,
    C::Error: std::fmt::Debug,
{
    let mut client = tonic::client::Grpc::new(channel);
    client
        .ready()
        .await
        .map_err(|error| Status::unknown(format!("{error:?}")))?;
    let codec = ProstCodec::<String, String>::default();
    client
        .unary(request, path(name), codec)
        .await
        .map(Response::into_inner)
}

/// A server stream of `Echo`, after its first message.
pub(crate) async fn watch(
    channel: ServiceChannel,
    name: &str,
    request: Request<String>,
) -> tonic::Streaming<String> {
    let begun = try_watch(channel, name, request).await;
    begun.expect("the stream begins")
}

pub(crate) async fn try_watch(
    channel: ServiceChannel,
    name: &str,
    request: Request<String>,
) -> Result<tonic::Streaming<String>, Status> {
    let mut client = tonic::client::Grpc::new(channel.for_streams());
    client
        .ready()
        .await
        .expect("a channel that connects at its first call");
    let codec = ProstCodec::<String, String>::default();
    let response = client.server_streaming(request, path(name), codec).await;
    let mut messages = response?.into_inner();
    let first = messages.message().await?;
    assert_eq!(first.as_deref(), Some("first"));
    Ok(messages)
}

pub(crate) fn path(name: &str) -> PathAndQuery {
    PathAndQuery::try_from(format!("/plazo.test.v1.Echo/{name}")).expect("a valid path")
}

/// An agent of tenant 7 who may attend tickets.
pub(crate) fn agent() -> Actor {
    Actor {
        tenant_id: 7,
        kind: ActorKind::Agent(12),
        permissions: Permissions::NONE.with(Permission::TicketsAttend),
        bots: BotScope::Only(vec![1]),
    }
}

pub(crate) fn text(message: &str) -> Request<String> {
    Request::new(message.to_owned())
}

/// Waits until the condition holds, for ten seconds at most.
pub(crate) async fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let bound = tokio::time::Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(
            tokio::time::Instant::now() < bound,
            "waited in vain until {what}"
        );
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[expect(clippy::disallowed_methods, reason = "the test awaits it")]
pub(crate) fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    tokio::spawn(future)
}
