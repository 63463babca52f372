//! Agents.
//!
//! For an actor who may use some bots only, the agents of those bots exist, and of each agent's bots only
//! those: others are neither shown nor changed.

use plazo_service::{Actor, BotScope};
use sqlx::PgConnection;

use super::{check_etag, permitted_bots};
use crate::error::Error;
use crate::store::settings::agents::{self as rows, Agent};
use crate::store::settings::bots;

/// What an agent is created with.
#[derive(Debug, Clone)]
pub struct NewAgent {
    /// His name.
    pub name: String,
    /// The bots whose tickets he may attend.
    pub bot_ids: Vec<i64>,
    /// Whether he is away.
    pub away: bool,
}

/// New values of an agent; none leaves what there is.
#[derive(Debug, Clone)]
pub struct AgentChange {
    /// His name.
    pub name: Option<String>,
    /// The bots whose tickets he may attend.
    pub bot_ids: Option<Vec<i64>>,
    /// Whether he is away.
    pub away: Option<bool>,
}

/// Creates an agent. INVALID when a bot does not exist for the actor, or when the agent would not exist
/// for him.
pub async fn create(
    connection: &mut PgConnection,
    actor: &Actor,
    new: &NewAgent,
) -> Result<Agent, Error> {
    let bot_ids = existing_bots(connection, actor, &new.bot_ids).await?;
    if bot_ids.is_empty() && actor.bots != BotScope::All {
        return Err(Error::invalid(
            "agent.bot_ids",
            "must name a bot that the actor may use",
        ));
    }
    rows::insert(connection, actor.tenant_id, &new.name, &bot_ids, new.away).await
}

/// Reads an agent.
pub async fn get(
    connection: &mut PgConnection,
    actor: &Actor,
    agent_id: i64,
) -> Result<Agent, Error> {
    let agent = rows::find(connection, actor.tenant_id, agent_id).await?;
    agent
        .filter(|agent| exists_for(actor, agent))
        .map(|agent| as_seen_by(actor, agent))
        .ok_or_else(|| no_agent(agent_id))
}

/// The agents that exist for the actor, after `after_agent_id`, by id, at most `limit`.
pub async fn list(
    connection: &mut PgConnection,
    actor: &Actor,
    after_agent_id: i64,
    limit: i64,
) -> Result<Vec<Agent>, Error> {
    let permitted = permitted_bots(actor);
    let agents = rows::list(
        connection,
        actor.tenant_id,
        permitted,
        after_agent_id,
        limit,
    )
    .await?;
    Ok(agents
        .into_iter()
        .map(|agent| as_seen_by(actor, agent))
        .collect())
}

/// Changes an agent. CHANGED when the etag is not the present one; INVALID when a bot does not exist for
/// the actor. His bots that the actor may not use stay as they are.
pub async fn update(
    connection: &mut PgConnection,
    actor: &Actor,
    agent_id: i64,
    etag: &str,
    change: &AgentChange,
) -> Result<Agent, Error> {
    let agent = rows::lock(connection, actor.tenant_id, agent_id).await?;
    let mut agent = agent
        .filter(|agent| exists_for(actor, agent))
        .ok_or_else(|| no_agent(agent_id))?;
    check_etag(etag, agent.revision)?;
    if let Some(name) = &change.name {
        agent.name.clone_from(name);
    }
    if let Some(bot_ids) = &change.bot_ids {
        let wanted = existing_bots(connection, actor, bot_ids).await?;
        agent.bot_ids.retain(|bot_id| !actor.may_use_bot(*bot_id));
        agent.bot_ids.extend(wanted);
        agent.bot_ids.sort_unstable();
    }
    agent.away = change.away.unwrap_or(agent.away);
    rows::save(connection, actor.tenant_id, &mut agent).await?;
    Ok(as_seen_by(actor, agent))
}

fn no_agent(agent_id: i64) -> Error {
    Error::NotFound {
        kind: "agent",
        id: agent_id,
    }
}

fn exists_for(actor: &Actor, agent: &Agent) -> bool {
    actor.bots == BotScope::All
        || agent
            .bot_ids
            .iter()
            .any(|bot_id| actor.may_use_bot(*bot_id))
}

fn as_seen_by(actor: &Actor, mut agent: Agent) -> Agent {
    agent.bot_ids.retain(|bot_id| actor.may_use_bot(*bot_id));
    agent
}

/// The bots, sorted and each once. INVALID when one does not exist for the actor.
async fn existing_bots(
    connection: &mut PgConnection,
    actor: &Actor,
    bot_ids: &[i64],
) -> Result<Vec<i64>, Error> {
    let mut wanted = bot_ids.to_vec();
    wanted.sort_unstable();
    wanted.dedup();
    let mut found = bots::existing(connection, actor.tenant_id, &wanted).await?;
    found.retain(|bot_id| actor.may_use_bot(*bot_id));
    if found == wanted {
        Ok(found)
    } else {
        Err(Error::invalid(
            "agent.bot_ids",
            "must be bots that exist and that the actor may use",
        ))
    }
}
