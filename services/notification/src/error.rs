//! What can go wrong in a use case, and the one table from there to gRPC.

use plazo_database::AnswerError;
use plazo_service::{request_id_reused, status};
use tonic::{Code, Status};

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
    /// Only uncertain messages are resolved.
    #[error("message {0} is not uncertain")]
    NotUncertain(i64),
    /// Only waiting messages are called off.
    #[error("message {0} does not wait")]
    NotWaiting(i64),
    /// Somebody changed it since it was read.
    #[error("changed since it was read")]
    EtagMismatch,
    /// The tenant has as many subscriptions as it may have.
    #[error("tenant has too many subscriptions")]
    SubscriptionsLimit,
    /// A subscription is replayed once at a time.
    #[error("subscription {0} is being replayed")]
    ReplayRunning(i64),
    /// A replay can't begin where it should.
    #[error("position expired")]
    PositionExpired,
    /// No event has this position yet.
    #[error("position unknown")]
    PositionUnknown,
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
                let reason = format!("{}_NOT_FOUND", kind.replace(' ', "_").to_uppercase());
                status::not_found(&reason, kind, &id)
            }
            Error::NotFailed(message_id) => status::failed_precondition(
                "MESSAGE_NOT_FAILED",
                &format!("message/{message_id}"),
                "only a message that has failed is sent again",
            ),
            Error::NotUncertain(message_id) => status::failed_precondition(
                "MESSAGE_NOT_UNCERTAIN",
                &format!("message/{message_id}"),
                "only an uncertain message is resolved",
            ),
            Error::NotWaiting(message_id) => status::failed_precondition(
                "MESSAGE_NOT_WAITING",
                &format!("message/{message_id}"),
                "only a message that waits and is not being sent is called off",
            ),
            Error::EtagMismatch => status::aborted(
                "ETAG_MISMATCH",
                "it was changed since it was read: read it again",
            ),
            Error::SubscriptionsLimit => status::with_reason(
                Code::ResourceExhausted,
                "SUBSCRIPTIONS_LIMIT",
                "the tenant has as many webhook subscriptions as it may have",
            ),
            Error::ReplayRunning(subscription_id) => status::failed_precondition(
                "REPLAY_RUNNING",
                &format!("webhook subscription/{subscription_id}"),
                "an earlier replay of the subscription still runs",
            ),
            Error::PositionExpired => status::with_reason(
                Code::OutOfRange,
                "POSITION_EXPIRED",
                "the position is older than what is kept",
            ),
            Error::PositionUnknown => {
                status::invalid("position", "must be the position of a past event")
            }
            Error::RequestIdReused => request_id_reused(),
            Error::Database(error) => plazo_database::to_status(&error),
            Error::Stored(_) => status::internal(&error),
        }
    }
}
