//! Requests about policies and calendars.

use plazo_proto::ticketing::v1 as proto;

use crate::error::Error;
use crate::policy_proto::{ReadPolicy, calendar_from_proto, policy_from_proto};
use crate::settings::calendars::NewCalendar;
use crate::settings::policies::Replacement;
use crate::store::settings::policies::PolicyScope;
use crate::validate::Checks;

/// A bot, or one of its queues.
pub(in super::super) fn policy_scope(bot_id: i64, queue_id: i64) -> Result<PolicyScope, Error> {
    let mut checks = Checks::new();
    let scope = scope(&mut checks, bot_id, queue_id);
    checks.finish().map(|()| scope)
}

fn scope(checks: &mut Checks, bot_id: i64, queue_id: i64) -> PolicyScope {
    checks.id("bot_id", bot_id);
    checks.optional_id("queue_id", queue_id);
    PolicyScope {
        bot_id,
        queue_id: (queue_id != 0).then_some(queue_id),
    }
}

pub(in super::super) fn policy_replacement(
    request: &proto::SetInactivityPolicyRequest,
) -> Result<Replacement, Error> {
    let mut checks = Checks::new();
    checks.request_id(&request.request_id);
    let scope = scope(&mut checks, request.bot_id, request.queue_id);
    checks.optional_id("replaces_version", request.replaces_version);
    Ok(Replacement {
        scope,
        read: policy(checks, request.policy.as_ref())?,
        replaces_version: request.replaces_version,
        apply: request.apply_to_open_tickets,
    })
}

pub(in super::super) fn preview(
    request: &proto::PreviewSettingsRequest,
) -> Result<(PolicyScope, ReadPolicy), Error> {
    let mut checks = Checks::new();
    let scope = scope(&mut checks, request.bot_id, request.queue_id);
    Ok((scope, policy(checks, request.policy.as_ref())?))
}

/// What is wrong with the policy itself is left to the use case, which knows the bot's settings as well and can tell
/// all at once. Only with other fields that are wrong is it told here, too.
fn policy(
    mut checks: Checks,
    policy: Option<&proto::InactivityPolicy>,
) -> Result<ReadPolicy, Error> {
    let Some(policy) = policy else {
        return Err(checks.finish_without("policy"));
    };
    checks.left_to_service("policy.version", &policy.version);
    checks.check(
        "policy.calendar",
        policy.calendar.is_none(),
        "must not be set in this request: business time is counted by the bot's calendar, which UpdateBot sets",
    );
    let read = policy_from_proto(policy);
    if checks.is_empty() {
        return Ok(read);
    }
    checks.extend(read.violations);
    // Whether there is an exit route isn't known here, and so isn't complained of.
    checks.extend(read.policy.check(true).err().unwrap_or_default());
    Err(Error::Invalid(checks.into_violations()))
}

pub(in super::super) fn policy_removal(
    request: &proto::RemoveQueuePolicyRequest,
) -> Result<(), Error> {
    let mut checks = Checks::new();
    checks.request_id(&request.request_id);
    checks.id("bot_id", request.bot_id);
    checks.id("queue_id", request.queue_id);
    checks.finish()
}

pub(in super::super) fn new_calendar(
    request: &proto::CreateCalendarRequest,
) -> Result<NewCalendar, Error> {
    let mut checks = Checks::new();
    checks.request_id(&request.request_id);
    let Some(calendar) = &request.calendar else {
        return Err(checks.finish_without("calendar"));
    };
    checks.left_to_service("calendar.calendar_id", &calendar.calendar_id);
    checks.left_to_service("calendar.etag", &calendar.etag);
    settings(checks, calendar)
}

pub(in super::super) fn calendar_change(
    request: &proto::UpdateCalendarRequest,
) -> Result<NewCalendar, Error> {
    let mut checks = Checks::new();
    checks.request_id(&request.request_id);
    let Some(calendar) = &request.calendar else {
        return Err(checks.finish_without("calendar"));
    };
    checks.id("calendar.calendar_id", calendar.calendar_id);
    settings(checks, calendar)
}

fn settings(mut checks: Checks, calendar: &proto::Calendar) -> Result<NewCalendar, Error> {
    checks.name("calendar.name", &calendar.name);
    let ready = match calendar_from_proto(calendar) {
        Ok(ready) => Some(ready),
        Err(violations) => {
            checks.extend(violations);
            None
        }
    };
    let ready = checks.finish_with(ready)?;
    Ok(NewCalendar {
        name: calendar.name.clone(),
        settings: proto::Calendar {
            time_zone: calendar.time_zone.clone(),
            week: calendar.week.clone(),
            exceptions: calendar.exceptions.clone(),
            ..proto::Calendar::default()
        },
        calendar: ready,
    })
}
