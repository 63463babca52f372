//! The rates that a provider allows: of one number, contract or mailbox, and of one of them to one recipient.
//!
//! They are kept by this process alone. Where several replicas or a restart lead to more, the provider's own answer
//! slows the messages down.

use std::hash::{BuildHasher as _, RandomState};
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use plazo_proto::notification::v1::channel_account::Settings;
use tokio::time::Instant;

use crate::account::decode_settings;
use crate::store::queue::Claimed;

/// A line that is at its limit is waited for so long; then the message gives its place to others.
const WAIT_IN_PLACE: Duration = Duration::from_millis(250);

/// What a provider counts the messages of: all accounts of a tenant that name the same number are one line. Those of
/// another tenant are not, or it could use up what it has no credential for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Line {
    tenant_id: i64,
    name: String,
}

/// The rates of one channel.
#[derive(Debug)]
pub(super) struct Pace {
    lines: DefaultKeyedRateLimiter<Line>,
    /// By a hash of line and address; none when recipients have no limit.
    recipients: Option<DefaultKeyedRateLimiter<u64>>,
    hasher: RandomState,
    clock: DefaultClock,
}

impl Line {
    /// The line of a message's account.
    pub(super) fn of(message: &Claimed) -> Self {
        let settings = message
            .account_settings
            .as_deref()
            .and_then(decode_settings);
        let name = match settings {
            Some(Settings::Whatsapp(whatsapp)) => whatsapp.phone_number_id,
            Some(Settings::Blip(blip)) => blip.contract_id,
            Some(Settings::Email(_) | Settings::Webhook(_)) | None => {
                format!("account {}", message.channel_account_id)
            }
        };
        Self {
            tenant_id: message.tenant_id,
            name,
        }
    }
}

impl Pace {
    /// At most `per_second` messages of a line in any second, and one to a recipient in each `interval`.
    pub(super) fn new(per_second: u32, recipient_interval: Duration) -> Self {
        // What may go at once and what comes anew in a second are together the limit.
        let burst = (per_second / 16).max(1);
        let anew = per_second.saturating_sub(burst).max(1);
        let quota = Quota::per_second(at_least_one(anew)).allow_burst(at_least_one(burst));
        Self {
            lines: RateLimiter::keyed(quota),
            recipients: Quota::with_period(recipient_interval).map(RateLimiter::keyed),
            hasher: RandomState::new(),
            clock: DefaultClock::default(),
        }
    }

    /// Waits for the line's turn if it comes soon; then says how long the message must be put off, if it must.
    pub(super) async fn turn(&self, line: &Line, address: &str) -> Result<(), Duration> {
        let began_at = Instant::now();
        while let Err(not_until) = self.lines.check_key(line) {
            let wait = not_until.wait_time_from(self.clock.now());
            if began_at.elapsed() + wait > WAIT_IN_PLACE {
                return Err(wait);
            }
            tokio::time::sleep(wait).await;
        }
        let Some(recipients) = &self.recipients else {
            return Ok(());
        };
        recipients
            .check_key(&self.hasher.hash_one((line, address)))
            .map_err(|not_until| not_until.wait_time_from(self.clock.now()))
    }

    /// Forgets those who have not been heard of lately.
    pub(super) fn forget_idle(&self) {
        self.lines.retain_recent();
        if let Some(recipients) = &self.recipients {
            recipients.retain_recent();
        }
    }
}

fn at_least_one(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(name: &str) -> Line {
        Line {
            tenant_id: 1,
            name: name.to_owned(),
        }
    }

    #[tokio::test]
    async fn a_recipient_has_a_pace_of_its_own_with_each_line() {
        let pace = Pace::new(1_000, Duration::from_mins(10));
        assert_eq!(pace.turn(&line("1"), "ana").await, Ok(()));
        let wait = pace.turn(&line("1"), "ana").await.expect_err("too soon");
        assert!(wait > Duration::from_secs(590) && wait <= Duration::from_mins(10));
        assert_eq!(pace.turn(&line("1"), "eva").await, Ok(()));
        assert_eq!(pace.turn(&line("2"), "ana").await, Ok(()));
        pace.forget_idle();
        pace.turn(&line("1"), "ana")
            .await
            .expect_err("still too soon");
    }

    #[tokio::test]
    async fn a_line_that_is_at_its_limit_gives_its_place_away() {
        let pace = Pace::new(1, Duration::ZERO);
        assert_eq!(pace.turn(&line("1"), "ana").await, Ok(()));
        let wait = pace.turn(&line("1"), "ana").await.expect_err("too soon");
        assert!(
            wait > WAIT_IN_PLACE && wait <= Duration::from_secs(1),
            "{wait:?}"
        );
        assert_eq!(pace.turn(&line("2"), "ana").await, Ok(()));
    }
}
