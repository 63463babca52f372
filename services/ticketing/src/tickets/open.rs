//! A bot hands a customer over.

use plazo_domain::AgentPresence;
use plazo_proto::ticketing::v1::OpenTicketRequest;
use plazo_service::Actor;
use sqlx::PgConnection;

use crate::callers;
use crate::error::Error;
use crate::store::parties;
use crate::store::settings::PolicyCache;
use crate::store::tickets::NewTicket;
use crate::tickets::author_of;
use crate::tickets::change::TicketChange;
use crate::tickets::view::TicketView;

/// Opens a ticket: waiting, or open when an agent is named.
pub async fn open_ticket(
    connection: &mut PgConnection,
    policies: &PolicyCache,
    actor: &Actor,
    request: &OpenTicketRequest,
) -> Result<TicketView, Error> {
    let tenant_id = actor.tenant_id;
    let named = |id: i64| (id != 0).then_some(id);
    if !parties::bot_exists(&mut *connection, tenant_id, request.bot_id).await? {
        return Err(Error::invalid("bot_id", "names no bot"));
    }
    if let caller @ Some(_) = actor.agent_id() {
        let presence =
            parties::agent_presence(&mut *connection, tenant_id, caller, request.bot_id).await?;
        callers::require_of_bot(presence != AgentPresence::Gone)?;
    }
    let queue_id = named(request.queue_id);
    if let Some(queue_id) = queue_id
        && !parties::queue_is_of_bot(&mut *connection, tenant_id, queue_id, request.bot_id).await?
    {
        return Err(Error::invalid("queue_id", "names no queue of this bot"));
    }
    let agent_id = named(request.agent_id);
    if agent_id.is_some() {
        require_agent(
            &mut *connection,
            tenant_id,
            request.agent_id,
            request.bot_id,
        )
        .await?;
    }
    let new = NewTicket {
        tenant_id,
        bot_id: request.bot_id,
        queue_id,
        contact_id: request.contact_id,
        agent_id,
        previous_ticket_id: None,
    };
    let change = TicketChange::open(&mut *connection, policies, &new, author_of(actor)).await?;
    change.save(connection).await
}

/// Refuses an agent who does not exist or may not attend the bot's tickets. One who is away can be named.
pub(super) async fn require_agent(
    connection: &mut PgConnection,
    tenant_id: i64,
    agent_id: i64,
    bot_id: i64,
) -> Result<(), Error> {
    match parties::agent_presence(connection, tenant_id, Some(agent_id), bot_id).await? {
        AgentPresence::Present | AgentPresence::Away => Ok(()),
        AgentPresence::Gone => Err(Error::invalid("agent_id", "names no agent of this bot")),
    }
}
