//! Failures of the database as callers see them.

use std::time::Duration;

use plazo_service::status::{self, chain};
use sqlx::error::DatabaseError;
use tonic::Status;

const RETRY_AFTER: Duration = Duration::from_millis(200);

/// Logs the error and makes the answer, which tells nothing of it:
///
/// | error | answer |
/// |---|---|
/// | no connection free in time; too many connections | RESOURCE_EXHAUSTED |
/// | connection lost or impossible; server starting or ending | UNAVAILABLE |
/// | serialization failure, deadlock, lock not granted in time | UNAVAILABLE |
/// | statement over its time | DEADLINE_EXCEEDED |
/// | anything else | INTERNAL |
pub(super) fn database_status(error: &sqlx::Error) -> Status {
    let code = error.as_database_error().and_then(DatabaseError::code);
    match (error, code.as_deref()) {
        (sqlx::Error::PoolTimedOut, _) | (_, Some("53300")) => {
            tracing::warn!(error = chain(error), "no database connection is free");
            let description = "too many requests at the same time";
            status::resource_exhausted("DATABASE_BUSY", description, RETRY_AFTER)
        }
        (sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::PoolClosed, _)
        | (_, Some("57P01" | "57P02" | "57P03" | "40001" | "40P01" | "55P03")) => {
            tracing::warn!(error = chain(error), "the database is away");
            let description = "the database cannot be reached at the moment";
            status::unavailable("DATABASE_UNAVAILABLE", description, RETRY_AFTER)
        }
        (_, Some("57014")) => {
            tracing::warn!(error = chain(error), "a statement took too long");
            status::deadline_exceeded()
        }
        _ => status::internal(error),
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    #[test]
    fn a_lost_database_may_be_tried_again_and_a_full_pool_says_so() {
        let lost = sqlx::Error::Io(std::io::Error::other("broken pipe of db.internal"));
        let answer = database_status(&lost);
        assert_eq!(answer.code(), Code::Unavailable);
        assert!(!format!("{answer:?}").contains("db.internal"));
        assert_eq!(
            database_status(&sqlx::Error::PoolTimedOut).code(),
            Code::ResourceExhausted
        );
        assert_eq!(
            database_status(&sqlx::Error::RowNotFound).code(),
            Code::Internal
        );
    }
}
