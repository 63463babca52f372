//! Taking over new certificates, keys and roots while the process runs.

use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::files::Files;
use super::material::Material;
use crate::config::ConfigError;
use crate::supervisor::TaskError;

/// Looks at the files at each interval until `stop`. Files that can't be used leave everything as it is; that is logged
/// when the problem is a new one, and counted at each look for as long as it lasts.
pub(super) async fn run(shared: Arc<Shared>, stop: CancellationToken) -> Result<(), TaskError> {
    let mut known_problem = None;
    loop {
        let wait = tokio::time::sleep(shared.config.reload_interval());
        if stop.run_until_cancelled(wait).await.is_none() {
            return Ok(());
        }
        let looking = Arc::clone(&shared);
        // Where the files are may be slow, a volume over a network say.
        let outcome = tokio::task::spawn_blocking(move || look(&looking)).await?;
        known_problem = match outcome {
            Ok(None) => None,
            Ok(Some(material)) => {
                tracing::info!(
                    expires_at_s = material.expires_at_s(),
                    "new TLS files are in use"
                );
                shared.replace(material);
                shared.metrics.count_reload("replaced");
                None
            }
            Err(error) => {
                let problem = error.to_string();
                if known_problem.as_ref() != Some(&problem) {
                    tracing::error!(
                        problem,
                        "new TLS files can't be used, and the old ones stay in use"
                    );
                }
                shared.metrics.count_reload("refused");
                Some(problem)
            }
        };
    }
}

/// What is to be used instead, if the files have changed.
fn look(shared: &Shared) -> Result<Option<Material>, ConfigError> {
    let files = Files::read(&shared.config)?;
    if files.digest() == shared.current().digest() {
        return Ok(None);
    }
    Material::new(&files, shared.config.require_client_certificate).map(Some)
}

/// The metrics `plazo_tls_…`.
#[derive(Debug, Clone)]
pub(crate) struct TlsMetrics {
    expiry: Gauge,
    reloads: Family<Outcome, Counter>,
    handshakes: Family<Outcome, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

impl TlsMetrics {
    pub(super) fn new() -> Self {
        let metrics = Self {
            expiry: Gauge::default(),
            reloads: Family::default(),
            handshakes: Family::default(),
        };
        // From the start, so that the first of each is an increase.
        for outcome in ["replaced", "refused"] {
            let _ = metrics.reloads.get_or_create(&Outcome { outcome });
        }
        for outcome in ["done", "refused", "timed_out", "given_up"] {
            let _ = metrics.handshakes.get_or_create(&Outcome { outcome });
        }
        metrics
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "certificate_expiry_timestamp_seconds",
            "When the certificate in use ends, in Unix time",
            self.expiry.clone(),
        );
        registry.register(
            "reloads",
            "Looks at the TLS files that found new ones (replaced), or ones that can't be used (refused)",
            self.reloads.clone(),
        );
        registry.register(
            "handshakes",
            "TLS handshakes of this server by outcome; given_up where there were too many",
            self.handshakes.clone(),
        );
    }

    pub(super) fn in_use(&self, material: &Material) {
        self.expiry
            .set(i64::try_from(material.expires_at_s()).unwrap_or(i64::MAX));
    }

    fn count_reload(&self, outcome: &'static str) {
        self.reloads.get_or_create(&Outcome { outcome }).inc();
    }

    /// `done`, `refused`, `timed_out` or `given_up`.
    pub(crate) fn count_handshake(&self, outcome: &'static str) {
        self.handshakes.get_or_create(&Outcome { outcome }).inc();
    }
}
