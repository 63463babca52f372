//! A ticketing that says what a test tells it to say.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::Stream;
use plazo_proto::common::v1::{Author, AuthorKind};
use plazo_proto::notification::v1::{ActiveMessage, ActiveMessageState};
use plazo_proto::ticketing::v1::erasure_service_server::ErasureServiceServer;
use plazo_proto::ticketing::v1::feed_service_server::{FeedService, FeedServiceServer};
use plazo_proto::ticketing::v1::inbound_service_server::InboundServiceServer;
use plazo_proto::ticketing::v1::message_state_service_server::{
    MessageStateService, MessageStateServiceServer,
};
use plazo_proto::ticketing::v1::ticket_event::Payload;
use plazo_proto::ticketing::v1::{
    ActiveMessageRequested, Message, MessageKind, MessageRecorded, MessageStateReport,
    ReportMessageStatesRequest, ReportMessageStatesResponse, ReportOutcome, StreamEventsRequest,
    StreamEventsResponse, TicketClosed, TicketEvent, TicketReopened,
};
use plazo_service::status;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

use super::erasures::ScriptedErasures;
use super::inbound::ScriptedInbound;
use super::{BOT, TENANT, eventually, spawn};

/// Serves the feed and takes reports.
#[derive(Clone)]
pub(crate) struct ScriptedTicketing {
    pub(crate) address: SocketAddr,
    script: Arc<Mutex<Script>>,
    changed: Arc<watch::Sender<()>>,
    pub(crate) inbound: ScriptedInbound,
    pub(crate) erasures: ScriptedErasures,
}

#[derive(Default)]
struct Script {
    /// Batches of the feed; the position is the number of batches.
    batches: Vec<Vec<TicketEvent>>,
    /// Each stream of the feed is due to be opened anew after so many batches.
    due_after: Option<usize>,
    /// Positions from which the stream was opened.
    opened_at: Vec<String>,
    reports: Vec<MessageStateReport>,
    report_calls: u32,
    /// What goes wrong with the next calls.
    report_faults: Vec<ReportFault>,
}

#[derive(Clone, Copy)]
pub(crate) enum ReportFault {
    Unavailable,
    /// It takes the reports and the answer is lost.
    AnswerLost,
    /// It refuses the call as a whole, if a report has this key's end.
    RefusesKey(&'static str),
}

impl ScriptedTicketing {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let ticketing = Self {
            address,
            script: Arc::default(),
            changed: Arc::new(watch::Sender::new(())),
            inbound: ScriptedInbound::default(),
            erasures: ScriptedErasures::default(),
        };
        let server = tonic::transport::Server::builder()
            .add_service(FeedServiceServer::new(ticketing.clone()))
            .add_service(MessageStateServiceServer::new(ticketing.clone()))
            .add_service(InboundServiceServer::new(ticketing.inbound.clone()))
            .add_service(ErasureServiceServer::new(ticketing.erasures.clone()));
        spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        ticketing
    }

    fn script<T>(&self, act: impl FnOnce(&mut Script) -> T) -> T {
        act(&mut self.script.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Adds events to the feed, which come as one batch.
    pub(crate) fn publish(&self, events: Vec<TicketEvent>) {
        self.script(|script| script.batches.push(events));
        self.changed.send_replace(());
    }

    /// Lets each stream of the feed be due after so many batches.
    pub(crate) fn end_streams_after(&self, batches: usize) {
        self.script(|script| script.due_after = Some(batches));
    }

    pub(crate) fn fail_reports(&self, faults: &[ReportFault]) {
        self.script(|script| script.report_faults.extend(faults));
    }

    pub(crate) fn opened_at(&self) -> Vec<String> {
        self.script(|script| script.opened_at.clone())
    }

    pub(crate) fn report_calls(&self) -> u32 {
        self.script(|script| script.report_calls)
    }

    /// What was reported of a message, in the order of arrival.
    pub(crate) fn reports_of(&self, key: &str) -> Vec<MessageStateReport> {
        self.script(|script| {
            let reports = script.reports.iter();
            reports
                .filter(|report| report.idempotency_key == key)
                .cloned()
                .collect()
        })
    }

    pub(crate) async fn until_reported(
        &self,
        key: &str,
        state: ActiveMessageState,
    ) -> MessageStateReport {
        eventually(&format!("{key} is reported as {state:?}"), || async {
            self.reports_of(key)
                .into_iter()
                .find(|report| report.state() == state)
        })
        .await
    }
}

#[tonic::async_trait]
impl FeedService for ScriptedTicketing {
    type StreamEventsStream =
        Pin<Box<dyn Stream<Item = Result<StreamEventsResponse, Status>> + Send>>;

    async fn stream_events(
        &self,
        request: Request<StreamEventsRequest>,
    ) -> Result<Response<Self::StreamEventsStream>, Status> {
        let position = request.into_inner().position;
        self.script(|script| script.opened_at.push(position.clone()));
        let mut next: usize = position.parse().unwrap_or(0);
        let mut sent = 0;
        let this = self.clone();
        let mut changed = self.changed.subscribe();
        Ok(Response::new(Box::pin(async_stream::stream! {
            loop {
                while let Some(events) = this.script(|script| script.batches.get(next).cloned()) {
                    next += 1;
                    sent += 1;
                    yield Ok(StreamEventsResponse { events, position: next.to_string() });
                    if this.script(|script| script.due_after == Some(sent)) {
                        let wait = Duration::from_millis(1);
                        yield Err(status::unavailable(status::REASON_RENEWAL_DUE, "again", wait));
                        return;
                    }
                }
                if changed.changed().await.is_err() {
                    return;
                }
            }
        })))
    }
}

#[tonic::async_trait]
impl MessageStateService for ScriptedTicketing {
    async fn report_message_states(
        &self,
        request: Request<ReportMessageStatesRequest>,
    ) -> Result<Response<ReportMessageStatesResponse>, Status> {
        let reports = request.into_inner().reports;
        let fault = self.script(|script| {
            script.report_calls += 1;
            match script.report_faults.first().copied() {
                lasting @ Some(ReportFault::RefusesKey(_)) => lasting,
                Some(fault) => {
                    script.report_faults.remove(0);
                    Some(fault)
                }
                None => None,
            }
        });
        let unavailable =
            || status::unavailable("TEST", "as the test wants", Duration::from_millis(1));
        match fault {
            Some(ReportFault::Unavailable) => return Err(unavailable()),
            Some(ReportFault::RefusesKey(end))
                if reports
                    .iter()
                    .any(|report| report.idempotency_key.ends_with(end)) =>
            {
                return Err(status::invalid("reports", "as the test wants"));
            }
            _ => {}
        }
        let outcomes = vec![ReportOutcome::Taken.into(); reports.len()];
        self.script(|script| script.reports.extend(reports));
        if matches!(fault, Some(ReportFault::AnswerLost)) {
            return Err(unavailable());
        }
        Ok(Response::new(ReportMessageStatesResponse { outcomes }))
    }
}

/// An event of a ticket.
pub(crate) fn event(ticket_id: i64, ticket_seq: i64, payload: Payload) -> TicketEvent {
    TicketEvent {
        event_id: ticket_id * 1_000 + ticket_seq,
        tenant_id: TENANT,
        ticket_id,
        ticket_seq,
        bot_id: BOT,
        payload: Some(payload),
        ..TicketEvent::default()
    }
}

/// A message is asked for.
pub(crate) fn requested(ticket_seq: i64, message: &ActiveMessage) -> TicketEvent {
    let payload = ActiveMessageRequested {
        message: Some(message.clone()),
    };
    event(
        message.ticket_id,
        ticket_seq,
        Payload::ActiveMessageRequested(payload),
    )
}

/// Somebody writes.
pub(crate) fn wrote(
    ticket_id: i64,
    ticket_seq: i64,
    author: AuthorKind,
    kind: MessageKind,
) -> TicketEvent {
    let message = Message {
        ticket_id,
        author: Some(Author {
            kind: author.into(),
            id: 5,
        }),
        kind: kind.into(),
        ..Message::default()
    };
    let payload = MessageRecorded {
        message: Some(message),
        ..MessageRecorded::default()
    };
    event(ticket_id, ticket_seq, Payload::MessageRecorded(payload))
}

/// The customer answers.
pub(crate) fn answered(ticket_id: i64, ticket_seq: i64) -> TicketEvent {
    wrote(
        ticket_id,
        ticket_seq,
        AuthorKind::Customer,
        MessageKind::Chat,
    )
}

/// A closed ticket is opened again.
pub(crate) fn reopened(ticket_id: i64, ticket_seq: i64, supersedes_close: bool) -> TicketEvent {
    let payload = TicketReopened {
        supersedes_close,
        ..TicketReopened::default()
    };
    event(ticket_id, ticket_seq, Payload::Reopened(payload))
}

/// The ticket is closed.
pub(crate) fn closed(ticket_id: i64, ticket_seq: i64) -> TicketEvent {
    event(
        ticket_id,
        ticket_seq,
        Payload::Closed(TicketClosed::default()),
    )
}
