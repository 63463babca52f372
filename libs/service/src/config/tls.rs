//! The section `[tls]`, and what it has to do with the addresses that are served.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::{ConfigError, ServerConfig};

/// The section `[tls]`: who this process is to others, and whom it believes. Without it, everything is plain text.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// The certificate of this process and the intermediate ones, leaf first; PEM.
    pub certificate_file: PathBuf,
    /// The private key of the certificate; PEM.
    pub key_file: PathBuf,
    /// The certificates by which those of servers and clients are verified; PEM.
    pub roots_file: PathBuf,
    /// Whether a client must show a certificate. One that it shows must be good in any case.
    #[serde(default = "yes")]
    pub require_client_certificate: bool,
    /// How often the files are read again, in milliseconds.
    #[serde(default = "reload_interval_ms")]
    pub reload_interval_ms: u64,
}

fn yes() -> bool {
    true
}

fn reload_interval_ms() -> u64 {
    10_000
}

impl TlsConfig {
    /// A process with these files, of whose clients a certificate is required.
    pub fn new(
        certificate_file: impl Into<PathBuf>,
        key_file: impl Into<PathBuf>,
        roots_file: impl Into<PathBuf>,
    ) -> Self {
        Self {
            certificate_file: certificate_file.into(),
            key_file: key_file.into(),
            roots_file: roots_file.into(),
            require_client_certificate: yes(),
            reload_interval_ms: reload_interval_ms(),
        }
    }

    /// How often the files are read again.
    pub fn reload_interval(&self) -> Duration {
        Duration::from_millis(self.reload_interval_ms)
    }

    /// Refuses what can't be used, and an address that others can reach in plain text unless `server.plain_text` says
    /// that it shall be so. The sections are `[tls]` and `[server]`.
    pub fn validate(tls: Option<&Self>, server: &ServerConfig) -> Result<(), ConfigError> {
        let Some(tls) = tls else {
            if server.listen.ip().is_loopback() || server.plain_text {
                return Ok(());
            }
            return Err(ConfigError::value(
                "server.listen",
                "can be reached from other machines: give the section [tls], or set server.plain_text = true to serve it \
                 in plain text all the same",
            ));
        };
        if server.plain_text {
            return Err(ConfigError::value(
                "server.plain_text",
                "must not be true where there is a section [tls]",
            ));
        }
        if tls.reload_interval_ms == 0 {
            return Err(ConfigError::value(
                "tls.reload_interval_ms",
                "must be above zero",
            ));
        }
        Ok(())
    }
}
