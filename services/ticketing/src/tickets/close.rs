//! People, bots and back ends close tickets, and open them again. The close by inactivity is `firing`'s.

use plazo_domain::{CloseSource, ClosingNote, check_note};
use plazo_proto::common::v1::Author;
use plazo_proto::ticketing::v1::ticket_event::Payload;
use plazo_proto::ticketing::v1::{
    CloseSource as ProtoSource, CloseTicketRequest, ReopenTicketRequest, TicketClosed,
    TicketReopened,
};
use plazo_service::{Actor, ActorKind};
use sqlx::PgConnection;

use crate::error::Error;
use crate::store::tickets::Closure;
use crate::tickets::author_of;
use crate::tickets::change::TicketChange;
use crate::tickets::view::{TicketView, closure_to_proto};

/// Closes a ticket.
pub async fn close_ticket(
    connection: &mut PgConnection,
    actor: &Actor,
    request: &CloseTicketRequest,
) -> Result<TicketView, Error> {
    let source = close_source(actor, request.source)?;
    let note = request.note.as_ref().map(|note| ClosingNote {
        category: note.category.clone(),
        summary: note.summary.clone(),
    });
    let violations = note
        .as_ref()
        .map(|note| check_note("note", note))
        .unwrap_or_default();
    if !violations.is_empty() {
        return Err(Error::Invalid(violations));
    }
    let mut change =
        TicketChange::lock(&mut *connection, actor, request.ticket_id, &request.etag).await?;
    if !change.facts.state.is_open() {
        return Err(Error::Precondition {
            reason: "TICKET_CLOSED",
            subject: format!("ticket/{}", request.ticket_id),
            description: "the ticket is closed already",
        });
    }
    let author = author_of(actor);
    let closure = Closure {
        closed_at: change.now(),
        source,
        author,
        note,
        exit_route: String::new(),
    };
    change.close(author, closure, 0);
    change.save(connection).await
}

impl TicketChange {
    /// Closes the ticket and records it. `cycle` is the one whose close this is, 0 for none.
    pub fn close(&mut self, author: Author, closure: Closure, cycle: i32) {
        let payload = TicketClosed {
            closure: Some(closure_to_proto(&closure)),
            cycle,
            tags: self.facts.tags.clone(),
        };
        self.facts.state = plazo_domain::TicketState::Closed;
        self.facts.closure = Some(closure);
        let removed = self.clock().closed();
        self.record(author, Payload::Closed(payload));
        self.record_cleared(author, removed);
    }
}

/// What a close is put down to: what the caller says, as far as he may, else what follows from who he is.
fn close_source(actor: &Actor, asked: i32) -> Result<CloseSource, Error> {
    let Ok(asked) = ProtoSource::try_from(asked) else {
        return Err(Error::invalid("source", "must be a known source"));
    };
    match (&actor.kind, asked) {
        (ActorKind::Agent(_), ProtoSource::Unspecified | ProtoSource::Agent) => {
            Ok(CloseSource::Agent)
        }
        (ActorKind::Agent(_), _) => Err(Error::invalid("source", "must be AGENT for an agent")),
        (ActorKind::Bot(_), ProtoSource::Unspecified) | (_, ProtoSource::Workflow) => {
            Ok(CloseSource::Workflow)
        }
        (_, ProtoSource::Unspecified | ProtoSource::Api) => Ok(CloseSource::Api),
        (_, ProtoSource::Customer) => Ok(CloseSource::Customer),
        (_, ProtoSource::Agent | ProtoSource::CustomerInactivity) => Err(Error::invalid(
            "source",
            "must be CUSTOMER, WORKFLOW or API for this actor",
        )),
    }
}

/// The reopen button: the ticket is open, whether or not somebody is assigned.
pub async fn reopen_ticket(
    connection: &mut PgConnection,
    actor: &Actor,
    request: &ReopenTicketRequest,
) -> Result<TicketView, Error> {
    let mut change =
        TicketChange::lock(&mut *connection, actor, request.ticket_id, &request.etag).await?;
    if change.facts.state.is_open() {
        return Err(Error::Precondition {
            reason: "TICKET_NOT_CLOSED",
            subject: format!("ticket/{}", request.ticket_id),
            description: "the ticket is not closed",
        });
    }
    change.reopen(author_of(actor), plazo_domain::TicketState::Open);
    change.save(connection).await
}

impl TicketChange {
    /// Opens a closed ticket again and records it. Whoever waits has no agent.
    pub fn reopen(&mut self, author: Author, state: plazo_domain::TicketState) {
        self.facts.state = state;
        self.facts.closure = None;
        if state == plazo_domain::TicketState::Waiting {
            self.facts.agent_id = None;
        }
        self.record(
            author,
            Payload::Reopened(TicketReopened {
                state: state.code().into(),
                agent_id: self.facts.agent_id.unwrap_or_default(),
            }),
        );
    }
}
