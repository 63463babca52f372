//! How a service connects.

use std::str::FromStr as _;

use plazo_service::ConfigError;
use sqlx::postgres::PgConnectOptions;

/// Options for `postgres://…` under the key `database.url`, with a limit on each statement, in milliseconds. A process
/// that was frozen within a transaction loses its locks after the same time.
pub fn connect_options(
    url: &str,
    application_name: &str,
    statement_timeout_ms: u64,
) -> Result<PgConnectOptions, ConfigError> {
    let options = PgConnectOptions::from_str(url)
        // The driver's message may repeat the URL with its password.
        .map_err(|_| ConfigError::value("database.url", "must be postgres://…"))?
        .application_name(application_name)
        .options([
            ("statement_timeout", statement_timeout_ms.to_string()),
            (
                "idle_in_transaction_session_timeout",
                statement_timeout_ms.to_string(),
            ),
        ]);
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_url_is_refused_by_key_and_not_repeated() {
        let error = connect_options("postgres://u:secret@[/db", "test", 1).expect_err("no URL");
        assert_eq!(error.to_string(), "database.url: must be postgres://…");
    }
}
