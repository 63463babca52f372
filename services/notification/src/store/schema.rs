//! The pools, with the schema that this program knows.

use std::time::Duration;

use plazo_database::{HousekeepingMetrics, Logins, SchemaError, TenantPool};
use plazo_service::Metrics;
use sqlx::PgPool;
use sqlx::migrate::Migrator;
use sqlx::postgres::PgPoolOptions;

use crate::app::AppError;
use crate::config::DatabaseConfig;

static MIGRATOR: Migrator = sqlx::migrate!("./migrations");

/// The two ways into the database.
#[derive(Debug, Clone)]
pub(crate) struct Pools {
    /// What tenants ask for, and what providers tell of one of them.
    pub(crate) requests: TenantPool,
    /// All else.
    pub(crate) background: PgPool,
}

impl Pools {
    /// Shows the pools, and counts the rounds of housekeeping with the answer.
    pub(crate) fn register(&self, metrics: &mut Metrics) -> HousekeepingMetrics {
        plazo_database::register_metrics(
            metrics,
            [
                ("requests", (&self.requests).into()),
                ("background", (&self.background).into()),
            ],
        )
    }

    pub(crate) async fn close(&self) {
        self.requests.close().await;
        self.background.close().await;
    }
}

/// Connects, and migrates or checks the schema.
pub(crate) async fn open(config: &DatabaseConfig) -> Result<Pools, AppError> {
    let logins = logins(config);
    logins.prepare(&MIGRATOR, config.migrate).await?;
    let options = logins.background_options(config.statement_timeout_ms)?;
    let background = pool(config, config.background_connections)
        .connect_with(options)
        .await
        .map_err(AppError::Database)?;
    let options = logins.request_options(config.statement_timeout_ms)?;
    let requests = pool(config, config.max_connections);
    let requests = TenantPool::connect(requests, options, config.max_waiting)
        .await
        .map_err(AppError::Database)?;
    Ok(Pools {
        requests,
        background,
    })
}

/// Brings the schema up to date.
pub(crate) async fn migrate(config: &DatabaseConfig) -> Result<(), SchemaError> {
    logins(config).migrate(&MIGRATOR).await
}

fn logins(config: &DatabaseConfig) -> Logins<'_> {
    Logins {
        service: "notification",
        url: &config.url,
        request_url: config.request_url.as_deref(),
        migration_url: config.migration_url.as_deref(),
    }
}

fn pool(config: &DatabaseConfig, connections: u32) -> PgPoolOptions {
    plazo_database::pool_options(connections, config.acquire_timeout_ms)
        .min_connections(1)
        .idle_timeout(Duration::from_mins(10))
        .max_lifetime(Duration::from_mins(30))
}
