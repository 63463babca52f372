//! Writing what came of attempts, many at a time.

use plazo_service::status;
use tokio::sync::mpsc;

use super::{Place, Sender};
use crate::backoff::Backoff;
use crate::store::{accounts, queue, queue::Settlement};

/// Outcomes in one transaction.
const BATCH: usize = 256;

impl Sender {
    /// Writes outcomes until no more come. One that can't be written is kept and written later; when that
    /// takes longer than its lease, the message is sent again.
    pub(super) async fn settle_all(&self, mut outcomes: mpsc::Receiver<(Settlement, Place)>) {
        let mut batch = Vec::with_capacity(BATCH);
        let mut backoff = Backoff::new(20, 1_000);
        while outcomes.recv_many(&mut batch, BATCH).await > 0 {
            let settlements: Vec<_> = batch
                .iter()
                .map(|(settlement, _)| settlement.clone())
                .collect();
            while let Err(error) = self.settle(&settlements).await {
                tracing::warn!(
                    error = status::chain(&error),
                    "outcomes can't be written yet"
                );
                tokio::time::sleep(backoff.next()).await;
            }
            backoff.reset();
            // Gives their places back, and an account that was full may have more.
            batch.clear();
            self.wakers.wake();
        }
    }

    async fn settle(&self, settlements: &[Settlement]) -> Result<(), sqlx::Error> {
        let mut transaction = self.pool.begin().await?;
        queue::settle(&mut transaction, settlements).await?;
        let mut gone: Vec<_> = settlements
            .iter()
            .filter_map(|one| {
                one.gone_account
                    .map(|account_id| (one.tenant_id, account_id))
            })
            .collect();
        gone.sort_unstable();
        gone.dedup();
        for (tenant_id, account_id) in &gone {
            accounts::set_enabled(&mut transaction, *tenant_id, *account_id, false).await?;
        }
        self.after_send.pass();
        transaction.commit().await?;
        for (tenant_id, channel_account_id) in gone {
            tracing::warn!(
                tenant_id,
                channel_account_id,
                "an endpoint answered that it is gone; its account is switched off"
            );
        }
        Ok(())
    }
}
