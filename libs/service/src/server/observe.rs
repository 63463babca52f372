//! The layer that sees every call: its log line, its metrics, its trace, and its panic.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use futures::FutureExt as _;
use http::HeaderMap;
use tokio::time::Instant;
use tonic::{Code, Status};
use tracing::field::Empty;
use tracing::{Instrument as _, Span};

use super::body::ObservedBody;
use super::methods::Methods;
use super::unreadable;
use crate::metrics::{Metrics, RpcMetrics, code_name};
use crate::{status, telemetry};

/// What the layer knows.
#[derive(Debug)]
pub(super) struct Observer {
    pub(super) methods: Arc<Methods>,
    pub(super) metrics: Arc<Metrics>,
}

/// Observes a call from its arrival until the last byte of its answer.
pub(super) async fn observe(
    State(observer): State<Arc<Observer>>,
    request: Request,
    next: Next,
) -> Response {
    let method = Arc::clone(observer.methods.label(request.uri().path()));
    // `tenant_id` and `actor` are filled in by the actor layer.
    let span = tracing::info_span!(
        "rpc", otel.kind = "server", otel.name = %method, method = %method, tenant_id = Empty, actor = Empty,
    );
    telemetry::continue_trace(&span, request.headers());
    let mut observation = Observation {
        metrics: observer.metrics.rpc.clone(),
        method,
        span: span.clone(),
        arrival: super::arrival_of(&request),
        code: None,
    };

    let call = AssertUnwindSafe(next.run(request)).catch_unwind();
    let response = call
        .instrument(span)
        .await
        .unwrap_or_else(|_| status::internal_unlogged().into_http());
    let response = unreadable::explain(response);
    // An error without messages has its status in the headers.
    if let Some(code) = grpc_code(response.headers()) {
        observation.end(code);
        return response;
    }
    response.map(|body| axum::body::Body::new(ObservedBody::new(body, observation)))
}

/// The gRPC code in headers or trailers.
pub(super) fn grpc_code(headers: &HeaderMap) -> Option<Code> {
    headers
        .get(Status::GRPC_STATUS)
        .map(|code| Code::from_bytes(code.as_bytes()))
}

/// A call under way. Reported when it is dropped: without a code, the caller has gone away.
pub(super) struct Observation {
    metrics: RpcMetrics,
    method: Arc<String>,
    span: Span,
    arrival: Instant,
    code: Option<Code>,
}

impl Observation {
    pub(super) fn span(&self) -> &Span {
        &self.span
    }

    pub(super) fn end(&mut self, code: Code) {
        self.code = Some(code);
    }
}

impl Drop for Observation {
    fn drop(&mut self) {
        let code = self.code.unwrap_or(Code::Cancelled);
        let duration = self.arrival.elapsed();
        self.metrics.record(&self.method, code, duration);
        let _entered = self.span.enter();
        let duration_ms = duration.as_secs_f64() * 1_000.0;
        tracing::info!(target: "plazo_request", code = code_name(code), duration_ms, "request");
    }
}
