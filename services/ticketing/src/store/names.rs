//! What the people and bots of a conversation are called.

use std::collections::HashMap;

use sqlx::PgConnection;

use crate::error::Error;

/// The names in one conversation. Without `Debug`, so that no customer's name gets into a log.
#[derive(Clone, Default)]
pub struct Names {
    /// The customer's.
    pub contact: String,
    /// The bot's.
    pub bot: String,
    /// Those of agents, by id.
    pub agents: HashMap<i64, String>,
}

/// The names of a contact, a bot and agents of one tenant. Who does not exist has no name.
pub async fn of_conversation(
    connection: &mut PgConnection,
    tenant_id: i64,
    contact_id: i64,
    bot_id: i64,
    agent_ids: &[i64],
) -> Result<Names, Error> {
    let parties = sqlx::query!(
        "SELECT
             (SELECT name FROM contacts WHERE tenant_id = $1 AND contact_id = $2) AS contact,
             (SELECT name FROM bots WHERE tenant_id = $1 AND bot_id = $3) AS bot",
        tenant_id,
        contact_id,
        bot_id
    )
    .fetch_one(&mut *connection)
    .await?;
    let agents = sqlx::query!(
        "SELECT agent_id, name FROM agents WHERE tenant_id = $1 AND agent_id = ANY ($2)",
        tenant_id,
        agent_ids
    )
    .fetch_all(connection)
    .await?;
    Ok(Names {
        contact: parties.contact.unwrap_or_default(),
        bot: parties.bot.unwrap_or_default(),
        agents: agents
            .into_iter()
            .map(|agent| (agent.agent_id, agent.name))
            .collect(),
    })
}
