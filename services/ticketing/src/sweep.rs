//! The net under the relay and the timer: tickets that are overdue for longer than any lease lasts may have been lost,
//! and the timer is asked to check them. Outside of a rebuild, what it brings back points to a bug.

use std::time::Duration;

use plazo_proto::timer::v1::timer_service_client::TimerServiceClient;
use plazo_proto::timer::v1::{PendingTicket, RepairTicketsRequest, TicketGeneration};
use plazo_service::{Deadline, ServiceChannel, TaskError, status::chain};
use tokio_util::sync::CancellationToken;

use crate::changes::Changes;
use crate::config::SweepConfig;
use crate::instants::to_proto;
use crate::metrics::RelayMetrics;
use crate::store::deadlines;

const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// Looks for lost deadlines.
#[derive(Debug, Clone)]
pub struct Sweep {
    changes: Changes,
    timer: TimerServiceClient<ServiceChannel>,
    config: SweepConfig,
    metrics: RelayMetrics,
}

impl Sweep {
    /// Wiring.
    pub fn new(
        changes: Changes,
        timer: TimerServiceClient<ServiceChannel>,
        config: SweepConfig,
        metrics: RelayMetrics,
    ) -> Self {
        Self {
            changes,
            timer,
            config,
            metrics,
        }
    }

    /// Runs until `stop`.
    pub async fn run(self, stop: CancellationToken) -> Result<(), TaskError> {
        let period = Duration::from_millis(self.config.period_ms);
        loop {
            if stop
                .run_until_cancelled(tokio::time::sleep(period))
                .await
                .is_none()
            {
                return Ok(());
            }
            if let Err(error) = self.sweep_once().await {
                tracing::warn!(error = chain(&*error), "overdue sweep failed");
            }
        }
    }

    async fn sweep_once(&self) -> Result<(), TaskError> {
        let grace = Duration::from_millis(self.config.grace_ms);
        let overdue =
            deadlines::overdue(self.changes.pool(), grace, i64::from(self.config.batch)).await?;
        self.metrics
            .overdue
            .set(i64::try_from(overdue.len()).unwrap_or(i64::MAX));
        if overdue.is_empty() {
            return Ok(());
        }
        let tickets = overdue
            .iter()
            .map(|ticket| PendingTicket {
                ticket: Some(TicketGeneration {
                    tenant_id: ticket.key.tenant_id,
                    ticket_id: ticket.key.ticket_id,
                    generation: ticket.generation,
                }),
                due_time: Some(to_proto(ticket.next_due_at)),
            })
            .collect();
        let request = Deadline::after(CALL_TIMEOUT).request(RepairTicketsRequest { tickets });
        let answer = self
            .timer
            .clone()
            .repair_tickets(request)
            .await?
            .into_inner();
        let repaired = u64::try_from(answer.repaired_count).unwrap_or_default();
        if repaired > 0 {
            self.metrics.repaired.inc_by(repaired);
            tracing::error!(repaired, "the timer had lost deadlines");
        }
        Ok(())
    }
}
