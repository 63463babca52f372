//! What can go wrong in a use case, and the one table from there to gRPC.

use std::time::Duration;

use plazo_service::status::{self, FieldViolations};
use tonic::{Code, Status};

/// How long a caller is asked to wait when the database is away or busy.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// Why a use case did not do what was asked. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// It does not exist, or not for this actor.
    #[error("no {kind} {id}")]
    NotFound {
        /// What was asked for, as in `message`.
        kind: &'static str,
        /// Which one.
        id: i64,
    },
    /// Only failed messages are sent again.
    #[error("message {0} has not failed")]
    NotFailed(i64),
    /// The request id was used with another request.
    #[error("request id used before with another request")]
    RequestIdReused,
    /// The database failed.
    #[error("database")]
    Database(#[from] sqlx::Error),
    /// A stored answer can't be read.
    #[error("stored answer")]
    Stored(#[from] prost::DecodeError),
}

impl Error {
    /// Whether the whole transaction may be tried again at once: a deadlock or a failed serialization.
    pub(crate) fn is_transient(&self) -> bool {
        matches!(self, Self::Database(error) if is_conflict(error))
    }
}

/// A deadlock or a failed serialization: the same transaction may well succeed at once.
pub(crate) fn is_conflict(error: &sqlx::Error) -> bool {
    matches!(sqlstate(error).as_deref(), Some("40001" | "40P01"))
}

fn sqlstate(error: &sqlx::Error) -> Option<String> {
    error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code)
        .map(std::borrow::Cow::into_owned)
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        match error {
            Error::NotFound { kind, id } => {
                let reason = format!("{}_NOT_FOUND", kind.replace(' ', "_").to_uppercase());
                status::not_found(&reason, kind, &id)
            }
            Error::NotFailed(message_id) => status::failed_precondition(
                "MESSAGE_NOT_FAILED",
                &format!("message/{message_id}"),
                "only a message that has failed is sent again",
            ),
            Error::RequestIdReused => {
                let mut fields = FieldViolations::new();
                fields.add("request_id", "was used before with another request");
                status::invalid_with("REQUEST_ID_REUSED", fields)
            }
            Error::Database(error) => from_database(&error),
            Error::Stored(_) => status::internal(&error),
        }
    }
}

/// Driver errors are logged here and not told: a caller learns whether to try again.
fn from_database(error: &sqlx::Error) -> Status {
    let code = match error {
        sqlx::Error::PoolTimedOut => Code::ResourceExhausted,
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => Code::Unavailable,
        _ => match sqlstate(error).as_deref() {
            Some("53100" | "53200" | "53300") => Code::ResourceExhausted,
            // Conflicts, cancelled statements, a server that stops or starts, read-only after a failover.
            Some("40001" | "40P01" | "57014" | "57P01" | "57P02" | "57P03" | "25006") => {
                Code::Unavailable
            }
            Some(code) if code.starts_with("08") => Code::Unavailable,
            _ => return status::internal(error),
        },
    };
    tracing::warn!(error = status::chain(error), "database call failed");
    if code == Code::ResourceExhausted {
        status::resource_exhausted("DATABASE_BUSY", "the database is busy", RETRY_AFTER)
    } else {
        status::unavailable("DATABASE_UNAVAILABLE", "the database is away", RETRY_AFTER)
    }
}
