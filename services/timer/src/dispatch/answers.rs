//! From the handler's answers to acks.

use std::time::Duration;

use plazo_proto::notification::v1::ActiveMessage;
use plazo_proto::timer::v1::{HandleOutcome, HandledTicket};
use rand::Rng as _;
use tokio::time::Instant;

use super::calls::Answer;
use super::{Batch, Lease};
use crate::core::Core;
use crate::entry::GivenUp;
use crate::metrics::seconds;
use crate::store::{Ack, ClaimedEntry};

/// A ticket that was being changed is looked at again after so many milliseconds, at most 50.
const BUSY_MS: std::ops::RangeInclusive<u64> = 10..=40;
/// Answers that say "look again in a century" mean never, and would overflow.
const LOOK_AGAIN_MAX: Duration = Duration::from_hours(24 * 366 * 10);
const REASON_BYTES_MAX: usize = 64;

/// The active messages of all answers.
pub(super) fn take_messages(answer: &mut Answer) -> Vec<ActiveMessage> {
    answer
        .results
        .iter_mut()
        .flat_map(|result| std::mem::take(&mut result.active_messages))
        .collect()
}

/// What follows for each lease of a batch that the handler has answered.
pub(super) fn acks_of(core: &Core, batch: &Batch, answer: &Answer) -> Vec<Ack> {
    let mut counts = [0_u64; 7];
    let mut latest_us = None;
    let redis_us = core.clock.at_us(answer.answered_at);
    let mut results = answer.results.iter();
    let acks = batch.leases.iter().map(|lease| {
        let mut ack = new_ack(lease);
        for (claimed, result) in lease.entries.iter().zip(results.by_ref()) {
            let outcome = result.outcome();
            counts[usize::try_from(i32::from(outcome)).unwrap_or(0)] += 1;
            if outcome == HandleOutcome::Fired && claimed.failed_attempts == 0 {
                let late_us = redis_us - claimed.entry.due_ms * 1_000;
                core.metrics.lateness.observe(seconds(late_us));
                latest_us = Some(latest_us.map_or(late_us, |latest: i64| latest.max(late_us)));
            }
            add_result(core, &mut ack, claimed, result, answer.sent_at);
        }
        ack
    });
    let acks = acks.collect();
    if let Some(latest_us) = latest_us {
        tracing::Span::current().record("lateness_ms", latest_us / 1_000);
    }
    for (number, count) in counts
        .into_iter()
        .enumerate()
        .filter(|(_, count)| *count > 0)
    {
        let outcome = i32::try_from(number)
            .ok()
            .and_then(|n| HandleOutcome::try_from(n).ok());
        core.metrics
            .handled(outcome.unwrap_or(HandleOutcome::Unspecified), count);
        if outcome == Some(HandleOutcome::Stale) {
            core.metrics.stale.inc_by(count);
        }
    }
    acks
}

fn add_result(
    core: &Core,
    ack: &mut Ack,
    claimed: &ClaimedEntry,
    result: &HandledTicket,
    sent_at: Instant,
) {
    let member = claimed.entry.member;
    match result.outcome() {
        HandleOutcome::Fired | HandleOutcome::Already | HandleOutcome::NotDue => {
            if let Some(look_again_after) = &result.look_again_after {
                let after = Duration::try_from(*look_again_after).unwrap_or(Duration::ZERO);
                // The handler's "now" was not before the call was sent, so this instant is not too late. It may be
                // a little early; then the ticket is looked at once more.
                ack.again
                    .push((member, sent_at + after.min(LOOK_AGAIN_MAX)));
            }
        }
        // The generation is over, whatever else the answer says: its next instant is armed under the new one.
        HandleOutcome::Stale => {}
        HandleOutcome::Busy => {
            let delay = Duration::from_millis(rand::rng().random_range(BUSY_MS));
            ack.back.push((member, Instant::now() + delay));
            return;
        }
        HandleOutcome::Error | HandleOutcome::Unspecified => {
            let reason = if is_reason(&result.error_reason) {
                &result.error_reason
            } else {
                "HANDLER_ERROR"
            };
            add_failure(core, ack, claimed, reason);
            return;
        }
    }
    if claimed.failed_attempts > 0 {
        ack.over.push(member);
    }
}

/// The handler failed on the batch as a whole: each of its entries has one more failed attempt.
pub(super) fn acks_of_failure(core: &Core, batch: &Batch, reason: &str) -> Vec<Ack> {
    let ack_of = |lease: &Lease| {
        let mut ack = new_ack(lease);
        for claimed in &lease.entries {
            add_failure(core, &mut ack, claimed, reason);
        }
        ack
    };
    batch.leases.iter().map(ack_of).collect()
}

/// The handler is down: the entries come again, and nothing counts against them.
pub(super) fn acks_of_outage(core: &Core, batch: &Batch) -> Vec<Ack> {
    let delay = Duration::from_millis(core.config.timer.failure_backoff_ms);
    let ack_of = |lease: &Lease| {
        let mut ack = new_ack(lease);
        let at = Instant::now() + delay.mul_f64(rand::rng().random_range(0.5..=1.0));
        ack.back.extend(
            lease
                .entries
                .iter()
                .map(|claimed| (claimed.entry.member, at)),
        );
        ack
    };
    batch.leases.iter().map(ack_of).collect()
}

fn new_ack(lease: &Lease) -> Ack {
    Ack::new(lease.shard, lease.id.clone())
}

fn add_failure(core: &Core, ack: &mut Ack, claimed: &ClaimedEntry, reason: &str) {
    let config = &core.config.timer;
    let member = claimed.entry.member;
    let failed_attempts = claimed.failed_attempts.saturating_add(1);
    core.set_has_failures(ack.shard, true);
    if failed_attempts < config.failed_attempts_max {
        let doublings = claimed.failed_attempts.min(30);
        let delay_ms = config
            .failure_backoff_ms
            .saturating_mul(1 << doublings)
            .min(config.failure_backoff_max_ms.max(config.failure_backoff_ms));
        let at = Instant::now() + Duration::from_millis(delay_ms);
        ack.failed.push((member, at, failed_attempts));
        return;
    }
    tracing::error!(
        tenant_id = member.tenant_id,
        ticket_id = member.ticket_id,
        generation = member.generation,
        failed_attempts,
        reason,
        "an entry went into quarantine"
    );
    let given_up = GivenUp {
        due_ms: claimed.entry.due_ms,
        failed_attempts,
        reason: reason.to_owned(),
    };
    let retry_at = Instant::now() + Duration::from_millis(config.quarantine_retry_ms);
    ack.given_up.push((member, retry_at, given_up));
}

/// What the handler says is stored and shown, so it must be short and plain.
fn is_reason(reason: &str) -> bool {
    let is_plain = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_';
    (1..=REASON_BYTES_MAX).contains(&reason.len()) && reason.bytes().all(is_plain)
}
