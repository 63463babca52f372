//! Bots and their exit routes.

use plazo_domain::TimeValue;
use plazo_service::{Actor, BotScope};
use sqlx::PgConnection;

use super::{check_etag, check_reach, no_bot, permitted_bots};
use crate::error::Error;
use crate::store::settings::PolicyCache;
use crate::store::settings::bots::{self as rows, Bot};

/// What a bot is created with.
#[derive(Debug, Clone)]
pub struct NewBot {
    /// Its name.
    pub name: String,
    /// The channel account that sends its active messages; 0 for none.
    pub channel_account_id: i64,
    /// How long after a close a customer's message still opens the same ticket.
    pub reopen_window: TimeValue,
}

/// New values of a bot; none leaves what there is.
#[derive(Debug, Clone)]
pub struct BotChange {
    /// Its name.
    pub name: Option<String>,
    /// The channel account that sends its active messages; 0 for none.
    pub channel_account_id: Option<i64>,
    /// How long after a close a customer's message still opens the same ticket.
    pub reopen_window: Option<TimeValue>,
}

/// Denied to an actor who may use some bots only: the new one would not be among them.
pub fn check_may_create(actor: &Actor) -> Result<(), Error> {
    match actor.bots {
        BotScope::All => Ok(()),
        BotScope::Only(_) => Err(Error::Denied {
            reason: "BOT_NOT_PERMITTED",
            description: "the actor may use some bots only, and create none",
        }),
    }
}

/// Creates a bot. See [`check_may_create`].
pub async fn create(
    connection: &mut PgConnection,
    actor: &Actor,
    new: &NewBot,
) -> Result<Bot, Error> {
    check_may_create(actor)?;
    let NewBot {
        name,
        channel_account_id,
        reopen_window,
    } = new;
    rows::insert(
        connection,
        actor.tenant_id,
        name,
        *channel_account_id,
        *reopen_window,
    )
    .await
}

/// Reads a bot.
pub async fn get(connection: &mut PgConnection, actor: &Actor, bot_id: i64) -> Result<Bot, Error> {
    check_reach(actor, bot_id)?;
    rows::find(connection, actor.tenant_id, bot_id)
        .await?
        .ok_or_else(|| no_bot(bot_id))
}

/// The actor's bots after `after_bot_id`, by id, at most `limit`.
pub async fn list(
    connection: &mut PgConnection,
    actor: &Actor,
    after_bot_id: i64,
    limit: i64,
) -> Result<Vec<Bot>, Error> {
    rows::list(
        connection,
        actor.tenant_id,
        permitted_bots(actor),
        after_bot_id,
        limit,
    )
    .await
}

/// Changes a bot. CHANGED when the etag is not the present one.
pub async fn update(
    connection: &mut PgConnection,
    actor: &Actor,
    bot_id: i64,
    etag: &str,
    change: &BotChange,
) -> Result<Bot, Error> {
    let mut bot = lock(connection, actor, bot_id).await?;
    check_etag(etag, bot.revision)?;
    if let Some(name) = &change.name {
        bot.name.clone_from(name);
    }
    bot.channel_account_id = change.channel_account_id.unwrap_or(bot.channel_account_id);
    bot.reopen_window = change.reopen_window.unwrap_or(bot.reopen_window);
    rows::save(connection, actor.tenant_id, &mut bot).await?;
    Ok(bot)
}

/// Sets the exit route; an empty one removes it. CHANGED when the etag is not the present one;
/// `EXIT_ROUTE_IN_USE` when it is to be removed while the policy in force closes automatically. The bot's
/// lock keeps another call from putting such a policy in force meanwhile.
pub async fn set_exit_route(
    connection: &mut PgConnection,
    actor: &Actor,
    policies: &PolicyCache,
    bot_id: i64,
    etag: &str,
    exit_route: &str,
) -> Result<Bot, Error> {
    let mut bot = lock(connection, actor, bot_id).await?;
    check_etag(etag, bot.revision)?;
    if exit_route.is_empty()
        && let Some(version) = bot.policy_version
        && policies
            .policy(connection, actor.tenant_id, version)
            .await?
            .auto_close
            .is_some()
    {
        return Err(Error::Precondition {
            reason: "EXIT_ROUTE_IN_USE",
            subject: format!("bot/{bot_id}"),
            description: "the bot's policy closes tickets automatically and needs the exit route",
        });
    }
    exit_route.clone_into(&mut bot.exit_route);
    rows::save(connection, actor.tenant_id, &mut bot).await?;
    Ok(bot)
}

/// The bot, locked until the transaction ends.
pub(super) async fn lock(
    connection: &mut PgConnection,
    actor: &Actor,
    bot_id: i64,
) -> Result<Bot, Error> {
    check_reach(actor, bot_id)?;
    rows::lock(connection, actor.tenant_id, bot_id)
        .await?
        .ok_or_else(|| no_bot(bot_id))
}
