//! Housekeeping: partitions of events made ahead and dropped after their time, old answers forgotten.

use std::time::Duration;

use plazo_database::{HousekeepingMetrics, forget_answers};
use plazo_service::TaskError;
use plazo_service::status::chain;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::config::{FeedConfig, RequestsConfig};
use crate::error::Error;
use crate::keeping;
use crate::store::inbound;

const WEEKS_AHEAD: i32 = 2;
/// One statement deletes so many answers; the next one follows at once while there are more.
const PURGE_BATCH: u32 = 5_000;
/// A message that was ignored is known so long: channels repeat themselves for a week at most.
const KEEP_IGNORED_DAYS: i32 = 7;
/// The most statements a round, so that a round ends.
const PURGE_ROUNDS: u32 = 200;

/// Runs at start and then once a period, until `stop`.
pub(crate) async fn run(
    pool: PgPool,
    feed: FeedConfig,
    requests: RequestsConfig,
    metrics: HousekeepingMetrics,
    stop: CancellationToken,
) -> Result<(), TaskError> {
    let period = Duration::from_millis(feed.maintenance_period_ms);
    loop {
        // Each step is a transaction of its own, so it may be left anywhere.
        let round = round(&pool, &feed, &requests);
        let Some(ended) = stop.run_until_cancelled(round).await else {
            return Ok(());
        };
        metrics.count(&ended);
        if let Err(error) = ended {
            tracing::warn!(error = chain(&error), "maintenance failed");
        }
        if stop
            .run_until_cancelled(tokio::time::sleep(period))
            .await
            .is_none()
        {
            return Ok(());
        }
    }
}

async fn round(pool: &PgPool, feed: &FeedConfig, requests: &RequestsConfig) -> Result<(), Error> {
    sqlx::query!("SELECT make_event_partitions($1)", WEEKS_AHEAD)
        .fetch_one(pool)
        .await?;
    if feed.retention_days > 0 {
        let keep_days = i32::try_from(feed.retention_days).unwrap_or(i32::MAX);
        let dropped = keeping::drop_expired(pool, keep_days).await?;
        if dropped > 0 {
            tracing::info!(dropped, "dropped partitions of old events");
        }
    }
    purge_answers(pool, requests).await?;
    purge_ignored(pool).await
}

async fn purge_ignored(pool: &PgPool) -> Result<(), Error> {
    for _ in 0..PURGE_ROUNDS {
        let mut connection = pool.acquire().await?;
        let deleted =
            inbound::forget_ignored(&mut connection, KEEP_IGNORED_DAYS, PURGE_BATCH.into()).await?;
        if deleted < u64::from(PURGE_BATCH) {
            break;
        }
    }
    Ok(())
}

async fn purge_answers(pool: &PgPool, requests: &RequestsConfig) -> Result<(), Error> {
    for _ in 0..PURGE_ROUNDS {
        let deleted = forget_answers(pool, requests.keep_hours, PURGE_BATCH).await?;
        if deleted < u64::from(PURGE_BATCH) {
            break;
        }
    }
    Ok(())
}
