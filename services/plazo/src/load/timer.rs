//! The timer as the load calls it.

use std::collections::BTreeMap;
use std::time::Duration;

use plazo_proto::timer::v1 as proto;
use plazo_proto::timer::v1::timer_service_client::TimerServiceClient;
use plazo_service::{ClientConfig, Deadline, ServiceChannel};
use tokio::time::{Instant, sleep, timeout};
use tonic::{Code, Status};

use super::LoadError;
use super::caller::Caller;
use super::handler::{now_us, proto_timestamp_us};
use super::ledger::SharedLedger;

const FIRST_ANSWER_BOUND: Duration = Duration::from_secs(5);
const FIRST_BACKOFF: Duration = Duration::from_millis(10);
const LONGEST_BACKOFF: Duration = Duration::from_millis(500);
/// Answers from which the difference of the clocks is taken: the shortest round trip is the most exact.
const CLOCK_SAMPLES: usize = 9;
/// Probes for the lanes of tenants are armed for a time when nobody looks any more, and removed at once.
const PROBE_DUE_US: i64 = 3_600_000_000;

/// Calls a timer.
#[derive(Debug, Clone)]
pub(super) struct Timer {
    client: TimerServiceClient<ServiceChannel>,
}

/// What the timer says of itself.
#[derive(Debug, Clone, Default)]
pub(super) struct TimerFacts {
    pub(super) shards: usize,
    pub(super) lanes: usize,
    pub(super) replicas: usize,
    /// Its settings, which are known of a private one alone.
    pub(super) settings: Option<TimerSettings>,
    /// Entries that it has now.
    pub(super) waiting: i64,
    /// Those that it has given up.
    pub(super) quarantined: i64,
    lane_of_shard: BTreeMap<i32, i32>,
}

/// Settings that decide how fast a timer is.
#[derive(Debug, Clone, Copy)]
pub(super) struct TimerSettings {
    pub(super) batch_limit: usize,
    pub(super) dispatch_slots: usize,
    pub(super) linger_ms: u64,
    pub(super) linger_max_ms: u64,
}

/// How far the clock of Redis may be ahead of this machine's, in microseconds: between these two.
#[derive(Debug, Clone, Copy)]
pub(super) struct ClockAhead {
    pub(super) least_us: i64,
    pub(super) most_us: i64,
}

impl Timer {
    /// A timer that answers.
    pub(super) async fn connect(
        caller: &Caller,
        endpoint: &str,
    ) -> Result<(Self, TimerFacts), LoadError> {
        let channel = caller.connect(ClientConfig {
            request_timeout_ms: 10_000,
            ..ClientConfig::new(endpoint)
        })?;
        let timer = Self {
            client: TimerServiceClient::new(channel),
        };
        let no_timer = |reason: String| LoadError::NoTimer {
            endpoint: endpoint.to_owned(),
            reason,
        };
        match timeout(FIRST_ANSWER_BOUND, timer.facts()).await {
            Ok(Ok(facts)) => Ok((timer, facts)),
            Ok(Err(status)) if status.code() == Code::Unimplemented => {
                Err(no_timer("it is no timer that answers".to_owned()))
            }
            Ok(Err(status)) if is_refusal(&status) => {
                Err(LoadError::call_at(endpoint, "GetTimerStats", status))
            }
            Ok(Err(status)) => Err(no_timer(status.message().to_owned())),
            Err(_) => Err(no_timer("no answer within 5 s".to_owned())),
        }
    }

    /// What the timer says of itself.
    pub(super) async fn facts(&self) -> Result<TimerFacts, Status> {
        let answer = self.stats().await?;
        let lane_of_shard: BTreeMap<_, _> =
            answer.shards.iter().map(|s| (s.shard, s.lane)).collect();
        let lanes = lane_of_shard.values().max().map_or(0, |lane| lane + 1);
        Ok(TimerFacts {
            shards: answer.shards.len(),
            lanes: usize::try_from(lanes).unwrap_or(0),
            replicas: answer.replica_ids.len(),
            settings: None,
            waiting: answer.shards.iter().map(|s| s.waiting_count).sum(),
            quarantined: answer.shards.iter().map(|s| s.quarantined_count).sum(),
            lane_of_shard,
        })
    }

    async fn stats(&self) -> Result<proto::GetTimerStatsResponse, Status> {
        let request = proto::GetTimerStatsRequest {};
        let answer = self.client.clone().get_timer_stats(request).await?;
        Ok(answer.into_inner())
    }

    /// Compares the clocks. Redis' time comes cut to whole milliseconds.
    pub(super) async fn clock_ahead(&self) -> Result<ClockAhead, Status> {
        let mut ahead = ClockAhead {
            least_us: i64::MIN,
            most_us: i64::MAX,
        };
        for _ in 0..CLOCK_SAMPLES {
            let sent_us = now_us();
            let answer = self.stats().await?;
            let answered_us = now_us();
            let Some(time) = answer.redis_time else {
                continue;
            };
            let redis_us = time.seconds * 1_000_000 + i64::from(time.nanos) / 1_000;
            ahead.least_us = ahead.least_us.max(redis_us - answered_us);
            ahead.most_us = ahead.most_us.min(redis_us + 1_000 - sent_us);
        }
        Ok(ahead)
    }

    /// Arms, again and again until it is done or the time is over. Returns how often it was done again.
    pub(super) async fn arm(
        &self,
        arms: &[proto::TicketArm],
        give_up_at: Instant,
        ledger: &SharedLedger,
    ) -> Result<u64, Status> {
        let mut backoff = FIRST_BACKOFF;
        let mut retries = 0;
        let mut left = arms.to_vec();
        loop {
            let request = proto::ArmTicketsRequest { arms: left.clone() };
            let mut client = self.client.clone();
            let call = Deadline::at(give_up_at).bound(client.arm_tickets(request));
            let status = match call.await {
                Ok(answer) => {
                    left = not_armed(left, &answer.into_inner());
                    if left.is_empty() {
                        return Ok(retries);
                    }
                    Status::unavailable(format!("{} tickets could not be armed", left.len()))
                }
                Err(status) => status,
            };
            ledger.lock().faults.failed(now_us(), "ArmTickets", &status);
            let is_hopeless = matches!(
                status.code(),
                Code::InvalidArgument
                    | Code::PermissionDenied
                    | Code::Unauthenticated
                    | Code::Unimplemented
            );
            if is_hopeless || Instant::now() + backoff >= give_up_at {
                return Err(status);
            }
            sleep(backoff).await;
            backoff = (backoff * 2).min(LONGEST_BACKOFF);
            retries += 1;
        }
    }

    /// What the timer knows of a ticket, in a few words.
    pub(super) async fn whereabouts(&self, ticket: &proto::TicketGeneration) -> String {
        let entries = match self.entries(ticket.tenant_id, ticket.ticket_id).await {
            Ok(entries) => entries,
            Err(status) => return format!("the timer can't be asked: {}", status.message()),
        };
        let is_it = |entry: &&proto::TimerEntry| entry.ticket.as_ref() == Some(ticket);
        match entries.iter().find(is_it).map(proto::TimerEntry::state) {
            Some(proto::EntryState::Waiting) => "waits in Redis".to_owned(),
            Some(proto::EntryState::Leased) => "is leased to a replica".to_owned(),
            Some(proto::EntryState::Quarantined) => "is in quarantine".to_owned(),
            _ => "is unknown to the timer".to_owned(),
        }
    }

    async fn entries(
        &self,
        tenant_id: i64,
        ticket_id: i64,
    ) -> Result<Vec<proto::TimerEntry>, Status> {
        let request = proto::GetTicketEntriesRequest {
            tenant_id,
            ticket_id,
        };
        let answer = self.client.clone().get_ticket_entries(request).await?;
        Ok(answer.into_inner().entries)
    }

    /// The lane of each tenant, found by a probe that is removed again.
    pub(super) async fn lanes_of(
        &self,
        facts: &TimerFacts,
        first_tenant_id: i64,
        tenants: u16,
        probe_ticket_id: i64,
    ) -> Result<Vec<i32>, Status> {
        let mut lanes = Vec::with_capacity(usize::from(tenants));
        for tenant in 0..i64::from(tenants) {
            let tenant_id = first_tenant_id + tenant;
            let probe = |generation| {
                Some(proto::TicketGeneration {
                    tenant_id,
                    ticket_id: probe_ticket_id,
                    generation,
                })
            };
            let due_time = Some(proto_timestamp_us(
                (now_us() + PROBE_DUE_US) / 1_000 * 1_000,
            ));
            let add = proto::TicketArm {
                ticket: probe(1),
                due_time,
                first_superseded_generation: 0,
            };
            let remove = proto::TicketArm {
                ticket: probe(2),
                due_time: None,
                first_superseded_generation: 1,
            };
            let mut client = self.client.clone();
            let request = proto::ArmTicketsRequest { arms: vec![add] };
            client.arm_tickets(request).await?;
            let entries = self.entries(tenant_id, probe_ticket_id).await?;
            let request = proto::ArmTicketsRequest { arms: vec![remove] };
            client.arm_tickets(request).await?;
            let shard = entries.first().map(|entry| entry.shard);
            let lane = shard.and_then(|shard| facts.lane_of_shard.get(&shard));
            lanes.push(lane.copied().unwrap_or(0));
        }
        Ok(lanes)
    }

    /// Takes all pending tickets of the ledger back, as far as the time allows; returns how many are left.
    pub(super) async fn take_back(&self, ledger: &SharedLedger, until: Instant) -> u64 {
        const BATCH: usize = 1_000;
        let mut from = 0;
        let mut taken = 0;
        loop {
            let (pending, next) = ledger.lock().pending_from(from, BATCH);
            if pending.is_empty() {
                return 0;
            }
            let remove = |pending: &super::ledger::Pending| proto::TicketArm {
                first_superseded_generation: pending.name.generation,
                due_time: None,
                ticket: Some(proto::TicketGeneration {
                    generation: pending.name.generation + 1,
                    ..pending.name
                }),
            };
            let arms = pending.iter().map(remove).collect();
            let request = proto::ArmTicketsRequest { arms };
            let mut client = self.client.clone();
            let call = client.arm_tickets(request);
            let is_done = matches!(tokio::time::timeout_at(until, call).await, Ok(Ok(_)));
            if !is_done {
                return ledger.lock().counts.pending.saturating_sub(taken);
            }
            taken += pending.len() as u64;
            from = next;
        }
    }
}

fn is_refusal(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unauthenticated | Code::PermissionDenied
    )
}

/// Those that the timer could not arm.
fn not_armed(
    arms: Vec<proto::TicketArm>,
    answer: &proto::ArmTicketsResponse,
) -> Vec<proto::TicketArm> {
    arms.into_iter()
        .zip(answer.outcomes())
        .filter_map(|(arm, outcome)| (outcome != proto::ArmOutcome::Armed).then_some(arm))
        .collect()
}
