//! What can go wrong with a cluster.

use std::time::Duration;

use plazo_local::LocalError;
use plazo_service::ConfigError;
use tokio::task::JoinError;

use super::options::Service;
use crate::issuer::IssuerError;

type Source = Box<dyn std::error::Error + Send + Sync>;

/// Why a cluster could not be started, or did not go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClusterError {
    /// The ports that follow from the first one don't all exist.
    #[error(
        "--port {port} is too high: the metrics need the ports up to {port} + 4003, so it is at most {highest}"
    )]
    PortTooHigh {
        /// The first port.
        port: u16,
        /// The highest first port.
        highest: u16,
    },
    /// Somebody else listens there.
    #[error(
        "port {port} ({what}) is in use: stop what listens there, or choose other ports with --port"
    )]
    PortInUse {
        /// The port.
        port: u16,
        /// What it is for.
        what: String,
    },
    /// A port could not be opened for another reason.
    #[error("can't listen on port {port} ({what}); choose other ports with --port")]
    Listen {
        /// The port.
        port: u16,
        /// What it is for.
        what: String,
        /// Why not.
        source: std::io::Error,
    },
    /// A private server could not be started or ended.
    #[error(transparent)]
    Local(#[from] LocalError),
    /// The issuer of tokens could not be made.
    #[error(transparent)]
    Issuer(#[from] IssuerError),
    /// The given URL is none.
    #[error("--database-url is no URL like postgres://user:password@host:5432")]
    DatabaseUrl(#[source] Source),
    /// The databases could not be made on the given server.
    #[error("can't make the database {database} on the server of --database-url")]
    CreateDatabase {
        /// Its name.
        database: &'static str,
        /// Why not.
        source: sqlx::Error,
    },
    /// A setting of a service is wrong.
    #[error("{service}")]
    Config {
        /// The service.
        service: Service,
        /// Which, and why.
        source: ConfigError,
    },
    /// A service could not be built.
    #[error("{service} can't start")]
    ServiceStart {
        /// Which one.
        service: Service,
        /// Why not.
        source: Source,
    },
    /// A service is not healthy within the bound.
    #[error("{service} was not healthy within {} s", .bound.as_secs())]
    NotHealthy {
        /// Which one.
        service: Service,
        /// How long was waited.
        bound: Duration,
    },
    /// A service ended although nobody asked it to.
    #[error("{service} has ended")]
    ServiceEnded {
        /// Which one.
        service: Service,
        /// Why; none if it just returned.
        source: Option<Source>,
    },
    /// A service ended by a panic.
    #[error("a service has ended")]
    ServicePanicked(#[source] JoinError),
    /// A private server ended although nobody asked it to.
    #[error("{server} has ended; its log {log} says why")]
    ServerEnded {
        /// Which one.
        server: &'static str,
        /// Where its log is.
        log: String,
    },
    /// The start was called off.
    #[error("the start was called off")]
    Cancelled,
}

impl ClusterError {
    /// Whether it is about what the caller asked for, and not about what happened.
    pub fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::PortTooHigh { .. } | Self::DatabaseUrl(_) | Self::Config { .. }
        )
    }
}
