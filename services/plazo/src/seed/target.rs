//! Where history's tables are, and what is in them already.

use std::path::Path;
use std::str::FromStr as _;

use plazo_local::{DataFolder, PostgresOptions, PostgresServer};
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use tokio::time::Duration;

use crate::cluster::{Service, history_url};
use crate::sight;

use super::error::SeedError;
use super::options::{SeedOptions, Target};

/// Ids that are left to tickets of ticketing, at least.
const LEFT_FREE: i64 = 1_000_000;

/// An open database; the server too, when it was started for this.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) pool: PgPool,
    server: Option<PostgresServer>,
}

impl Opened {
    /// Connects to the tables; starts the server of a cluster that does not run.
    pub(super) async fn open(options: &SeedOptions) -> Result<Self, SeedError> {
        let mut server = None;
        let url = match &options.target {
            Target::Server(url) => history_url(url).map_err(SeedError::DatabaseUrl)?,
            Target::Folder(folder) => {
                let folder = folder.join("postgres");
                if !folder.join("data").is_dir() {
                    return Err(SeedError::NoCluster(folder));
                }
                let running = PostgresServer::running_url(&folder, Service::History.name());
                if let Some(url) = running {
                    url
                } else {
                    let started = start(&folder).await?;
                    let url = started.database_url(Service::History.name());
                    server = Some(started);
                    url
                }
            }
        };
        let connect = PgConnectOptions::from_str(&url)
            .map_err(|error| SeedError::DatabaseUrl(error.into()))?
            .application_name("plazo-seed")
            // A crash of the server may cost the last batches: they are made again.
            .options([("synchronous_commit", "off")]);
        let pool = PgPoolOptions::new()
            .max_connections(options.connections + 1)
            .acquire_timeout(Duration::from_secs(30))
            .connect_with(connect)
            .await?;
        Ok(Self { pool, server })
    }

    /// Leaves it as it was found.
    pub(super) async fn close(self) -> Result<(), SeedError> {
        self.pool.close().await;
        if let Some(mut server) = self.server {
            server.stop().await?;
        }
        Ok(())
    }
}

async fn start(folder: &Path) -> Result<PostgresServer, SeedError> {
    let folder = DataFolder::Persistent(folder.to_owned());
    Ok(PostgresServer::start(PostgresOptions::new(folder)).await?)
}

/// The first ids that are free.
#[derive(Debug, Clone, Copy)]
pub(super) struct FirstIds {
    pub(super) ticket_id: i64,
    pub(super) contact_id: i64,
}

/// Checks that the tables are there and that nobody's data are mixed up, and finds free ids.
pub(super) async fn first_ids(pool: &PgPool, options: &SeedOptions) -> Result<FirstIds, SeedError> {
    let is_there: bool = sqlx::query_scalar("SELECT to_regclass('tickets') IS NOT NULL")
        .fetch_one(pool)
        .await?;
    if !is_there {
        return Err(SeedError::NoTables);
    }
    sight::check(pool, Service::History.name()).await?;
    let has_data: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM tickets WHERE tenant_id = $1)
            OR EXISTS (SELECT FROM contacts WHERE tenant_id = $1)",
    )
    .bind(options.tenant_id)
    .fetch_one(pool)
    .await?;
    if has_data && !options.add {
        return Err(SeedError::TenantHasData(options.tenant_id));
    }
    let free = free_ticket_id(pool).await?;
    let ticket_id = match options.first_ticket_id {
        None => free,
        Some(wanted) if is_free(pool, wanted).await? => wanted,
        Some(wanted) => return Err(SeedError::TicketsExist(wanted)),
    };
    let last_contact: Option<i64> =
        sqlx::query_scalar("SELECT max(contact_id) FROM contacts WHERE tenant_id = $1")
            .bind(options.tenant_id)
            .fetch_one(pool)
            .await?;
    let contact_id = match last_contact {
        None => 1,
        Some(last) => (last / LEFT_FREE + 2) * LEFT_FREE + 1,
    };
    Ok(FirstIds {
        ticket_id,
        contact_id,
    })
}

/// The first id of the second partition's width after all tickets that are there.
async fn free_ticket_id(pool: &PgPool) -> Result<i64, SeedError> {
    let mut highest = 0;
    for (name, until) in partitions(pool).await? {
        let statement = format!("SELECT EXISTS (SELECT FROM {name})");
        let has_rows: bool = sqlx::query_scalar(sqlx::AssertSqlSafe(statement))
            .fetch_one(pool)
            .await?;
        if has_rows {
            highest = until;
            break;
        }
    }
    Ok(highest / LEFT_FREE * LEFT_FREE + LEFT_FREE)
}

/// Whether no ticket has this id or a higher one.
async fn is_free(pool: &PgPool, ticket_id: i64) -> Result<bool, SeedError> {
    let taken: bool =
        sqlx::query_scalar("SELECT EXISTS (SELECT FROM tickets WHERE ticket_id >= $1)")
            .bind(ticket_id)
            .fetch_one(pool)
            .await?;
    Ok(!taken)
}

/// The partitions of the tickets with the first id after each, the highest first.
async fn partitions(pool: &PgPool) -> Result<Vec<(String, i64)>, SeedError> {
    let partitions = sqlx::query_as(
        r"SELECT inhrelid::regclass::text AS name, until
        FROM pg_inherits
        JOIN pg_class AS part ON part.oid = inhrelid,
        LATERAL (SELECT substring(pg_get_expr(part.relpartbound, part.oid) FROM 'TO \(''?(\d+)')::bigint) AS bound (until)
        WHERE inhparent = 'tickets'::regclass AND until IS NOT NULL
        ORDER BY until DESC",
    )
    .fetch_all(pool)
    .await?;
    Ok(partitions)
}
