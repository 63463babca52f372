//! Why a load could not be put on.

use std::path::PathBuf;

use plazo_local::LocalError;
use plazo_service::ServerError;
use tonic::Status;

use super::options::OptionError;

/// Why a load could not be put on, or its results could not be kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// Something is asked for that can't be done.
    #[error(transparent)]
    Option(#[from] OptionError),
    /// Not an address.
    #[error("{0:?} is no address like http://127.0.0.1:5002")]
    Endpoint(String),
    /// Nobody is there.
    #[error(
        "no timer answers at {endpoint} ({reason}): say with --timer where it is, or leave it out for a private one"
    )]
    NoTimer {
        /// Where it was looked for.
        endpoint: String,
        /// What was seen instead.
        reason: String,
    },
    /// No ticketing is there.
    #[error(
        "no ticketing answers at {endpoint} ({reason}): say with --ticketing where it is, or leave it out for a private one"
    )]
    NoTicketing {
        /// Where it was looked for.
        endpoint: String,
        /// What was seen instead.
        reason: String,
    },
    /// A call failed that can't be repeated.
    #[error("{call} failed: {}: {}", .status.code(), .status.message())]
    Call {
        /// The method.
        call: &'static str,
        /// What it answered.
        status: Box<Status>,
    },
    /// The handler can't be served.
    #[error("the handler can't be served: choose another address with --serve-handler")]
    Handler(#[from] ServerError),
    /// A private server could not be started.
    #[error(transparent)]
    Local(#[from] LocalError),
    /// The private timer or cluster could not be started.
    #[error("the private services can't be started")]
    PrivateStart(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Signals can't be received.
    #[error("can't receive signals")]
    Signals(#[source] std::io::Error),
    /// A result could not be written.
    #[error("can't write {path}")]
    Write {
        /// Which file or folder.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}

impl LoadError {
    pub(super) fn call(call: &'static str, status: Status) -> Self {
        Self::Call {
            call,
            status: Box::new(status),
        }
    }

    /// Whether it is about what the caller asked for, and not about what happened.
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::Option(_) | Self::Endpoint(_))
    }
}
