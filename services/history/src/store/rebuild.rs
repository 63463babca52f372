//! Building the projection anew next to the one that serves. The migration has the schemas and how they change places.

use sqlx::postgres::PgPool;
use sqlx::{Connection as _, PgConnection};

use super::ProjectionStore;

/// The key of the advisory lock that a builder holds: one replica builds at a time.
const BUILDER: i64 = 0x0070_6c61_7a6f_0001;

/// The wish for a rebuild, and the tables that are being built.
#[derive(Debug, Clone)]
pub(crate) struct RebuildStore {
    pub(super) pool: PgPool,
    /// With the search path of the tables that are being built.
    building: PgPool,
}

/// How far the tables that serve are.
#[derive(Debug, Clone)]
pub(crate) struct ServingState {
    pub(crate) position: String,
    pub(crate) changed_at: jiff::Timestamp,
    /// Since when a rebuild is wanted.
    pub(crate) wanted_at: Option<jiff_sqlx::Timestamp>,
}

/// The right to build, as long as the connection lives.
pub(crate) struct BuilderLock(PgConnection);

impl RebuildStore {
    pub(crate) fn new(pool: PgPool, building: PgPool) -> Self {
        Self { pool, building }
    }

    /// Asks for a rebuild; once more changes nothing.
    pub(crate) async fn want(&self) -> Result<(), sqlx::Error> {
        sqlx::query!(
            "UPDATE projection_rebuilds SET wanted_at = clock_timestamp() WHERE wanted_at IS NULL"
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Whether a rebuild was asked for and has not ended.
    pub(crate) async fn is_wanted(&self) -> Result<bool, sqlx::Error> {
        let row = sqlx::query!(
            r#"SELECT wanted_at IS NOT NULL AS "is_wanted!" FROM projection_rebuilds"#
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(row.is_wanted)
    }

    /// How far the tables that serve are.
    pub(crate) async fn state(&self) -> Result<ServingState, sqlx::Error> {
        sqlx::query_as!(
            ServingState,
            "SELECT position, changed_at, wanted_at FROM feed_position, projection_rebuilds"
        )
        .fetch_one(&self.pool)
        .await
    }

    /// The right to build; none while another replica has it.
    pub(crate) async fn try_lock(&self) -> Result<Option<BuilderLock>, sqlx::Error> {
        // Not one of the pool's: the lock belongs to the connection.
        let options = self.pool.connect_options();
        let mut connection = PgConnection::connect_with(&options).await?;
        let row = sqlx::query!(r#"SELECT pg_try_advisory_lock($1) AS "is_held!""#, BUILDER)
            .fetch_one(&mut connection)
            .await?;
        Ok(row.is_held.then_some(BuilderLock(connection)))
    }

    /// The tables that are being built: those that an earlier builder left, or new ones.
    pub(crate) async fn prepare(&self) -> Result<ProjectionStore, sqlx::Error> {
        self.drop_schema("projection_old").await?;
        let row =
            sqlx::query!(r#"SELECT to_regnamespace('projection_next') IS NOT NULL AS "is_there!""#)
                .fetch_one(&self.pool)
                .await?;
        if !row.is_there {
            sqlx::query!("SELECT begin_projection()")
                .fetch_one(&self.pool)
                .await?;
        }
        Ok(ProjectionStore::new(self.building.clone()))
    }

    /// Forgets what was built.
    pub(crate) async fn discard(&self) -> Result<(), sqlx::Error> {
        self.drop_schema("projection_next").await
    }

    /// Has the database put in order what was built and look at it, so that it reads it well from the beginning.
    pub(crate) async fn settle(&self) -> Result<(), sqlx::Error> {
        let mut transaction = self.building.begin().await?;
        // Millions of rows take longer than any other statement.
        sqlx::query("SET LOCAL statement_timeout = 0")
            .execute(&mut *transaction)
            .await?;
        sqlx::query!("SELECT settle_projection('projection_next')")
            .fetch_one(&mut *transaction)
            .await?;
        transaction.commit().await
    }

    /// Lets the tables serve that were built. Whoever writes to the others waits, and then finds that they were replaced.
    pub(crate) async fn swap(&self) -> Result<(), sqlx::Error> {
        let mut transaction = self.pool.begin().await?;
        sqlx::query!("SELECT position FROM feed_position FOR UPDATE")
            .fetch_one(&mut *transaction)
            .await?;
        sqlx::query!("SELECT swap_projections()")
            .fetch_one(&mut *transaction)
            .await?;
        sqlx::query!("UPDATE projection_rebuilds SET wanted_at = NULL")
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await
    }

    /// Drops the tables that served before the last swap, if somebody has not done so.
    pub(crate) async fn drop_replaced(&self) -> Result<(), sqlx::Error> {
        self.drop_schema("projection_old").await
    }

    /// Partition by partition: all at once may need more locks than the server has.
    async fn drop_schema(&self, schema: &str) -> Result<(), sqlx::Error> {
        loop {
            let row = sqlx::query!(r#"SELECT drop_some_tables($1) AS "is_gone!""#, schema)
                .fetch_one(&self.pool)
                .await?;
            if row.is_gone {
                return Ok(());
            }
        }
    }
}

impl BuilderLock {
    /// Whether the lock is still held: the connection lives.
    pub(crate) async fn is_held(&mut self) -> bool {
        self.0.ping().await.is_ok()
    }
}
