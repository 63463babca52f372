//! One attempt on a channel, and what follows from it.

use std::time::Duration;

use futures::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use plazo_proto::common::v1::Channel;
use tokio::time::Instant;

use super::Senders;
use super::pace::{Line, Pace};
use super::retry::Schedule;
use super::webhook::WebhookSender;
use crate::config::Config;
use crate::metrics::NotificationMetrics;
use crate::store::queue::{AccountChange, Claimed, Settlement};
use crate::store::state;

/// Sends one message on a channel. `attempt_at` is the time of the attempt by the database's clock.
pub(super) trait ChannelSender: std::fmt::Debug + Send + Sync {
    fn send<'a>(&'a self, message: &'a Claimed, attempt_at: Timestamp) -> BoxFuture<'a, Outcome>;

    /// Lets go of what it holds and nobody has needed lately.
    fn forget_idle(&self) {}
}

/// What came of an attempt. Reasons are stable, in capitals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The provider took it, and that is all it will tell.
    Delivered,
    /// The provider took it, and will tell more by the id that it gave.
    Sent { provider_message_id: String },
    /// The provider did not take it. It may work later, though not before the wait.
    Retry { reason: String, at_least: Duration },
    /// The same, but the provider is well: it is about this message or its recipient alone.
    RetryOne { reason: String, at_least: Duration },
    /// It won't work later.
    Failed { reason: String },
    /// The provider may have taken it: nothing more is sent until somebody knows.
    Uncertain { reason: String },
    /// The endpoint wants nothing more.
    Gone,
    /// The provider refuses the account as a whole: the account stops, and the message waits.
    StopAccount { reason: String },
    /// Nothing was sent; its turn comes after the wait.
    PutOff { wait: Duration },
}

/// What an attempt says about the account's provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Health {
    /// It answered as one that works.
    Well,
    /// It did not answer, or said that it is in trouble.
    Ill,
    /// Nothing was asked of it.
    Unknown,
}

/// What came of an attempt, to be written and to be learned from.
#[derive(Debug)]
pub(super) struct Attempted {
    pub(super) settlement: Settlement,
    pub(super) health: Health,
}

impl Outcome {
    fn health(&self) -> Health {
        match self {
            Self::Retry { .. } | Self::Uncertain { .. } => Health::Ill,
            Self::PutOff { .. } => Health::Unknown,
            Self::Delivered
            | Self::Sent { .. }
            | Self::RetryOne { .. }
            | Self::Failed { .. }
            | Self::Gone
            | Self::StopAccount { .. } => Health::Well,
        }
    }

    /// It may work at the schedule's next time.
    pub(crate) fn retry(reason: &str) -> Self {
        Self::Retry {
            reason: reason.to_owned(),
            at_least: Duration::ZERO,
        }
    }

    /// It won't work later.
    pub(crate) fn failed(reason: &str) -> Self {
        Self::Failed {
            reason: reason.to_owned(),
        }
    }
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

/// A channel whose provider must not get a message twice.
#[derive(Debug)]
struct Provider {
    sender: Box<dyn ChannelSender>,
    pace: Pace,
}

/// The channels that there are.
#[derive(Debug)]
pub(super) struct Channels {
    log: LogSender,
    webhook: WebhookSender,
    whatsapp: Provider,
    blip: Provider,
    email: Provider,
    webhook_schedule: Schedule,
    provider_schedule: Schedule,
    /// Nothing goes to a provider later than this after the claim, so that the attempt ends within the lease.
    begin_within: Duration,
}

/// How a message goes out.
#[derive(Clone, Copy)]
enum Route<'a> {
    /// As often as need be.
    Repeatable(&'a dyn ChannelSender),
    /// Once.
    Once(&'a Provider),
}

impl Channels {
    pub(super) fn new(senders: Senders, config: &Config) -> Self {
        let whatsapp_pace = Pace::new(
            config.whatsapp.messages_per_second,
            Duration::from_millis(config.whatsapp.recipient_interval_ms),
        );
        let email_pace = Pace::new(config.email.messages_per_second, Duration::ZERO);
        let blip_pace = Pace::new(config.blip.messages_per_second, Duration::ZERO);
        Self {
            log: LogSender,
            webhook: senders.webhook,
            whatsapp: Provider {
                sender: Box::new(senders.whatsapp),
                pace: whatsapp_pace,
            },
            blip: Provider {
                sender: Box::new(senders.blip),
                pace: blip_pace,
            },
            email: Provider {
                sender: Box::new(senders.email),
                pace: email_pace,
            },
            webhook_schedule: Schedule::of_webhooks(&config.sender),
            provider_schedule: Schedule::of_providers(&config.providers),
            // Half of the margin is for the writing of the outcome.
            begin_within: Duration::from_millis(config.sender.lease_margin_ms) / 2,
        }
    }

    /// Makes one attempt; `claimed_at` is the instant of [`Claimed::now`].
    pub(super) async fn attempt(
        &self,
        message: &Claimed,
        claimed_at: Instant,
        metrics: &NotificationMetrics,
    ) -> Attempted {
        let (attempt_at, outcome) = match self.route(message) {
            Ok(Route::Repeatable(sender)) => {
                let attempt_at = time_of(message, claimed_at);
                (attempt_at, sender.send(message, attempt_at).await)
            }
            Ok(Route::Once(provider)) => self.attempt_once(provider, message, claimed_at).await,
            Err(outcome) => (time_of(message, claimed_at), outcome),
        };
        let health = outcome.health();
        let settlement = self.settlement(message, attempt_at, outcome);
        let label = match settlement.new_state {
            state::DELIVERED => "delivered",
            state::SENT => "sent",
            state::FAILED => "failed",
            state::UNCERTAIN => "uncertain",
            _ => "retry",
        };
        if settlement.is_counted {
            metrics.count_sent(channel_label(message.channel), label);
        }
        Attempted { settlement, health }
    }

    /// Forgets what nobody has needed lately.
    pub(super) fn forget_idle(&self) {
        for provider in [&self.whatsapp, &self.blip, &self.email] {
            provider.pace.forget_idle();
            provider.sender.forget_idle();
        }
    }

    /// An attempt at a provider that must not get the message twice. Keeps the account's and the recipient's pace, and
    /// lets go of a message whose lease would end before the attempt: somebody may have decided about it by then.
    async fn attempt_once(
        &self,
        provider: &Provider,
        message: &Claimed,
        claimed_at: Instant,
    ) -> (Timestamp, Outcome) {
        let turn = provider
            .pace
            .turn(&Line::of(message), &message.recipient_address.0)
            .await;
        let attempt_at = time_of(message, claimed_at);
        let outcome = if let Err(wait) = turn {
            Outcome::PutOff { wait }
        } else if claimed_at.elapsed() > self.begin_within {
            Outcome::PutOff {
                wait: Duration::ZERO,
            }
        } else if message
            .valid_until
            .is_some_and(|until| until.to_jiff() <= attempt_at)
        {
            Outcome::failed("EXPIRED")
        } else if self.provider_schedule.is_over(age(message, attempt_at)) {
            Outcome::failed("GIVEN_UP")
        } else {
            provider.sender.send(message, attempt_at).await
        };
        (attempt_at, outcome)
    }

    /// How the message goes out, or what becomes of it because it can't.
    fn route(&self, message: &Claimed) -> Result<Route<'_>, Outcome> {
        let route = match channel_of(message.channel) {
            Channel::Log => return Ok(Route::Repeatable(&self.log)),
            Channel::Webhook => Route::Repeatable(&self.webhook),
            Channel::Whatsapp => Route::Once(&self.whatsapp),
            Channel::Blip => Route::Once(&self.blip),
            Channel::Email => Route::Once(&self.email),
            Channel::Unspecified => return Err(Outcome::failed("CHANNEL_UNAVAILABLE")),
        };
        match (message.account_channel, message.account_enabled) {
            (None, _) => Err(Outcome::failed("CHANNEL_ACCOUNT_UNKNOWN")),
            (Some(channel), _) if channel != message.channel => {
                Err(Outcome::failed("CHANNEL_ACCOUNT_MISMATCH"))
            }
            (Some(_), Some(true)) if message.account_stopped == Some(true) => {
                // It was stopped after the claim had begun; the next one leaves it out.
                Err(Outcome::PutOff {
                    wait: Duration::ZERO,
                })
            }
            (Some(_), Some(true)) => Ok(route),
            (Some(_), _) => Err(Outcome::failed("CHANNEL_ACCOUNT_DISABLED")),
        }
    }

    fn settlement(&self, message: &Claimed, attempt_at: Timestamp, outcome: Outcome) -> Settlement {
        let mut settlement = Settlement {
            tenant_id: message.tenant_id,
            message_id: message.message_id,
            channel_account_id: message.channel_account_id,
            attempt: message.attempts,
            attempt_at,
            outcome: "OK".to_owned(),
            new_state: state::DELIVERED,
            failure_reason: String::new(),
            retry_after: Duration::ZERO,
            provider_message_id: None,
            is_counted: true,
            account_change: None,
        };
        let mut end = |new_state: i16, reason: String| {
            settlement.outcome.clone_from(&reason);
            settlement.new_state = new_state;
            settlement.failure_reason = reason;
        };
        match outcome {
            Outcome::Delivered => {}
            Outcome::Sent {
                provider_message_id,
            } => {
                settlement.new_state = state::SENT;
                settlement.provider_message_id = Some(provider_message_id);
            }
            Outcome::Failed { reason } => end(state::FAILED, reason),
            Outcome::Uncertain { reason } => end(state::UNCERTAIN, reason),
            Outcome::Gone => {
                end(state::FAILED, "ENDPOINT_GONE".to_owned());
                settlement.account_change = Some(AccountChange::Gone);
            }
            Outcome::StopAccount { reason } => {
                settlement.outcome.clone_from(&reason);
                settlement.new_state = state::ACCEPTED;
                settlement.account_change = Some(AccountChange::Stopped(reason));
            }
            Outcome::PutOff { wait } => {
                settlement.new_state = state::ACCEPTED;
                settlement.retry_after = wait;
                settlement.is_counted = false;
            }
            Outcome::Retry { reason, at_least } | Outcome::RetryOne { reason, at_least } => {
                let schedule = match channel_of(message.channel) {
                    Channel::Webhook => &self.webhook_schedule,
                    _ => &self.provider_schedule,
                };
                let age = age(message, attempt_at);
                match schedule.wait_after(message.round_attempts, age, at_least) {
                    None => end(state::FAILED, reason),
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

/// The present by the database's clock.
fn time_of(message: &Claimed, claimed_at: Instant) -> Timestamp {
    let since_claim = SignedDuration::try_from(claimed_at.elapsed()).unwrap_or_default();
    message.now.checked_add(since_claim).unwrap_or(message.now)
}

/// How long the message has been tried.
fn age(message: &Claimed, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(message.queued_at)).unwrap_or_default()
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

#[cfg(test)]
mod tests {
    use plazo_service::Redacted;
    use plazo_service::config::{ConfigSources, load};

    use super::*;
    use crate::credentials::Credentials;
    use crate::sending::Roots;

    fn channels() -> Channels {
        let config: Config = load(&ConfigSources::default()).expect("the defaults are valid");
        let credentials = Credentials::new(&config.credentials, []);
        let senders = Senders::new(&config, &credentials, &Roots::default()).expect("clients");
        Channels::new(senders, &config)
    }

    fn claimed() -> Claimed {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().expect("a time");
        Claimed {
            tenant_id: 1,
            message_id: 2,
            kind: 1,
            bot_id: 3,
            ticket_id: 4,
            contact_id: 5,
            channel: 3,
            recipient_address: Redacted("+5511987654321".to_owned()),
            channel_account_id: 6,
            body_text: Redacted("text".to_owned()),
            image_url: Redacted(String::new()),
            last_customer_message_at: None,
            text_refused: false,
            accepted_at: now,
            queued_at: now,
            valid_until: None,
            attempts: 1,
            round_attempts: 1,
            now,
            account_channel: Some(3),
            account_enabled: Some(true),
            account_stopped: Some(false),
            account_settings: None,
            credential_name: None,
            signing_secret: None,
        }
    }

    async fn attempted(message: &Claimed, claimed_ago: Duration) -> Settlement {
        let claimed_at = Instant::now()
            .checked_sub(claimed_ago)
            .expect("the machine runs for longer");
        let metrics = NotificationMetrics::default();
        channels()
            .attempt(message, claimed_at, &metrics)
            .await
            .settlement
    }

    #[tokio::test]
    async fn whoever_was_frozen_for_a_lease_sends_nothing() {
        let fresh = attempted(&claimed(), Duration::ZERO).await;
        assert_eq!(fresh.outcome, "CHANNEL_ACCOUNT_UNKNOWN", "it was looked at");
        let late = attempted(&claimed(), Duration::from_secs(3)).await;
        assert_eq!((late.new_state, late.is_counted), (state::ACCEPTED, false));
    }

    #[tokio::test]
    async fn neither_what_has_expired_nor_what_is_too_old_is_sent() {
        let mut message = claimed();
        message.valid_until = Some(jiff_sqlx::ToSqlx::to_sqlx(message.now));
        let settlement = attempted(&message, Duration::ZERO).await;
        assert_eq!(settlement.failure_reason, "EXPIRED");
        let mut message = claimed();
        message.queued_at = message.now - SignedDuration::from_hours(24);
        let settlement = attempted(&message, Duration::ZERO).await;
        assert_eq!(settlement.failure_reason, "GIVEN_UP");
    }

    #[tokio::test]
    async fn a_message_of_a_stopped_account_goes_back_as_if_it_had_not_been_claimed() {
        let mut message = claimed();
        message.account_stopped = Some(true);
        let settlement = attempted(&message, Duration::ZERO).await;
        assert_eq!(
            (settlement.new_state, settlement.is_counted),
            (state::ACCEPTED, false)
        );
    }
}
