//! Writing what came of attempts, many at a time.

use std::collections::BTreeMap;

use plazo_service::status;
use tokio::sync::mpsc;

use super::{Place, Sender};
use crate::backoff::Backoff;
use crate::store::accounts;
use crate::store::queue::{self, AccountChange, Settlement};

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
        // In the order of ids, as all lock them.
        let changes: BTreeMap<_, _> = settlements
            .iter()
            .filter_map(|one| {
                let change = one.account_change.as_ref()?;
                Some(((one.tenant_id, one.channel_account_id), change))
            })
            .collect();
        let mut stopped = Vec::new();
        for ((tenant_id, account_id), change) in &changes {
            match change {
                AccountChange::Gone => {
                    accounts::set_enabled(&mut transaction, *tenant_id, *account_id, false).await?;
                }
                AccountChange::Stopped(reason) => {
                    if accounts::stop(&mut transaction, *tenant_id, *account_id, reason).await? {
                        stopped.push((*tenant_id, *account_id, reason.as_str()));
                    }
                }
            }
        }
        self.after_send.pass();
        transaction.commit().await?;
        self.after_settle.pass();
        for ((tenant_id, channel_account_id), change) in changes {
            if *change == AccountChange::Gone {
                tracing::warn!(
                    tenant_id,
                    channel_account_id,
                    "an endpoint answered that it is gone; its account is switched off"
                );
            }
        }
        for (tenant_id, channel_account_id, reason) in stopped {
            tracing::error!(
                tenant_id,
                channel_account_id,
                reason,
                "a provider refuses an account; its messages wait until it is enabled again"
            );
        }
        Ok(())
    }
}
