//! What can go wrong in a use case, and the one table from there to gRPC.

use std::time::Duration;

use plazo_database::AnswerError;
use plazo_domain::Violation;
use plazo_service::request_id_reused;
use plazo_service::status::{self, FieldViolations};
use tonic::Status;

/// When to try again what can't be done yet.
const RETRY_AFTER: Duration = Duration::from_secs(1);

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
    /// Something else has to happen first, and will: the same call succeeds then.
    #[error("{description}")]
    NotYet {
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

    /// Whether the request is at fault, or the state that it met: nothing was begun. Other errors leave a transaction
    /// half done.
    pub(crate) fn is_refusal(&self) -> bool {
        match self {
            Self::NotFound { .. }
            | Self::Invalid(_)
            | Self::Precondition { .. }
            | Self::Exists { .. }
            | Self::Denied { .. }
            | Self::NotYet { .. }
            | Self::Changed
            | Self::RequestIdReused => true,
            Self::Database(_) | Self::Stored(_) | Self::OutOfRange(_) => false,
        }
    }

    /// Whether the whole transaction may be tried again at once: a deadlock or a failed serialization.
    pub(crate) fn is_transient(&self) -> bool {
        matches!(self, Self::Database(error) if plazo_database::is_conflict(error))
    }
}

impl From<AnswerError> for Error {
    fn from(error: AnswerError) -> Self {
        match error {
            AnswerError::RequestIdReused => Self::RequestIdReused,
            AnswerError::Unreadable(error) => Self::Stored(error),
            AnswerError::Database(error) => Self::Database(error),
        }
    }
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
            Error::NotYet {
                reason,
                description,
            } => status::unavailable(reason, description, RETRY_AFTER),
            Error::Changed => status::aborted(
                "ETAG_MISMATCH",
                "it was changed in the meantime: read it again",
            ),
            Error::RequestIdReused => request_id_reused(),
            Error::Database(error) => plazo_database::to_status(&error),
            Error::Stored(_) | Error::OutOfRange(_) => status::internal(&error),
        }
    }
}
