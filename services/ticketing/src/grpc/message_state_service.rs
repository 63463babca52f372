//! `plazo.ticketing.v1.MessageStateService`: notification tells what became of active messages.

use std::sync::Arc;

use plazo_proto::notification::v1::ActiveMessageState;
use plazo_proto::ticketing::v1::message_state_service_server::MessageStateService as Api;
use plazo_proto::ticketing::v1::{
    MessageStateReport, ReportMessageStatesRequest, ReportMessageStatesResponse, ReportOutcome,
};
use plazo_service::commit_in_background;
use tonic::{Request, Response, Status};

use crate::changes::Changes;
use crate::instants::from_proto;
use crate::reports::{self, Report, Taken};
use crate::store::clocks::TicketKey;
use crate::store::settings::PolicyCache;
use crate::validate::Checks;

const MAX_REPORTS: usize = 500;
const MAX_KEY_CHARS: usize = 128;
const MAX_REASON_CHARS: usize = 200;

/// Takes reports.
#[derive(Debug, Clone)]
pub struct MessageStateService {
    changes: Changes,
    policies: Arc<PolicyCache>,
}

impl MessageStateService {
    /// Wiring.
    pub fn new(changes: Changes, policies: Arc<PolicyCache>) -> Self {
        Self { changes, policies }
    }
}

#[tonic::async_trait]
impl Api for MessageStateService {
    async fn report_message_states(
        &self,
        request: Request<ReportMessageStatesRequest>,
    ) -> Result<Response<ReportMessageStatesResponse>, Status> {
        let request = request.into_inner();
        let mut checks = Checks::new();
        let count = request.reports.len();
        checks.check(
            "reports",
            (1..=MAX_REPORTS).contains(&count),
            "must be 1 to 500",
        );
        checks.finish()?;

        // One that is ill-formed stops none of the others.
        let mut outcomes = vec![ReportOutcome::Invalid; count];
        let (places, well_formed): (Vec<usize>, Vec<Report>) = request
            .reports
            .into_iter()
            .enumerate()
            .filter_map(|(place, report)| Some((place, read(report)?)))
            .unzip();
        let (changes, policies) = (self.changes.clone(), Arc::clone(&self.policies));
        let taken = commit_in_background(async move {
            reports::take_all(&changes, &policies, &well_formed).await
        })
        .await?;
        for (place, taken) in places.into_iter().zip(taken) {
            outcomes[place] = match taken {
                Taken::News => ReportOutcome::Taken,
                Taken::Known => ReportOutcome::Known,
                Taken::UnknownMessage => ReportOutcome::UnknownMessage,
            };
        }
        let outcomes = outcomes.into_iter().map(i32::from).collect();
        Ok(Response::new(ReportMessageStatesResponse { outcomes }))
    }
}

/// A report, if it is well-formed.
fn read(report: MessageStateReport) -> Option<Report> {
    let state = ActiveMessageState::try_from(report.state).ok()?;
    let is_valid = report.tenant_id > 0
        && report.ticket_id > 0
        && !matches!(
            state,
            ActiveMessageState::Unspecified | ActiveMessageState::Uncertain
        )
        && (1..=MAX_KEY_CHARS).contains(&report.idempotency_key.chars().count())
        && report.failure_reason.chars().count() <= MAX_REASON_CHARS
        && !report.idempotency_key.contains(char::is_control)
        && !report.failure_reason.contains(char::is_control);
    let state_at = report.state_time.as_ref().and_then(from_proto)?;
    is_valid.then_some(Report {
        key: TicketKey {
            tenant_id: report.tenant_id,
            ticket_id: report.ticket_id,
        },
        idempotency_key: report.idempotency_key,
        state,
        state_at,
        failure_reason: report.failure_reason,
    })
}
