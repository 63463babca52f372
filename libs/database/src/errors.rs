//! Failures of the database as callers see them.

use std::borrow::Cow;
use std::time::Duration;

use plazo_service::status::{self, chain};
use sqlx::error::DatabaseError;
use tonic::Status;

use crate::metrics::Failure;

/// How long a caller is asked to wait when the database is away or busy.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// Whether the same transaction may well succeed at once: a deadlock or a failed serialization.
pub fn is_conflict(error: &sqlx::Error) -> bool {
    matches!(sqlstate(error).as_deref(), Some("40001" | "40P01"))
}

/// Logs the error and makes the answer, which tells nothing of it:
///
/// | error | answer |
/// |---|---|
/// | no connection free in time, or too many wait for one; too many connections; no room | RESOURCE_EXHAUSTED |
/// | connection lost or impossible; server starting, ending or read-only | UNAVAILABLE |
/// | serialization failure, deadlock, lock not granted in time | UNAVAILABLE |
/// | statement over its time | DEADLINE_EXCEEDED |
/// | anything else | INTERNAL |
pub fn to_status(error: &sqlx::Error) -> Status {
    let code = sqlstate(error);
    match (error, code.as_deref()) {
        (sqlx::Error::PoolTimedOut, _) | (_, Some("53100" | "53200" | "53300")) => {
            Failure::Busy.count();
            tracing::warn!(error = chain(error), "the database is busy");
            status::resource_exhausted("DATABASE_BUSY", "the database is busy", RETRY_AFTER)
        }
        (
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed,
            _,
        )
        | (
            _,
            Some("25006" | "25P03" | "40001" | "40P01" | "55P03" | "57P01" | "57P02" | "57P03"),
        ) => unavailable(error),
        (_, Some(code)) if code.starts_with("08") => unavailable(error),
        (_, Some("57014")) => {
            Failure::Timeout.count();
            tracing::warn!(error = chain(error), "a statement took too long");
            status::deadline_exceeded()
        }
        _ => {
            Failure::Other.count();
            status::internal(error)
        }
    }
}

fn unavailable(error: &sqlx::Error) -> Status {
    Failure::Unavailable.count();
    tracing::warn!(error = chain(error), "the database is away");
    status::unavailable("DATABASE_UNAVAILABLE", "the database is away", RETRY_AFTER)
}

fn sqlstate(error: &sqlx::Error) -> Option<String> {
    error
        .as_database_error()
        .and_then(DatabaseError::code)
        .map(Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    #[test]
    fn a_lost_database_may_be_tried_again_and_a_full_pool_says_so() {
        let lost = sqlx::Error::Io(std::io::Error::other("broken pipe of db.internal"));
        let answer = to_status(&lost);
        assert_eq!(answer.code(), Code::Unavailable);
        assert!(!format!("{answer:?}").contains("db.internal"));
        let full = to_status(&sqlx::Error::PoolTimedOut);
        assert_eq!(full.code(), Code::ResourceExhausted);
        let unknown = to_status(&sqlx::Error::RowNotFound);
        assert_eq!(unknown.code(), Code::Internal);
    }
}
