//! How long the feed makes its readers wait: what is committed shows once no older transaction is running, so one that
//! stays open holds all readers up. Nothing is lost by that, but somebody must be able to see it.

use std::time::Duration;

use plazo_service::TaskError;
use plazo_service::status::chain;
use sqlx::PgPool;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::metrics::SecondsGauge;

const PERIOD: Duration = Duration::from_secs(1);

/// Keeps the gauge at the age of the oldest event that readers can't see yet, in seconds, until `stop`. While the
/// database doesn't answer, it grows from when it last did.
pub async fn run(
    pool: PgPool,
    lag: SecondsGauge,
    stop: CancellationToken,
) -> Result<(), TaskError> {
    let mut answered_at = Instant::now();
    loop {
        match seconds_waiting(&pool).await {
            Ok(seconds) => {
                answered_at = Instant::now();
                lag.set(seconds);
            }
            Err(error) => {
                tracing::debug!(error = chain(&error), "the feed's lag can't be read");
                lag.set(answered_at.elapsed().as_secs_f64());
            }
        }
        let pause = tokio::time::sleep(PERIOD);
        if stop.run_until_cancelled(pause).await.is_none() {
            return Ok(());
        }
    }
}

/// The age of the first event that is committed and at or above the oldest running transaction; 0 when there is none.
async fn seconds_waiting(pool: &PgPool) -> Result<f64, Error> {
    let seconds = sqlx::query_scalar!(
        r#"SELECT extract(epoch FROM clock_timestamp() - recorded_at)::float8 AS "seconds!"
           FROM ticket_events
           WHERE transaction_id >= pg_snapshot_xmin(pg_current_snapshot())
           ORDER BY transaction_id, event_id
           LIMIT 1"#
    )
    .fetch_optional(pool)
    .await?;
    Ok(seconds.unwrap_or_default().max(0.0))
}
