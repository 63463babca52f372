//! What became of active messages. A close waits for its warning to be accepted.

use std::collections::{BTreeMap, HashMap, HashSet};

use jiff::Timestamp;
use plazo_domain::InactivityPolicy;
use plazo_proto::notification::v1::ActiveMessageState;
use plazo_proto::ticketing::v1::ActiveMessageReported;
use plazo_proto::ticketing::v1::ticket_event::Payload;
use sqlx::PgConnection;

use crate::changes::Changes;
use crate::error::Error;
use crate::firing::warned_cycle;
use crate::instants::to_proto;
use crate::store::clocks::{self, LockedClock, TicketKey};
use crate::store::settings::{PolicyCache, PolicyKey};
use crate::store::{active_messages, events};
use crate::tickets::SYSTEM;

/// One report, well-formed.
#[derive(Debug, Clone)]
pub struct Report {
    /// The ticket.
    pub key: TicketKey,
    /// Which message.
    pub idempotency_key: String,
    /// What became of it.
    pub state: ActiveMessageState,
    /// When, by notification's clock.
    pub state_at: Timestamp,
    /// Why it failed.
    pub failure_reason: String,
}

/// What was done with a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It was news.
    News,
    /// It was known, or older than what is known.
    Known,
    /// There is no such message.
    UnknownMessage,
}

/// The reports of so many tickets share a transaction: enough to make a commit cheap, few enough not to hold tickets
/// for long.
const TICKETS_A_TRANSACTION: usize = 250;

/// What is known of each message.
type States = HashMap<(TicketKey, String), ActiveMessageState>;

/// Takes reports, and answers in the same order. Those of a transaction that failed were not taken.
pub async fn take_all(
    changes: &Changes,
    policies: &PolicyCache,
    reports: &[Report],
) -> Result<Vec<Taken>, Error> {
    let mut batch = ReportBatch {
        changes,
        policies,
        reports,
        places: BTreeMap::new(),
        taken: vec![Taken::UnknownMessage; reports.len()],
    };
    for (place, report) in reports.iter().enumerate() {
        batch.places.entry(report.key).or_default().push(place);
    }
    let keys: Vec<TicketKey> = batch.places.keys().copied().collect();
    for keys in keys.chunks(TICKETS_A_TRANSACTION) {
        batch.take_tickets(keys).await?;
    }
    Ok(batch.taken)
}

struct ReportBatch<'a> {
    changes: &'a Changes,
    policies: &'a PolicyCache,
    reports: &'a [Report],
    /// The places of each ticket's reports.
    places: BTreeMap<TicketKey, Vec<usize>>,
    taken: Vec<Taken>,
}

impl ReportBatch<'_> {
    /// First those tickets that nobody holds, together; then the others one by one. So nothing waits for a ticket
    /// while it holds another.
    async fn take_tickets(&mut self, keys: &[TicketKey]) -> Result<(), Error> {
        let mut transaction = self.changes.pool().begin().await?;
        let locked = clocks::lock_batch(&mut transaction, keys).await?;
        let together: HashSet<TicketKey> = locked.iter().map(|row| row.key).collect();
        self.take_locked(&mut transaction, locked).await?;
        transaction.commit().await?;
        self.changes.announce();

        for key in keys.iter().filter(|key| !together.contains(key)) {
            let mut transaction = self.changes.pool().begin().await?;
            let Some(locked) = clocks::lock(&mut transaction, *key).await? else {
                continue;
            };
            self.take_locked(&mut transaction, vec![locked]).await?;
            transaction.commit().await?;
            self.changes.announce();
        }
        Ok(())
    }

    async fn take_locked(
        &mut self,
        connection: &mut PgConnection,
        mut locked: Vec<LockedClock>,
    ) -> Result<(), Error> {
        let mut states = self.states(&mut *connection, &locked).await?;
        let policy_keys: Vec<PolicyKey> = locked.iter().filter_map(policy_key).collect();
        let policies = self
            .policies
            .policies(&mut *connection, &policy_keys)
            .await?;

        let mut new_events = Vec::new();
        let mut moved = BTreeMap::new();
        let mut changed = Vec::new();
        for row in &mut locked {
            let policy = policy_key(row).and_then(|key| policies.get(&key));
            let before = (row.clock.clone(), row.ticket_seq);
            for &place in &self.places[&row.key] {
                let report = &self.reports[place];
                let message = (report.key, report.idempotency_key.clone());
                let Some(known) = states.get_mut(&message) else {
                    continue;
                };
                let is_accepted = accept_warning(row, policy.map(|policy| &**policy), report);
                let is_forward = rank(report.state) > rank(*known);
                self.taken[place] = if is_forward || is_accepted {
                    Taken::News
                } else {
                    Taken::Known
                };
                if is_forward {
                    *known = report.state;
                    moved.insert(message, (report.state, report.state_at));
                    new_events.push(row.next_event(SYSTEM, reported(report)));
                }
            }
            if before != (row.clock.clone(), row.ticket_seq) {
                changed.push(&*row);
            }
        }
        if !changed.is_empty() {
            clocks::save(&mut *connection, &changed).await?;
        }
        active_messages::set_states(&mut *connection, &moved).await?;
        events::append(connection, &new_events).await
    }

    async fn states(
        &self,
        connection: &mut PgConnection,
        locked: &[LockedClock],
    ) -> Result<States, Error> {
        let messages: Vec<(TicketKey, &str)> = locked
            .iter()
            .flat_map(|row| &self.places[&row.key])
            .map(|place| &self.reports[*place])
            .map(|report| (report.key, report.idempotency_key.as_str()))
            .collect();
        active_messages::states(connection, &messages).await
    }
}

fn policy_key(row: &LockedClock) -> Option<PolicyKey> {
    let cycle = row.clock.cycle()?;
    Some((row.key.tenant_id, cycle.policy_version))
}

fn reported(report: &Report) -> Payload {
    Payload::ActiveMessageReported(ActiveMessageReported {
        idempotency_key: report.idempotency_key.clone(),
        state: report.state.into(),
        state_time: Some(to_proto(report.state_at)),
        failure_reason: report.failure_reason.clone(),
    })
}

/// Tells the clock of an accepted warning of the running cycle, and whether that was news. A later state implies the
/// acceptance, also when it overtook the report of it.
fn accept_warning(
    row: &mut LockedClock,
    policy: Option<&InactivityPolicy>,
    report: &Report,
) -> bool {
    let cycle = warned_cycle(report.key, &report.idempotency_key);
    match (cycle, policy) {
        (Some(cycle), Some(policy)) if report.state != ActiveMessageState::Cancelled => row
            .clock
            .warning_accepted(cycle, report.state_at, row.now, policy),
        _ => false,
    }
}

/// States only move forward; the ends are equal. A failed message can be sent again, and then goes on from there.
fn rank(state: ActiveMessageState) -> u8 {
    match state {
        ActiveMessageState::Unspecified => 0,
        ActiveMessageState::Accepted => 1,
        ActiveMessageState::Failed | ActiveMessageState::Cancelled => 2,
        ActiveMessageState::Sent => 3,
        ActiveMessageState::Delivered => 4,
        ActiveMessageState::Read => 5,
    }
}
