//! The inactivity policies of bots and of their queues: which is in force, and what puts another in its place.
//!
//! Whoever changes what is in force holds the bot's lock, so that exit route, calendar, categories and policies always
//! go together.

use jiff::Timestamp;
use plazo_domain::{Calendar, InactivityPolicy, MAX_CALENDAR_YEARS, TimeValue, Violation};
use plazo_proto::ticketing::v1 as proto;
use plazo_service::Actor;
use sqlx::PgConnection;

use super::{bots, calendars, queues};
use crate::error::Error;
use crate::policy_proto::{ReadPolicy, calendar_from_proto, policy_from_stored, policy_to_proto};
use crate::store::clocks;
use crate::store::settings::applications;
use crate::store::settings::bots::Bot;
use crate::store::settings::calendars as calendar_rows;
use crate::store::settings::policies::{self as rows, PolicyOfScope, PolicyScope};
use crate::store::settings::queues::{self as queue_rows, Queue};

/// What is in force for new cycles of a bot or queue.
#[derive(Debug, Clone, PartialEq)]
pub struct InForceNow {
    /// The policy with its version; version 0 and nothing set when there is none.
    pub policy: proto::InactivityPolicy,
    /// For a queue: it has no policy of its own.
    pub inherited: bool,
    /// It is still being applied to open tickets.
    pub applying: bool,
}

/// A policy that is to be put in force.
#[derive(Debug, Clone)]
pub struct Replacement {
    /// Where.
    pub scope: PolicyScope,
    /// The policy.
    pub read: ReadPolicy,
    /// The version that must be in force there; 0 for any.
    pub replaces_version: i64,
    /// Whether to apply it to open tickets.
    pub apply: bool,
}

/// The policy in force for new cycles of a bot, or of a queue of this bot.
pub async fn get(
    connection: &mut PgConnection,
    actor: &Actor,
    scope: PolicyScope,
) -> Result<InForceNow, Error> {
    let bot = bots::get(connection, actor, scope.bot_id).await?;
    let own = match scope.queue_id {
        Some(queue_id) => {
            queues::of_bot(connection, actor.tenant_id, scope.bot_id, queue_id)
                .await?
                .policy_version
        }
        None => bot.policy_version,
    };
    let inherited = scope.queue_id.is_some() && own.is_none();
    let Some(version) = own.or(bot.policy_version) else {
        return Ok(InForceNow {
            policy: proto::InactivityPolicy::default(),
            inherited,
            applying: false,
        });
    };
    let stored = rows::get(connection, actor.tenant_id, version).await?;
    Ok(InForceNow {
        policy: proto::InactivityPolicy { version, ..stored },
        inherited,
        applying: applications::exists(connection, actor.tenant_id, version).await?,
    })
}

/// Puts a policy in force for new cycles. INVALID with all that is wrong with it, CHANGED when another version is in
/// force. An application of the policy before stops where it is.
pub async fn replace(
    connection: &mut PgConnection,
    actor: &Actor,
    replacement: &Replacement,
) -> Result<proto::InactivityPolicy, Error> {
    let (tenant_id, scope) = (actor.tenant_id, replacement.scope);
    let bot = bots::lock(connection, actor, scope.bot_id).await?;
    let before = match scope.queue_id {
        Some(queue_id) => {
            queues::of_bot(connection, tenant_id, scope.bot_id, queue_id)
                .await?
                .policy_version
        }
        None => bot.policy_version,
    };
    let (policy, calendar) = checked(connection, tenant_id, &bot, &replacement.read).await?;
    let replaces_version = replacement.replaces_version;
    if replaces_version != 0 && before != Some(replaces_version) {
        return Err(Error::Changed);
    }
    let settings = policy_to_proto(0, &policy, calendar);
    let version = put_in_force(connection, tenant_id, scope, &settings, replacement.apply).await?;
    Ok(proto::InactivityPolicy {
        version,
        ..settings
    })
}

/// Removes a queue's own policy, if it has one: the bot's is in force there again. With `apply` that is applied to the
/// queue's open tickets; it gets a new version for it, since a cycle only ever moves to a higher one.
pub async fn remove(
    connection: &mut PgConnection,
    actor: &Actor,
    bot_id: i64,
    queue_id: i64,
    apply: bool,
) -> Result<Queue, Error> {
    let tenant_id = actor.tenant_id;
    let bot = bots::lock(connection, actor, bot_id).await?;
    let mut queue = queues::of_bot(connection, tenant_id, bot_id, queue_id).await?;
    queue.policy_version = None;
    queue_rows::set_policy(connection, tenant_id, queue_id, None).await?;
    if !apply {
        return Ok(queue);
    }
    let of_bot = PolicyScope {
        bot_id,
        queue_id: None,
    };
    let (settings, is_being_applied) = match bot.policy_version {
        Some(version) => (
            rows::get(connection, tenant_id, version).await?,
            applications::exists(connection, tenant_id, version).await?,
        ),
        None => (
            policy_to_proto(0, &InactivityPolicy::default(), None),
            false,
        ),
    };
    let version = rows::put_in_force(connection, tenant_id, of_bot, &settings).await?;
    // What was begun for the whole bot goes on under the new version, and takes this queue in.
    let scope = PolicyScope {
        bot_id,
        queue_id: (!is_being_applied).then_some(queue_id),
    };
    applications::insert(connection, tenant_id, version, scope).await?;
    Ok(queue)
}

/// Checks a policy for a bot as a whole. INVALID with all that is wrong. Returns it with its calendar, ready for use and
/// as it is told.
pub(super) async fn checked(
    connection: &mut PgConnection,
    tenant_id: i64,
    bot: &Bot,
    read: &ReadPolicy,
) -> Result<(InactivityPolicy, Option<proto::Calendar>), Error> {
    let mut violations = read.violations.clone();
    let mut policy = read.policy.clone();
    let mut told = None;
    if read.business_time {
        match bot.fields.calendar_id {
            None => violations.push(Violation::new(
                "policy.business_time",
                "needs the bot's calendar, which is not set",
            )),
            Some(calendar_id) => {
                let stored = calendar_rows::find(connection, tenant_id, calendar_id)
                    .await?
                    .ok_or(Error::OutOfRange("bots.calendar_id"))?;
                policy.calendar = Some(ready_for_use(&stored.settings)?);
                told = Some(calendars::to_proto(stored));
            }
        }
    }
    violations.extend(
        policy
            .check(!bot.exit_route.is_empty())
            .err()
            .unwrap_or_default(),
    );
    if let Some(category) = missing_category(&policy, &bot.fields.note_categories) {
        violations.push(Violation::new(
            "policy.auto_close.note.category",
            format!("must be one of the bot's note_categories, is {category:?}"),
        ));
    }
    let now = clocks::now(connection).await?;
    for field in never_reached(&policy, now) {
        violations.push(Violation::new(
            field,
            format!("is not reached within {MAX_CALENDAR_YEARS} years by the bot's calendar"),
        ));
    }
    if violations.is_empty() {
        Ok((policy, told))
    } else {
        Err(Error::Invalid(violations))
    }
}

/// Gives a new version to each policy in force of these bots and their queues that counts business time: they count by
/// this calendar from now on. The bots are locked. INVALID on `field` when a time of one would not be reached.
pub(super) async fn recount(
    connection: &mut PgConnection,
    tenant_id: i64,
    bot_ids: &[i64],
    (calendar, told): (&Calendar, &proto::Calendar),
    field: &str,
    apply: bool,
) -> Result<(), Error> {
    let now = clocks::now(connection).await?;
    let in_force = rows::in_force(connection, tenant_id, bot_ids).await?;
    for PolicyOfScope {
        scope,
        policy_version,
        settings,
    } in in_force.into_iter().filter(|it| it.settings.business_time)
    {
        let policy = policy_from_stored(&settings)
            .ok_or(Error::OutOfRange("inactivity_policies.settings"))?;
        let policy = InactivityPolicy {
            calendar: Some(calendar.clone()),
            ..policy
        };
        if let Some(time) = never_reached(&policy, now).first() {
            let reason = format!(
                "opens too little: {time} of {} is not reached within {MAX_CALENDAR_YEARS} years",
                name_of(scope)
            );
            return Err(Error::invalid(field, reason));
        }
        let settings = proto::InactivityPolicy {
            calendar: Some(told.clone()),
            ..settings
        };
        // What was begun goes on under the new version.
        let is_being_applied = applications::exists(connection, tenant_id, policy_version).await?;
        let apply = apply || is_being_applied;
        put_in_force(connection, tenant_id, scope, &settings, apply).await?;
    }
    Ok(())
}

/// The first policy in force of a bot or its queues of which this holds, in words.
pub(super) async fn any_in_force(
    connection: &mut PgConnection,
    tenant_id: i64,
    bot_id: i64,
    holds: impl Fn(&proto::InactivityPolicy) -> bool,
) -> Result<Option<String>, Error> {
    let in_force = rows::in_force(connection, tenant_id, &[bot_id]).await?;
    let found = in_force.into_iter().find(|it| holds(&it.settings));
    Ok(found.map(|it| name_of(it.scope)))
}

/// The stored settings of a calendar, ready for use.
pub(super) fn ready_for_use(settings: &proto::Calendar) -> Result<Calendar, Error> {
    calendar_from_proto(settings).map_err(|_| Error::OutOfRange("calendars.settings"))
}

async fn put_in_force(
    connection: &mut PgConnection,
    tenant_id: i64,
    scope: PolicyScope,
    settings: &proto::InactivityPolicy,
    apply: bool,
) -> Result<i64, Error> {
    let version = rows::put_in_force(connection, tenant_id, scope, settings).await?;
    if apply {
        applications::insert(connection, tenant_id, version, scope).await?;
    }
    Ok(version)
}

fn name_of(scope: PolicyScope) -> String {
    match scope.queue_id {
        Some(queue_id) => format!("the policy of queue {queue_id} of bot {}", scope.bot_id),
        None => format!("the policy of bot {}", scope.bot_id),
    }
}

/// The category of the close's note, if it is none of the bot's.
fn missing_category<'p>(policy: &'p InactivityPolicy, categories: &[String]) -> Option<&'p str> {
    let note = policy.auto_close.as_ref()?.note.as_ref()?;
    let category = note.category.as_str();
    let is_missing =
        !category.is_empty() && !categories.is_empty() && !categories.iter().any(|c| c == category);
    is_missing.then_some(category)
}

/// The fields of the times that a cycle that begins at `now` would not reach by the policy's calendar.
fn never_reached(policy: &InactivityPolicy, now: Timestamp) -> Vec<&'static str> {
    let Some(calendar) = &policy.calendar else {
        return Vec::new();
    };
    let mut times: Vec<(&'static str, TimeValue)> = Vec::new();
    if let Some(alerts) = policy.alerts {
        times.push(("policy.alerts.first_alert", alerts.first));
        times.push(("policy.alerts.second_alert", alerts.second));
    }
    if let Some(close) = &policy.auto_close {
        times.push(("policy.auto_close.close_after", close.after));
    }
    if let Some(warning) = &policy.warning {
        times.push(("policy.warning.warn_after", warning.after));
    }
    if let Some(alerts) = policy.agent_alerts {
        times.push(("policy.agent_alerts.first_alert", alerts.first));
        times.push(("policy.agent_alerts.second_alert", alerts.second));
    }
    let is_out_of_reach =
        |time: TimeValue| calendar.add_open_time(now, time.as_millis()) == Timestamp::MAX;
    times
        .into_iter()
        .filter(|(_, time)| is_out_of_reach(*time))
        .map(|(field, _)| field)
        .collect()
}
