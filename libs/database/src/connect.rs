//! How a service connects.

use std::str::FromStr as _;
use std::time::Duration;

use plazo_service::ConfigError;
use sqlx::Connection as _;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

/// A connection that was idle for longer is tried before it is used.
const TRIED_AFTER_IDLE: Duration = Duration::from_secs(5);

/// Options for the `postgres://…` under a key of the configuration.
pub(crate) fn parse_url(key: &str, url: &str) -> Result<PgConnectOptions, ConfigError> {
    // The driver's message may repeat the URL with its password.
    PgConnectOptions::from_str(url).map_err(|_| ConfigError::value(key, "must be postgres://…"))
}

/// Options for the `postgres://…` under a key of the configuration, with a limit on each statement, in milliseconds; 0 is
/// none. A process that was frozen within a transaction loses its locks after the same time.
pub(crate) fn timed_options(
    key: &str,
    url: &str,
    application_name: &str,
    statement_timeout_ms: u64,
) -> Result<PgConnectOptions, ConfigError> {
    let options = parse_url(key, url)?
        .application_name(application_name)
        .options([
            ("statement_timeout", statement_timeout_ms.to_string()),
            (
                "idle_in_transaction_session_timeout",
                statement_timeout_ms.to_string(),
            ),
            // Every statement is prepared, and most take arrays, for which PostgreSQL believes a plan of its own at
            // each execution to be cheaper, and then spends more on planning than on the rows.
            ("plan_cache_mode", "force_generic_plan".to_owned()),
        ]);
    Ok(options)
}

/// Options for a pool of so many connections, for one of which a call waits so long before it is answered
/// RESOURCE_EXHAUSTED.
///
/// Connections in constant use are not tried before each use, as is the pool's default: where many wait, the trial is what
/// remains of the wait of each, its end breaks the trial off and closes the connection, and a service that was busy for a
/// moment does nothing but open connections from then on.
pub fn pool_options(max_connections: u32, acquire_timeout_ms: u64) -> PgPoolOptions {
    PgPoolOptions::new()
        .max_connections(max_connections)
        .acquire_timeout(Duration::from_millis(acquire_timeout_ms))
        .test_before_acquire(false)
        .before_acquire(|connection, use_so_far| {
            Box::pin(async move {
                if use_so_far.idle_for > TRIED_AFTER_IDLE {
                    connection.ping().await?;
                }
                Ok(true)
            })
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_url_is_refused_by_key_and_not_repeated() {
        let error = timed_options("database.url", "postgres://u:secret@[/db", "test", 1)
            .expect_err("no URL");
        assert_eq!(error.to_string(), "database.url: must be postgres://…");
    }
}
