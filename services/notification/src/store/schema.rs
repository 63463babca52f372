//! The pool, with the schema that this program knows.

use std::time::Duration;

use sqlx::PgPool;
use sqlx::migrate::Migrator;
use sqlx::postgres::PgPoolOptions;

use crate::app::AppError;
use crate::config::DatabaseConfig;

static MIGRATOR: Migrator = sqlx::migrate!("./migrations");

/// Connects, and migrates or checks the schema.
pub(crate) async fn open(config: &DatabaseConfig) -> Result<PgPool, AppError> {
    let options = plazo_database::connect_options(
        &config.url,
        "plazo-notification",
        config.statement_timeout_ms,
    )?;
    let pool = PgPoolOptions::new()
        .max_connections(config.max_connections)
        .min_connections(1)
        .acquire_timeout(Duration::from_millis(config.acquire_timeout_ms))
        .idle_timeout(Duration::from_mins(10))
        .max_lifetime(Duration::from_mins(30))
        .connect_with(options)
        .await
        .map_err(AppError::Database)?;
    plazo_database::prepare_schema(&pool, &MIGRATOR, config.migrate).await?;
    Ok(pool)
}
