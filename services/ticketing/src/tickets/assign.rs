//! A ticket gets an agent, or is set open without one.

use plazo_domain::TicketState;
use plazo_proto::common::v1::Author;
use plazo_proto::ticketing::v1::ticket_event::Payload;
use plazo_proto::ticketing::v1::{TicketAssigned, TicketSetOpen};
use plazo_service::Actor;
use sqlx::PgConnection;

use crate::error::Error;
use crate::tickets::author_of;
use crate::tickets::change::TicketChange;
use crate::tickets::open::require_agent;
use crate::tickets::view::TicketView;

/// Assigns a ticket to an agent: it becomes open, whatever it was, and the automation pauses.
pub async fn assign_ticket(
    connection: &mut PgConnection,
    actor: &Actor,
    ticket_id: i64,
    etag: &str,
    agent_id: i64,
) -> Result<TicketView, Error> {
    let mut change = TicketChange::lock(&mut *connection, actor, ticket_id, etag).await?;
    let bot_id = change.facts.bot_id;
    require_agent(&mut *connection, actor.tenant_id, agent_id, bot_id).await?;

    assign(&mut change, author_of(actor), agent_id);
    change.save(connection).await
}

/// What assigning a locked ticket does to it.
pub(super) fn assign(change: &mut TicketChange, author: Author, agent_id: i64) {
    let now = change.now();
    if !change.facts.state.is_open() {
        change.reopen(author, TicketState::Open);
    }
    let previous_agent_id = change.facts.agent_id.replace(agent_id);
    change.facts.state = change.facts.state.after_assign();
    change.facts.first_assigned_at.get_or_insert(now);
    change.record(
        author,
        Payload::Assigned(TicketAssigned {
            agent_id,
            previous_agent_id: previous_agent_id.unwrap_or_default(),
        }),
    );
    change.pause_automation(author);
}

/// The action block "set open": the ticket becomes open, whatever it was, without assigning anybody, and the automation
/// pauses.
pub async fn set_open(
    connection: &mut PgConnection,
    actor: &Actor,
    ticket_id: i64,
    etag: &str,
) -> Result<TicketView, Error> {
    let mut change = TicketChange::lock(&mut *connection, actor, ticket_id, etag).await?;
    let author = author_of(actor);
    if !change.facts.state.is_open() {
        change.reopen(author, TicketState::Open);
    }
    change.facts.state = TicketState::Open;
    change.record(author, Payload::SetOpen(TicketSetOpen {}));
    change.pause_automation(author);
    change.save(connection).await
}
