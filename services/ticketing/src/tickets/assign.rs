//! A ticket gets an agent.

use plazo_proto::ticketing::v1::ticket_event::Payload;
use plazo_proto::ticketing::v1::{AssignTicketRequest, TicketAssigned, TicketReopened};
use plazo_service::Actor;
use sqlx::PgConnection;

use crate::error::Error;
use crate::tickets::author_of;
use crate::tickets::change::TicketChange;
use crate::tickets::open::require_agent;
use crate::tickets::view::TicketView;

/// Assigns a ticket to an agent: it becomes open, whatever it was.
pub async fn assign_ticket(
    connection: &mut PgConnection,
    actor: &Actor,
    request: &AssignTicketRequest,
) -> Result<TicketView, Error> {
    let mut change =
        TicketChange::lock(&mut *connection, actor, request.ticket_id, &request.etag).await?;
    let bot_id = change.facts.bot_id;
    require_agent(&mut *connection, actor.tenant_id, request.agent_id, bot_id).await?;

    let now = change.now();
    let author = author_of(actor);
    let was_open = change.facts.state.is_open();
    let previous_agent_id = change.facts.agent_id.replace(request.agent_id);
    change.facts.state = change.facts.state.after_assign();
    change.facts.first_assigned_at.get_or_insert(now);
    change.facts.closure = None;
    if !was_open {
        change.record(
            author,
            Payload::Reopened(TicketReopened {
                state: change.facts.state.code().into(),
                agent_id: previous_agent_id.unwrap_or_default(),
            }),
        );
    }
    change.record(
        author,
        Payload::Assigned(TicketAssigned {
            agent_id: request.agent_id,
            previous_agent_id: previous_agent_id.unwrap_or_default(),
        }),
    );
    change.save(connection).await
}
