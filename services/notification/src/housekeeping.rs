//! Removing what is old, and measuring what waits.

use std::time::Duration;

use plazo_database::{HousekeepingMetrics, forget_answers};
use plazo_service::status;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::config::{PurgeConfig, SubscriptionsConfig};
use crate::metrics::NotificationMetrics;
use crate::store::{accounts, deliveries, inbound, purge, queue};
use crate::subscriptions::EventMetrics;

const MEASURE_PERIOD: Duration = Duration::from_secs(5);

/// Measures what waits until shutdown.
pub(crate) async fn measure(
    pool: PgPool,
    metrics: NotificationMetrics,
    events: EventMetrics,
    shutdown: CancellationToken,
) {
    loop {
        match accounts::count_stopped(&pool).await {
            Ok(stopped) => {
                metrics.accounts_stopped.set(stopped);
            }
            Err(error) => {
                tracing::warn!(error = status::chain(&error), "accounts can't be counted");
            }
        }
        match deliveries::stats(&pool).await {
            Ok(stats) => events.set(&stats),
            Err(error) => {
                tracing::warn!(error = status::chain(&error), "events can't be measured");
            }
        }
        match queue::stats(&pool).await {
            Ok(stats) => {
                metrics.waiting.set(stats.waiting);
                metrics.uncertain.set(stats.uncertain);
                metrics.oldest_due_seconds.set(stats.oldest_due_secs);
                metrics.reports_waiting.set(stats.reports);
                metrics.report_lag_seconds.set(stats.oldest_report_secs);
            }
            Err(error) => {
                tracing::warn!(error = status::chain(&error), "the queue can't be measured");
            }
        }
        match inbound::stats(&pool).await {
            Ok(stats) => {
                metrics.callbacks.inbound_waiting.set(stats.waiting);
                metrics.callbacks.inbound_lag_seconds.set(stats.oldest_secs);
            }
            Err(error) => {
                tracing::warn!(
                    error = status::chain(&error),
                    "what customers wrote can't be measured"
                );
            }
        }
        if shutdown
            .run_until_cancelled(tokio::time::sleep(MEASURE_PERIOD))
            .await
            .is_none()
        {
            return;
        }
    }
}

/// Removes old rows until shutdown.
pub(crate) async fn purge(
    pool: PgPool,
    config: PurgeConfig,
    events: SubscriptionsConfig,
    rounds: HousekeepingMetrics,
    shutdown: CancellationToken,
) {
    let period = Duration::from_secs(config.interval_s);
    while shutdown
        .run_until_cancelled(tokio::time::sleep(period))
        .await
        .is_some()
    {
        loop {
            let round = purge_once(&pool, &config, &events).await;
            rounds.count(&round);
            let removed = round.unwrap_or_else(|error| {
                tracing::warn!(error = status::chain(&error), "old rows can't be removed");
                0
            });
            // Less than a full batch of all: nothing is left.
            if removed < u64::from(config.batch) || shutdown.is_cancelled() {
                break;
            }
        }
    }
}

async fn purge_once(
    pool: &PgPool,
    config: &PurgeConfig,
    events: &SubscriptionsConfig,
) -> Result<u64, sqlx::Error> {
    let batch = config.batch;
    let removed = [
        forget_answers(pool, config.answered_requests_after_h, batch).await?,
        purge::attempts(pool, config.attempts_after_d, batch).await?,
        purge::seen_callbacks(pool, config.seen_callbacks_after_d, batch).await?,
        purge::settled_events(pool, events.settled_after_d, batch).await?,
        purge::event_marks(pool, events.marks_after_d, batch).await?,
        purge::deleted_subscriptions(pool, batch).await?,
    ];
    Ok(removed.into_iter().max().unwrap_or(0))
}
