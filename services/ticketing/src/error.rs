//! What can go wrong in a use case, and the one table from there to gRPC.

use std::time::Duration;

use plazo_domain::Violation;
use plazo_service::status::{self, FieldViolations};
use tonic::{Code, Status};

/// How long a caller is asked to wait when the database is away or busy.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// Why a use case did not do what was asked. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It does not exist, or not for this actor.
    #[error("no {kind} {id}")]
    NotFound {
        /// What was asked for, as in `ticket`.
        kind: &'static str,
        /// Which one.
        id: i64,
    },
    /// Fields of the request are wrong.
    #[error("invalid request")]
    Invalid(Vec<Violation>),
    /// The state of something stands in the way.
    #[error("{description}")]
    Precondition {
        /// Stable, in capitals.
        reason: &'static str,
        /// What stands in the way, as in `ticket/7`.
        subject: String,
        /// In words.
        description: &'static str,
    },
    /// Something with this identity exists already.
    #[error("{kind} {id} exists already")]
    Exists {
        /// Stable, in capitals.
        reason: &'static str,
        /// What exists.
        kind: &'static str,
        /// Its id.
        id: i64,
    },
    /// The actor's permissions do not reach so far, whatever exists.
    #[error("{description}")]
    Denied {
        /// Stable, in capitals.
        reason: &'static str,
        /// In words.
        description: &'static str,
    },
    /// The etag or version that was sent is not the present one.
    #[error("changed in the meantime")]
    Changed,
    /// The request id was used with another request.
    #[error("request id used before with another request")]
    RequestIdReused,
    /// The database failed.
    #[error("database")]
    Database(#[from] sqlx::Error),
    /// A stored message can't be read.
    #[error("stored message")]
    Stored(#[from] prost::DecodeError),
    /// A stored value is not one that this program writes.
    #[error("stored {0} is out of range")]
    OutOfRange(&'static str),
}

impl Error {
    /// One wrong field.
    pub fn invalid(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Invalid(vec![Violation::new(field, reason)])
    }

    /// Whether the whole transaction may be tried again at once: a deadlock or a failed serialization.
    pub(crate) fn is_transient(&self) -> bool {
        matches!(self, Self::Database(error) if matches!(sqlstate(error).as_deref(), Some("40001" | "40P01")))
    }
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
                status::not_found(&format!("{}_NOT_FOUND", kind.to_uppercase()), kind, &id)
            }
            Error::Invalid(violations) => {
                let mut fields = FieldViolations::new();
                for violation in violations {
                    fields.add(violation.field, violation.reason);
                }
                status::invalid_with(status::REASON_FIELD_INVALID, fields)
            }
            Error::Precondition {
                reason,
                subject,
                description,
            } => status::failed_precondition(reason, &subject, description),
            Error::Exists { reason, kind, id } => {
                let description = format!("{kind} {id} exists already");
                let metadata = [(&*format!("{kind}_id"), &*id.to_string())];
                status::already_exists_with(reason, &description, &metadata)
            }
            Error::Denied {
                reason,
                description,
            } => status::permission_denied(reason, description),
            Error::Changed => status::aborted(
                "ETAG_MISMATCH",
                "it was changed in the meantime: read it again",
            ),
            Error::RequestIdReused => {
                let mut fields = FieldViolations::new();
                fields.add("request_id", "was used before with another request");
                status::invalid_with("REQUEST_ID_REUSED", fields)
            }
            Error::Database(error) => from_database(&error),
            Error::Stored(_) | Error::OutOfRange(_) => status::internal(&error),
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
            Some("40001" | "40P01" | "57014" | "57P01" | "57P02" | "57P03" | "25006") => {
                Code::Unavailable
            }
            Some(code) if code.starts_with("08") => Code::Unavailable,
            _ => return status::internal(error),
        },
    };
    tracing::warn!(error = status::chain(error), "database call failed");
    match code {
        Code::ResourceExhausted => {
            status::resource_exhausted("DATABASE_BUSY", "the database is busy", RETRY_AFTER)
        }
        _ => status::unavailable("DATABASE_UNAVAILABLE", "the database is away", RETRY_AFTER),
    }
}
