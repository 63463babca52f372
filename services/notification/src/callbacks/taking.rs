//! Storing what a callback told, in one transaction.

use std::sync::Arc;

use plazo_database::TenantPool;
use plazo_proto::common::v1::Channel;
use tokio::sync::Notify;

use super::metrics::CallbackMetrics;
use super::news::{Inbound, News, Status};
use super::whatsapp;
use crate::accepting::Wakers;
use crate::store::callbacks::{self, AccountKey};
use crate::store::{accounts, enum_number, inbound};

/// A deadlock or failed serialization is tried so often in all.
const ATTEMPTS_MAX: u32 = 4;

/// Stores news, and wakes those who go on with it.
#[derive(Debug, Clone)]
pub(crate) struct Taking {
    pub(crate) requests: TenantPool,
    pub(crate) wakers: Wakers,
    pub(crate) inbound: Arc<Notify>,
    pub(crate) metrics: CallbackMetrics,
}

/// What was done with news.
#[derive(Debug, Clone, Copy, Default)]
struct Taken {
    known_statuses: usize,
    unmatched: usize,
    known_messages: usize,
    messages: usize,
}

impl Taking {
    /// Stores what was told of an account. What was told before does nothing.
    pub(crate) async fn take(
        &self,
        account: AccountKey,
        channel: Channel,
        news: &News,
    ) -> Result<(), sqlx::Error> {
        let mut attempt = 1;
        let taken = loop {
            match self.attempt(account, channel, news).await {
                Err(error) if attempt < ATTEMPTS_MAX && plazo_database::is_conflict(&error) => {
                    attempt += 1;
                }
                taken => break taken?,
            }
        };
        let statuses = news.statuses.len() - taken.known_statuses - taken.unmatched;
        for (kind, outcome, count) in [
            ("status", "taken", statuses),
            ("status", "known", taken.known_statuses),
            ("status", "unmatched", taken.unmatched),
            ("message", "taken", taken.messages),
            ("message", "known", taken.known_messages),
            ("other", "skipped", news.skipped),
        ] {
            self.metrics.count_items(kind, outcome, count);
        }
        self.wakers.wake();
        if taken.messages > 0 {
            self.inbound.notify_one();
        }
        Ok(())
    }

    async fn attempt(
        &self,
        account: AccountKey,
        channel: Channel,
        news: &News,
    ) -> Result<Taken, sqlx::Error> {
        let statuses = news.statuses.iter().map(Status::key);
        let messages = news.inbound.iter().map(Inbound::key);
        let keys: Vec<String> = statuses.chain(messages).collect();
        if keys.is_empty() {
            return Ok(Taken::default());
        }
        let mut transaction = self.requests.begin(account.tenant_id).await?;
        let mut fresh = callbacks::note(&mut transaction, account, &keys).await?;
        let statuses: Vec<&Status> = news
            .statuses
            .iter()
            .filter(|status| fresh.remove(&status.key()))
            .collect();
        let messages: Vec<&Inbound> = news
            .inbound
            .iter()
            .filter(|message| fresh.remove(&message.key()))
            .collect();
        let mut matched = 0;
        if !statuses.is_empty() {
            let applied = callbacks::apply(&mut transaction, account, &statuses).await?;
            matched = usize::try_from(applied.matched).unwrap_or_default();
        }
        if channel == Channel::Whatsapp {
            self.stop_number(&mut transaction, account, &statuses)
                .await?;
        }
        if !messages.is_empty() {
            let channel = enum_number(channel);
            inbound::insert(&mut transaction, account, channel, &messages).await?;
        }
        transaction.commit().await?;
        Ok(Taken {
            known_statuses: news.statuses.len() - statuses.len(),
            unmatched: statuses.len().saturating_sub(matched),
            known_messages: news.inbound.len() - messages.len(),
            messages: messages.len(),
        })
    }

    /// Stops the account when a status says that the number must send no more.
    async fn stop_number(
        &self,
        connection: &mut sqlx::PgConnection,
        account: AccountKey,
        statuses: &[&Status],
    ) -> Result<(), sqlx::Error> {
        let stopping = statuses
            .iter()
            .find(|status| status.failure_code.is_some_and(whatsapp::stops_number));
        let Some(status) = stopping else {
            return Ok(());
        };
        let AccountKey {
            tenant_id,
            channel_account_id,
        } = account;
        let reason = &status.failure_reason;
        if accounts::stop(connection, tenant_id, channel_account_id, reason).await? {
            tracing::error!(
                tenant_id,
                channel_account_id,
                reason,
                "a status stopped the account; its messages wait"
            );
        }
        Ok(())
    }
}
