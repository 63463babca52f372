//! Why Redis did not do what was asked.

use redis::{ErrorKind, RedisError, ServerErrorKind};

/// Why Redis did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// It can't be reached, gave no answer in time, or can't serve now. What was asked may have been done.
    #[error("redis is unavailable")]
    Unavailable(#[source] RedisError),
    /// It has failed too often just now, and is left alone for a moment. Nothing was sent.
    #[error("redis has failed just now, and is left alone for a moment")]
    LeftAlone,
    /// It takes nothing more: its memory is used up.
    #[error("redis is out of memory")]
    OutOfMemory(#[source] RedisError),
    /// It refused a command.
    #[error("redis refused a command")]
    Refused(#[source] RedisError),
    /// It answered something that can't be read.
    #[error("redis gave an answer of the wrong form: {0}")]
    Answer(&'static str),
}

impl StoreError {
    /// All that [`Self::kind`] may say.
    pub(crate) const KINDS: [&'static str; 7] = [
        "timeout",
        "moving",
        "unavailable",
        "left_alone",
        "out_of_memory",
        "refused",
        "answer",
    ];

    /// Whether the command may have run all the same.
    pub(crate) fn may_have_run(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Answer(_))
    }

    /// The kind, as a label of metrics.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Unavailable(error) if error.is_timeout() => "timeout",
            Self::Unavailable(error) if error.is_cluster_error() => "moving",
            Self::Unavailable(_) => "unavailable",
            Self::LeftAlone => "left_alone",
            Self::OutOfMemory(_) => "out_of_memory",
            Self::Refused(_) => "refused",
            Self::Answer(_) => "answer",
        }
    }
}

impl From<RedisError> for StoreError {
    fn from(error: RedisError) -> Self {
        match error.kind() {
            ErrorKind::Io
            | ErrorKind::Server(
                ServerErrorKind::BusyLoading
                | ServerErrorKind::Moved
                | ServerErrorKind::Ask
                | ServerErrorKind::TryAgain
                | ServerErrorKind::ClusterDown
                | ServerErrorKind::MasterDown
                | ServerErrorKind::ReadOnly,
            ) => Self::Unavailable(error),
            // A script of somebody else's runs too long, or writes are refused until a replica is back.
            _ if matches!(
                error.code(),
                Some("BUSY" | "NOREPLICAS" | "MISCONF" | "UNKILLABLE")
            ) =>
            {
                Self::Unavailable(error)
            }
            _ if error.code() == Some("OOM") => Self::OutOfMemory(error),
            ErrorKind::Parse | ErrorKind::UnexpectedReturnType => {
                Self::Answer("not what the command answers")
            }
            _ => Self::Refused(error),
        }
    }
}

impl From<redis::ParsingError> for StoreError {
    fn from(_: redis::ParsingError) -> Self {
        Self::Answer("not what the command answers")
    }
}
