//! Calendars. They belong to the tenant: who may read settings reads all of them, and who may use some bots only
//! changes none.

use plazo_domain::Calendar;
use plazo_proto::ticketing::v1 as proto;
use plazo_service::{Actor, BotScope};
use sqlx::PgConnection;

use super::{check_etag, etag, policies};
use crate::error::Error;
use crate::store::settings::bots;
use crate::store::settings::calendars::{self as rows, StoredCalendar};

/// The most bots that count by one calendar: a change of it changes the policies of all of them at once.
pub const MAX_BOTS: i64 = 1_000;

/// A calendar as somebody wants it, checked.
#[derive(Debug, Clone)]
pub struct NewCalendar {
    /// Its name.
    pub name: String,
    /// Time zone, week and exceptions; nothing else is set.
    pub settings: proto::Calendar,
    /// The same, ready for use.
    pub calendar: Calendar,
}

/// Denied to an actor who may use some bots only: other bots may count by it.
pub fn check_may_change(actor: &Actor) -> Result<(), Error> {
    match actor.bots {
        BotScope::All => Ok(()),
        BotScope::Only(_) => Err(Error::Denied {
            reason: "BOT_NOT_PERMITTED",
            description: "the actor may use some bots only, and change no calendars",
        }),
    }
}

/// The calendar as it is told.
pub fn to_proto(stored: StoredCalendar) -> proto::Calendar {
    proto::Calendar {
        calendar_id: stored.calendar_id,
        name: stored.name,
        etag: etag(stored.revision),
        ..stored.settings
    }
}

/// Creates a calendar. `CALENDAR_EXISTS` when the tenant has one of this name.
pub async fn create(
    connection: &mut PgConnection,
    actor: &Actor,
    new: &NewCalendar,
) -> Result<StoredCalendar, Error> {
    check_may_change(actor)?;
    let tenant_id = actor.tenant_id;
    if let Some(stored) = rows::insert(connection, tenant_id, &new.name, &new.settings).await? {
        return Ok(stored);
    }
    check_name(connection, actor, &new.name, 0).await?;
    // It was renamed between the two statements.
    Err(Error::Changed)
}

/// Reads a calendar.
pub async fn get(
    connection: &mut PgConnection,
    actor: &Actor,
    calendar_id: i64,
) -> Result<StoredCalendar, Error> {
    rows::find(connection, actor.tenant_id, calendar_id)
        .await?
        .ok_or_else(|| no_calendar(calendar_id))
}

/// The tenant's calendars after `after_calendar_id`, by id, at most `limit`.
pub async fn list(
    connection: &mut PgConnection,
    actor: &Actor,
    after_calendar_id: i64,
    limit: i64,
) -> Result<Vec<StoredCalendar>, Error> {
    rows::list(connection, actor.tenant_id, after_calendar_id, limit).await
}

/// Replaces a calendar. Each policy in force that counts by it gets a new version, and, when `apply` says so, is
/// applied to open tickets. CHANGED when the etag is not the present one; INVALID when a time of such a policy would
/// not be reached any more.
pub async fn update(
    connection: &mut PgConnection,
    actor: &Actor,
    calendar_id: i64,
    etag: &str,
    new: &NewCalendar,
    apply: bool,
) -> Result<StoredCalendar, Error> {
    check_may_change(actor)?;
    let tenant_id = actor.tenant_id;
    // Bots that take the calendar up wait for this lock, so none is missing below.
    let mut stored = rows::lock(connection, tenant_id, calendar_id)
        .await?
        .ok_or_else(|| no_calendar(calendar_id))?;
    check_etag(etag, stored.revision)?;
    check_name(connection, actor, &new.name, calendar_id).await?;
    stored.name.clone_from(&new.name);
    stored.settings = new.settings.clone();
    rows::save(connection, tenant_id, &mut stored).await?;

    let bots = bots::lock_by_calendar(connection, tenant_id, calendar_id).await?;
    let bot_ids: Vec<i64> = bots.iter().map(|bot| bot.bot_id).collect();
    let told = to_proto(stored.clone());
    policies::recount(
        connection,
        tenant_id,
        &bot_ids,
        (&new.calendar, &told),
        "calendar.week",
        apply,
    )
    .await?;
    Ok(stored)
}

/// The calendar that a bot is to count by, locked so that it does not change before the bot has it. INVALID when there
/// is none in the tenant, or too many bots count by it.
pub(super) async fn take_up(
    connection: &mut PgConnection,
    tenant_id: i64,
    calendar_id: i64,
) -> Result<StoredCalendar, Error> {
    let field = "bot.calendar_id";
    let stored = rows::lock(connection, tenant_id, calendar_id)
        .await?
        .ok_or_else(|| Error::invalid(field, "must be a calendar that exists"))?;
    if bots::count_by_calendar(connection, tenant_id, calendar_id).await? >= MAX_BOTS {
        let reason = format!("must be a calendar of fewer than {MAX_BOTS} bots");
        return Err(Error::invalid(field, reason));
    }
    Ok(stored)
}

fn no_calendar(calendar_id: i64) -> Error {
    Error::NotFound {
        kind: "calendar",
        id: calendar_id,
    }
}

/// `CALENDAR_EXISTS` when another calendar than `calendar_id` has the name.
async fn check_name(
    connection: &mut PgConnection,
    actor: &Actor,
    name: &str,
    calendar_id: i64,
) -> Result<(), Error> {
    match rows::find_by_name(connection, actor.tenant_id, name).await? {
        Some(id) if id != calendar_id => Err(Error::Exists {
            reason: "CALENDAR_EXISTS",
            kind: "calendar",
            id,
        }),
        _ => Ok(()),
    }
}
