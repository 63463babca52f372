//! Handing what customers wrote to ticketing, until it answers.

use std::sync::Arc;
use std::time::Duration;

use plazo_proto::common::v1::ChannelIdentity;
use plazo_proto::ticketing::v1::inbound_service_client::InboundServiceClient;
use plazo_proto::ticketing::v1::{
    InboundMessage, InboundOutcome, InboundResult, RecordInboundMessagesRequest,
};
use plazo_service::{Deadline, ServiceChannel};
use sqlx::PgPool;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::callbacks::metrics::CallbackMetrics;
use crate::config::OutboxConfig;
use crate::message::to_proto_time;
use crate::outbox::{self, Outbox, OutboxError, all_answered};
use crate::store::inbound::{self, WaitingMessage};

/// Texts of one call together, so that it stays well below the limit of a request.
const TEXT_BYTES_MAX: usize = 1 << 20;

/// Hands messages over.
#[derive(Debug, Clone)]
pub(crate) struct InboundDelivery {
    pub(crate) pool: PgPool,
    pub(crate) client: InboundServiceClient<ServiceChannel>,
    pub(crate) request_timeout: Duration,
    pub(crate) config: OutboxConfig,
    pub(crate) waker: Arc<Notify>,
    pub(crate) metrics: CallbackMetrics,
}

impl InboundDelivery {
    /// Hands messages over until shutdown.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        outbox::run(&self, &self.config, &self.waker, shutdown).await;
    }
}

impl Outbox for InboundDelivery {
    const WHAT: &'static str = "messages of customers";

    /// Hands one batch over; how many messages it had. One replica at a time, so that each sender's messages stay in
    /// order; the others look again later.
    async fn send_batch(&self, limit: u32) -> Result<usize, OutboxError> {
        let mut transaction = self.pool.begin().await?;
        if !inbound::is_alone(&mut transaction).await? {
            transaction.rollback().await?;
            return Ok(0);
        }
        let mut batch = inbound::oldest(&mut transaction, limit).await?;
        cut(&mut batch);
        if batch.is_empty() {
            transaction.rollback().await?;
            return Ok(0);
        }
        let (answered, put_off) = match self.call(&batch).await {
            Ok(results) => self.sort(&batch, &results),
            Err(OutboxError::Refused(status)) if limit == 1 => {
                tracing::error!(
                    error = %status.message(),
                    "ticketing refuses what a customer wrote; it is dropped"
                );
                self.metrics.count_inbound("invalid");
                (vec![batch[0].inbound_id], Vec::new())
            }
            Err(error) => {
                // Waited for: the next batch must not find the lock still taken.
                transaction.rollback().await?;
                return Err(error);
            }
        };
        inbound::remove(&mut transaction, &answered).await?;
        let seconds = |ms: u64| Duration::from_millis(ms).as_secs_f64();
        let (first, longest) = (
            seconds(self.config.first_backoff_ms),
            seconds(self.config.max_backoff_ms),
        );
        inbound::put_off(&mut transaction, &put_off, first, longest).await?;
        transaction.commit().await?;
        Ok(batch.len())
    }
}

impl InboundDelivery {
    async fn call(&self, batch: &[WaitingMessage]) -> Result<Vec<InboundResult>, OutboxError> {
        let request = RecordInboundMessagesRequest {
            messages: batch.iter().map(to_proto).collect(),
        };
        let deadline = Deadline::after(self.request_timeout);
        let answer = deadline
            .bound(
                self.client
                    .clone()
                    .record_inbound_messages(deadline.request(request)),
            )
            .await?;
        all_answered(answer.into_inner().results, batch.len())
    }

    /// Those that are answered for, and those that are to be handed over again.
    fn sort(&self, batch: &[WaitingMessage], results: &[InboundResult]) -> (Vec<i64>, Vec<i64>) {
        let (mut answered, mut put_off) = (Vec::new(), Vec::new());
        for (message, result) in batch.iter().zip(results) {
            let label = match InboundOutcome::try_from(result.outcome) {
                Ok(InboundOutcome::Recorded) => "recorded",
                Ok(InboundOutcome::Duplicate) => "duplicate",
                Ok(InboundOutcome::Ignored) => "ignored",
                Ok(InboundOutcome::Invalid) => {
                    tracing::error!(
                        inbound_id = message.inbound_id,
                        field = result.invalid_field,
                        "ticketing can't take what a customer wrote; it is dropped"
                    );
                    "invalid"
                }
                // Or from a newer ticketing, in words that we don't know.
                Ok(InboundOutcome::NotNow | InboundOutcome::Unspecified) | Err(_) => {
                    put_off.push(message.inbound_id);
                    continue;
                }
            };
            self.metrics.count_inbound(label);
            answered.push(message.inbound_id);
        }
        (answered, put_off)
    }
}

/// Cuts a batch where its texts become too much for one call.
fn cut(batch: &mut Vec<WaitingMessage>) {
    let mut bytes = 0;
    let fitting = batch.iter().take_while(|message| {
        let urls = message.attachment_urls.0.iter().map(String::len);
        bytes += message.body_text.0.len() + urls.sum::<usize>();
        bytes <= TEXT_BYTES_MAX
    });
    let count = fitting.count().max(1);
    batch.truncate(count);
}

fn to_proto(message: &WaitingMessage) -> InboundMessage {
    InboundMessage {
        tenant_id: message.tenant_id,
        // That which sends by the account.
        bot_id: 0,
        channel_account_id: message.channel_account_id,
        provider_message_id: message.provider_message_id.clone(),
        sender: Some(ChannelIdentity {
            channel: message.channel.into(),
            address: message.sender_address.0.clone(),
        }),
        sender_name: message.sender_name.0.clone(),
        text: message.body_text.0.clone(),
        attachment_urls: message.attachment_urls.0.clone(),
        sent_time: message.sent_at.map(to_proto_time),
    }
}
