//! Which tickets a list or a watcher asks for.

use plazo_domain::TicketState;
use sqlx::PgConnection;

use super::TicketFacts;
use crate::error::Error;

/// Which tickets to list.
#[derive(Debug, Clone)]
pub struct TicketQuery {
    /// The tenant.
    pub tenant_id: i64,
    /// Only these states.
    pub states: Vec<TicketState>,
    /// Only this bot.
    pub bot_id: Option<i64>,
    /// Only this queue.
    pub queue_id: Option<i64>,
    /// Only this agent.
    pub agent_id: Option<i64>,
    /// The bots that the actor may see; none for all.
    pub permitted_bots: Option<Vec<i64>>,
}

impl TicketQuery {
    /// Whether a ticket is one of those that the query asks for.
    pub fn matches(&self, ticket: &TicketFacts) -> bool {
        self.may_see(ticket)
            && !ticket.is_unlinked
            && self.states.contains(&ticket.state)
            && self
                .queue_id
                .is_none_or(|queue_id| ticket.queue_id == Some(queue_id))
            && self
                .agent_id
                .is_none_or(|agent_id| ticket.agent_id == Some(agent_id))
    }

    /// Whether a ticket is of the tenant and the bots that the query is about. That never changes.
    pub fn may_see(&self, ticket: &TicketFacts) -> bool {
        ticket.key.tenant_id == self.tenant_id
            && self.bot_id.is_none_or(|bot_id| ticket.bot_id == bot_id)
            && self
                .permitted_bots
                .as_ref()
                .is_none_or(|bots| bots.contains(&ticket.bot_id))
    }

    /// By what to list: the narrowest condition that has an index.
    fn index(&self) -> (&'static str, i64) {
        match (self.agent_id, self.queue_id, self.bot_id) {
            (Some(agent_id), _, _) => ("agent", agent_id),
            (None, Some(queue_id), _) => ("queue", queue_id),
            (None, None, Some(bot_id)) => ("bot", bot_id),
            (None, None, None) => ("tenant", 0),
        }
    }
}

/// Ids of tickets below `before_id`, the highest first.
pub async fn list(
    connection: &mut PgConnection,
    query: &TicketQuery,
    before_id: i64,
    limit: i64,
) -> Result<Vec<i64>, Error> {
    let states: Vec<i16> = query.states.iter().map(|state| state.code()).collect();
    let (index, index_id) = query.index();
    let mut ids = Vec::new();
    for is_open in [true, false] {
        if !query.states.iter().any(|state| state.is_open() == is_open) {
            continue;
        }
        let page = sqlx::query_file_scalar!(
            "queries/list_ticket_ids.sql",
            query.tenant_id,
            is_open,
            before_id,
            index,
            index_id,
            &states,
            query.permitted_bots.as_deref() as Option<&[i64]>,
            query.bot_id,
            query.queue_id,
            limit
        )
        .fetch_all(&mut *connection)
        .await?;
        ids.extend(page);
    }
    ids.sort_unstable_by(|one, other| other.cmp(one));
    ids.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    Ok(ids)
}

/// Of these ids those of a tenant's tickets, in no order.
pub async fn known_ids(
    connection: &mut PgConnection,
    tenant_id: i64,
    ticket_ids: &[i64],
) -> Result<Vec<i64>, Error> {
    let ids = sqlx::query_scalar!(
        "SELECT ticket_id FROM tickets WHERE tenant_id = $1 AND ticket_id = ANY ($2)",
        tenant_id,
        ticket_ids
    )
    .fetch_all(connection)
    .await?;
    Ok(ids)
}
