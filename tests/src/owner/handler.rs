//! What the timers ask the owner.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use plazo_proto::timer::v1 as proto;
use plazo_proto::timer::v1::HandleOutcome;
use plazo_proto::timer::v1::ticket_handler_service_server::{
    TicketHandlerService, TicketHandlerServiceServer,
};
use prost_types::Timestamp;
use tokio::task::JoinSet;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

use super::{Owner, State};

/// Serves the owner on a free port of the loopback, until the tasks are dropped.
pub fn serve(owner: &Owner, tasks: &mut JoinSet<()>) -> SocketAddr {
    let incoming = TcpIncoming::bind((Ipv4Addr::LOCALHOST, 0).into()).expect("a port is free");
    let address = incoming.local_addr().expect("it is bound");
    let service = TicketHandlerServiceServer::new(owner.clone());
    let server = Server::builder()
        .add_service(service)
        .serve_with_incoming(incoming.with_nodelay(Some(true)));
    tasks.spawn(async move {
        server.await.expect("the owner is served");
    });
    address
}

/// A call that is being handled; it counts until it is dropped, however it ends.
struct Busy<'a>(&'a Owner, usize);

impl<'a> Busy<'a> {
    fn new(owner: &'a Owner, tickets: usize) -> Self {
        let mut state = owner.lock();
        let State { busy, counts, .. } = &mut *state;
        busy.0 += 1;
        busy.1 += tickets;
        counts.calls += 1;
        counts.calls_at_once = counts.calls_at_once.max(busy.0);
        counts.tickets_at_once = counts.tickets_at_once.max(busy.1);
        Self(owner, tickets)
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.busy.0 -= 1;
        state.busy.1 -= self.1;
    }
}

#[tonic::async_trait]
impl TicketHandlerService for Owner {
    async fn handle_due_tickets(
        &self,
        request: Request<proto::HandleDueTicketsRequest>,
    ) -> Result<Response<proto::HandleDueTicketsResponse>, Status> {
        let tickets = request.into_inner().tickets;
        let _busy = Busy::new(self, tickets.len());
        let kills = {
            let mut state = self.lock();
            let kills = tickets
                .iter()
                .any(|ticket| state.trouble.killing.contains(&ticket.ticket_id));
            if kills || state.trouble.is_down {
                state.counts.refused += 1;
            }
            if state.trouble.is_down {
                return Err(Status::unavailable("it is down"));
            }
            kills
        };
        if kills {
            self.0.wants_death.notify_one();
            std::future::pending::<()>().await;
        }
        let now_us = self.now_us();
        let mut state = self.lock();
        let results = tickets
            .iter()
            .map(|ticket| look_at(&mut state, ticket, now_us))
            .collect();
        Ok(Response::new(proto::HandleDueTicketsResponse {
            results,
            handler_time: Some(timestamp_us(now_us)),
        }))
    }

    async fn list_pending_tickets(
        &self,
        request: Request<proto::ListPendingTicketsRequest>,
    ) -> Result<Response<proto::ListPendingTicketsResponse>, Status> {
        let request = request.into_inner();
        let first: usize = match request.page_token.as_str() {
            "" => 0,
            token => token
                .parse()
                .map_err(|_| Status::invalid_argument("page_token"))?,
        };
        let size = usize::try_from(request.page_size).unwrap_or(1_000);
        let mut state = self.lock();
        if state.trouble.is_down {
            return Err(Status::unavailable("it is down"));
        }
        let mut tickets = Vec::with_capacity(size);
        let mut next_page_token = String::new();
        for (index, row) in state.rows.iter().enumerate().skip(first) {
            let Some(due_ms) = row.next_ms() else {
                continue;
            };
            if tickets.len() == size {
                next_page_token = index.to_string();
                break;
            }
            tickets.push(proto::PendingTicket {
                ticket: Some(proto::TicketGeneration {
                    tenant_id: row.tenant_id,
                    ticket_id: id_of(index),
                    generation: row.generation,
                }),
                due_time: Some(timestamp_us(due_ms * 1_000)),
            });
        }
        state.counts.listed += tickets.len();
        Ok(Response::new(proto::ListPendingTicketsResponse {
            tickets,
            next_page_token,
        }))
    }
}

/// Decides about one ticket, as of this instant: the highest stage that is due acts.
fn look_at(
    state: &mut State,
    ticket: &proto::TicketGeneration,
    now_us: i64,
) -> proto::HandledTicket {
    let State {
        rows,
        books,
        counts,
        trouble,
        ..
    } = state;
    counts.looks += 1;
    let answer = |outcome: HandleOutcome, next_ms: Option<i64>| proto::HandledTicket {
        outcome: outcome.into(),
        look_again_after: next_ms.map(|next_ms| duration_us(next_ms * 1_000 - now_us)),
        ..proto::HandledTicket::default()
    };
    if trouble.erring.contains(&ticket.ticket_id) {
        return proto::HandledTicket {
            error_reason: "POISONED".to_owned(),
            ..answer(HandleOutcome::Error, None)
        };
    }
    let index = usize::try_from(ticket.ticket_id - 1).unwrap_or(usize::MAX);
    let row = rows
        .get_mut(index)
        .filter(|row| row.generation == ticket.generation && row.tenant_id == ticket.tenant_id);
    let Some(row) = row else {
        counts.stale += 1;
        return answer(HandleOutcome::Stale, None);
    };
    let is_due = |due_ms: &i64| *due_ms != i64::MAX && due_ms * 1_000 <= now_us;
    let highest = row.stages.iter().rposition(is_due);
    match highest {
        Some(due) if due >= row.next_stage => {
            books.act(index, row.cycle, due, now_us);
            row.next_stage = due + 1;
            answer(HandleOutcome::Fired, row.next_ms())
        }
        Some(_) => {
            counts.already += 1;
            answer(HandleOutcome::Already, row.next_ms())
        }
        None if row.next_ms().is_none() => {
            counts.already += 1;
            answer(HandleOutcome::Already, None)
        }
        None => {
            counts.not_due += 1;
            answer(HandleOutcome::NotDue, row.next_ms())
        }
    }
}

/// The id of a ticket.
pub(super) fn id_of(index: usize) -> i64 {
    i64::try_from(index).expect("few tickets") + 1
}

pub(super) fn timestamp_us(us: i64) -> Timestamp {
    crate::truth::proto_timestamp(us)
}

fn duration_us(us: i64) -> prost_types::Duration {
    let duration = Duration::from_micros(u64::try_from(us).unwrap_or(0));
    prost_types::Duration::try_from(duration).expect("it fits")
}
