//! Bots and their exit routes.

use plazo_domain::{AutomationPause, CloseSource, TimeValue};
use plazo_service::{Actor, BotScope};
use sqlx::PgConnection;

use super::{calendars, check_etag, check_reach, no_bot, permitted_bots, policies};
use crate::error::Error;
use crate::store::settings::bots::{self as rows, Bot, BotFields};

/// New values of a bot; none leaves what there is.
#[derive(Debug, Clone, Default)]
pub struct BotChange {
    /// Its name.
    pub name: Option<String>,
    /// The channel account that sends its active messages; 0 for none.
    pub channel_account_id: Option<i64>,
    /// How long after a close a customer's message still opens the same ticket.
    pub reopen_window: Option<TimeValue>,
    /// For how long the automation pauses when people take over.
    pub automation_pause: Option<AutomationPause>,
    /// The categories that closing notes may have; empty for any.
    pub note_categories: Option<Vec<String>>,
    /// Whether agents must leave a note when they close.
    pub note_required: Option<bool>,
    /// The sources of a close that remove the agent.
    pub unassign_on_close: Option<Vec<CloseSource>>,
    /// The longest hold.
    pub max_hold: Option<TimeValue>,
    /// How long after a close by inactivity an earlier reply supersedes it.
    pub late_reply_grace: Option<TimeValue>,
    /// The calendar that business time is counted by; 0 for none.
    pub calendar_id: Option<i64>,
    /// Whether a customer's message that no ticket can take opens one.
    pub open_ticket_on_inbound: Option<bool>,
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

/// Creates a bot. See [`check_may_create`]. INVALID when there is no such calendar.
pub async fn create(
    connection: &mut PgConnection,
    actor: &Actor,
    fields: &BotFields,
) -> Result<Bot, Error> {
    check_may_create(actor)?;
    if let Some(calendar_id) = fields.calendar_id {
        calendars::take_up(connection, actor.tenant_id, calendar_id).await?;
    }
    rows::insert(connection, actor.tenant_id, fields).await
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

/// Changes a bot. CHANGED when the etag is not the present one; INVALID when a policy in force of the bot or its queues
/// would not be right any more; `CALENDAR_IN_USE` when the calendar is to be removed and such a policy counts by it.
/// With another calendar the policies that count business time get new versions.
pub async fn update(
    connection: &mut PgConnection,
    actor: &Actor,
    bot_id: i64,
    etag: &str,
    change: &BotChange,
) -> Result<Bot, Error> {
    let mut bot = lock(connection, actor, bot_id).await?;
    check_etag(etag, bot.revision)?;
    let before = bot.fields.clone();
    set(&mut bot.fields, change);
    if bot.fields.note_categories != before.note_categories {
        check_categories(connection, actor, &bot).await?;
    }
    let is_counted_anew = bot.fields.calendar_id != before.calendar_id;
    let calendar = match bot.fields.calendar_id {
        Some(calendar_id) if is_counted_anew => {
            Some(calendars::take_up(connection, actor.tenant_id, calendar_id).await?)
        }
        None if is_counted_anew => {
            check_calendar_is_free(connection, actor, bot_id).await?;
            None
        }
        _ => None,
    };
    rows::save(connection, actor.tenant_id, &mut bot).await?;
    if let Some(stored) = calendar {
        let calendar = policies::ready_for_use(&stored.settings)?;
        let told = calendars::to_proto(stored);
        policies::recount(
            connection,
            actor.tenant_id,
            &[bot_id],
            (&calendar, &told),
            "bot.calendar_id",
            false,
        )
        .await?;
    }
    Ok(bot)
}

fn set(fields: &mut BotFields, change: &BotChange) {
    fn put<T: Clone>(field: &mut T, value: Option<&T>) {
        if let Some(value) = value {
            field.clone_from(value);
        }
    }
    put(&mut fields.name, change.name.as_ref());
    put(
        &mut fields.channel_account_id,
        change.channel_account_id.as_ref(),
    );
    put(&mut fields.reopen_window, change.reopen_window.as_ref());
    put(
        &mut fields.automation_pause,
        change.automation_pause.as_ref(),
    );
    put(&mut fields.note_categories, change.note_categories.as_ref());
    put(&mut fields.note_required, change.note_required.as_ref());
    put(
        &mut fields.unassign_on_close,
        change.unassign_on_close.as_ref(),
    );
    put(&mut fields.max_hold, change.max_hold.as_ref());
    put(
        &mut fields.late_reply_grace,
        change.late_reply_grace.as_ref(),
    );
    put(
        &mut fields.open_ticket_on_inbound,
        change.open_ticket_on_inbound.as_ref(),
    );
    if let Some(calendar_id) = change.calendar_id {
        fields.calendar_id = (calendar_id != 0).then_some(calendar_id);
    }
}

/// INVALID when a policy in force closes with a note whose category is not among the bot's any more: it would leave
/// notes that no person may leave.
async fn check_categories(
    connection: &mut PgConnection,
    actor: &Actor,
    bot: &Bot,
) -> Result<(), Error> {
    let categories = &bot.fields.note_categories;
    if categories.is_empty() {
        return Ok(());
    }
    let found = policies::any_in_force(connection, actor.tenant_id, bot.bot_id, |policy| {
        let note = policy
            .auto_close
            .as_ref()
            .and_then(|close| close.note.as_ref());
        note.is_some_and(|note| !note.category.is_empty() && !categories.contains(&note.category))
    });
    match found.await? {
        Some(name) => Err(Error::invalid(
            "bot.note_categories",
            format!("must have the category of the note that {name} closes with"),
        )),
        None => Ok(()),
    }
}

async fn check_calendar_is_free(
    connection: &mut PgConnection,
    actor: &Actor,
    bot_id: i64,
) -> Result<(), Error> {
    let found = policies::any_in_force(connection, actor.tenant_id, bot_id, |policy| {
        policy.business_time
    });
    if found.await?.is_some() {
        return Err(Error::Precondition {
            reason: "CALENDAR_IN_USE",
            subject: format!("bot/{bot_id}"),
            description: "a policy of the bot or of one of its queues counts business time",
        });
    }
    Ok(())
}

/// Sets the exit route; an empty one removes it. CHANGED when the etag is not the present one;
/// `EXIT_ROUTE_IN_USE` when it is to be removed while a policy in force of the bot or of one of its queues closes
/// automatically. The bot's lock keeps another call from putting such a policy in force meanwhile.
pub async fn set_exit_route(
    connection: &mut PgConnection,
    actor: &Actor,
    bot_id: i64,
    etag: &str,
    exit_route: &str,
) -> Result<Bot, Error> {
    let mut bot = lock(connection, actor, bot_id).await?;
    check_etag(etag, bot.revision)?;
    if exit_route.is_empty() {
        let closing = policies::any_in_force(connection, actor.tenant_id, bot_id, |policy| {
            policy.auto_close.is_some()
        });
        if closing.await?.is_some() {
            return Err(Error::Precondition {
                reason: "EXIT_ROUTE_IN_USE",
                subject: format!("bot/{bot_id}"),
                description: "a policy of the bot or of one of its queues closes tickets automatically and needs the \
                              exit route",
            });
        }
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
