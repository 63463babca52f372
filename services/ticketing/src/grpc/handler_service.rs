//! `plazo.timer.v1.TicketHandlerService`: what the timer asks.

use plazo_domain::Outcome;
use plazo_proto::timer::v1::ticket_handler_service_server::TicketHandlerService as Api;
use plazo_proto::timer::v1::{
    HandleDueTicketsRequest, HandleDueTicketsResponse, HandleOutcome, HandledTicket,
    ListPendingTicketsRequest, ListPendingTicketsResponse, PendingTicket, TicketGeneration,
};
use plazo_service::paging::{decode_page_token, encode_page_token};
use plazo_service::status;
use prost_types::Duration;
use tonic::{Request, Response, Status};

use crate::changes::Changes;
use crate::firing::{Firing, Handled};
use crate::instants::to_proto;
use crate::store::clocks::TicketKey;
use crate::store::deadlines::{self, PendingCursor};
use crate::validate::Checks;

const MAX_TICKETS: usize = 1_000;
const DEFAULT_PENDING_PAGE: i64 = 5_000;
const MAX_PENDING_PAGE: i64 = 10_000;
const PENDING_FILTER: &[u8] = b"pending";

/// The owner of the tickets, as the timer sees it.
#[derive(Debug, Clone)]
pub struct HandlerService {
    changes: Changes,
    firing: Firing,
}

impl HandlerService {
    /// Wiring.
    pub fn new(changes: Changes, firing: Firing) -> Self {
        Self { changes, firing }
    }
}

#[tonic::async_trait]
impl Api for HandlerService {
    async fn handle_due_tickets(
        &self,
        request: Request<HandleDueTicketsRequest>,
    ) -> Result<Response<HandleDueTicketsResponse>, Status> {
        let asked = asked(&request.into_inner())?;
        let (handled, now) = self.firing.handle(asked).await?;
        let results = handled.into_iter().map(to_result).collect();
        Ok(Response::new(HandleDueTicketsResponse {
            results,
            handler_time: Some(to_proto(now)),
        }))
    }

    async fn list_pending_tickets(
        &self,
        request: Request<ListPendingTicketsRequest>,
    ) -> Result<Response<ListPendingTicketsResponse>, Status> {
        let request = request.into_inner();
        let limit = match request.page_size {
            ..0 => return Err(status::invalid("page_size", "must not be negative")),
            0 => DEFAULT_PENDING_PAGE,
            size => i64::from(size).min(MAX_PENDING_PAGE),
        };
        let after = decode_page_token(PENDING_FILTER, &request.page_token)?
            .map(|[due_us, tenant_id, ticket_id]| {
                let next_due_at = jiff::Timestamp::from_microsecond(due_us)
                    .map_err(|_| status::invalid("page_token", "is not a page token"))?;
                Ok::<_, Status>(PendingCursor {
                    next_due_at,
                    key: TicketKey {
                        tenant_id,
                        ticket_id,
                    },
                })
            })
            .transpose()?;
        let rows = deadlines::pending(self.changes.pool(), after, limit).await?;
        let is_full = i64::try_from(rows.len()).unwrap_or(i64::MAX) == limit;
        let next_page_token = rows.last().filter(|_| is_full).map(|last| {
            let cursor = [
                last.next_due_at.as_microsecond(),
                last.key.tenant_id,
                last.key.ticket_id,
            ];
            encode_page_token(PENDING_FILTER, cursor)
        });
        let tickets = rows
            .into_iter()
            .map(|row| PendingTicket {
                ticket: Some(TicketGeneration {
                    tenant_id: row.key.tenant_id,
                    ticket_id: row.key.ticket_id,
                    generation: row.generation,
                }),
                due_time: Some(to_proto(row.next_due_at)),
            })
            .collect();
        let next_page_token = next_page_token.unwrap_or_default();
        Ok(Response::new(ListPendingTicketsResponse {
            tickets,
            next_page_token,
        }))
    }
}

fn asked(request: &HandleDueTicketsRequest) -> Result<Vec<(TicketKey, i64)>, Status> {
    let mut checks = Checks::new();
    let count = request.tickets.len();
    checks.check(
        "tickets",
        (1..=MAX_TICKETS).contains(&count),
        "must be 1 to 1000",
    );
    for (index, ticket) in request.tickets.iter().enumerate().take(MAX_TICKETS) {
        let is_valid = ticket.tenant_id > 0 && ticket.ticket_id > 0 && ticket.generation > 0;
        if !is_valid {
            checks.refuse(
                format!("tickets[{index}]"),
                "must have ids and generation above zero",
            );
        }
    }
    checks.finish()?;
    let key = |ticket: &TicketGeneration| TicketKey {
        tenant_id: ticket.tenant_id,
        ticket_id: ticket.ticket_id,
    };
    Ok(request
        .tickets
        .iter()
        .map(|ticket| (key(ticket), ticket.generation))
        .collect())
}

fn to_result(handled: Handled) -> HandledTicket {
    let (outcome, look_again_after_ms, active_messages, error_reason) = match handled {
        Handled::Looked {
            outcome,
            look_again_after_ms,
            active_messages,
        } => {
            let outcome = match outcome {
                Outcome::Fired => HandleOutcome::Fired,
                Outcome::NotDue => HandleOutcome::NotDue,
                Outcome::Already => HandleOutcome::Already,
            };
            (outcome, look_again_after_ms, active_messages, "")
        }
        Handled::Stale => (HandleOutcome::Stale, None, Vec::new(), ""),
        Handled::Busy => (HandleOutcome::Busy, None, Vec::new(), ""),
        Handled::Failed(reason) => (HandleOutcome::Error, None, Vec::new(), reason),
    };
    HandledTicket {
        outcome: outcome.into(),
        look_again_after: look_again_after_ms.map(duration),
        active_messages,
        error_reason: error_reason.to_owned(),
    }
}

fn duration(millis: i64) -> Duration {
    let nanos = i32::try_from(millis % 1_000).unwrap_or_default() * 1_000_000;
    Duration {
        seconds: millis / 1_000,
        nanos,
    }
}
