//! Why a load could not be put on.

use std::path::PathBuf;

use plazo_local::LocalError;
use plazo_service::{ConfigError, ServerError};
use tonic::{Code, Status};

use super::caller::TokenFileError;
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
    /// The load's certificate, its key or the roots are of no use.
    #[error("the files of --certificate-file, --key-file and --roots-file can't be used")]
    Certificate(#[source] ConfigError),
    /// The tokens are of no use.
    #[error(transparent)]
    Tokens(#[from] TokenFileError),
    /// The rules for callers of the handler can't be made.
    #[error("who may call the handler can't be told")]
    Entrance(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Somebody is there, who does not let the load in.
    #[error(
        "{call} is refused at {endpoint} ({reason}): people's calls need --token-file, those of services a certificate that stands under [[access.peers]] there"
    )]
    NotLetIn {
        /// The method.
        call: &'static str,
        /// Where.
        endpoint: String,
        /// What it answered.
        reason: String,
    },
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
    /// The handler ended, and was not told to.
    #[error("the handler has ended by itself")]
    HandlerEnded,
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

    /// The same at an address that was given, which may not know the load.
    pub(super) fn call_at(endpoint: &str, call: &'static str, status: Status) -> Self {
        match status.code() {
            Code::Unauthenticated | Code::PermissionDenied => Self::NotLetIn {
                call,
                endpoint: endpoint.to_owned(),
                reason: status.message().to_owned(),
            },
            _ => Self::call(call, status),
        }
    }

    /// Whether it is about what the caller asked for, and not about what happened.
    pub fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::Option(_) | Self::Endpoint(_) | Self::Certificate(_) | Self::Tokens(_)
        )
    }
}
