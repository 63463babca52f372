//! Configuration: a service's commented default file, then a file of the operator's, then the
//! environment; later ones win key by key.

mod sections;
mod tls;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use config::{Config, Environment, File, FileFormat};
use serde::de::DeserializeOwned;

pub use sections::{ClientConfig, LogFormat, ServerConfig, TelemetryConfig};
pub use tls::TlsConfig;

/// Why a configuration was refused. The message is one line with the key and the value's problem.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Unreadable file, wrong syntax, unknown or missing key, value of the wrong kind.
    #[error("{}", one_line(.0))]
    Load(#[source] config::ConfigError),
    /// A value that can be read but not used.
    #[error("{key}: {problem}")]
    Value {
        /// Dotted key, as in `server.max_deadline_ms`.
        key: String,
        /// What is wrong with its value.
        problem: String,
    },
}

impl ConfigError {
    /// A value that can be read but not used.
    pub fn value(key: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Value {
            key: key.into(),
            problem: problem.into(),
        }
    }
}

/// The configuration of one service. All structs in it deny unknown fields
/// (`#[serde(deny_unknown_fields)]`).
pub trait ServiceConfig: DeserializeOwned {
    /// The service's short name, as in `ticketing`.
    const NAME: &'static str;
    /// The commented default file: every key with its default.
    const DEFAULTS: &'static str;

    /// How the process logs and traces.
    fn telemetry(&self) -> &TelemetryConfig;

    /// Refuses values that can't be used, or not together.
    fn validate(&self) -> Result<(), ConfigError>;
}

/// Where a configuration comes from, besides the service's defaults.
#[derive(Debug, Clone, Default)]
pub struct ConfigSources {
    /// A TOML file. It must exist.
    pub file: Option<PathBuf>,
    /// Environment variables, of which `PLAZO_TICKETING__SERVER__LISTEN` is the key `server.listen` of the
    /// service `ticketing`. Lists can only be set in a file.
    pub environment: BTreeMap<String, String>,
}

impl ConfigSources {
    /// A file, if any, and the environment of this process.
    pub fn of_process(file: Option<PathBuf>) -> Self {
        Self {
            file,
            environment: std::env::vars().collect(),
        }
    }
}

/// Loads and validates a service's configuration.
pub fn load<C: ServiceConfig>(sources: &ConfigSources) -> Result<C, ConfigError> {
    let config: C = load_raw(
        C::NAME,
        C::DEFAULTS,
        sources.file.as_deref(),
        &sources.environment,
    )?;
    config.validate()?;
    Ok(config)
}

/// Loads anything that can be deserialized, without validation.
pub fn load_raw<T: DeserializeOwned>(
    service_name: &str,
    defaults_toml: &str,
    file: Option<&Path>,
    environment: &BTreeMap<String, String>,
) -> Result<T, ConfigError> {
    let prefix = format!("PLAZO_{}", service_name.to_uppercase().replace('-', "_"));
    let environment = Environment::with_prefix(&prefix)
        .prefix_separator("__")
        .separator("__")
        .source(Some(
            environment
                .iter()
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect(),
        ));

    let mut builder = Config::builder().add_source(File::from_str(defaults_toml, FileFormat::Toml));
    if let Some(file) = file {
        builder = builder.add_source(File::from(file).format(FileFormat::Toml));
    }
    builder
        .add_source(environment)
        .build()
        .and_then(Config::try_deserialize)
        .map_err(ConfigError::Load)
}

/// Syntax errors draw a picture over several lines; the first says where, the last what.
fn one_line(error: &config::ConfigError) -> String {
    let text = error.to_string();
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}
