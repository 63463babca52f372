//! Calling other services.

mod balance;
mod dial;
mod retry;

use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::HeaderValue;
use tonic::body::Body;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status, TimeoutExpired};
use tower::Service;

use crate::actor::Actor;
use crate::config::{ClientConfig, ConfigError};
use crate::deadline::Deadline;
use crate::server::parse_timeout;
use crate::tls::Tls;
use crate::{status, telemetry};
use balance::Balancer;
use dial::{Dial, Target};

pub use balance::Resolve;
pub use retry::{Retry, RetryBudget};

const GRPC_TIMEOUT: &str = "grpc-timeout";
const TCP_KEEPALIVE: Duration = Duration::from_secs(15);
const RETRY_AFTER: Duration = Duration::from_millis(20);

/// A channel to another service, for generated clients: `TicketServiceClient::new(channel.clone())`. It
/// connects at the first call, and again at the next call after a connection was lost, without a wait of
/// its own (waits are [`Retry`]'s). To each call it adds
///
/// * the trace of the current span,
/// * the actor, unless the request has one ([`Actor::sign`]),
/// * the default deadline, unless the request has one ([`Deadline::request`](crate::Deadline::request)).
///
/// An expired deadline is DEADLINE_EXCEEDED, a lost or impossible connection UNAVAILABLE.
///
/// Where [`ClientConfig::balance`] is set there is a connection to each address of the service instead, and a call goes to
/// one that stands; it waits for one for as long as a connection may take to come about.
#[derive(Debug, Clone)]
pub struct ServiceChannel {
    transport: Transport,
    actor: Arc<Actor>,
    default_timeout: Option<Duration>,
}

#[derive(Debug, Clone)]
enum Transport {
    One(Channel),
    Balanced(Balancer),
}

/// A channel to the service at `config.endpoint`, whose calls are made by `actor` (mostly
/// [`Actor::service`]), in plain text. Nothing is sent yet. Fails only on an endpoint that is no address, or one for which
/// TLS is needed.
pub fn connect_lazy(config: &ClientConfig, actor: Actor) -> Result<ServiceChannel, ConfigError> {
    Tls::off().connect_lazy(config, actor)
}

impl Tls {
    /// A channel to the service at `config.endpoint`, whose calls are made by `actor` (mostly [`Actor::service`]); over
    /// TLS if the endpoint begins with `https`. Nothing is sent yet. Fails only on an endpoint that is no address, or one
    /// for which TLS is needed while it is off.
    pub fn connect_lazy(
        &self,
        config: &ClientConfig,
        actor: Actor,
    ) -> Result<ServiceChannel, ConfigError> {
        let transport = if config.balance {
            Transport::Balanced(Balancer::new(config, self, None)?)
        } else {
            Transport::One(one_channel(config, self)?)
        };
        Ok(ServiceChannel::new(transport, config, actor))
    }

    /// The same, balanced, with a way of your own to look up the addresses.
    pub fn connect_resolved(
        &self,
        config: &ClientConfig,
        actor: Actor,
        resolve: Resolve,
    ) -> Result<ServiceChannel, ConfigError> {
        let balancer = Balancer::new(config, self, Some(resolve))?;
        Ok(ServiceChannel::new(
            Transport::Balanced(balancer),
            config,
            actor,
        ))
    }
}

fn one_channel(config: &ClientConfig, tls: &Tls) -> Result<Channel, ConfigError> {
    let target = Target::of(config)?;
    let refuse = |error: &dyn Error| ConfigError::value("endpoint", error.to_string());
    let endpoint = Endpoint::from_shared(target.tcp())
        .map_err(|error| refuse(&error))?
        .connect_timeout(Duration::from_millis(config.connect_timeout_ms))
        .tcp_nodelay(true)
        .tcp_keepalive(Some(TCP_KEEPALIVE))
        .http2_keep_alive_interval(Duration::from_millis(config.keepalive_interval_ms))
        .keep_alive_timeout(Duration::from_millis(config.keepalive_timeout_ms))
        .keep_alive_while_idle(true);
    if !target.is_tls {
        return Ok(endpoint.connect_lazy());
    }
    let dial = Dial::new(config, &target, tls)?;
    let origin = config
        .endpoint
        .parse()
        .map_err(|error: http::uri::InvalidUri| refuse(&error))?;
    // tonic shall not look for TLS of its own.
    let endpoint = endpoint.origin(origin);
    Ok(endpoint.connect_with_connector_lazy(dial))
}

impl ServiceChannel {
    fn new(transport: Transport, config: &ClientConfig, actor: Actor) -> Self {
        Self {
            transport,
            actor: Arc::new(actor),
            default_timeout: Some(config.request_timeout()),
        }
    }

    /// The same channel without a default deadline, for streams: theirs would end the whole stream.
    #[must_use]
    pub fn for_streams(&self) -> Self {
        Self {
            default_timeout: None,
            ..self.clone()
        }
    }
}

impl Service<http::Request<Body>> for ServiceChannel {
    type Response = http::Response<Body>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Status>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        match &mut self.transport {
            Transport::One(channel) => channel
                .poll_ready(cx)
                .map_err(|error| connection_status(&error)),
            Transport::Balanced(_) => Poll::Ready(Ok(())),
        }
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        let headers = request.headers_mut();
        telemetry::pass_trace_on(headers);
        if !Actor::is_in(headers) {
            self.actor.write(headers);
        }
        if let Some(timeout) = self.default_timeout
            && !headers.contains_key(GRPC_TIMEOUT)
        {
            headers.insert(GRPC_TIMEOUT, timeout_value(timeout));
        }
        match &mut self.transport {
            Transport::One(channel) => {
                let answer = channel.call(request);
                Box::pin(async move { answer.await.map_err(|error| connection_status(&error)) })
            }
            Transport::Balanced(balancer) => {
                // tonic's channel looks at the clock itself.
                let deadline = deadline_of(&request);
                let answer = balancer.clone().call(request);
                Box::pin(
                    deadline.bound(async move {
                        answer.await.map_err(|error| connection_status(&*error))
                    }),
                )
            }
        }
    }
}

fn deadline_of(request: &http::Request<Body>) -> Deadline {
    request
        .headers()
        .get(GRPC_TIMEOUT)
        .and_then(|timeout| parse_timeout(timeout.to_str().ok()?))
        .map_or(Deadline::NONE, Deadline::after)
}

/// In milliseconds: eight digits, the most that the protocol allows, are a day.
fn timeout_value(timeout: Duration) -> HeaderValue {
    let timeout_ms = timeout.as_millis().clamp(1, 99_999_999);
    HeaderValue::try_from(format!("{timeout_ms}m")).unwrap_or(HeaderValue::from_static("1S"))
}

/// Errors of the channel itself; what the server says comes as a response.
fn connection_status(error: &(dyn Error + 'static)) -> Status {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.is::<TimeoutExpired>() {
            return status::deadline_exceeded();
        }
        next = error.source();
    }
    tracing::debug!(error = status::chain(error), "no connection");
    status::unavailable(
        "NO_CONNECTION",
        "the service cannot be reached",
        RETRY_AFTER,
    )
}

/// Whether the same call may be sent again: the server says so, or the connection broke under it.
pub(crate) fn is_unavailable(status: &Status) -> bool {
    status.code() == Code::Unavailable || broke_under_the_answer(status)
}

/// tonic answers UNKNOWN or CANCELLED, without a reason of ours, when the connection ends between the
/// headers of an answer and its end.
fn broke_under_the_answer(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unknown | Code::Cancelled | Code::Internal
    ) && status.details().is_empty()
        && status.source().is_some()
}
