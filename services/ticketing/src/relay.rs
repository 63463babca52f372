//! From committed rows to the timer. A row is dirty while the timer may not know its generation
//! (`armed_generation < generation`): the row is its own outbox.
//!
//! Invariant: a row is marked as armed only after the timer has answered that it holds that generation, or needs to
//! hold nothing of it.

use std::time::Duration;

use plazo_proto::timer::v1::timer_service_client::TimerServiceClient;
use plazo_proto::timer::v1::{ArmOutcome, ArmTicketsRequest, TicketArm, TicketGeneration};
use plazo_service::{Deadline, ServiceChannel, TaskError};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::changes::Changes;
use crate::config::RelayConfig;
use crate::instants::to_proto;
use crate::metrics::RelayMetrics;
use crate::store::clocks::TicketKey;
use crate::store::deadlines::{self, DirtyTicket};

/// The timer removes so many superseded generations at most; older strays are answered STALE once and are gone.
const MAX_SUPERSEDED: i64 = 16;
const FIRST_BACKOFF: Duration = Duration::from_millis(25);
/// The wait before those that the timer could not take are offered again. Short, since others come after them.
const REFUSED_PAUSE: Duration = Duration::from_millis(50);

/// Hands dirty tickets to the timer.
#[derive(Debug, Clone)]
pub struct Relay {
    changes: Changes,
    timer: TimerServiceClient<ServiceChannel>,
    config: RelayConfig,
    metrics: RelayMetrics,
}

#[derive(Debug, thiserror::Error)]
enum RelayError {
    #[error("dirty tickets can't be read or marked")]
    Store(#[from] crate::error::Error),
    #[error("the timer does not take them")]
    Timer(#[from] Box<Status>),
}

impl Relay {
    /// Wiring.
    pub fn new(
        changes: Changes,
        timer: TimerServiceClient<ServiceChannel>,
        config: RelayConfig,
        metrics: RelayMetrics,
    ) -> Self {
        Self {
            changes,
            timer,
            config,
            metrics,
        }
    }

    /// Runs until `stop`: after each commit of this process, and by a short poll for those of other replicas. While the
    /// timer is away, rows stay dirty, nothing is locked, and the relay tries again ever slower.
    pub async fn run(self, stop: CancellationToken) -> Result<(), TaskError> {
        let mut committed = self.changes.committed();
        let mut backoff = FIRST_BACKOFF;
        let mut behind_since: Option<Instant> = None;
        let mut round = Round::default();
        loop {
            committed.mark_unchanged();
            let wait = match self.hand_over(&mut round).await {
                Ok(()) if round.after.is_some() => Duration::ZERO,
                Ok(()) if std::mem::take(&mut round.refused) > 0 => {
                    let since = *behind_since.get_or_insert_with(|| {
                        tracing::warn!("relay is behind: the timer can't take some tickets now");
                        Instant::now()
                    });
                    self.metrics.lag.set(since.elapsed().as_secs_f64());
                    tokio::select! {
                        () = stop.cancelled() => return Ok(()),
                        () = tokio::time::sleep(REFUSED_PAUSE) => continue,
                    }
                }
                Ok(()) => {
                    behind_since = None;
                    backoff = FIRST_BACKOFF;
                    self.metrics.lag.set(0.0);
                    Duration::from_millis(self.config.poll_ms)
                }
                Err(error) => {
                    let since = *behind_since.get_or_insert_with(|| {
                        tracing::warn!(
                            error = plazo_service::status::chain(&error),
                            "relay is behind"
                        );
                        Instant::now()
                    });
                    self.metrics.lag.set(since.elapsed().as_secs_f64());
                    round = Round::default();
                    let wait = backoff;
                    backoff = (backoff * 2).min(Duration::from_millis(self.config.max_backoff_ms));
                    tokio::select! {
                        () = stop.cancelled() => return Ok(()),
                        () = tokio::time::sleep(wait) => continue,
                    }
                }
            };
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                _ = committed.changed() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Hands the next batch of a round over.
    async fn hand_over(&self, round: &mut Round) -> Result<(), RelayError> {
        let limit = i64::from(self.config.batch);
        let dirty = deadlines::dirty(self.changes.pool(), round.after.take(), limit).await?;
        let Some(last) = dirty.last() else {
            return Ok(());
        };
        if u32::try_from(dirty.len()) == Ok(self.config.batch) {
            round.after = Some(last.key);
        }
        let request = ArmTicketsRequest {
            arms: dirty.iter().map(arm_of).collect(),
        };
        let deadline = Deadline::after(Duration::from_millis(self.config.arm_timeout_ms));
        let response = self
            .timer
            .clone()
            .arm_tickets(deadline.request(request))
            .await
            .map_err(Box::new)?;
        let asked = dirty.len();
        let armed = armed_of(dirty, &response.into_inner().outcomes);
        round.refused += asked - armed.len();
        deadlines::mark_armed(self.changes.pool(), &armed).await?;
        self.metrics.armed.inc_by(armed.len() as u64);
        Ok(())
    }
}

/// One pass over the dirty tickets, batch by batch.
#[derive(Debug, Default)]
struct Round {
    /// Where the next batch begins; none at the start of a pass.
    after: Option<TicketKey>,
    /// How many the timer could not take in this pass.
    refused: usize,
}

/// Those that the timer has armed. One that does not answer item by item has armed all of them.
fn armed_of(dirty: Vec<DirtyTicket>, outcomes: &[i32]) -> Vec<DirtyTicket> {
    if outcomes.is_empty() {
        return dirty;
    }
    let armed = i32::from(ArmOutcome::Armed);
    dirty
        .into_iter()
        .zip(outcomes)
        .filter_map(|(ticket, outcome)| (*outcome == armed).then_some(ticket))
        .collect()
}

/// Adds the present generation and removes those before it, from the last one that the timer may hold; never the one
/// that it adds.
fn arm_of(ticket: &DirtyTicket) -> TicketArm {
    let oldest = ticket
        .armed_generation
        .max(ticket.generation - MAX_SUPERSEDED)
        .max(1);
    TicketArm {
        ticket: Some(TicketGeneration {
            tenant_id: ticket.key.tenant_id,
            ticket_id: ticket.key.ticket_id,
            generation: ticket.generation,
        }),
        due_time: ticket.next_due_at.map(to_proto),
        first_superseded_generation: if oldest < ticket.generation {
            oldest
        } else {
            0
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removes_what_was_armed_before_and_never_what_it_adds() {
        let superseded = |armed_generation, generation| {
            let key = TicketKey {
                tenant_id: 1,
                ticket_id: 2,
            };
            let dirty = DirtyTicket {
                key,
                generation,
                armed_generation,
                next_due_at: None,
            };
            arm_of(&dirty).first_superseded_generation
        };
        assert_eq!(superseded(1, 2), 1);
        assert_eq!(superseded(5, 9), 5);
        assert_eq!(superseded(1, 100), 84);
    }
}
