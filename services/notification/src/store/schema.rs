//! The pool, with the schema that this program knows.

use std::time::Duration;

use sqlx::PgPool;
use sqlx::migrate::Migrator;

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
    let pool = plazo_database::pool_options(config.max_connections, config.acquire_timeout_ms)
        .min_connections(1)
        .idle_timeout(Duration::from_mins(10))
        .max_lifetime(Duration::from_mins(30))
        .connect_with(options)
        .await
        .map_err(AppError::Database)?;
    plazo_database::prepare_schema(&pool, &MIGRATOR, config.migrate).await?;
    Ok(pool)
}
