//! Telling ticketing what became of messages, until it answers.

use std::time::Duration;

use plazo_proto::notification::v1::ActiveMessageState;
use plazo_proto::ticketing::v1::message_state_service_client::MessageStateServiceClient;
use plazo_proto::ticketing::v1::{MessageStateReport, ReportMessageStatesRequest, ReportOutcome};
use plazo_service::{Deadline, ServiceChannel};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::accepting::Wakers;
use crate::config::OutboxConfig;
use crate::message::to_proto_time;
use crate::metrics::NotificationMetrics;
use crate::outbox::{self, Outbox, OutboxError, all_answered};
use crate::store::reports::{self, Report};

const REASON_CHARS_MAX: usize = 200;

/// Sends the reports of the outbox.
#[derive(Debug, Clone)]
pub(crate) struct Reporter {
    pub(crate) pool: PgPool,
    pub(crate) client: MessageStateServiceClient<ServiceChannel>,
    pub(crate) request_timeout: Duration,
    pub(crate) config: OutboxConfig,
    pub(crate) wakers: Wakers,
    pub(crate) metrics: NotificationMetrics,
}

impl Reporter {
    /// Sends reports until shutdown.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        outbox::run(&self, &self.config, &self.wakers.reporter, shutdown).await;
    }
}

impl Outbox for Reporter {
    const WHAT: &'static str = "reports to ticketing";

    /// Sends one batch; how many reports it had. The rows stay locked during the call, whose deadline is short;
    /// nobody else wants them but the reporters of other replicas, and those skip them.
    async fn send_batch(&self, limit: u32) -> Result<usize, OutboxError> {
        let mut transaction = self.pool.begin().await?;
        let batch = reports::lock_oldest(&mut transaction, limit).await?;
        if batch.is_empty() {
            return Ok(0);
        }
        let answered: Vec<i64> = match self.call(&batch).await {
            Ok(outcomes) => {
                let answers = batch.iter().zip(&outcomes);
                answers
                    .filter_map(|(report, outcome)| self.is_answered(report, *outcome))
                    .collect()
            }
            Err(OutboxError::Refused(status)) if limit == 1 => {
                tracing::error!(error = %status.message(), "ticketing refuses a report; it is dropped");
                batch.iter().map(|report| report.report_id).collect()
            }
            Err(error) => {
                // Waited for: the next batch must not find these rows still locked, and pass them over.
                transaction.rollback().await?;
                return Err(error);
            }
        };
        reports::remove(&mut transaction, &answered).await?;
        transaction.commit().await?;
        if answered.is_empty() {
            return Err(OutboxError::AnswerCount {
                answers: 0,
                rows: batch.len(),
            });
        }
        Ok(batch.len())
    }
}

impl Reporter {
    async fn call(&self, batch: &[Report]) -> Result<Vec<i32>, OutboxError> {
        let request = ReportMessageStatesRequest {
            reports: batch.iter().map(to_proto).collect(),
        };
        let deadline = Deadline::after(self.request_timeout);
        let answer = deadline
            .bound(
                self.client
                    .clone()
                    .report_message_states(deadline.request(request)),
            )
            .await?;
        all_answered(answer.into_inner().outcomes, batch.len())
    }

    /// The report's id when it need not be sent again.
    fn is_answered(&self, report: &Report, outcome: i32) -> Option<i64> {
        let label = match ReportOutcome::try_from(outcome) {
            Ok(ReportOutcome::Taken) => "taken",
            Ok(ReportOutcome::Known) => "known",
            Ok(ReportOutcome::UnknownMessage) => "unknown_message",
            Ok(ReportOutcome::Invalid) => {
                tracing::error!(
                    report_id = report.report_id,
                    "ticketing finds a report ill-formed"
                );
                "invalid"
            }
            // From a newer ticketing: it was not refused, but not answered in words that we know either.
            Ok(ReportOutcome::Unspecified) | Err(_) => return None,
        };
        self.metrics.count_report(label);
        Some(report.report_id)
    }
}

fn to_proto(report: &Report) -> MessageStateReport {
    MessageStateReport {
        tenant_id: report.tenant_id,
        ticket_id: report.ticket_id,
        idempotency_key: report.idempotency_key.clone(),
        state: ActiveMessageState::try_from(i32::from(report.state))
            .unwrap_or(ActiveMessageState::Unspecified)
            .into(),
        state_time: Some(to_proto_time(report.state_at)),
        failure_reason: report
            .failure_reason
            .chars()
            .take(REASON_CHARS_MAX)
            .collect(),
    }
}
