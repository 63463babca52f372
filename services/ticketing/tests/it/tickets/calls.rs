//! Every way to change one ticket, and batches of them, as a caller does it.

use plazo_proto::common::v1::{TimeUnit, TimeValue};
use plazo_proto::ticketing::v1::pause_automation_request::Length;
use plazo_proto::ticketing::v1::{
    AssignTicketRequest, BatchItemError, CloseTicketRequest, CloseTicketsRequest,
    HoldTicketRequest, PauseAutomationRequest, ReopenTicketRequest, ResumeAutomationRequest,
    ResumeTicketRequest, SetTicketOpenRequest, TagTicketsRequest, Ticket, TicketResult,
    TransferTicketRequest, UnlinkTicketRequest, ticket_result,
};
use tonic::{Code, Status};

use crate::desk::Desk;
use crate::support::{Clients, time_value};

/// A change of one ticket that takes an etag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// To this agent.
    Assign(i64),
    Close,
    Reopen,
    Hold,
    Resume,
    /// To this queue.
    Transfer(i64),
    Unlink,
    SetOpen,
    /// For a minute.
    Pause,
    ResumeAutomation,
}

impl Change {
    /// All of them.
    pub(crate) fn all(agent_id: i64, queue_id: i64) -> [Self; 10] {
        [
            Self::Assign(agent_id),
            Self::Close,
            Self::Reopen,
            Self::Hold,
            Self::Resume,
            Self::Transfer(queue_id),
            Self::Unlink,
            Self::SetOpen,
            Self::Pause,
            Self::ResumeAutomation,
        ]
    }

    /// Makes it without etag and request id.
    pub(crate) async fn make(self, clients: &Clients, ticket_id: i64) -> Result<Ticket, Status> {
        self.make_with(clients, ticket_id, "", "").await
    }

    /// Makes it.
    pub(crate) async fn make_with(
        self,
        clients: &Clients,
        ticket_id: i64,
        etag: &str,
        request_id: &str,
    ) -> Result<Ticket, Status> {
        let mut tickets = clients.tickets.clone();
        let (etag, request_id) = (etag.to_owned(), request_id.to_owned());
        macro_rules! call {
            ($method:ident, $request:ident $(, $field:ident = $value:expr)*) => {{
                #[allow(clippy::needless_update, reason = "some requests have no other fields")]
                let request = $request {
                    ticket_id,
                    etag,
                    request_id,
                    $($field: $value,)*
                    ..Default::default()
                };
                tickets.$method(request).await?.into_inner().ticket
            }};
        }
        let reason = "waits for a part".to_owned();
        let minute = Length::PauseFor(time_value(1, TimeUnit::Minute));
        let ticket = match self {
            Self::Assign(agent) => call!(assign_ticket, AssignTicketRequest, agent_id = agent),
            Self::Close => call!(close_ticket, CloseTicketRequest),
            Self::Reopen => call!(reopen_ticket, ReopenTicketRequest),
            Self::Hold => call!(hold_ticket, HoldTicketRequest, reason = reason),
            Self::Resume => call!(resume_ticket, ResumeTicketRequest),
            Self::Transfer(to) => call!(transfer_ticket, TransferTicketRequest, queue_id = to),
            Self::Unlink => call!(unlink_ticket, UnlinkTicketRequest),
            Self::SetOpen => call!(set_ticket_open, SetTicketOpenRequest),
            Self::Pause => {
                call!(
                    pause_automation,
                    PauseAutomationRequest,
                    length = Some(minute)
                )
            }
            Self::ResumeAutomation => call!(resume_automation, ResumeAutomationRequest),
        };
        Ok(ticket.expect("the ticket"))
    }
}

/// A precondition that was not met.
pub(crate) fn precondition(reason: &str) -> (Code, String) {
    (Code::FailedPrecondition, reason.to_owned())
}

/// Puts a ticket on hold for so long.
pub(crate) async fn hold(
    clients: &Clients,
    ticket_id: i64,
    max_length: Option<TimeValue>,
) -> Result<Ticket, Status> {
    let request = HoldTicketRequest {
        ticket_id,
        reason: "waits for a part".to_owned(),
        max_length,
        ..Default::default()
    };
    let answer = clients.tickets.clone().hold_ticket(request).await?;
    Ok(answer.into_inner().ticket.expect("the ticket"))
}

/// What became of each ticket of a batch: the ticket, or the code, reason and field of the error.
pub(crate) type Item = (i64, Result<Ticket, (Code, String, String)>);

/// An error of an item. Every one has its reason and says in words what is wrong.
pub(crate) fn told_error(error: BatchItemError) -> (Code, String, String) {
    assert!(!error.description.is_empty() && !error.reason.is_empty());
    (Code::from_i32(error.code), error.reason, error.field)
}

fn items(results: Vec<TicketResult>) -> Vec<Item> {
    let told = |result: TicketResult| {
        let outcome = match result.result.expect("a result") {
            ticket_result::Result::Ticket(ticket) => {
                assert_eq!(ticket.ticket_id, result.ticket_id);
                Ok(ticket)
            }
            ticket_result::Result::Error(error) => Err(told_error(error)),
        };
        (result.ticket_id, outcome)
    };
    results.into_iter().map(told).collect()
}

/// Closes many tickets.
pub(crate) async fn close_many(
    clients: &Clients,
    request: CloseTicketsRequest,
) -> Result<Vec<Item>, Status> {
    let answer = clients.tickets.clone().close_tickets(request).await?;
    Ok(items(answer.into_inner().results))
}

/// Tags many tickets.
pub(crate) async fn tag_many(
    clients: &Clients,
    request: TagTicketsRequest,
) -> Result<Vec<Item>, Status> {
    let answer = clients.tickets.clone().tag_tickets(request).await?;
    Ok(items(answer.into_inner().results))
}

/// The tags of a request.
pub(crate) fn tagging(ticket_ids: &[i64], add: &[&str], remove: &[&str]) -> TagTicketsRequest {
    let owned = |tags: &[&str]| tags.iter().map(|&tag| tag.to_owned()).collect();
    TagTicketsRequest {
        ticket_ids: ticket_ids.to_vec(),
        add_tags: owned(add),
        remove_tags: owned(remove),
        request_id: String::new(),
    }
}

/// Tags one ticket.
pub(crate) async fn tag(desk: &Desk, ticket_id: i64, add: &[&str], remove: &[&str]) -> Ticket {
    let request = tagging(&[ticket_id], add, remove);
    let mut items = tag_many(&desk.people, request).await.expect("answered");
    let (_, ticket) = items.pop().expect("an answer");
    ticket.expect("tagged")
}

/// Has one ticket looked at as it is now, and tells what happened to it meanwhile.
pub(crate) async fn pass(desk: &Desk, ticket_id: i64, minutes: f64) -> Vec<String> {
    let before = desk.whole_story(ticket_id).await.len();
    desk.age(&[ticket_id], minutes).await;
    let generation = desk.ticket(ticket_id).await.generation;
    let answer = desk.handle(&[(ticket_id, generation)]).await;
    answer.expect("handled");
    desk.whole_story(ticket_id).await.split_off(before)
}

/// Changes the row of the desk's bot: `set` is the list of assignments.
pub(crate) async fn set_bot(desk: &Desk, set: &'static str) {
    let statement = format!("UPDATE bots SET {set} WHERE bot_id = $1");
    sqlx::query(sqlx::AssertSqlSafe(statement))
        .bind(desk.bot_id)
        .execute(&desk.fixture.pool)
        .await
        .expect("updated");
}

/// Microseconds since 1970.
pub(crate) fn micros(at: Option<prost_types::Timestamp>) -> i64 {
    let at = at.expect("an instant");
    at.seconds * 1_000_000 + i64::from(at.nanos / 1_000)
}

/// An instant.
pub(crate) fn at(micros: i64) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: micros.div_euclid(1_000_000),
        nanos: i32::try_from(micros.rem_euclid(1_000_000) * 1_000).expect("below a second"),
    }
}

/// The database's time, in microseconds since 1970.
pub(crate) async fn now(desk: &Desk) -> i64 {
    sqlx::query_scalar("SELECT (extract(epoch FROM clock_timestamp()) * 1e6)::bigint")
        .fetch_one(&desk.fixture.pool)
        .await
        .expect("the time")
}
