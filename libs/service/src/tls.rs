//! TLS among services: who this process is, and whom it believes.
//!
//! A process has one [`Tls`], made from its section `[tls]` and given to its server and to its channels. New connections
//! use what the files hold at the time; those that are open stay as they are, until
//! `server.max_connection_age_ms` ends them.

mod files;
mod identity;
mod material;
mod reload;

use std::sync::{Arc, PoisonError, RwLock};

use tokio_rustls::rustls::{ClientConfig, ServerConfig};
use tokio_util::sync::CancellationToken;

use crate::config::{ConfigError, TlsConfig};
use crate::metrics::Metrics;
use crate::supervisor::{OnEnd, Supervisor};
use files::Files;
pub(crate) use identity::peer_of;
use material::Material;
pub(crate) use reload::TlsMetrics;

/// The protocol that gRPC runs over, as TLS names it.
pub(crate) const ALPN: &[u8] = b"h2";

/// What a process uses for TLS, or that it uses none. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Tls(Option<Arc<Shared>>);

#[derive(Debug)]
struct Shared {
    config: TlsConfig,
    current: RwLock<Arc<Material>>,
    metrics: TlsMetrics,
}

impl Tls {
    /// Plain text, for tests and one machine.
    pub fn off() -> Self {
        Self(None)
    }

    /// Reads the files of `[tls]`; without the section it is [`Tls::off`]. Fails, with the key, on files that can't be
    /// read or used: nothing in PEM, a key that does not fit its certificate, a certificate that is not valid now.
    pub fn load(config: Option<&TlsConfig>) -> Result<Self, ConfigError> {
        let Some(config) = config else {
            return Ok(Self::off());
        };
        let material = Material::new(&Files::read(config)?, config.require_client_certificate)?;
        let metrics = TlsMetrics::new();
        metrics.in_use(&material);
        Ok(Self(Some(Arc::new(Shared {
            config: config.clone(),
            current: RwLock::new(Arc::new(material)),
            metrics,
        }))))
    }

    /// Whether there is TLS at all.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Reads the files again at the interval of the configuration, as a task of the service.
    pub fn supervise(&self, supervisor: &Supervisor) {
        if let Some(shared) = &self.0 {
            let shared = Arc::clone(shared);
            supervisor.spawn("tls reload", OnEnd::Restart, move |stop| {
                reload::run(Arc::clone(&shared), stop)
            });
        }
    }

    /// Reads the files again at the interval of the configuration until `stop`: for a process without a supervisor.
    pub async fn reload_until(&self, stop: CancellationToken) {
        if let Some(shared) = &self.0 {
            // It fails only by panicking.
            let _ = reload::run(Arc::clone(shared), stop).await;
        }
    }

    /// Shows `plazo_tls_certificate_expiry_timestamp_seconds`, `plazo_tls_reloads_total` and
    /// `plazo_tls_handshakes_total`, where there is TLS.
    pub(crate) fn register(&self, metrics: &mut Metrics) {
        if let Some(shared) = &self.0 {
            shared.metrics.register(metrics.tls_registry());
        }
    }

    /// For a connection that has just been accepted; none without TLS.
    pub(crate) fn server_side(&self) -> Option<(Arc<ServerConfig>, TlsMetrics)> {
        let shared = self.0.as_ref()?;
        Some((shared.current().server(), shared.metrics.clone()))
    }

    /// For a connection that is about to be made to a server that must show this URI, or, without one, the name that it
    /// is called by. None without TLS.
    pub(crate) fn client_side(
        &self,
        server_identity: Option<&Arc<str>>,
    ) -> Option<Arc<ClientConfig>> {
        let shared = self.0.as_ref()?;
        Some(Arc::new(shared.current().client(server_identity)))
    }
}

impl Shared {
    fn current(&self) -> Arc<Material> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn replace(&self, material: Material) {
        self.metrics.in_use(&material);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(material);
    }
}
