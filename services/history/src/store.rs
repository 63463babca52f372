//! Persistence. Knows PostgreSQL and the model; nothing of gRPC.

mod contacts;
mod erasures;
mod page;
mod projection;
mod read;
mod rebuild;
mod report;
mod row;
pub(crate) mod settings;
mod view;
mod viewer;

use std::time::Duration;

use plazo_service::ConfigError;
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgPool};

use crate::config::DatabaseConfig;

pub(crate) use contacts::{ContactFilter, ContactOrder, SearchError};
pub(crate) use erasures::CarriedOut;
pub(crate) use projection::{Applied, ApplyError, ProjectionStore, events_of};
pub(crate) use read::{ClosedFilter, EntryOrder, ReadStore};
pub(crate) use rebuild::{BuilderLock, RebuildStore};
pub(crate) use report::{FactError, ReportStore};
pub(crate) use view::{CommentView, ContactView, TicketView};
pub(crate) use viewer::Viewer;

/// The search path that leads to the projection that serves.
const SERVING: &str = "public,projection";
/// The one that leads to the projection that is being built.
const BUILDING: &str = "public,projection_next";
/// Connections for building. One does the work; the second takes over while the first is replaced.
const BUILDING_CONNECTIONS: u32 = 2;

/// The schema that this program knows.
pub(crate) static MIGRATOR: Migrator = sqlx::migrate!();

/// The pools of the service: the projection has its own, so that many requests can't hold it up, nor it them; and reports,
/// which take long, can't hold up the requests of agents.
pub(crate) struct Pools {
    pub(crate) read: PgPool,
    pub(crate) reports: PgPool,
    pub(crate) projection: PgPool,
    /// Leads to the tables that are being built anew.
    pub(crate) building: PgPool,
}

impl Pools {
    /// Pools that connect when they are first used. Fails on a URL that is none.
    pub(crate) fn new(config: &DatabaseConfig) -> Result<Self, ConfigError> {
        let with_timeout = |statement_timeout_ms: u64, search_path: &str| {
            let options = plazo_database::connect_options(
                &config.url,
                "plazo-history",
                statement_timeout_ms,
            )?;
            let lock_timeout_ms = config.lock_timeout_ms.to_string();
            Ok::<_, ConfigError>(options.options([
                // Plans over many partitions look dear enough to be compiled, which takes longer than to run them.
                ("jit", "off".to_owned()),
                ("lock_timeout", lock_timeout_ms.clone()),
                // Where the tables are: see the migration.
                ("search_path", search_path.to_owned()),
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
        // The filters of reports differ so much that no one plan serves them all.
        let plan_each = [("plan_cache_mode", "force_custom_plan")];
        Ok(Self {
            read: pool(
                config.read_connections,
                with_timeout(config.read_statement_timeout_ms, SERVING)?,
            ),
            reports: pool(
                config.report_connections,
                with_timeout(config.report_statement_timeout_ms, SERVING)?.options(plan_each),
            ),
            projection: pool(
                config.projection_connections,
                with_timeout(config.projection_statement_timeout_ms, SERVING)?,
            ),
            building: pool(
                BUILDING_CONNECTIONS,
                with_timeout(config.projection_statement_timeout_ms, BUILDING)?,
            ),
        })
    }

    /// Closes the connections when their work is done.
    pub(crate) async fn close(self) {
        self.read.close().await;
        self.reports.close().await;
        self.projection.close().await;
        self.building.close().await;
    }
}
