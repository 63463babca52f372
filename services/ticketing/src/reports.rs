//! What became of active messages. A close waits for its warning to be accepted.

use jiff::Timestamp;
use plazo_proto::notification::v1::ActiveMessageState;
use plazo_proto::ticketing::v1::ActiveMessageReported;
use plazo_proto::ticketing::v1::ticket_event::Payload;
use sqlx::PgConnection;

use crate::changes::Changes;
use crate::error::Error;
use crate::firing::warned_cycle;
use crate::instants::to_proto;
use crate::store::clocks::{self, LockedClock, TicketKey};
use crate::store::settings::PolicyCache;
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

/// So many reports share a transaction: enough to make a commit cheap, few enough not to hold tickets for long.
const REPORTS_A_TRANSACTION: usize = 64;

/// Takes reports, and answers in the same order. Those of a transaction that failed were not taken.
pub async fn take_all(
    changes: &Changes,
    policies: &PolicyCache,
    reports: &[Report],
) -> Result<Vec<Taken>, Error> {
    let mut order: Vec<usize> = (0..reports.len()).collect();
    // Rows are locked in the order of ids, so that two batches never wait for each other.
    order.sort_by_key(|index| reports[*index].key);
    let mut taken = vec![Taken::Known; reports.len()];
    for chunk in order.chunks(REPORTS_A_TRANSACTION) {
        let mut transaction = changes.pool().begin().await?;
        for &index in chunk {
            taken[index] = take(&mut transaction, policies, &reports[index]).await?;
        }
        transaction.commit().await?;
        changes.announce();
    }
    Ok(taken)
}

async fn take(
    connection: &mut PgConnection,
    policies: &PolicyCache,
    report: &Report,
) -> Result<Taken, Error> {
    let Some(mut locked) = clocks::lock(&mut *connection, report.key).await? else {
        return Ok(Taken::UnknownMessage);
    };
    let known =
        active_messages::state(&mut *connection, report.key, &report.idempotency_key).await?;
    let Some(known) = known else {
        return Ok(Taken::UnknownMessage);
    };
    let mut news = rank(report.state) > rank(known);
    // A later state implies the acceptance, also when it overtook the report of it.
    if report.state != ActiveMessageState::Cancelled {
        news |= accept_warning(&mut *connection, policies, &mut locked, report).await?;
    }
    if !news {
        return Ok(Taken::Known);
    }
    if rank(report.state) > rank(known) {
        active_messages::set_state(
            &mut *connection,
            report.key,
            &report.idempotency_key,
            report.state,
            report.state_at,
        )
        .await?;
        let payload = ActiveMessageReported {
            idempotency_key: report.idempotency_key.clone(),
            state: report.state.into(),
            state_time: Some(to_proto(report.state_at)),
            failure_reason: report.failure_reason.clone(),
        };
        let event = locked.next_event(SYSTEM, Payload::ActiveMessageReported(payload));
        events::append(&mut *connection, &[event]).await?;
    }
    clocks::save(connection, &[&locked]).await?;
    Ok(Taken::News)
}

/// Tells the clock of an accepted warning of the running cycle.
async fn accept_warning(
    connection: &mut PgConnection,
    policies: &PolicyCache,
    locked: &mut LockedClock,
    report: &Report,
) -> Result<bool, Error> {
    let Some(cycle) = warned_cycle(report.key, &report.idempotency_key) else {
        return Ok(false);
    };
    let Some(running) = locked.clock.cycle().copied() else {
        return Ok(false);
    };
    if running.number != cycle {
        return Ok(false);
    }
    let policy = policies
        .policy(connection, report.key.tenant_id, running.policy_version)
        .await?;
    Ok(locked
        .clock
        .warning_accepted(cycle, report.state_at, locked.now, &policy))
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
