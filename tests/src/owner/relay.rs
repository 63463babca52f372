//! From the owner's rows to the timers, and the sweep under it.

use std::time::Duration;

use plazo_proto::timer::v1 as proto;
use plazo_proto::timer::v1::timer_service_client::TimerServiceClient;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tonic::transport::Channel;
use tonic::{Request, Status};

use super::handler::{id_of, timestamp_us};
use super::{Owner, State, TicketIndex};
use crate::desk::{Signature, SignedChannel};

/// A client of a timer whose calls are made by a service.
pub type TimerClient = TimerServiceClient<SignedChannel>;

/// Tickets in one call.
const BATCH: usize = 500;
/// Older generations that one arm removes at most.
const SUPERSEDED_MAX: i64 = 16;
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(100);
const BACKOFF: Duration = Duration::from_millis(100);
const SWEEP_PERIOD: Duration = Duration::from_secs(2);

/// A client whose calls are made by ticketing.
pub fn timer_client(channel: Channel) -> TimerClient {
    let signature = Signature::new(0, "service/ticketing", "service", "*");
    TimerServiceClient::new(SignedChannel::new(channel, signature))
}

/// Hands dirty rows over until it is dropped.
#[derive(Debug)]
pub struct Relay {
    _tasks: JoinSet<()>,
}

impl Relay {
    /// Starts a relay for each timer, which goes on with another one when its own fails, and a sweep, which asks about
    /// what is overdue for longer than the grace.
    pub fn start(owner: &Owner, channels: &[Channel], grace: Duration) -> Self {
        let clients: Vec<_> = channels.iter().cloned().map(timer_client).collect();
        let mut tasks = JoinSet::new();
        for first in 0..clients.len() {
            tasks.spawn(relay(owner.clone(), clients.clone(), first));
        }
        tasks.spawn(sweep(owner.clone(), clients, grace));
        Self { _tasks: tasks }
    }
}

async fn relay(owner: Owner, clients: Vec<TimerClient>, mut turn: usize) {
    loop {
        let arms = take_dirty(&owner);
        if arms.is_empty() {
            let _ = tokio::time::timeout(POLL, owner.0.has_dirty.notified()).await;
            continue;
        }
        let started = Instant::now();
        let request = proto::ArmTicketsRequest {
            arms: arms.iter().map(|(_, arm)| *arm).collect(),
        };
        let mut client = clients[turn % clients.len()].clone();
        let outcome = bounded(client.arm_tickets(with_timeout(request))).await;
        let outcome = outcome.map(tonic::Response::into_inner);
        if !note_armed(&owner, &arms, started.elapsed(), &outcome) {
            turn += 1;
            tokio::time::sleep(BACKOFF).await;
        }
    }
}

/// Takes a batch of dirty rows, as they are now.
fn take_dirty(owner: &Owner) -> Vec<(TicketIndex, proto::TicketArm)> {
    let mut state = owner.lock();
    let State { rows, dirty, .. } = &mut *state;
    let mut arms = Vec::new();
    while arms.len() < BATCH
        && let Some(index) = dirty.pop_front()
    {
        let row = rows[index];
        if row.armed_generation >= row.generation {
            continue;
        }
        let oldest = row
            .armed_generation
            .max(row.generation - SUPERSEDED_MAX)
            .max(1);
        let arm = proto::TicketArm {
            ticket: Some(proto::TicketGeneration {
                tenant_id: row.tenant_id,
                ticket_id: id_of(index),
                generation: row.generation,
            }),
            due_time: row.next_ms().map(|due_ms| timestamp_us(due_ms * 1_000)),
            first_superseded_generation: oldest,
        };
        arms.push((index, arm));
    }
    arms
}

/// Notes what the timer has armed, and keeps the rest for later. Returns whether it was all.
fn note_armed(
    owner: &Owner,
    arms: &[(TicketIndex, proto::TicketArm)],
    took: Duration,
    answer: &Result<proto::ArmTicketsResponse, Status>,
) -> bool {
    let mut state = owner.lock();
    let State {
        rows,
        dirty,
        counts,
        ..
    } = &mut *state;
    counts.arm_calls += 1;
    counts.slowest_arm = counts.slowest_arm.max(took);
    let outcomes: Vec<_> = match answer {
        Ok(answer) => answer.outcomes().collect(),
        Err(failure) => {
            let code = format!("{:?}", failure.code());
            *counts.arm_failures.entry(code).or_default() += 1;
            vec![proto::ArmOutcome::Unavailable; arms.len()]
        }
    };
    assert_eq!(outcomes.len(), arms.len(), "each arm is answered");
    let mut refused = Vec::new();
    for ((index, arm), outcome) in arms.iter().zip(outcomes) {
        if outcome != proto::ArmOutcome::Armed {
            refused.push((*index, outcome));
            continue;
        }
        let armed = arm.ticket.as_ref().map_or(0, |ticket| ticket.generation);
        let row = &mut rows[*index];
        row.armed_generation = row.armed_generation.max(armed);
    }
    if answer.is_ok()
        && let Some((_, outcome)) = refused.first()
    {
        let what = format!("a part {}", outcome.as_str_name());
        *counts.arm_failures.entry(what).or_default() += 1;
    }
    dirty.extend(refused.iter().map(|(index, _)| *index));
    refused.is_empty()
}

async fn sweep(owner: Owner, clients: Vec<TimerClient>, grace: Duration) {
    let grace_ms = i64::try_from(grace.as_millis()).expect("a short time");
    for turn in 0.. {
        tokio::time::sleep(SWEEP_PERIOD).await;
        let oldest_ms = owner.now_ms() - grace_ms;
        let tickets: Vec<_> = {
            let state = owner.lock();
            let overdue = state.rows.iter().enumerate().filter_map(|(index, row)| {
                let due_ms = row.next_ms().filter(|due_ms| *due_ms < oldest_ms)?;
                Some(proto::PendingTicket {
                    ticket: Some(proto::TicketGeneration {
                        tenant_id: row.tenant_id,
                        ticket_id: id_of(index),
                        generation: row.generation,
                    }),
                    due_time: Some(timestamp_us(due_ms * 1_000)),
                })
            });
            overdue.take(BATCH).collect()
        };
        if tickets.is_empty() {
            continue;
        }
        let mut client = clients[turn % clients.len()].clone();
        let request = with_timeout(proto::RepairTicketsRequest { tickets });
        if let Ok(answer) = bounded(client.repair_tickets(request)).await {
            owner.lock().counts.swept += answer.into_inner().repaired_count;
        }
    }
}

fn with_timeout<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(CALL_TIMEOUT);
    request
}

/// Some seconds more than the deadline, for a timer that doesn't even say that it is over.
async fn bounded<T>(call: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    tokio::time::timeout(CALL_TIMEOUT + Duration::from_secs(1), call)
        .await
        .unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer")))
}
