//! Serves `plazo.timer.v1.TicketHandlerService` for tickets that exist only for a load.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use plazo_proto::timer::v1 as proto;
use plazo_proto::timer::v1::ticket_handler_service_server::{
    TicketHandlerService, TicketHandlerServiceServer,
};
use plazo_service::status::invalid;
use plazo_service::{
    Listeners, MethodPermissions, Metrics, Permission, Server, ServerConfig, ServerError,
    limit_messages,
};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::caller::Entrance;

const SERVICES: &[Permission] = &[Permission::Service];
const PERMISSIONS: MethodPermissions = &[
    (
        "/plazo.timer.v1.TicketHandlerService/HandleDueTickets",
        SERVICES,
    ),
    (
        "/plazo.timer.v1.TicketHandlerService/ListPendingTickets",
        SERVICES,
    ),
];

const PAGE_SIZE_DEFAULT: i32 = 5_000;
const PAGE_SIZE_MAX: i32 = 10_000;
/// What is in the handler's hands at the end is answered within this.
const GRACE_MS: u64 = 1_000;

/// Who knows the tickets.
pub(super) trait Owner: fmt::Debug + Send + Sync + 'static {
    /// Answers for each of these tickets, in their order, as of `now_us` in Unix microseconds.
    fn handle(&self, tickets: &[proto::TicketGeneration], now_us: i64)
    -> Vec<proto::HandledTicket>;

    /// At most `limit` pending tickets from a place on, 0 at first, and the place after them if there are more.
    fn pending(&self, from: u64, limit: usize) -> (Vec<proto::PendingTicket>, Option<u64>);
}

/// The service.
#[derive(Debug)]
struct HandlerGrpc<O> {
    owner: Arc<O>,
    /// How long each answer takes.
    delay: Duration,
}

/// Serves the tickets of `owner` on a socket, to whom `entrance` lets in, until `shutdown` is cancelled. Each answer takes
/// `delay`.
pub(super) async fn serve<O: Owner>(
    listeners: Listeners,
    owner: Arc<O>,
    delay: Duration,
    entrance: Entrance,
    shutdown: CancellationToken,
) -> Result<(), ServerError> {
    let config = ServerConfig {
        shutdown_grace_ms: GRACE_MS,
        ..ServerConfig::default()
    };
    let service = TicketHandlerServiceServer::new(HandlerGrpc { owner, delay });
    Server::new(
        &config,
        Metrics::new("load"),
        plazo_proto::FILE_DESCRIPTOR_SET,
        PERMISSIONS,
    )
    .access(&entrance.access)
    .with_tls(&entrance.tls)
    .add_service(limit_messages!(service, config))
    .run(listeners, shutdown)
    .await
}

/// Binds the address of a handler.
pub(super) async fn bind(listen: SocketAddr) -> Result<Listeners, ServerError> {
    let config = ServerConfig {
        listen,
        ..ServerConfig::default()
    };
    Listeners::bind(&config).await
}

#[tonic::async_trait]
impl<O: Owner> TicketHandlerService for HandlerGrpc<O> {
    async fn handle_due_tickets(
        &self,
        request: Request<proto::HandleDueTicketsRequest>,
    ) -> Result<Response<proto::HandleDueTicketsResponse>, Status> {
        let tickets = request.into_inner().tickets;
        if !self.delay.is_zero() {
            tokio::time::sleep(self.delay).await;
        }
        let now = now_us();
        let results = self.owner.handle(&tickets, now);
        Ok(Response::new(proto::HandleDueTicketsResponse {
            results,
            handler_time: Some(proto_timestamp_us(now)),
        }))
    }

    async fn list_pending_tickets(
        &self,
        request: Request<proto::ListPendingTicketsRequest>,
    ) -> Result<Response<proto::ListPendingTicketsResponse>, Status> {
        let request = request.into_inner();
        let size = match request.page_size {
            0 => PAGE_SIZE_DEFAULT,
            1..=PAGE_SIZE_MAX => request.page_size,
            _ => return Err(invalid("page_size", "must be 0 to 10,000")),
        };
        let from = match request.page_token.as_str() {
            "" => 0,
            token => token
                .parse()
                .map_err(|_| invalid("page_token", "must be the token of the page before"))?,
        };
        let (tickets, next) = self.owner.pending(from, usize::try_from(size).unwrap_or(1));
        Ok(Response::new(proto::ListPendingTicketsResponse {
            tickets,
            next_page_token: next.map_or_else(String::new, |place| place.to_string()),
        }))
    }
}

/// Now, in Unix microseconds by this machine's clock.
pub(super) fn now_us() -> i64 {
    Timestamp::now().as_microsecond()
}

/// Unix microseconds as protos write them.
pub(super) fn proto_timestamp_us(unix_us: i64) -> prost_types::Timestamp {
    let nanos = unix_us.rem_euclid(1_000_000) * 1_000;
    prost_types::Timestamp {
        seconds: unix_us.div_euclid(1_000_000),
        nanos: i32::try_from(nanos).unwrap_or_default(),
    }
}
