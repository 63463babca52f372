//! One attempt on a channel, and what follows from it.

use std::time::Duration;

use futures::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use plazo_proto::common::v1::Channel;
use tokio::time::Instant;

use super::retry::Schedule;
use super::webhook::WebhookSender;
use crate::config::SenderConfig;
use crate::metrics::NotificationMetrics;
use crate::store::queue::{Claimed, Settlement};
use crate::store::state;

/// Sends one message on a channel. `attempt_at` is the time of the attempt by the database's clock.
pub(super) trait ChannelSender: std::fmt::Debug + Send + Sync {
    fn send<'a>(&'a self, message: &'a Claimed, attempt_at: Timestamp) -> BoxFuture<'a, Outcome>;
}

/// What came of an attempt. Reasons are stable, in capitals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The provider took it, and that is all it will tell.
    Delivered,
    /// It may work later, though not before the wait.
    Retry { reason: String, at_least: Duration },
    /// It won't work later.
    Failed { reason: &'static str },
    /// The endpoint wants nothing more.
    Gone,
}

/// Writes a line to the log, without the text, the name or the address.
#[derive(Debug)]
struct LogSender;

impl ChannelSender for LogSender {
    fn send<'a>(&'a self, message: &'a Claimed, _attempt_at: Timestamp) -> BoxFuture<'a, Outcome> {
        tracing::info!(
            tenant_id = message.tenant_id,
            ticket_id = message.ticket_id,
            message_id = message.message_id,
            kind = super::webhook::kind_name(message.kind),
            to = %message.recipient_address,
            text = %message.body_text,
            "active message"
        );
        Box::pin(std::future::ready(Outcome::Delivered))
    }
}

/// The channels that there are.
#[derive(Debug)]
pub(super) struct Channels {
    log: LogSender,
    webhook: WebhookSender,
    schedule: Schedule,
}

impl Channels {
    pub(super) fn new(webhook: WebhookSender, config: &SenderConfig) -> Self {
        Self {
            log: LogSender,
            webhook,
            schedule: Schedule::new(config),
        }
    }

    /// Makes one attempt; `claimed_at` is the instant of [`Claimed::now`].
    pub(super) async fn attempt(
        &self,
        message: &Claimed,
        claimed_at: Instant,
        metrics: &NotificationMetrics,
    ) -> Settlement {
        let since_claim = SignedDuration::try_from(claimed_at.elapsed()).unwrap_or_default();
        let attempt_at = message.now.checked_add(since_claim).unwrap_or(message.now);
        let outcome = match self.sender_for(message) {
            Ok(sender) => sender.send(message, attempt_at).await,
            Err(reason) => Outcome::Failed { reason },
        };
        let settlement = self.settlement(message, attempt_at, outcome);
        let label = match settlement.new_state {
            state::DELIVERED => "delivered",
            state::FAILED => "failed",
            _ => "retry",
        };
        metrics.count_sent(channel_label(message.channel), label);
        settlement
    }

    /// The channel's sender, or why the message can't be sent.
    fn sender_for(&self, message: &Claimed) -> Result<&dyn ChannelSender, &'static str> {
        match channel_of(message.channel) {
            Channel::Log => Ok(&self.log),
            Channel::Webhook => match (message.account_channel, message.account_enabled) {
                (None, _) => Err("CHANNEL_ACCOUNT_UNKNOWN"),
                (Some(channel), _) if channel != message.channel => Err("CHANNEL_ACCOUNT_MISMATCH"),
                (Some(_), Some(true)) => Ok(&self.webhook),
                (Some(_), _) => Err("CHANNEL_ACCOUNT_DISABLED"),
            },
            _ => Err("CHANNEL_UNAVAILABLE"),
        }
    }

    fn settlement(&self, message: &Claimed, attempt_at: Timestamp, outcome: Outcome) -> Settlement {
        let mut settlement = Settlement {
            tenant_id: message.tenant_id,
            message_id: message.message_id,
            attempt: message.attempts,
            attempt_at,
            outcome: "OK".to_owned(),
            new_state: state::DELIVERED,
            failure_reason: String::new(),
            retry_after: Duration::ZERO,
            gone_account: None,
        };
        let mut fail = |reason: String| {
            settlement.outcome.clone_from(&reason);
            settlement.new_state = state::FAILED;
            settlement.failure_reason = reason;
        };
        match outcome {
            Outcome::Delivered => {}
            Outcome::Failed { reason } => fail(reason.to_owned()),
            Outcome::Gone => {
                fail("ENDPOINT_GONE".to_owned());
                settlement.gone_account = Some(message.channel_account_id);
            }
            Outcome::Retry { reason, at_least } => {
                match self.schedule.wait_after(message.round_attempts, at_least) {
                    None => fail(reason),
                    Some(wait) => {
                        settlement.outcome = reason;
                        settlement.new_state = state::ACCEPTED;
                        settlement.retry_after = wait;
                    }
                }
            }
        }
        settlement
    }
}

fn channel_of(number: i16) -> Channel {
    Channel::try_from(i32::from(number)).unwrap_or_default()
}

fn channel_label(number: i16) -> &'static str {
    match channel_of(number) {
        Channel::Unspecified => "unknown",
        Channel::Log => "log",
        Channel::Webhook => "webhook",
        Channel::Whatsapp => "whatsapp",
        Channel::Blip => "blip",
        Channel::Email => "email",
    }
}
