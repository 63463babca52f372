//! Persistence. Knows PostgreSQL and the model; nothing of gRPC.

mod projection;
mod read;
mod row;

use std::time::Duration;

use plazo_service::ConfigError;
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgPool};

use crate::config::DatabaseConfig;

pub(crate) use projection::{Applied, ApplyError, ProjectionStore};
pub(crate) use read::{BotFilter, ClosedFilter, ReadStore};

/// The schema that this program knows.
pub(crate) static MIGRATOR: Migrator = sqlx::migrate!();

/// The pools of the service: the projection has its own, so that many requests can't hold it up, nor it them.
pub(crate) struct Pools {
    pub(crate) read: PgPool,
    pub(crate) projection: PgPool,
}

impl Pools {
    /// Pools that connect when they are first used. Fails on a URL that is none.
    pub(crate) fn new(config: &DatabaseConfig) -> Result<Self, ConfigError> {
        let with_timeout = |statement_timeout_ms: u64| {
            let options = plazo_database::connect_options(
                &config.url,
                "plazo-history",
                statement_timeout_ms,
            )?;
            let lock_timeout_ms = config.lock_timeout_ms.to_string();
            Ok::<_, ConfigError>(options.options([
                ("lock_timeout", lock_timeout_ms.clone()),
                // A replica that hangs in the middle of a batch must not hold the position for ever.
                ("idle_in_transaction_session_timeout", lock_timeout_ms),
            ]))
        };
        let pool = |connections: u32, options: PgConnectOptions| {
            plazo_database::pool_options(connections, config.acquire_timeout_ms)
                .min_connections(0)
                .idle_timeout(Duration::from_millis(config.idle_timeout_ms))
                .max_lifetime(Duration::from_millis(config.max_lifetime_ms))
                .connect_lazy_with(options)
        };
        Ok(Self {
            read: pool(
                config.read_connections,
                with_timeout(config.read_statement_timeout_ms)?,
            ),
            projection: pool(
                config.projection_connections,
                with_timeout(config.projection_statement_timeout_ms)?,
            ),
        })
    }

    /// Closes the connections when their work is done.
    pub(crate) async fn close(self) {
        self.read.close().await;
        self.projection.close().await;
    }
}
