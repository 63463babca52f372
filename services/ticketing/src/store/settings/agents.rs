//! Rows of `agents`.

use sqlx::PgConnection;

use crate::error::Error;

/// A person who answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    /// His id.
    pub agent_id: i64,
    /// His name.
    pub name: String,
    /// The bots whose tickets he may attend, sorted.
    pub bot_ids: Vec<i64>,
    /// Whether he is away.
    pub away: bool,
    /// Raised by each [`save`].
    pub revision: i64,
}

/// Creates an agent.
pub async fn insert(
    connection: &mut PgConnection,
    tenant_id: i64,
    name: &str,
    bot_ids: &[i64],
    away: bool,
) -> Result<Agent, Error> {
    let agent = sqlx::query_as!(
        Agent,
        "INSERT INTO agents (tenant_id, name, bot_ids, away) VALUES ($1, $2, $3, $4)
         RETURNING agent_id, name, bot_ids, away, revision",
        tenant_id,
        name,
        bot_ids,
        away
    )
    .fetch_one(connection)
    .await?;
    Ok(agent)
}

/// The agent, if the tenant has him.
pub async fn find(
    connection: &mut PgConnection,
    tenant_id: i64,
    agent_id: i64,
) -> Result<Option<Agent>, Error> {
    let agent = sqlx::query_as!(
        Agent,
        "SELECT agent_id, name, bot_ids, away, revision
         FROM agents WHERE tenant_id = $1 AND agent_id = $2",
        tenant_id,
        agent_id
    )
    .fetch_optional(connection)
    .await?;
    Ok(agent)
}

/// The agent, if the tenant has him, locked against other changes until the transaction ends.
pub async fn lock(
    connection: &mut PgConnection,
    tenant_id: i64,
    agent_id: i64,
) -> Result<Option<Agent>, Error> {
    let agent = sqlx::query_as!(
        Agent,
        "SELECT agent_id, name, bot_ids, away, revision
         FROM agents WHERE tenant_id = $1 AND agent_id = $2 FOR NO KEY UPDATE",
        tenant_id,
        agent_id
    )
    .fetch_optional(connection)
    .await?;
    Ok(agent)
}

/// The agents of any of the permitted bots after `after_agent_id`, by id, at most `limit`.
pub async fn list(
    connection: &mut PgConnection,
    tenant_id: i64,
    permitted: Option<&[i64]>,
    after_agent_id: i64,
    limit: i64,
) -> Result<Vec<Agent>, Error> {
    let agents = sqlx::query_as!(
        Agent,
        "SELECT agent_id, name, bot_ids, away, revision FROM agents
         WHERE tenant_id = $1 AND agent_id > $2 AND ($3::bigint[] IS NULL OR bot_ids && $3)
         ORDER BY agent_id LIMIT $4",
        tenant_id,
        after_agent_id,
        permitted,
        limit
    )
    .fetch_all(connection)
    .await?;
    Ok(agents)
}

/// Writes the locked agent with his new values, and raises his revision.
pub async fn save(
    connection: &mut PgConnection,
    tenant_id: i64,
    agent: &mut Agent,
) -> Result<(), Error> {
    agent.revision = sqlx::query_scalar!(
        "UPDATE agents SET name = $3, bot_ids = $4, away = $5, revision = revision + 1
         WHERE tenant_id = $1 AND agent_id = $2
         RETURNING revision",
        tenant_id,
        agent.agent_id,
        agent.name,
        &agent.bot_ids,
        agent.away
    )
    .fetch_one(connection)
    .await?;
    Ok(())
}
