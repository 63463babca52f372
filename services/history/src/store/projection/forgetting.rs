//! Taking away what is kept no longer.

use sqlx::{PgConnection, Postgres, Transaction};

use super::ProjectionStore;

/// What `swap_projections` leaves in tables that serve no more.
const REPLACED: &str = "replaced";
/// A partition that readers hold is tried again in the next round; whoever comes after us must not wait long for it.
const DROP_WAIT: &str = "SET LOCAL lock_timeout = '2s'";

impl ProjectionStore {
    /// Whether anything is ever taken away: by default, or in any tenant.
    pub(crate) async fn forgets(&self, default_days: Option<i32>) -> Result<bool, sqlx::Error> {
        if default_days.is_some() {
            return Ok(true);
        }
        let row = sqlx::query!(
            r#"SELECT EXISTS (SELECT FROM tenant_settings WHERE retention_days IS NOT NULL) AS "is_any!""#
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(row.is_any)
    }

    /// The tenant after this one that has tickets or contacts, and for how many days after its close a ticket of it is
    /// kept; none for ever.
    pub(crate) async fn next_tenant(
        &self,
        after: i64,
        default_days: Option<i32>,
    ) -> Result<Option<(i64, Option<i32>)>, sqlx::Error> {
        let row = sqlx::query_file!("queries/next_tenant.sql", after, default_days)
            .fetch_one(&self.pool)
            .await?;
        Ok(row.tenant_id.map(|tenant_id| (tenant_id, row.keep_days)))
    }

    /// Deletes tickets of a tenant that were closed longer ago, the oldest first; tells how many.
    pub(crate) async fn forget_tickets(
        &self,
        tenant_id: i64,
        keep_days: i32,
        limit: i64,
    ) -> Result<u64, sqlx::Error> {
        let Some(mut transaction) = self.begin_writing().await? else {
            return Ok(0);
        };
        let row = sqlx::query_file!("queries/forget_tickets.sql", tenant_id, keep_days, limit)
            .fetch_one(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(row.forgotten.unsigned_abs())
    }

    /// Deletes contacts of a tenant that did nothing for so long and have no tickets left; tells how many.
    pub(crate) async fn forget_contacts(
        &self,
        tenant_id: i64,
        keep_days: i32,
        limit: i64,
    ) -> Result<u64, sqlx::Error> {
        let Some(mut transaction) = self.begin_writing().await? else {
            return Ok(0);
        };
        let deleted = sqlx::query_file!("queries/forget_contacts.sql", tenant_id, keep_days, limit)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(deleted.rows_affected())
    }

    /// Drops the partitions that have nothing to be kept; tells how many.
    pub(crate) async fn drop_partitions(
        &self,
        default_days: Option<i32>,
    ) -> Result<u64, sqlx::Error> {
        let rows = sqlx::query_file!("queries/list_partitions.sql")
            .fetch_all(&self.pool)
            .await?;
        let mut dropped = 0;
        for row in rows {
            let mut connection = self.pool.acquire().await?;
            if !is_over(&mut connection, row.number, default_days).await? {
                continue;
            }
            drop(connection);
            let Some(mut transaction) = self.begin_writing().await? else {
                return Ok(dropped);
            };
            // Nothing writes now; something may have been written in between.
            if is_over(&mut transaction, row.number, default_days).await? {
                sqlx::query(DROP_WAIT).execute(&mut *transaction).await?;
                let drop = sqlx::query!("SELECT drop_ticket_partition($1)", row.number)
                    .fetch_one(&mut *transaction)
                    .await;
                match drop {
                    Ok(_) => {
                        transaction.commit().await?;
                        dropped += 1;
                    }
                    Err(error) if is_lock_timeout(&error) => transaction.rollback().await?,
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(dropped)
    }

    /// A transaction that has the tables for itself among those who write; none when they serve no more.
    async fn begin_writing(&self) -> Result<Option<Transaction<'_, Postgres>>, sqlx::Error> {
        let mut transaction = self.pool.begin().await?;
        let stored = sqlx::query_file!("queries/lock_position.sql")
            .fetch_one(&mut *transaction)
            .await?;
        Ok((stored.position != REPLACED).then_some(transaction))
    }
}

/// Somebody reads what was to be dropped.
fn is_lock_timeout(error: &sqlx::Error) -> bool {
    let code = error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code);
    code.as_deref() == Some("55P03")
}

/// Whether a partition holds nothing that is to be kept or may yet come.
async fn is_over(
    connection: &mut PgConnection,
    number: i64,
    default_days: Option<i32>,
) -> Result<bool, sqlx::Error> {
    let row = sqlx::query_file!("queries/is_partition_over.sql", number, default_days)
        .fetch_one(connection)
        .await?;
    Ok(row.is_over)
}
