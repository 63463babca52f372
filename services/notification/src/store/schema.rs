//! The pool, and whether the schema is the one that this program knows.

use std::collections::HashMap;
use std::str::FromStr as _;
use std::time::Duration;

use plazo_service::ConfigError;
use sqlx::PgPool;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use crate::config::DatabaseConfig;

static MIGRATOR: Migrator = sqlx::migrate!("./migrations");

/// Why the database can't be used.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// The URL is none.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// No connection, or a query failed.
    #[error("the database can't be used")]
    Database(#[from] sqlx::Error),
    /// A migration failed.
    #[error("the database can't be migrated")]
    Migrate(#[from] MigrateError),
    /// The schema is not this program's.
    #[error("the database's schema is not the one that this program knows: {0}")]
    Unknown(String),
}

/// Connects, and migrates or checks the schema.
pub(crate) async fn open(config: &DatabaseConfig) -> Result<PgPool, SchemaError> {
    let options = PgConnectOptions::from_str(&config.url)
        // The driver's message may repeat the URL with its password.
        .map_err(|_| ConfigError::value("database.url", "must be postgres://…"))?
        .application_name("plazo-notification")
        .options([
            ("statement_timeout", format!("{}ms", config.statement_timeout_ms)),
            // A process that was frozen within a transaction must not hold its locks for ever.
            ("idle_in_transaction_session_timeout", format!("{}ms", config.statement_timeout_ms)),
        ]);
    let pool = PgPoolOptions::new()
        .max_connections(config.max_connections)
        .min_connections(1)
        .acquire_timeout(Duration::from_millis(config.acquire_timeout_ms))
        .idle_timeout(Duration::from_mins(10))
        .max_lifetime(Duration::from_mins(30))
        .connect_with(options)
        .await?;
    if config.migrate {
        MIGRATOR.run(&pool).await?;
    } else {
        check(&pool).await?;
    }
    Ok(pool)
}

async fn check(pool: &PgPool) -> Result<(), SchemaError> {
    // Not a checked query: the table is the migrator's, and may be missing.
    let applied: Vec<(i64, bool, Vec<u8>)> =
        sqlx::query_as("SELECT version, success, checksum FROM _sqlx_migrations")
            .fetch_all(pool)
            .await
            .map_err(|error| {
                match error
                    .as_database_error()
                    .and_then(sqlx::error::DatabaseError::code)
                {
                    Some(code) if code == "42P01" => {
                        SchemaError::Unknown("it is empty; run the migrations first".to_owned())
                    }
                    _ => error.into(),
                }
            })?;
    let applied: HashMap<i64, (bool, Vec<u8>)> = applied
        .into_iter()
        .map(|(version, success, checksum)| (version, (success, checksum)))
        .collect();
    for migration in MIGRATOR.iter() {
        let version = migration.version;
        match applied.get(&version) {
            Some((true, checksum)) if *checksum == *migration.checksum => {}
            Some((false, _)) => {
                return Err(SchemaError::Unknown(format!(
                    "migration {version} did not end well"
                )));
            }
            Some(_) => {
                return Err(SchemaError::Unknown(format!(
                    "migration {version} is another one"
                )));
            }
            None => {
                return Err(SchemaError::Unknown(format!(
                    "migration {version} is missing"
                )));
            }
        }
    }
    let newer = applied
        .keys()
        .find(|version| !MIGRATOR.version_exists(**version));
    match newer {
        Some(version) => Err(SchemaError::Unknown(format!(
            "migration {version} is newer than this program"
        ))),
        None => Ok(()),
    }
}
