//! Taking away what is kept no longer.

use std::time::Duration;

use sqlx::{PgConnection, Postgres, Transaction};

use super::ProjectionStore;

/// What `swap_projections` leaves in tables that serve no more.
const REPLACED: &str = "replaced";
/// How long the drop waits for each of its locks. It takes them table by table, and readers take theirs in any order, so that
/// they may wait for each other: then the server ends whoever has waited for `deadlock_timeout`, one second by default, and
/// that must not be the reader. Two locks for each of five tables make half a second in all. A short wait also means that readers who
/// come after it, and queue behind it, are not held up.
const DROP_WAIT: &str = "SET LOCAL lock_timeout = '50ms'";
/// A partition that readers hold is tried again so often in a round, with a pause in which the feed goes on.
const DROP_ATTEMPTS: u32 = 5;
const DROP_PAUSE: Duration = Duration::from_millis(300);

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
        let old =
            sqlx::query_file_scalar!("queries/find_old_tickets.sql", tenant_id, keep_days, limit)
                .fetch_all(&mut *transaction)
                .await?;
        if old.is_empty() {
            return Ok(0);
        }
        let deleted = sqlx::query_file!("queries/forget_tickets.sql", tenant_id, &old)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(deleted.rows_affected())
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
            for attempt in 0..DROP_ATTEMPTS {
                if attempt > 0 {
                    tokio::time::sleep(DROP_PAUSE).await;
                }
                match self.try_drop(row.number, default_days).await? {
                    Dropped::Yes => dropped += 1,
                    Dropped::Held => continue,
                    Dropped::Kept => {}
                    Dropped::Replaced => return Ok(dropped),
                }
                break;
            }
        }
        Ok(dropped)
    }

    async fn try_drop(
        &self,
        number: i64,
        default_days: Option<i32>,
    ) -> Result<Dropped, sqlx::Error> {
        let Some(mut transaction) = self.begin_writing().await? else {
            return Ok(Dropped::Replaced);
        };
        // Nothing writes now; something may have been written since the first look.
        if !is_over(&mut transaction, number, default_days).await? {
            return Ok(Dropped::Kept);
        }
        sqlx::query(DROP_WAIT).execute(&mut *transaction).await?;
        let drop = sqlx::query!(
            "SELECT drop_ticket_partition(found_projection(), $1)",
            number
        )
        .fetch_one(&mut *transaction)
        .await;
        match drop {
            Ok(_) => {
                transaction.commit().await?;
                Ok(Dropped::Yes)
            }
            Err(error) if is_lock_timeout(&error) => {
                transaction.rollback().await?;
                Ok(Dropped::Held)
            }
            Err(error) => Err(error),
        }
    }

    /// A transaction that has the tables for itself among those who write; none when they serve no more. Its statements
    /// are planned for their values: how much is older than so many days can't be guessed without the days.
    async fn begin_writing(&self) -> Result<Option<Transaction<'_, Postgres>>, sqlx::Error> {
        let mut transaction = self.pool.begin().await?;
        sqlx::query("SET LOCAL plan_cache_mode = force_custom_plan")
            .execute(&mut *transaction)
            .await?;
        let stored = sqlx::query_file!("queries/lock_position.sql")
            .fetch_one(&mut *transaction)
            .await?;
        Ok((stored.position != REPLACED).then_some(transaction))
    }
}

/// What became of an attempt to drop a partition.
enum Dropped {
    Yes,
    /// Somebody reads what was to be dropped.
    Held,
    /// There is something in it again.
    Kept,
    /// These tables serve no more.
    Replaced,
}

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
