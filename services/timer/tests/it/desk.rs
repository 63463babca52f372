//! The owner of the tickets, and notification, as the tests play them: a scripted truth.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use jiff::Timestamp;
use plazo_proto::notification::v1 as notification;
use plazo_proto::notification::v1::notification_service_server::NotificationService;
use plazo_proto::timer::v1 as timer;
use plazo_proto::timer::v1::HandleOutcome;
use plazo_proto::timer::v1::ticket_handler_service_server::TicketHandlerService;
use plazo_service::{MethodPermissions, Permission};
use tonic::{Request, Response, Status};

const SERVICES: &[Permission] = &[Permission::Service];

/// Who may call the desk: services.
pub(crate) const PERMISSIONS: MethodPermissions = &[
    (
        "/plazo.timer.v1.TicketHandlerService/HandleDueTickets",
        SERVICES,
    ),
    (
        "/plazo.timer.v1.TicketHandlerService/ListPendingTickets",
        SERVICES,
    ),
    (
        "/plazo.notification.v1.NotificationService/SendActiveMessages",
        SERVICES,
    ),
    (
        "/plazo.notification.v1.NotificationService/GetActiveMessage",
        SERVICES,
    ),
    (
        "/plazo.notification.v1.NotificationService/ListActiveMessages",
        SERVICES,
    ),
    (
        "/plazo.notification.v1.NotificationService/ResendActiveMessage",
        SERVICES,
    ),
    (
        "/plazo.notification.v1.NotificationService/ResolveActiveMessage",
        SERVICES,
    ),
    (
        "/plazo.notification.v1.NotificationService/CancelActiveMessage",
        SERVICES,
    ),
];

/// A tenant and a ticket.
pub(crate) type TicketId = (i64, i64);

/// One stage that took effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Firing {
    pub(crate) ticket: TicketId,
    pub(crate) generation: i64,
    /// The stage, from 0.
    pub(crate) stage: usize,
    pub(crate) due_ms: i64,
    pub(crate) fired_us: i64,
}

#[derive(Debug, Clone)]
struct Ticket {
    generation: i64,
    /// Due instants of all stages in Unix milliseconds, and how many have fired.
    stages: Vec<i64>,
    fired: usize,
}

/// What goes wrong on purpose.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trouble {
    /// Every call answers UNAVAILABLE.
    pub(crate) is_down: bool,
    /// These tickets answer ERROR.
    pub(crate) erring: BTreeSet<TicketId>,
    /// A batch with one of these fails as a whole, with INTERNAL.
    pub(crate) poisoning: BTreeSet<TicketId>,
    /// A batch with one of these is refused for want of room.
    pub(crate) exhausting: BTreeSet<TicketId>,
    /// These tickets answer BUSY so many times.
    pub(crate) busy: BTreeMap<TicketId, u32>,
    /// Notification answers UNAVAILABLE.
    pub(crate) is_notification_down: bool,
    /// Each call is answered so much later.
    pub(crate) wait: Duration,
    /// Tickets are handled one after the other, each for so long.
    pub(crate) work: Duration,
    /// Pages of pending tickets are kept back.
    pub(crate) holds_listing: bool,
}

/// The state of the desk.
#[derive(Debug, Default)]
pub(crate) struct DeskState {
    tickets: BTreeMap<TicketId, Ticket>,
    pub(crate) trouble: Trouble,
    pub(crate) firings: Vec<Firing>,
    /// All looks, with what was answered.
    pub(crate) looks: Vec<(TicketId, i64, HandleOutcome)>,
    /// Batches that were refused while the desk was down.
    pub(crate) refused_count: usize,
    /// The sizes of all batches.
    pub(crate) batches: Vec<usize>,
    /// Tickets that are with the desk, and the most there were.
    pub(crate) in_flight: (usize, usize),
    /// Calls of the list of pending tickets.
    pub(crate) listing_count: usize,
    /// Keys of the messages that notification has taken, each as often as it came.
    pub(crate) messages: Vec<String>,
}

/// The owner of the tickets, and notification.
#[derive(Debug, Clone, Default)]
pub(crate) struct Desk {
    state: Arc<Mutex<DeskState>>,
    /// One call works at a time.
    worker: Arc<tokio::sync::Mutex<()>>,
}

impl Desk {
    pub(crate) fn state(&self) -> MutexGuard<'_, DeskState> {
        self.state
            .lock()
            .expect("no test panics while it holds the desk")
    }

    /// Gives a ticket a generation, with the due instants of its stages. Nothing is armed by that.
    pub(crate) fn set(&self, ticket: TicketId, generation: i64, stages: &[i64]) {
        let stages = stages.to_vec();
        self.state().tickets.insert(
            ticket,
            Ticket {
                generation,
                stages,
                fired: 0,
            },
        );
    }

    /// Takes as long for so many tickets as the trouble says.
    async fn labour(&self, tickets: usize) {
        let (wait, work) = {
            let mut state = self.state();
            state.in_flight.0 += tickets;
            state.in_flight.1 = state.in_flight.1.max(state.in_flight.0);
            (state.trouble.wait, state.trouble.work)
        };
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        if !work.is_zero() {
            let _turn = self.worker.lock().await;
            tokio::time::sleep(work * u32::try_from(tickets).expect("they are few")).await;
        }
    }

    pub(crate) fn trouble(&self, change: impl FnOnce(&mut Trouble)) {
        change(&mut self.state().trouble);
    }

    pub(crate) fn firing_count(&self) -> usize {
        self.state().firings.len()
    }

    /// How often a ticket was looked at.
    pub(crate) fn look_count(&self, ticket: TicketId) -> usize {
        self.state()
            .looks
            .iter()
            .filter(|look| look.0 == ticket)
            .count()
    }

    /// Asserts the invariants over all that happened: every stage of every ticket took effect, once, and not early.
    pub(crate) fn assert_all_fired_once_and_not_early(&self) {
        let state = self.state();
        let expected: BTreeSet<_> = state
            .tickets
            .iter()
            .flat_map(|(id, ticket)| (0..ticket.stages.len()).map(|stage| (*id, stage)))
            .collect();
        let fired: Vec<_> = state.firings.iter().map(|f| (f.ticket, f.stage)).collect();
        let distinct: BTreeSet<_> = fired.iter().copied().collect();
        assert_eq!(distinct.len(), fired.len(), "a stage took effect twice");
        assert_eq!(distinct, expected, "a stage was lost");
        for firing in &state.firings {
            assert!(
                firing.fired_us >= firing.due_ms * 1_000,
                "early: {firing:?}"
            );
        }
    }
}

impl DeskState {
    fn handle(&mut self, asked: &timer::TicketGeneration) -> timer::HandledTicket {
        let id = (asked.tenant_id, asked.ticket_id);
        let now_us = now_us();
        let mut handled = timer::HandledTicket::default();
        let mut outcome = HandleOutcome::Stale;
        if self.trouble.erring.contains(&id) {
            outcome = HandleOutcome::Error;
            "TICKET_BROKEN".clone_into(&mut handled.error_reason);
        } else if let Some(left) = self.trouble.busy.get_mut(&id).filter(|left| **left > 0) {
            *left -= 1;
            outcome = HandleOutcome::Busy;
        } else if let Some(ticket) = self.tickets.get_mut(&id)
            && ticket.generation == asked.generation
        {
            outcome = HandleOutcome::Already;
            if let Some(due_ms) = ticket.stages.get(ticket.fired).copied() {
                outcome = HandleOutcome::NotDue;
                if due_ms * 1_000 <= now_us {
                    outcome = HandleOutcome::Fired;
                    let (stage, generation) = (ticket.fired, ticket.generation);
                    self.firings.push(Firing {
                        ticket: id,
                        generation,
                        stage,
                        due_ms,
                        fired_us: now_us,
                    });
                    handled.active_messages = vec![message(id, stage)];
                    ticket.fired += 1;
                }
            }
            handled.look_again_after = ticket.stages.get(ticket.fired).map(|due_ms| {
                let wait_us = u64::try_from(due_ms * 1_000 - now_us).unwrap_or(0);
                prost_types::Duration::try_from(Duration::from_micros(wait_us))
                    .expect("it is short")
            });
        }
        handled.outcome = outcome.into();
        self.looks.push((id, asked.generation, outcome));
        handled
    }
}

fn message(id: TicketId, stage: usize) -> notification::ActiveMessage {
    notification::ActiveMessage {
        tenant_id: id.0,
        ticket_id: id.1,
        idempotency_key: format!("{}/{}/{stage}", id.0, id.1),
        ..Default::default()
    }
}

/// Unix microseconds. Redis runs on the same machine, so this is its time too.
pub(crate) fn now_us() -> i64 {
    Timestamp::now().as_microsecond()
}

/// Unix milliseconds.
pub(crate) fn now_ms() -> i64 {
    Timestamp::now().as_millisecond()
}

/// Unix milliseconds as protos write them.
pub(crate) fn timestamp(unix_ms: i64) -> prost_types::Timestamp {
    let nanos = i32::try_from(unix_ms.rem_euclid(1_000) * 1_000_000).expect("it is small");
    prost_types::Timestamp {
        seconds: unix_ms.div_euclid(1_000),
        nanos,
    }
}

fn down() -> Status {
    Status::unavailable("down for a test")
}

#[tonic::async_trait]
impl TicketHandlerService for Desk {
    async fn handle_due_tickets(
        &self,
        request: Request<timer::HandleDueTicketsRequest>,
    ) -> Result<Response<timer::HandleDueTicketsResponse>, Status> {
        let tickets = request.into_inner().tickets;
        self.labour(tickets.len()).await;
        let mut state = self.state();
        state.in_flight.0 -= tickets.len();
        if state.trouble.is_down {
            state.refused_count += 1;
            return Err(down());
        }
        let exhausting = &state.trouble.exhausting;
        if tickets
            .iter()
            .any(|ticket| exhausting.contains(&(ticket.tenant_id, ticket.ticket_id)))
        {
            state.refused_count += 1;
            return Err(Status::resource_exhausted("no room for a test"));
        }
        state.batches.push(tickets.len());
        let poison = &state.trouble.poisoning;
        if tickets
            .iter()
            .any(|ticket| poison.contains(&(ticket.tenant_id, ticket.ticket_id)))
        {
            return Err(Status::internal("a poison ticket"));
        }
        let results = tickets.iter().map(|ticket| state.handle(ticket)).collect();
        let handler_time = Some(timestamp(now_ms()));
        Ok(Response::new(timer::HandleDueTicketsResponse {
            results,
            handler_time,
        }))
    }

    async fn list_pending_tickets(
        &self,
        request: Request<timer::ListPendingTicketsRequest>,
    ) -> Result<Response<timer::ListPendingTicketsResponse>, Status> {
        let request = request.into_inner();
        self.state().listing_count += 1;
        while self.state().trouble.holds_listing {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let state = self.state();
        if state.trouble.is_down {
            return Err(down());
        }
        let start: usize = request.page_token.parse().unwrap_or(0);
        let size = usize::try_from(request.page_size).expect("it is positive");
        let tickets: Vec<_> = state
            .tickets
            .iter()
            .skip(start)
            .take(size)
            .filter_map(|(id, ticket)| {
                Some(timer::PendingTicket {
                    due_time: Some(timestamp(*ticket.stages.get(ticket.fired)?)),
                    ticket: Some(timer::TicketGeneration {
                        tenant_id: id.0,
                        ticket_id: id.1,
                        generation: ticket.generation,
                    }),
                })
            })
            .collect();
        let end = start + size;
        let next_page_token = if end < state.tickets.len() {
            end.to_string()
        } else {
            String::new()
        };
        Ok(Response::new(timer::ListPendingTicketsResponse {
            tickets,
            next_page_token,
        }))
    }
}

#[tonic::async_trait]
impl NotificationService for Desk {
    async fn send_active_messages(
        &self,
        request: Request<notification::SendActiveMessagesRequest>,
    ) -> Result<Response<notification::SendActiveMessagesResponse>, Status> {
        let mut state = self.state();
        if state.trouble.is_notification_down {
            return Err(down());
        }
        let messages = request.into_inner().messages;
        let results = vec![notification::SentMessage::default(); messages.len()];
        state
            .messages
            .extend(messages.into_iter().map(|message| message.idempotency_key));
        Ok(Response::new(notification::SendActiveMessagesResponse {
            results,
        }))
    }

    async fn get_active_message(
        &self,
        _: Request<notification::GetActiveMessageRequest>,
    ) -> Result<Response<notification::GetActiveMessageResponse>, Status> {
        Err(Status::unimplemented("not for the timer"))
    }

    async fn list_active_messages(
        &self,
        _: Request<notification::ListActiveMessagesRequest>,
    ) -> Result<Response<notification::ListActiveMessagesResponse>, Status> {
        Err(Status::unimplemented("not for the timer"))
    }

    async fn resend_active_message(
        &self,
        _: Request<notification::ResendActiveMessageRequest>,
    ) -> Result<Response<notification::ResendActiveMessageResponse>, Status> {
        Err(Status::unimplemented("not for the timer"))
    }

    async fn resolve_active_message(
        &self,
        _: Request<notification::ResolveActiveMessageRequest>,
    ) -> Result<Response<notification::ResolveActiveMessageResponse>, Status> {
        Err(Status::unimplemented("not for the timer"))
    }

    async fn cancel_active_message(
        &self,
        _: Request<notification::CancelActiveMessageRequest>,
    ) -> Result<Response<notification::CancelActiveMessageResponse>, Status> {
        Err(Status::unimplemented("not for the timer"))
    }
}
