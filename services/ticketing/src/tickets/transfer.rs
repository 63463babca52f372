//! A ticket moves to a queue.

use plazo_domain::TicketState;
use plazo_proto::ticketing::v1::ticket_event::Payload;
use plazo_proto::ticketing::v1::{HoldEnd, TicketTransferred};
use plazo_service::Actor;
use sqlx::PgConnection;

use crate::error::Error;
use crate::store::parties;
use crate::tickets::author_of;
use crate::tickets::change::TicketChange;
use crate::tickets::view::TicketView;

/// Moves an open ticket to a queue of its bot: it waits, without an agent, and its inactivity clocks are disarmed.
pub async fn transfer_ticket(
    connection: &mut PgConnection,
    actor: &Actor,
    ticket_id: i64,
    etag: &str,
    queue_id: i64,
) -> Result<TicketView, Error> {
    let mut change = TicketChange::lock(&mut *connection, actor, ticket_id, etag).await?;
    change.require_open()?;
    let bot_id = change.facts.bot_id;
    if !parties::queue_is_of_bot(&mut *connection, actor.tenant_id, queue_id, bot_id).await? {
        return Err(Error::invalid(
            "queue_id",
            "names no queue of the ticket's bot",
        ));
    }
    let author = author_of(actor);
    let facts = &mut change.facts;
    let payload = TicketTransferred {
        queue_id,
        previous_queue_id: facts.queue_id.replace(queue_id).unwrap_or_default(),
        previous_agent_id: facts.agent_id.take().unwrap_or_default(),
    };
    facts.state = TicketState::Waiting;
    let ended = change.clock().transferred();
    change.record(author, Payload::Transferred(payload));
    change.record_ended(author, HoldEnd::Transferred, ended);
    change.save(connection).await
}
