//! The queues of bots.

use plazo_service::Actor;
use sqlx::PgConnection;

use super::bots;
use crate::error::Error;
use crate::store::settings::queues::{self as rows, Queue};

/// Creates a queue. `QUEUE_EXISTS` when the bot has one of this name.
pub async fn create(
    connection: &mut PgConnection,
    actor: &Actor,
    bot_id: i64,
    name: &str,
) -> Result<Queue, Error> {
    bots::get(connection, actor, bot_id).await?;
    if let Some(queue) = rows::insert(connection, actor.tenant_id, bot_id, name).await? {
        return Ok(queue);
    }
    let id = rows::get_by_name(connection, actor.tenant_id, bot_id, name).await?;
    Err(Error::Exists {
        reason: "QUEUE_EXISTS",
        kind: "queue",
        id,
    })
}

/// The bot's queues after `after_queue_id`, by id, at most `limit`.
pub async fn list(
    connection: &mut PgConnection,
    actor: &Actor,
    bot_id: i64,
    after_queue_id: i64,
    limit: i64,
) -> Result<Vec<Queue>, Error> {
    bots::get(connection, actor, bot_id).await?;
    rows::list(connection, actor.tenant_id, bot_id, after_queue_id, limit).await
}

/// The queue of the bot.
pub(super) async fn of_bot(
    connection: &mut PgConnection,
    tenant_id: i64,
    bot_id: i64,
    queue_id: i64,
) -> Result<Queue, Error> {
    rows::find(connection, tenant_id, queue_id)
        .await?
        .filter(|queue| queue.bot_id == bot_id)
        .ok_or(Error::NotFound {
            kind: "queue",
            id: queue_id,
        })
}
