//! The calls of the handler and of notification.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use plazo_proto::notification::v1::{ActiveMessage, SendActiveMessagesRequest, SendOutcome};
use plazo_proto::timer::v1::{HandleDueTicketsRequest, HandledTicket, TicketGeneration};
use plazo_service::Deadline;
use plazo_service::status::chain;
use rand::Rng as _;
use tokio::time::Instant;
use tonic::{Code, Status};

use super::Batch;
use crate::core::Core;

/// How long notification is left alone after a failed call.
const NOTIFICATION_REST: Duration = Duration::from_secs(1);
/// Most messages in one call of notification.
const MESSAGES_MAX: usize = 500;

/// What the handler said of a batch.
#[derive(Debug)]
pub(super) struct Answer {
    /// One for each entry, in order.
    pub(super) results: Vec<HandledTicket>,
    /// Before the call was sent. The handler's "now" was later, so what is reckoned from here is never too late.
    pub(super) sent_at: Instant,
    /// When the answer was there.
    pub(super) answered_at: Instant,
}

/// How the call of the handler ended.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The handler answered for each entry.
    Answered(Answer),
    /// The call failed in a way that has to do with the batch.
    Failed {
        /// A stable reason in capitals.
        reason: String,
    },
    /// The handler seems to be down: no other batch was answered meanwhile.
    Unanswered,
}

/// Asks the handler, again and again with backoff while the lease lasts.
pub(super) async fn ask_handler(core: &Core, batch: &Batch) -> Outcome {
    let tickets = batch.entries().map(|claimed| {
        let member = claimed.entry.member;
        TicketGeneration {
            tenant_id: member.tenant_id,
            ticket_id: member.ticket_id,
            generation: member.generation,
        }
    });
    let request = HandleDueTicketsRequest {
        tickets: tickets.collect(),
    };
    let give_up_at = batch.claimed_at() + time_for_handler(core);
    let mut backoff = Duration::from_millis(core.config.handler.first_backoff_ms);
    let mut answered_before = None;
    loop {
        let sent_at = Instant::now();
        let status = match call_handler(core, &request, give_up_at).await {
            Ok(answer) => {
                let entries = answer.results.len();
                core.limiter
                    .answered(entries, answer.sent_at, answer.answered_at);
                return Outcome::Answered(answer);
            }
            Err(status) => status,
        };
        if is_overload(&status) && !batch.has_failures() {
            core.limiter.failed(sent_at, Instant::now());
        }
        core.metrics.handler_failed(code_label(status.code()));
        let reason = || format!("HANDLER_{}", code_label(status.code()).to_uppercase());
        if !is_worth_repeating(&status) {
            tracing::warn!(error = chain(&status), "the handler refused a batch");
            // A handler that lets nobody in, or has another API, says nothing about tickets.
            let is_about_batch = !matches!(
                status.code(),
                Code::Unimplemented | Code::PermissionDenied | Code::Unauthenticated
            );
            if is_about_batch {
                return Outcome::Failed { reason: reason() };
            }
        }
        // Counts only while other batches succeed: a handler that is down puts nobody into quarantine.
        let answered = core.answered_batches.load(Ordering::Relaxed);
        let before = *answered_before.get_or_insert(answered);
        let wait = backoff.mul_f64(rand::rng().random_range(0.5..=1.0));
        if Instant::now() + wait >= give_up_at {
            tracing::warn!(
                error = chain(&status),
                "the handler did not answer while the lease lasted"
            );
            // A handler that has no room says nothing about the tickets, even when others found room.
            let is_about_batch = status.code() != Code::ResourceExhausted;
            return if is_about_batch && answered > before {
                Outcome::Failed { reason: reason() }
            } else {
                Outcome::Unanswered
            };
        }
        tokio::time::sleep(wait).await;
        backoff = (backoff * 2).min(Duration::from_millis(core.config.handler.max_backoff_ms));
    }
}

/// Whether a failed call says that the handler has more than it bears.
fn is_overload(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::ResourceExhausted | Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled
    )
}

/// The part of the lease in which the handler may answer; the rest is for notification and the ack.
fn time_for_handler(core: &Core) -> Duration {
    let notification = &core.config.notification;
    let rest_ms = notification.request_timeout_ms * u64::from(notification.max_attempts)
        + core.config.timer.lease_margin_ms;
    core.config
        .timer
        .lease()
        .saturating_sub(Duration::from_millis(rest_ms))
}

async fn call_handler(
    core: &Core,
    request: &HandleDueTicketsRequest,
    give_up_at: Instant,
) -> Result<Answer, Status> {
    let sent_at = Instant::now();
    let deadline =
        Deadline::after(core.config.handler.request_timeout()).min(Deadline::at(give_up_at));
    let mut handler = core.handler.clone();
    let call = handler.handle_due_tickets(deadline.request(request.clone()));
    let response = deadline.bound(call).await?.into_inner();
    let answered_at = Instant::now();
    if response.results.len() != request.tickets.len() {
        return Err(Status::data_loss(
            "the handler answered for another number of tickets",
        ));
    }
    if let Some(time) = response.handler_time {
        let handler_us = time.seconds * 1_000_000 + i64::from(time.nanos / 1_000);
        let skew_us = handler_us - core.clock.at_us(sent_at + (answered_at - sent_at) / 2);
        #[expect(
            clippy::cast_precision_loss,
            reason = "a skew of centuries may be imprecise"
        )]
        core.metrics.clock_skew.set(skew_us as f64 / 1e6);
    }
    Ok(Answer {
        results: response.results,
        sent_at,
        answered_at,
    })
}

/// Whether the same call may succeed in a moment. What a broken connection looks like has no details of ours.
fn is_worth_repeating(status: &Status) -> bool {
    match status.code() {
        Code::Unavailable
        | Code::DeadlineExceeded
        | Code::ResourceExhausted
        | Code::Aborted
        | Code::Cancelled => true,
        Code::Unknown | Code::Internal => {
            status.details().is_empty() && std::error::Error::source(status).is_some()
        }
        _ => false,
    }
}

/// Hands the messages to notification: the fast path. When it fails, nothing is lost, because notification reads
/// the same messages from the events of their owner; so it gets few attempts and then a rest, and the ack doesn't depend
/// on it.
pub(super) async fn notify(core: &Core, messages: Vec<ActiveMessage>) {
    let rests_until = *core
        .notification_rests_until
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    if rests_until.is_some_and(|until| Instant::now() < until) {
        return;
    }
    let mut messages = messages.into_iter().peekable();
    while messages.peek().is_some() {
        let chunk: Vec<_> = messages.by_ref().take(MESSAGES_MAX).collect();
        let length = chunk.len();
        if let Err(status) = send(core, SendActiveMessagesRequest { messages: chunk }).await {
            core.metrics.notification_failed();
            tracing::warn!(
                error = chain(&status),
                messages = length,
                "active messages could not be handed over, and reach notification as events"
            );
            // It is down or slow: more calls would only keep the leases waiting.
            let until = Instant::now() + NOTIFICATION_REST;
            *core
                .notification_rests_until
                .lock()
                .unwrap_or_else(PoisonError::into_inner) = Some(until);
            return;
        }
    }
}

async fn send(core: &Core, request: SendActiveMessagesRequest) -> Result<(), Status> {
    let config = &core.config.notification;
    let mut backoff = Duration::from_millis(config.first_backoff_ms);
    let mut attempt = 1;
    loop {
        let deadline = Deadline::after(config.request_timeout());
        let mut notification = core.notification.clone();
        let call = notification.send_active_messages(deadline.request(request.clone()));
        match deadline.bound(call).await {
            Ok(response) => {
                let invalid = |outcome| outcome == i32::from(SendOutcome::Invalid);
                let results = response.into_inner().results;
                let refused = results
                    .iter()
                    .filter(|result| invalid(result.outcome))
                    .count();
                if refused > 0 {
                    tracing::error!(messages = refused, "notification refused active messages");
                }
                return Ok(());
            }
            Err(status) if attempt >= config.max_attempts || !is_worth_repeating(&status) => {
                return Err(status);
            }
            Err(_) => tokio::time::sleep(backoff).await,
        }
        backoff = (backoff * 2).min(Duration::from_millis(config.max_backoff_ms));
        attempt += 1;
    }
}

/// A code as a label of metrics.
pub(crate) fn code_label(code: Code) -> &'static str {
    match code {
        Code::Ok => "ok",
        Code::Cancelled => "cancelled",
        Code::InvalidArgument => "invalid_argument",
        Code::DeadlineExceeded => "deadline_exceeded",
        Code::NotFound => "not_found",
        Code::AlreadyExists => "already_exists",
        Code::PermissionDenied => "permission_denied",
        Code::ResourceExhausted => "resource_exhausted",
        Code::FailedPrecondition => "failed_precondition",
        Code::Aborted => "aborted",
        Code::OutOfRange => "out_of_range",
        Code::Unimplemented => "unimplemented",
        Code::Internal => "internal",
        Code::Unavailable => "unavailable",
        Code::DataLoss => "data_loss",
        Code::Unauthenticated => "unauthenticated",
        Code::Unknown => "unknown",
    }
}
