//! Rows of `queues`.

use sqlx::PgConnection;

use crate::error::Error;

/// A queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queue {
    /// Its id.
    pub queue_id: i64,
    /// The bot that it belongs to.
    pub bot_id: i64,
    /// Its name, unique in the bot.
    pub name: String,
    /// The policy that overrides the bot's in it.
    pub policy_version: Option<i64>,
}

/// Creates a queue of a bot that exists; none when it has one of this name.
pub async fn insert(
    connection: &mut PgConnection,
    tenant_id: i64,
    bot_id: i64,
    name: &str,
) -> Result<Option<Queue>, Error> {
    let queue = sqlx::query_as!(
        Queue,
        "INSERT INTO queues (tenant_id, bot_id, name) VALUES ($1, $2, $3)
         ON CONFLICT (tenant_id, bot_id, name) DO NOTHING
         RETURNING queue_id, bot_id, name, policy_version",
        tenant_id,
        bot_id,
        name
    )
    .fetch_optional(connection)
    .await?;
    Ok(queue)
}

/// The bot's queue of this name, which was seen to be there: queues are never removed.
pub async fn get_by_name(
    connection: &mut PgConnection,
    tenant_id: i64,
    bot_id: i64,
    name: &str,
) -> Result<i64, Error> {
    let queue_id = sqlx::query_scalar!(
        "SELECT queue_id FROM queues WHERE tenant_id = $1 AND bot_id = $2 AND name = $3",
        tenant_id,
        bot_id,
        name
    )
    .fetch_one(connection)
    .await?;
    Ok(queue_id)
}

/// The queue, if the tenant has it.
pub async fn find(
    connection: &mut PgConnection,
    tenant_id: i64,
    queue_id: i64,
) -> Result<Option<Queue>, Error> {
    let queue = sqlx::query_as!(
        Queue,
        "SELECT queue_id, bot_id, name, policy_version FROM queues WHERE tenant_id = $1 AND queue_id = $2",
        tenant_id,
        queue_id
    )
    .fetch_optional(connection)
    .await?;
    Ok(queue)
}

/// The bot's queues after `after_queue_id`, by id, at most `limit`.
pub async fn list(
    connection: &mut PgConnection,
    tenant_id: i64,
    bot_id: i64,
    after_queue_id: i64,
    limit: i64,
) -> Result<Vec<Queue>, Error> {
    let queues = sqlx::query_as!(
        Queue,
        "SELECT queue_id, bot_id, name, policy_version FROM queues
         WHERE tenant_id = $1 AND bot_id = $2 AND queue_id > $3
         ORDER BY queue_id LIMIT $4",
        tenant_id,
        bot_id,
        after_queue_id,
        limit
    )
    .fetch_all(connection)
    .await?;
    Ok(queues)
}

/// Puts a version in force in a queue, in the place of the bot's; none puts the bot's in force again. The bot's row is
/// locked ([`bots::lock`](super::bots::lock)).
pub async fn set_policy(
    connection: &mut PgConnection,
    tenant_id: i64,
    queue_id: i64,
    policy_version: Option<i64>,
) -> Result<(), Error> {
    sqlx::query!(
        "UPDATE queues SET policy_version = $3 WHERE tenant_id = $1 AND queue_id = $2",
        tenant_id,
        queue_id,
        policy_version
    )
    .execute(connection)
    .await?;
    Ok(())
}
