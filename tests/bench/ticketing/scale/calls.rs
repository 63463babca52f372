//! The calls: one of each kind that a desk, the timer or another service makes.

mod listing;
mod reading;
mod services;
mod writing;

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use plazo_proto::common::v1::{Author, AuthorKind};
use plazo_proto::ticketing::v1::contact_service_client::ContactServiceClient;
use plazo_proto::ticketing::v1::settings_service_client::SettingsServiceClient;
use plazo_proto::ticketing::v1::ticket_service_client::TicketServiceClient;
use plazo_proto::ticketing::v1::watch_tickets_response::Update;
use plazo_proto::ticketing::v1::{
    ListTicketsRequest, RecordMessageRequest, TicketFilter, WatchTicketsRequest,
};
use plazo_proto::timer::v1::ticket_handler_service_client::TicketHandlerServiceClient;
use plazo_tests::desk::{Signature, SignedChannel, sign, sign_as_timer};
use plazo_tests::solo::Solo;
use sqlx::PgPool;
use tonic::service::interceptor::InterceptedService;
use uuid::Uuid;

use crate::ticketing::messages::TEXT;
use crate::ticketing::scale::shape::{CALLED_TENANT, Shape, TicketShape};

/// Tickets in a batch of the timer or of notification.
const BATCH: usize = 256;
const OFTEN: usize = 200;
const SELDOM: usize = 10;
/// Calls that read or write hundreds of rows.
const SOMETIMES: usize = 40;

type Coming<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// One kind of call.
pub(super) struct Call {
    pub(super) name: &'static str,
    /// How often it is made in a round.
    pub(super) count: usize,
    /// Finds the tickets for it, untimed.
    pub(super) prepare: fn(Arc<World>) -> Coming<Vec<TicketShape>>,
    /// Makes it.
    pub(super) make: fn(Arc<World>, Vec<TicketShape>) -> Coming<()>,
}

type Tickets = Mutex<Box<dyn Iterator<Item = TicketShape> + Send>>;

/// Tickets for calls that use them up: each is given out once.
pub(super) struct Supply {
    open: Tickets,
    /// Within the last day.
    just_closed: Tickets,
    long_closed: Tickets,
    /// With a running cycle.
    ticking: Tickets,
    /// With a message that was asked for.
    warned: Tickets,
}

impl Supply {
    pub(super) fn new(shape: &Shape) -> Self {
        let of = |newest_first, fits: fn(&TicketShape) -> bool| -> Tickets {
            Mutex::new(Box::new(shape.of_called_tenant(newest_first, fits)))
        };
        Self {
            open: of(true, |ticket| {
                ticket.is_open && !ticket.is_ticking && !ticket.is_waiting
            }),
            just_closed: of(true, |ticket| !ticket.is_open),
            long_closed: of(false, |ticket| !ticket.is_open),
            ticking: of(true, |ticket| ticket.is_ticking),
            warned: of(false, |ticket| ticket.was_warned),
        }
    }
}

/// Who calls, and what there is.
pub(super) struct World {
    shape: Shape,
    supply: Arc<Supply>,
    pool: PgPool,
    administrator: SignedChannel,
    agent: SignedChannel,
    service: SignedChannel,
}

impl World {
    pub(super) fn new(service: &Solo, shape: Shape, supply: Arc<Supply>, pool: PgPool) -> Self {
        let agent = Signature::new(CALLED_TENANT, "agent/5", "tickets:attend", "1,2");
        Self {
            administrator: sign(service.channel(), CALLED_TENANT),
            agent: InterceptedService::new(service.channel(), agent),
            service: sign_as_timer(service.channel()),
            shape,
            supply,
            pool,
        }
    }

    fn tickets(&self) -> TicketServiceClient<SignedChannel> {
        TicketServiceClient::new(self.administrator.clone())
    }

    fn settings(&self) -> SettingsServiceClient<SignedChannel> {
        SettingsServiceClient::new(self.administrator.clone())
    }

    fn contacts(&self) -> ContactServiceClient<SignedChannel> {
        ContactServiceClient::new(self.administrator.clone())
    }

    fn handler(&self) -> TicketHandlerServiceClient<SignedChannel> {
        TicketHandlerServiceClient::new(self.service.clone()).max_decoding_message_size(16 << 20)
    }

    async fn list(&self, client: &SignedChannel, filter: TicketFilter, pages: usize) {
        let mut client = TicketServiceClient::new(client.clone());
        let mut request = ListTicketsRequest {
            filter: Some(filter),
            ..ListTicketsRequest::default()
        };
        for _ in 0..pages {
            let answer = client.list_tickets(request.clone()).await;
            let answer = answer.expect("a page comes").into_inner();
            assert!(!answer.tickets.is_empty(), "there are tickets to list");
            request.page_token = answer.next_page_token;
        }
    }

    async fn write(&self, ticket: TicketShape, kind: AuthorKind) -> i64 {
        let id = if kind == AuthorKind::Agent {
            ticket.agent_id
        } else {
            0
        };
        let request = RecordMessageRequest {
            ticket_id: ticket.ticket_id,
            author: Some(Author {
                kind: kind.into(),
                id,
            }),
            text: TEXT.to_owned(),
            request_id: Uuid::new_v4().to_string(),
            ..RecordMessageRequest::default()
        };
        let answer = self.tickets().record_message(request).await;
        let ticket = answer.expect("a message is recorded").into_inner().ticket;
        ticket.expect("the ticket comes back").ticket_id
    }

    async fn watch(&self, filter: TicketFilter) {
        let request = WatchTicketsRequest {
            filter: Some(filter),
            ..WatchTicketsRequest::default()
        };
        let answer = self.tickets().watch_tickets(request).await;
        let mut updates = answer.expect("a snapshot begins").into_inner();
        loop {
            let update = updates.message().await.expect("the stream goes on");
            let update = update.expect("the stream has no end").update;
            if matches!(update, Some(Update::SnapshotEnd(_))) {
                return;
            }
        }
    }
}

/// Takes so many tickets that no call has taken.
fn take(from: &Tickets, count: usize) -> Vec<TicketShape> {
    let mut from = from.lock().expect("nobody panicked with it");
    let taken: Vec<TicketShape> = from.by_ref().take(count).collect();
    assert_eq!(taken.len(), count, "there are enough tickets");
    taken
}

/// A call: its name, how often, the tickets for it (`$world` is an `Arc<World>`), and what it does with them.
macro_rules! call {
    ($name:literal, $count:expr, |$picking:ident| $pick:expr, |$world:ident, $tickets:ident| $make:expr) => {
        Call {
            name: $name,
            count: $count,
            prepare: |$picking| Box::pin(async move { $pick }),
            make: |$world, $tickets| {
                Box::pin(async move {
                    $make;
                })
            },
        }
    };
}

pub(super) use call;

/// All of them.
pub(super) fn all() -> Vec<Call> {
    [
        reading::all(),
        listing::all(),
        writing::all(),
        services::all(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
