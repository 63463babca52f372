//! Writing what came of attempts, many at a time.

use std::collections::BTreeMap;

use super::Sender;
use crate::store::accounts;
use crate::store::queue::{self, AccountChange, Settlement};

impl Sender {
    /// Writes outcomes in one transaction. When that takes longer than the lease, a webhook is sent again.
    pub(super) async fn write(&self, settlements: &[Settlement]) -> Result<(), sqlx::Error> {
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
