//! Who takes part in a ticket, as the ticket's rules need to know them.

use plazo_domain::AgentPresence;
use plazo_proto::common::v1::ChannelIdentity;
use sqlx::PgConnection;

use crate::error::Error;
use crate::store::clocks::{TicketKey, columns_of};

/// Whether a bot exists.
pub async fn bot_exists(
    connection: &mut PgConnection,
    tenant_id: i64,
    bot_id: i64,
) -> Result<bool, Error> {
    let exists = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM bots WHERE tenant_id = $1 AND bot_id = $2) AS "exists!""#,
        tenant_id,
        bot_id
    )
    .fetch_one(connection)
    .await?;
    Ok(exists)
}

/// Whether a queue exists and belongs to a bot.
pub async fn queue_is_of_bot(
    connection: &mut PgConnection,
    tenant_id: i64,
    queue_id: i64,
    bot_id: i64,
) -> Result<bool, Error> {
    let exists = sqlx::query_scalar!(
        r#"SELECT EXISTS (
               SELECT FROM queues WHERE tenant_id = $1 AND queue_id = $2 AND bot_id = $3
           ) AS "exists!""#,
        tenant_id,
        queue_id,
        bot_id
    )
    .fetch_one(connection)
    .await?;
    Ok(exists)
}

/// Whether an agent exists.
pub async fn agent_exists(
    connection: &mut PgConnection,
    tenant_id: i64,
    agent_id: i64,
) -> Result<bool, Error> {
    let exists = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM agents WHERE tenant_id = $1 AND agent_id = $2) AS "exists!""#,
        tenant_id,
        agent_id
    )
    .fetch_one(connection)
    .await?;
    Ok(exists)
}

/// Whether an agent can take a ticket of a bot.
pub async fn agent_presence(
    connection: &mut PgConnection,
    tenant_id: i64,
    agent_id: Option<i64>,
    bot_id: i64,
) -> Result<AgentPresence, Error> {
    let Some(agent_id) = agent_id else {
        return Ok(AgentPresence::Gone);
    };
    let row = sqlx::query!(
        r#"SELECT away, $3 = ANY (bot_ids) AS "attends!" FROM agents WHERE tenant_id = $1 AND agent_id = $2"#,
        tenant_id,
        agent_id,
        bot_id
    )
    .fetch_optional(connection)
    .await?;
    Ok(match row {
        Some(agent) if agent.attends && agent.away => AgentPresence::Away,
        Some(agent) if agent.attends => AgentPresence::Present,
        _ => AgentPresence::Gone,
    })
}

/// Whom active messages of a ticket go to.
#[derive(Debug, Clone)]
pub struct Recipient {
    /// The ticket.
    pub key: TicketKey,
    /// The customer.
    pub contact_id: i64,
    /// How the customer is called.
    pub name: String,
    /// Where the customer of this ticket is reached: after a merge, still by the merged contact's identity.
    pub identity: ChannelIdentity,
}

/// Whom active messages of tickets go to, in no order.
pub async fn recipients(
    connection: &mut PgConnection,
    keys: &[TicketKey],
) -> Result<Vec<Recipient>, Error> {
    let (tenant_ids, ticket_ids) = columns_of(keys);
    let rows = sqlx::query!(
        "SELECT tickets.tenant_id, tickets.ticket_id, contacts.contact_id, contacts.name, reached.channel,
             reached.address
         FROM unnest($1::bigint[], $2::bigint[]) AS wanted (tenant_id, ticket_id)
         JOIN tickets ON tickets.tenant_id = wanted.tenant_id AND tickets.ticket_id = wanted.ticket_id
         JOIN contacts ON contacts.tenant_id = tickets.tenant_id AND contacts.contact_id = tickets.contact_id
         JOIN contacts AS reached
             ON reached.tenant_id = tickets.tenant_id
             AND reached.contact_id = coalesce(tickets.reached_contact_id, tickets.contact_id)",
        &tenant_ids,
        &ticket_ids
    )
    .fetch_all(connection)
    .await?;
    let recipients = rows.into_iter().map(|row| Recipient {
        key: TicketKey {
            tenant_id: row.tenant_id,
            ticket_id: row.ticket_id,
        },
        contact_id: row.contact_id,
        name: row.name,
        identity: ChannelIdentity {
            channel: row.channel.into(),
            address: row.address,
        },
    });
    Ok(recipients.collect())
}
