//! Metrics of one service, and the small HTTP server that shows them.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::Code;

use crate::access::AccessMetrics;
use crate::server::ConnectionMetrics;

/// gRPC's codes are the numbers below.
const CODES: i32 = 17;

/// The registry of one service, with the metrics that every service has: `plazo_rpc_requests_total` and
/// `plazo_rpc_duration_seconds` by method and gRPC code, `plazo_rpc_results_total` by code alone,
/// `plazo_build_info` and `plazo_process_start_time_seconds`, `plazo_server_connections` and
/// `plazo_server_connections_refused_total`, and those of [`access`](crate::access), `plazo_access_…`. Labels are bounded:
/// kind and outcome, never tenant or ticket. What an alert goes by is there from the start, at zero: a series that begins with its
/// first event hides that event from `rate` and `increase`.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    service_prefix: String,
    pub(crate) rpc: RpcMetrics,
    pub(crate) access: AccessMetrics,
    pub(crate) connections: ConnectionMetrics,
}

impl Metrics {
    /// The metrics of a service, by its short name (`timer`).
    pub fn new(service_name: &str) -> Self {
        let mut registry = Registry::default();
        let rpc = RpcMetrics::register(registry.sub_registry_with_prefix("plazo_rpc"));
        let access = AccessMetrics::register(registry.sub_registry_with_prefix("plazo_access"));
        let connections =
            ConnectionMetrics::register(registry.sub_registry_with_prefix("plazo_server"));
        register_process(registry.sub_registry_with_prefix("plazo"));
        Self {
            registry,
            service_prefix: format!("plazo_{service_name}"),
            rpc,
            access,
            connections,
        }
    }

    /// Where a service registers its own metrics: the prefix `plazo_NAME_` comes by itself, and
    /// `_total` after counters.
    pub fn service_registry(&mut self) -> &mut Registry {
        self.registry.sub_registry_with_prefix(&self.service_prefix)
    }

    /// Where what has to do with TLS is registered: `plazo_tls_…`.
    pub(crate) fn tls_registry(&mut self) -> &mut Registry {
        self.registry.sub_registry_with_prefix("plazo_tls")
    }

    /// Where a library that several services share registers its own metrics, with the prefix `plazo_PART_`.
    pub fn shared_registry(&mut self, part: &str) -> &mut Registry {
        self.registry
            .sub_registry_with_prefix(format!("plazo_{part}"))
    }

    /// All metrics as OpenMetrics text.
    pub fn encode(&self) -> String {
        let mut buffer = String::new();
        // Writing to a string fails only if a metric of ours does, which its author sees at once.
        if let Err(error) = text::encode(&mut buffer, &self.registry) {
            tracing::error!(%error, "metrics could not be written");
        }
        buffer
    }
}

fn register_process(registry: &mut Registry) {
    registry.register(
        "build",
        "The version of the program",
        Info::new([("version", env!("CARGO_PKG_VERSION"))]),
    );
    let start = Gauge::<f64, AtomicU64>::default();
    #[expect(
        clippy::disallowed_methods,
        reason = "told to Prometheus, whose own time is this machine's kind of time; nothing is decided by it"
    )]
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    start.set(since_epoch.map_or(0.0, |time| time.as_secs_f64()));
    registry.register_with_unit(
        "process_start_time",
        "When the service started, in Unix time",
        Unit::Seconds,
        start,
    );
}

/// Counters of calls.
#[derive(Debug, Clone)]
pub(crate) struct RpcMetrics {
    requests: Family<RpcLabels, Counter>,
    results: Family<CodeLabel, Counter>,
    duration: Family<RpcLabels, Histogram>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RpcLabels {
    method: Arc<String>,
    code: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CodeLabel {
    code: &'static str,
}

impl RpcMetrics {
    fn register(registry: &mut Registry) -> Self {
        let requests = Family::default();
        registry.register("requests", "Calls that have ended", requests.clone());
        let results = Family::<CodeLabel, Counter>::default();
        for code in (0..CODES).map(Code::from_i32) {
            drop(results.get_or_create(&CodeLabel {
                code: code_name(code),
            }));
        }
        registry.register(
            "results",
            "Calls that have ended, by gRPC code alone",
            results.clone(),
        );
        let duration = Family::new_with_constructor(duration_histogram as fn() -> Histogram);
        registry.register(
            "duration_seconds",
            "Time until a call has ended",
            duration.clone(),
        );
        Self {
            requests,
            results,
            duration,
        }
    }

    /// Shows a method before its first call.
    pub(crate) fn show(&self, method: &Arc<String>) {
        let labels = RpcLabels {
            method: Arc::clone(method),
            code: code_name(Code::Ok),
        };
        drop(self.requests.get_or_create(&labels));
        drop(self.duration.get_or_create(&labels));
    }

    pub(crate) fn record(&self, method: &Arc<String>, code: Code, duration: Duration) {
        let labels = RpcLabels {
            method: Arc::clone(method),
            code: code_name(code),
        };
        self.requests.get_or_create(&labels).inc();
        self.results
            .get_or_create(&CodeLabel { code: labels.code })
            .inc();
        self.duration
            .get_or_create(&labels)
            .observe(duration.as_secs_f64());
    }
}

/// From half a millisecond to 30 s.
fn duration_histogram() -> Histogram {
    Histogram::new([
        0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
    ])
}

/// A code as gRPC writes it, as in `NOT_FOUND`.
pub(crate) fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

/// Serves `/metrics`, and `/healthz`, which says 200 until shutdown begins and 503 from then on. Goes on
/// until it is dropped, so that the last figures of a shutdown can be read.
pub(crate) async fn serve(
    listener: TcpListener,
    metrics: Arc<Metrics>,
    shutdown: CancellationToken,
) -> std::io::Result<()> {
    let router = Router::new()
        .route("/metrics", get(show_metrics))
        .with_state(metrics)
        .route("/healthz", get(show_health))
        .with_state(shutdown);
    axum::serve(listener, router).await
}

async fn show_metrics(State(metrics): State<Arc<Metrics>>) -> Response {
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, content_type)], metrics.encode()).into_response()
}

async fn show_health(State(shutdown): State<CancellationToken>) -> (StatusCode, &'static str) {
    if shutdown.is_cancelled() {
        (StatusCode::SERVICE_UNAVAILABLE, "shutting down\n")
    } else {
        (StatusCode::OK, "ok\n")
    }
}
