//! Ending what no sender will end: messages called off in flight, those whose sender has gone, and those that must
//! not be sent any more.

use plazo_service::status;
use tokio_util::sync::CancellationToken;

use super::Sender;
use crate::store::queue;

impl Sender {
    /// Tidies up until shutdown.
    pub(super) async fn tidy_until(&self, shutdown: CancellationToken) {
        loop {
            if let Err(error) = self.tidy().await {
                tracing::warn!(
                    error = status::chain(&error),
                    "messages without a sender can't be ended"
                );
            }
            self.channels.forget_idle();
            if shutdown
                .run_until_cancelled(tokio::time::sleep(self.rhythm.poll))
                .await
                .is_none()
            {
                return;
            }
        }
    }

    /// At most one batch of each; the next time comes soon.
    async fn tidy(&self) -> Result<(), sqlx::Error> {
        let cancelled = queue::settle_called_off(&self.pool).await?;
        self.metrics.cancelled.inc_by(cancelled.unsigned_abs());
        let expired = queue::expire(&self.pool).await?;
        if cancelled + expired > 0 {
            self.wakers.reporter.notify_one();
        }
        let parked = queue::park_uncertain(&self.pool).await?;
        if parked > 0 {
            tracing::warn!(
                messages = parked,
                "senders have gone in the middle of attempts; their messages are parked as uncertain"
            );
        }
        Ok(())
    }
}
