//! Logs and traces of a process.

use std::any::Any;
use std::io::IsTerminal;
use std::panic::PanicHookInfo;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator as _};
use opentelemetry::trace::{
    SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState, TracerProvider as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer, Registry, filter, fmt};

use crate::config::{ConfigError, LogFormat, TelemetryConfig};

const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);

/// Holds what must be flushed before the process ends.
#[derive(Debug)]
#[must_use = "traces are flushed by `shutdown`"]
pub struct Telemetry {
    provider: Option<SdkTracerProvider>,
}

/// Starts logs and traces for the whole process, named `service_name` in traces. Panics are logged too.
/// Call it once, inside the runtime; a second call changes nothing (several services may run in one
/// process).
pub fn init(service_name: &str, config: &TelemetryConfig) -> Result<Telemetry, ConfigError> {
    let filter = EnvFilter::try_new(&config.log_filter)
        .map_err(|error| ConfigError::value("telemetry.log_filter", error.to_string()))?;
    let provider = tracer_provider(service_name, config)?;
    let traces = provider.as_ref().map(|provider| {
        // Only our own spans: those of the exporter's client would make spans of their own.
        let ours = filter::filter_fn(|metadata| metadata.target().starts_with("plazo"));
        tracing_opentelemetry::layer()
            .with_tracer(provider.tracer("plazo"))
            .with_filter(ours)
    });
    let logs: Box<dyn Layer<Registry> + Send + Sync> = match config.log_format {
        LogFormat::Json => fmt::layer()
            .json()
            .flatten_event(true)
            .with_span_list(false)
            .with_writer(std::io::stderr)
            .with_filter(filter)
            .boxed(),
        LogFormat::Text => fmt::layer()
            .with_ansi(std::io::stderr().is_terminal())
            .with_writer(std::io::stderr)
            .with_filter(filter)
            .boxed(),
    };

    let is_first = Registry::default()
        .with(logs)
        .with(traces)
        .try_init()
        .is_ok();
    if is_first {
        std::panic::set_hook(Box::new(log_panic));
    }
    Ok(Telemetry {
        provider: provider.filter(|_| is_first),
    })
}

impl Telemetry {
    /// Sends the spans that wait, for at most `bound`.
    pub async fn shutdown(self, bound: Duration) {
        let Some(provider) = self.provider else {
            return;
        };
        // The exporter blocks its thread until the answer.
        let flushed = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(bound));
        match tokio::time::timeout(bound, flushed).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => tracing::warn!(%error, "the last traces were not sent"),
            Ok(Err(_)) | Err(_) => tracing::warn!("the last traces were not sent in time"),
        }
    }
}

fn tracer_provider(
    service_name: &str,
    config: &TelemetryConfig,
) -> Result<Option<SdkTracerProvider>, ConfigError> {
    let Some(endpoint) = &config.otlp_endpoint else {
        return Ok(None);
    };
    let exporter = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .with_timeout(EXPORT_TIMEOUT)
        .build()
        .map_err(|error| ConfigError::value("telemetry.otlp_endpoint", error.to_string()))?;
    let mut attributes = vec![KeyValue::new("service.namespace", "plazo")];
    if let Some(instance) = &config.service_instance {
        attributes.push(KeyValue::new("service.instance.id", instance.clone()));
    }
    let resource = Resource::builder()
        .with_service_name(service_name.to_owned())
        .with_attributes(attributes)
        .build();
    let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(
        config.trace_sample_ratio,
    )));
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_sampler(sampler)
        .with_resource(resource)
        .build();
    Ok(Some(provider))
}

/// Makes `span` a child of the caller's span, if the request names one (W3C `traceparent`).
pub(crate) fn continue_trace(span: &Span, headers: &HeaderMap) {
    let parent =
        TraceContextPropagator::new().extract_with_context(&Context::new(), &Headers(headers));
    // Fails only where no traces are made.
    let _ = span.set_parent(parent);
}

/// Names the current span in the headers of an outgoing request.
pub(crate) fn pass_trace_on(headers: &mut HeaderMap) {
    let context = Span::current().context();
    TraceContextPropagator::new().inject_context(&context, &mut HeadersMut(headers));
}

/// The current span, for keeping with what it causes: 16 bytes of its trace's id and 8 of its own. None unless it is sampled.
pub fn current_trace() -> Option<Vec<u8>> {
    let context = Span::current().context();
    let span = context.span();
    let span = span.span_context();
    (span.is_valid() && span.is_sampled()).then(|| {
        let mut bytes = span.trace_id().to_bytes().to_vec();
        bytes.extend(span.span_id().to_bytes());
        bytes
    })
}

/// Links the current span to one that [`current_trace`] told earlier, perhaps in another process. Other bytes are passed over.
pub fn link_to(trace: &[u8]) {
    let parts = trace.split_at_checked(16).and_then(|(trace_id, span_id)| {
        let trace_id = TraceId::from_bytes(trace_id.try_into().ok()?);
        Some((trace_id, SpanId::from_bytes(span_id.try_into().ok()?)))
    });
    if let Some((trace_id, span_id)) = parts {
        let flags = TraceFlags::SAMPLED;
        let context = SpanContext::new(trace_id, span_id, flags, true, TraceState::NONE);
        Span::current().add_link(context);
    }
}

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }
}

struct HeadersMut<'a>(&'a mut HeaderMap);

impl Injector for HeadersMut<'_> {
    fn set(&mut self, key: &str, value: String) {
        if let (Ok(key), Ok(value)) = (HeaderName::try_from(key), HeaderValue::try_from(value)) {
            self.0.insert(key, value);
        }
    }
}

fn log_panic(panic: &PanicHookInfo<'_>) {
    let location = panic
        .location()
        .map(ToString::to_string)
        .unwrap_or_default();
    tracing::error!(location, message = static_message(panic.payload()), "panic");
}

/// A formatted message may hold a customer's data; a literal can't.
fn static_message(payload: &dyn Any) -> &'static str {
    payload
        .downcast_ref::<&'static str>()
        .copied()
        .unwrap_or("[formatted message withheld]")
}
