//! Persistence. Knows PostgreSQL and the model; nothing of gRPC.

mod contacts;
mod erasures;
mod facts;
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

use plazo_database::{HousekeepingMetrics, Logins, TenantPool};
use plazo_service::{ConfigError, Metrics};
use sqlx::migrate::Migrator;
use sqlx::postgres::PgPool;

use crate::config::DatabaseConfig;

pub(crate) use contacts::{ContactFilter, ContactOrder, SearchError};
pub(crate) use erasures::CarriedOut;
pub(crate) use facts::FactError;
pub(crate) use projection::{Applied, ApplyError, ProjectionStore, events_of};
pub(crate) use read::{ClosedFilter, EntryOrder, ReadStore};
pub(crate) use rebuild::{BuilderLock, RebuildStore};
pub(crate) use report::ReportStore;
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
    pub(crate) read: TenantPool,
    pub(crate) reports: TenantPool,
    pub(crate) projection: PgPool,
    /// Leads to the tables that are being built anew.
    pub(crate) building: PgPool,
}

impl Pools {
    /// Pools that connect when they are first used: for requests as their role, which sees the rows of one tenant, for all else as
    /// that of background work. Fails on a URL that is none.
    pub(crate) fn new(config: &DatabaseConfig) -> Result<Self, ConfigError> {
        let logins = logins(config);
        let lock_timeout_ms = config.lock_timeout_ms.to_string();
        let settings = |search_path: &str| {
            [
                // Plans over many partitions look dear enough to be compiled, which takes longer than to run them.
                ("jit", "off".to_owned()),
                // How many rows a part of a query has is not known when it is planned. To join such parts by hash takes half the time of
                // sorting both.
                ("enable_mergejoin", "off".to_owned()),
                ("lock_timeout", lock_timeout_ms.clone()),
                // Everything is served by an index. A plan that was made while a partition was empty would go on reading it from end
                // to end; and a period that takes up half of a partition is still read from less when it is read from an index.
                ("enable_seqscan", "off".to_owned()),
                // Where the tables are: see the migration.
                ("search_path", search_path.to_owned()),
                // A replica that hangs in the middle of a batch must not hold the position for ever.
                (
                    "idle_in_transaction_session_timeout",
                    lock_timeout_ms.clone(),
                ),
            ]
        };
        let pool = |connections: u32| {
            plazo_database::pool_options(connections, config.acquire_timeout_ms)
                .min_connections(0)
                .idle_timeout(Duration::from_millis(config.idle_timeout_ms))
                .max_lifetime(Duration::from_millis(config.max_lifetime_ms))
        };
        let requests = |connections: u32, statement_timeout_ms: u64| {
            let options = logins.request_options(statement_timeout_ms)?;
            let options = options.options(settings(SERVING));
            // No one plan serves all values: a page is read from an index in its order, where a plan that does not know how
            // short the page is reads and sorts all contacts of the tenant; and the filters of reports differ as much.
            let options = options.options([("plan_cache_mode", "force_custom_plan")]);
            let max_waiting = usize::try_from(config.max_waiting).unwrap_or(usize::MAX);
            let pool = TenantPool::connect_lazy(pool(connections), options, max_waiting);
            Ok::<_, ConfigError>(pool)
        };
        let background = |connections: u32, search_path: &str| {
            let options = logins.background_options(config.projection_statement_timeout_ms)?;
            let options = options.options(settings(search_path));
            Ok::<_, ConfigError>(pool(connections).connect_lazy_with(options))
        };
        Ok(Self {
            read: requests(config.read_connections, config.read_statement_timeout_ms)?,
            reports: requests(
                config.report_connections,
                config.report_statement_timeout_ms,
            )?,
            projection: background(config.projection_connections, SERVING)?,
            building: background(BUILDING_CONNECTIONS, BUILDING)?,
        })
    }

    /// Shows the pools, and counts the rounds of housekeeping with the answer.
    pub(crate) fn register(&self, metrics: &mut Metrics) -> HousekeepingMetrics {
        plazo_database::register_metrics(
            metrics,
            [
                ("read", (&self.read).into()),
                ("reports", (&self.reports).into()),
                ("projection", (&self.projection).into()),
                ("building", (&self.building).into()),
            ],
        )
    }

    /// Closes the connections when their work is done.
    pub(crate) async fn close(self) {
        self.read.close().await;
        self.reports.close().await;
        self.projection.close().await;
        self.building.close().await;
    }
}

/// As whom the service connects.
pub(crate) fn logins(config: &DatabaseConfig) -> Logins<'_> {
    Logins {
        service: "history",
        url: &config.url,
        request_url: config.request_url.as_deref(),
        migration_url: config.migration_url.as_deref(),
    }
}
