//! A handler that does nothing: it answers FIRED, and notes when it saw what. It is a process of its own, this program
//! with another argument, and takes commands by lines as the peers' workers do (`recorder`).

use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use plazo_proto::timer::v1::ticket_handler_service_server::{
    TicketHandlerService, TicketHandlerServiceServer,
};
use plazo_proto::timer::v1::{
    HandleDueTicketsRequest, HandleDueTicketsResponse, HandleOutcome, HandledTicket,
    ListPendingTicketsRequest, ListPendingTicketsResponse, PendingTicket, TicketGeneration,
};
use prost_types::Timestamp;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

use crate::timer::recorder::{answer, hand_over};

/// Tenants of the tickets here: all lanes have some.
pub(super) const TENANTS: i64 = 64;
/// When the owner of the tickets names no size.
const PAGE_SIZE: i32 = 5_000;

/// Serves until its input ends.
pub(crate) fn serve() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime starts");
    runtime.block_on(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let handler = NoOp::default();
        let service = TicketHandlerServiceServer::new(handler.clone())
            .max_decoding_message_size(16 << 20)
            .max_encoding_message_size(16 << 20);
        let server = Server::builder()
            .tcp_nodelay(true)
            .add_service(service)
            .serve_with_incoming(TcpListenerStream::new(listener));
        answer(&format!("ready http://{address}"));
        tokio::select! {
            ended = server => ended.expect("the handler serves"),
            obeyed = tokio::task::spawn_blocking(move || obey(&handler)) => obeyed.expect("commands are known"),
        }
    });
    ExitCode::SUCCESS
}

fn obey(handler: &NoOp) {
    for line in std::io::stdin().lines().map_while(Result::ok) {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |place: usize| -> i64 { words[place].parse().expect("a number") };
        let mut state = handler.lock();
        match words[0] {
            "count" => answer(&(state.pairs.len() / 2).to_string()),
            "take" => {
                let pairs = std::mem::take(&mut state.pairs);
                drop(state);
                hand_over(words[1], &pairs);
            }
            "pending" => {
                (state.pending_count, state.pending_due_ms) = (number(1), number(2));
                answer("0");
            }
            "hold" => {
                let until_us = now_us() + number(1) * 1_000;
                handler.held_until_us.store(until_us, Ordering::Relaxed);
                answer("0");
            }
            other => panic!("no command {other}"),
        }
    }
}

/// The clock of this machine, as Redis and the peers read it.
#[expect(
    clippy::disallowed_methods,
    reason = "lateness is told by one clock, which the peers' handlers read too"
)]
pub(crate) fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    i64::try_from(since.expect("it is later than 1970").as_micros()).expect("a time of our days")
}

#[derive(Debug, Clone, Default)]
struct NoOp {
    state: Arc<Mutex<State>>,
    /// Calls wait until then before anything is noted.
    held_until_us: Arc<AtomicI64>,
}

#[derive(Debug, Default)]
struct State {
    /// For each ticket when it was due and when it was seen, in milliseconds since 1970.
    pairs: Vec<f64>,
    /// The owner has so many tickets, all due at one instant.
    pending_count: i64,
    pending_due_ms: i64,
}

impl NoOp {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[tonic::async_trait]
impl TicketHandlerService for NoOp {
    #[expect(clippy::cast_precision_loss, reason = "milliseconds of our days fit")]
    async fn handle_due_tickets(
        &self,
        request: Request<HandleDueTicketsRequest>,
    ) -> Result<Response<HandleDueTicketsResponse>, Status> {
        let held_us = self.held_until_us.load(Ordering::Relaxed) - now_us();
        if let Ok(held_us) = u64::try_from(held_us) {
            tokio::time::sleep(Duration::from_micros(held_us)).await;
        }
        let tickets = request.into_inner().tickets;
        let seen_us = now_us();
        let at_ms = seen_us as f64 / 1e3;
        let mut state = self.lock();
        // The generation of a ticket here is the instant at which it is due.
        let pairs = tickets
            .iter()
            .flat_map(|ticket| [ticket.generation as f64, at_ms]);
        state.pairs.extend(pairs);
        drop(state);
        let fired = HandledTicket {
            outcome: HandleOutcome::Fired.into(),
            ..HandledTicket::default()
        };
        Ok(Response::new(HandleDueTicketsResponse {
            results: vec![fired; tickets.len()],
            handler_time: Some(timestamp_us(seen_us)),
        }))
    }

    async fn list_pending_tickets(
        &self,
        request: Request<ListPendingTicketsRequest>,
    ) -> Result<Response<ListPendingTicketsResponse>, Status> {
        let request = request.into_inner();
        let size = match request.page_size {
            0 => PAGE_SIZE,
            size => size,
        };
        let first: i64 = match request.page_token.as_str() {
            "" => 1,
            token => token
                .parse()
                .map_err(|_| Status::invalid_argument("a token of another kind"))?,
        };
        let (count, due_ms) = {
            let state = self.lock();
            (state.pending_count, state.pending_due_ms)
        };
        let end = (first + i64::from(size)).min(count + 1);
        let tickets = (first..end).map(|ticket_id| PendingTicket {
            ticket: Some(TicketGeneration {
                tenant_id: tenant_of(ticket_id),
                ticket_id,
                generation: due_ms,
            }),
            due_time: Some(timestamp_us(due_ms * 1_000)),
        });
        let next_page_token = if end > count {
            String::new()
        } else {
            end.to_string()
        };
        Ok(Response::new(ListPendingTicketsResponse {
            tickets: tickets.collect(),
            next_page_token,
        }))
    }
}

/// Whose ticket it is.
pub(super) fn tenant_of(ticket_id: i64) -> i64 {
    1 + ticket_id % TENANTS
}

/// Microseconds since 1970 as protos hold them.
pub(super) fn timestamp_us(us: i64) -> Timestamp {
    let nanos = i32::try_from(us.rem_euclid(1_000_000) * 1_000).expect("below a second");
    Timestamp {
        seconds: us.div_euclid(1_000_000),
        nanos,
    }
}
