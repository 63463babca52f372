//! Requests, checked and taken apart.

mod bots;
mod policies;

use plazo_proto::ticketing::v1::{
    CreateAgentRequest, CreateQueueRequest, SetExitRouteRequest, UpdateAgentRequest,
};

use crate::error::Error;
use crate::settings::agents::{AgentChange, NewAgent};
use crate::validate::Checks;

pub(super) use bots::{bot_update, new_bot};
pub(super) use policies::{
    calendar_change, new_calendar, policy_removal, policy_replacement, policy_scope, preview,
};

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

pub(super) fn calendar_id(calendar_id: i64) -> Result<i64, Error> {
    let mut checks = Checks::new();
    checks.id("calendar_id", calendar_id);
    checks.finish().map(|()| calendar_id)
}

pub(super) fn agent_id(agent_id: i64) -> Result<i64, Error> {
    let mut checks = Checks::new();
    checks.id("agent_id", agent_id);
    checks.finish().map(|()| agent_id)
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

pub(super) fn new_queue(request: &CreateQueueRequest) -> Result<(i64, String), Error> {
    let mut checks = Checks::new();
    checks.request_id(&request.request_id);
    let Some(queue) = &request.queue else {
        return Err(checks.finish_without("queue"));
    };
    checks.left_to_service("queue.queue_id", &queue.queue_id);
    checks.id("queue.bot_id", queue.bot_id);
    checks.name("queue.name", &queue.name);
    checks.left_to_service("queue.policy_version", &queue.policy_version);
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
