//! Requests, checked and taken apart.

use plazo_domain::TimeValue;
use plazo_proto::common::v1 as common;
use plazo_proto::ticketing::v1::{
    CreateAgentRequest, CreateBotRequest, CreateQueueRequest, SetExitRouteRequest,
    SetInactivityPolicyRequest, UpdateAgentRequest, UpdateBotRequest,
};

use crate::error::Error;
use crate::policy_proto::{ReadPolicy, policy_from_proto};
use crate::settings::agents::{AgentChange, NewAgent};
use crate::settings::bots::{BotChange, NewBot};
use crate::validate::Checks;

const MAX_EXIT_ROUTE_CHARS: usize = 200;
const MAX_BOTS_OF_AGENT: usize = 1_000;

/// New values of something.
#[derive(Debug, Clone)]
pub(super) struct Update<C> {
    /// What to change.
    pub(super) id: i64,
    /// What its etag must be; empty for any.
    pub(super) etag: String,
    /// The new values.
    pub(super) change: C,
}

pub(super) fn bot_id(bot_id: i64) -> Result<i64, Error> {
    let mut checks = Checks::new();
    checks.id("bot_id", bot_id);
    checks.finish().map(|()| bot_id)
}

pub(super) fn agent_id(agent_id: i64) -> Result<i64, Error> {
    let mut checks = Checks::new();
    checks.id("agent_id", agent_id);
    checks.finish().map(|()| agent_id)
}

pub(super) fn new_bot(request: &CreateBotRequest) -> Result<NewBot, Error> {
    let mut checks = Checks::new();
    checks.request_id(&request.request_id);
    let Some(bot) = &request.bot else {
        return Err(checks.finish_without("bot"));
    };
    checks.left_to_service("bot.bot_id", &bot.bot_id);
    checks.name("bot.name", &bot.name);
    checks.left_to_service("bot.exit_route", &bot.exit_route);
    checks.optional_id("bot.channel_account_id", bot.channel_account_id);
    let reopen_window = reopen_window(&mut checks, bot.reopen_window);
    checks.left_to_service("bot.etag", &bot.etag);
    checks
        .finish_with(reopen_window)
        .map(|reopen_window| NewBot {
            name: bot.name.clone(),
            channel_account_id: bot.channel_account_id,
            reopen_window,
        })
}

pub(super) fn bot_update(request: &UpdateBotRequest) -> Result<Update<BotChange>, Error> {
    let mut checks = Checks::new();
    checks.request_id(&request.request_id);
    let known = ["name", "channel_account_id", "reopen_window"];
    let mask = checks.update_mask(request.update_mask.as_ref(), &known);
    let Some(bot) = &request.bot else {
        return Err(checks.finish_without("bot"));
    };
    checks.id("bot.bot_id", bot.bot_id);
    let mut change = BotChange {
        name: None,
        channel_account_id: None,
        reopen_window: None,
    };
    if mask.has("name") {
        checks.name("bot.name", &bot.name);
        change.name = Some(bot.name.clone());
    }
    if mask.has("channel_account_id") {
        checks.optional_id("bot.channel_account_id", bot.channel_account_id);
        change.channel_account_id = Some(bot.channel_account_id);
    }
    if mask.has("reopen_window") {
        change.reopen_window = reopen_window(&mut checks, bot.reopen_window);
    }
    checks.finish()?;
    Ok(Update {
        id: bot.bot_id,
        etag: bot.etag.clone(),
        change,
    })
}

/// What is not set means 24 hours.
fn reopen_window(checks: &mut Checks, value: Option<common::TimeValue>) -> Option<TimeValue> {
    let default = common::TimeValue {
        value: 24,
        unit: common::TimeUnit::Hour.into(),
    };
    checks.time_value("bot.reopen_window", Some(&value.unwrap_or(default)))
}

pub(super) fn check_exit_route(request: &SetExitRouteRequest) -> Result<(), Error> {
    let mut checks = Checks::new();
    checks.request_id(&request.request_id);
    checks.id("bot_id", request.bot_id);
    if !request.exit_route.is_empty() {
        checks.filled_line("exit_route", &request.exit_route, MAX_EXIT_ROUTE_CHARS);
    }
    checks.finish()
}

/// What is wrong with the policy itself is left to the use case, which knows the bot's exit route as well
/// and can tell all at once. Only with other fields that are wrong is it told here, too.
pub(super) fn policy_replacement(
    request: &SetInactivityPolicyRequest,
) -> Result<ReadPolicy, Error> {
    let mut checks = Checks::new();
    checks.request_id(&request.request_id);
    checks.id("bot_id", request.bot_id);
    checks.optional_id("replaces_version", request.replaces_version);
    let Some(policy) = &request.policy else {
        return Err(checks.finish_without("policy"));
    };
    checks.left_to_service("policy.version", &policy.version);
    let read = policy_from_proto(policy);
    if checks.is_empty() {
        return Ok(read);
    }
    checks.extend(read.violations);
    // Whether there is an exit route isn't known here, and so isn't complained of.
    checks.extend(read.policy.check(true).err().unwrap_or_default());
    Err(Error::Invalid(checks.into_violations()))
}

pub(super) fn new_queue(request: &CreateQueueRequest) -> Result<(i64, String), Error> {
    let mut checks = Checks::new();
    checks.request_id(&request.request_id);
    let Some(queue) = &request.queue else {
        return Err(checks.finish_without("queue"));
    };
    checks.left_to_service("queue.queue_id", &queue.queue_id);
    checks.id("queue.bot_id", queue.bot_id);
    checks.name("queue.name", &queue.name);
    checks.finish()?;
    Ok((queue.bot_id, queue.name.clone()))
}

pub(super) fn new_agent(request: &CreateAgentRequest) -> Result<NewAgent, Error> {
    let mut checks = Checks::new();
    checks.request_id(&request.request_id);
    let Some(agent) = &request.agent else {
        return Err(checks.finish_without("agent"));
    };
    checks.left_to_service("agent.agent_id", &agent.agent_id);
    checks.name("agent.name", &agent.name);
    check_bots_of_agent(&mut checks, &agent.bot_ids);
    checks.left_to_service("agent.etag", &agent.etag);
    checks.finish()?;
    Ok(NewAgent {
        name: agent.name.clone(),
        bot_ids: agent.bot_ids.clone(),
        away: agent.away,
    })
}

pub(super) fn agent_update(request: &UpdateAgentRequest) -> Result<Update<AgentChange>, Error> {
    let mut checks = Checks::new();
    checks.request_id(&request.request_id);
    let known = ["name", "bot_ids", "away"];
    let mask = checks.update_mask(request.update_mask.as_ref(), &known);
    let Some(agent) = &request.agent else {
        return Err(checks.finish_without("agent"));
    };
    checks.id("agent.agent_id", agent.agent_id);
    let mut change = AgentChange {
        name: None,
        bot_ids: None,
        away: None,
    };
    if mask.has("name") {
        checks.name("agent.name", &agent.name);
        change.name = Some(agent.name.clone());
    }
    if mask.has("bot_ids") {
        check_bots_of_agent(&mut checks, &agent.bot_ids);
        change.bot_ids = Some(agent.bot_ids.clone());
    }
    if mask.has("away") {
        change.away = Some(agent.away);
    }
    checks.finish()?;
    Ok(Update {
        id: agent.agent_id,
        etag: agent.etag.clone(),
        change,
    })
}

fn check_bots_of_agent(checks: &mut Checks, bot_ids: &[i64]) {
    let field = "agent.bot_ids";
    if bot_ids.len() > MAX_BOTS_OF_AGENT {
        let reason = format!("must be at most {MAX_BOTS_OF_AGENT}, are {}", bot_ids.len());
        checks.refuse(field, reason);
    }
    checks.check(
        field,
        bot_ids.iter().all(|bot_id| *bot_id > 0),
        "must be above zero",
    );
}
