//! Calling other services.

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
use crate::{status, telemetry};

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
#[derive(Debug, Clone)]
pub struct ServiceChannel {
    channel: Channel,
    actor: Arc<Actor>,
    default_timeout: Option<Duration>,
}

/// A channel to the service at `config.endpoint`, whose calls are made by `actor` (mostly
/// [`Actor::service`]). Nothing is sent yet. Fails only on an endpoint that is no address.
pub fn connect_lazy(config: &ClientConfig, actor: Actor) -> Result<ServiceChannel, ConfigError> {
    let endpoint = Endpoint::from_shared(config.endpoint.clone())
        .map_err(|error| ConfigError::value("endpoint", error.to_string()))?
        .connect_timeout(Duration::from_millis(config.connect_timeout_ms))
        .tcp_nodelay(true)
        .tcp_keepalive(Some(TCP_KEEPALIVE))
        .http2_keep_alive_interval(Duration::from_millis(config.keepalive_interval_ms))
        .keep_alive_timeout(Duration::from_millis(config.keepalive_timeout_ms))
        .keep_alive_while_idle(true);
    Ok(ServiceChannel {
        channel: endpoint.connect_lazy(),
        actor: Arc::new(actor),
        default_timeout: Some(config.request_timeout()),
    })
}

impl ServiceChannel {
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
        self.channel
            .poll_ready(cx)
            .map_err(|error| connection_status(&error))
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
        let answer = self.channel.call(request);
        Box::pin(async move { answer.await.map_err(|error| connection_status(&error)) })
    }
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
