//! What became of active messages. A close waits for its warning to be accepted.

use std::collections::{BTreeMap, HashMap, HashSet};

use jiff::Timestamp;
use plazo_domain::{InactivityPolicy, WarningReport};
use plazo_proto::notification::v1::ActiveMessageState;
use plazo_proto::ticketing::v1::ActiveMessageReported;
use plazo_proto::ticketing::v1::ticket_event::Payload;
use sqlx::PgConnection;

use crate::changes::Changes;
use crate::error::Error;
use crate::firing::warned_cycle;
use crate::instants::to_proto;
use crate::store::active_messages::{self, KnownState};
use crate::store::clocks::{self, LockedClock, TicketKey};
use crate::store::events;
use crate::store::settings::{PolicyCache, PolicyKey};
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
type States = HashMap<(TicketKey, String), KnownState>;

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
        let locked = clocks::lock_free(&mut transaction, keys).await?;
        let together: HashSet<TicketKey> = locked.iter().map(|row| row.key).collect();
        self.take_locked(&mut transaction, locked).await?;
        transaction.commit().await?;
        self.changes.announce();

        for key in keys.iter().filter(|key| !together.contains(key)) {
            let mut transaction = self.changes.pool().begin().await?;
            let locked = clocks::lock(&mut transaction, &[*key]).await?;
            self.take_locked(&mut transaction, locked).await?;
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
                let since = known.requested_at;
                let is_news = report_warning(row, policy.map(|policy| &**policy), report, since);
                let is_forward = is_forward(known, report);
                self.taken[place] = if is_forward || is_news {
                    Taken::News
                } else {
                    Taken::Known
                };
                if is_forward {
                    *known = KnownState {
                        requested_at: known.requested_at,
                        state: report.state,
                        state_at: Some(report.state_at),
                    };
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
        events::append(connection, &new_events.iter().collect::<Vec<_>>()).await
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

/// Tells the clock what became of the warning of the running cycle, and whether that was news. A later state implies
/// the acceptance, also when it overtook the report of it.
fn report_warning(
    row: &mut LockedClock,
    policy: Option<&InactivityPolicy>,
    report: &Report,
    requested_at: Timestamp,
) -> bool {
    let kind = match report.state {
        ActiveMessageState::Accepted | ActiveMessageState::Sent => WarningReport::Accepted,
        ActiveMessageState::Delivered | ActiveMessageState::Read | ActiveMessageState::Failed => {
            WarningReport::Settled
        }
        ActiveMessageState::Unspecified
        | ActiveMessageState::Cancelled
        | ActiveMessageState::Uncertain => return false,
    };
    // Notification's clock may run behind: a warning that went out late must not look as if it had been on time.
    let at = report.state_at.max(requested_at);
    let cycle = warned_cycle(report.key, &report.idempotency_key);
    match (cycle, policy) {
        (Some(cycle), Some(policy)) => row.clock.warning_reported(cycle, kind, at, row.now, policy),
        _ => false,
    }
}

/// Whether a report tells of a later state than the known one. States only move forward. A message that was sent can
/// still fail, and one that failed can be sent again: between these the instants decide.
fn is_forward(known: &KnownState, report: &Report) -> bool {
    let (before, after) = (rank(known.state), rank(report.state));
    let is_later = || known.state != report.state && known.state_at < Some(report.state_at);
    before < after || (before == after && is_later())
}

fn rank(state: ActiveMessageState) -> u8 {
    match state {
        ActiveMessageState::Unspecified | ActiveMessageState::Uncertain => 0,
        ActiveMessageState::Accepted => 1,
        ActiveMessageState::Sent | ActiveMessageState::Failed | ActiveMessageState::Cancelled => 2,
        ActiveMessageState::Delivered => 3,
        ActiveMessageState::Read => 4,
    }
}
