//! What requests of the ticket service may say.

use jiff::Timestamp;
use plazo_domain::TicketState;
use plazo_proto::ticketing::v1::{
    AssignTicketRequest, CloseTicketRequest, MessageKind, OpenTicketRequest, RecordMessageRequest,
    ReopenTicketRequest, TicketFilter,
};
use plazo_service::Actor;
use tonic::Status;

use super::{finish, permitted_bots};
use crate::instants::from_proto;
use crate::store::messages::NewMessage;
use crate::store::tickets::TicketQuery;
use crate::validate::Checks;

const MAX_TEXT_CHARS: usize = 16_384;
const MAX_ATTACHMENTS: usize = 10;
const MAX_URL_CHARS: usize = 2_048;

pub(super) fn check_ticket_id(ticket_id: i64) -> Result<(), Status> {
    let mut checks = Checks::new();
    checks.id("ticket_id", ticket_id);
    finish(checks)
}

pub(super) fn check_open(request: &OpenTicketRequest) -> Result<(), Status> {
    let mut checks = Checks::new();
    checks.id("bot_id", request.bot_id);
    checks.optional_id("queue_id", request.queue_id);
    checks.id("contact_id", request.contact_id);
    checks.optional_id("agent_id", request.agent_id);
    checks.request_id(&request.request_id);
    finish(checks)
}

pub(super) fn check_assign(request: &AssignTicketRequest) -> Result<(), Status> {
    let mut checks = Checks::new();
    checks.id("ticket_id", request.ticket_id);
    checks.id("agent_id", request.agent_id);
    checks.request_id(&request.request_id);
    finish(checks)
}

pub(super) fn check_close(request: &CloseTicketRequest) -> Result<(), Status> {
    let mut checks = Checks::new();
    checks.id("ticket_id", request.ticket_id);
    checks.request_id(&request.request_id);
    finish(checks)
}

pub(super) fn check_reopen(request: &ReopenTicketRequest) -> Result<(), Status> {
    let mut checks = Checks::new();
    checks.id("ticket_id", request.ticket_id);
    checks.request_id(&request.request_id);
    finish(checks)
}

/// The message that a request wants recorded, with its author as the request says.
pub(super) fn new_message(request: &RecordMessageRequest) -> Result<NewMessage, Status> {
    let mut checks = Checks::new();
    checks.id("ticket_id", request.ticket_id);
    checks.request_id(&request.request_id);
    let kind = match MessageKind::try_from(request.kind) {
        Ok(MessageKind::Unspecified | MessageKind::Chat) => MessageKind::Chat,
        Ok(MessageKind::Note) => MessageKind::Note,
        Err(_) => {
            checks.refuse("kind", "must be one of the known values");
            MessageKind::Chat
        }
    };
    check_text(&mut checks, request);
    check_attachments(&mut checks, &request.attachment_urls);
    let channel_at = channel_time(&mut checks, request);
    finish(checks)?;
    Ok(NewMessage {
        author: request.author.unwrap_or_default(),
        kind,
        text: request.text.clone(),
        attachment_urls: request.attachment_urls.clone(),
        channel_at,
    })
}

fn check_text(checks: &mut Checks, request: &RecordMessageRequest) {
    let is_empty = request.text.is_empty() && request.attachment_urls.is_empty();
    checks.check("text", !is_empty, "must not be empty without an attachment");
    let count = request.text.chars().count();
    if count > MAX_TEXT_CHARS {
        checks.refuse(
            "text",
            format!("must be at most {MAX_TEXT_CHARS} characters, is {count}"),
        );
    }
    let is_forbidden = |c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t');
    let reason = "must not contain control characters other than line breaks and tabs";
    checks.check("text", !request.text.chars().any(is_forbidden), reason);
}

fn check_attachments(checks: &mut Checks, urls: &[String]) {
    if urls.len() > MAX_ATTACHMENTS {
        let reason = format!("must be at most {MAX_ATTACHMENTS}, are {}", urls.len());
        checks.refuse("attachment_urls", reason);
        return;
    }
    for (index, url) in urls.iter().enumerate() {
        let field = format!("attachment_urls[{index}]");
        checks.line(&field, url, MAX_URL_CHARS);
        let is_absolute = ["https://", "http://"].iter().any(|scheme| {
            url.get(..scheme.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(scheme))
                && url.len() > scheme.len()
                && !url.contains(char::is_whitespace)
        });
        checks.check(&field, is_absolute, "must be an absolute http or https URL");
    }
}

fn channel_time(checks: &mut Checks, request: &RecordMessageRequest) -> Option<Timestamp> {
    let said = request.channel_time.as_ref()?;
    let at = from_proto(said);
    checks.check(
        "channel_time",
        at.is_some(),
        "must be an instant between the years 1 and 9999",
    );
    at
}

/// The tickets that a filter asks for, as far as the actor may see them.
pub(super) fn ticket_query(
    actor: &Actor,
    filter: Option<&TicketFilter>,
) -> Result<TicketQuery, Status> {
    let filter = filter.cloned().unwrap_or_default();
    let mut checks = Checks::new();
    let mut states = Vec::new();
    for (index, code) in filter.states.iter().enumerate() {
        let state = i16::try_from(*code).ok().and_then(TicketState::from_code);
        match state {
            Some(state) if !states.contains(&state) => states.push(state),
            Some(_) => {}
            None => {
                checks.refuse(
                    format!("filter.states[{index}]"),
                    "must be one of the known values",
                );
            }
        }
    }
    if filter.states.is_empty() {
        states = vec![TicketState::Waiting, TicketState::Open];
    }
    let mut named = |field: &str, id: i64| {
        checks.optional_id(field, id);
        (id != 0).then_some(id)
    };
    let bot_id = named("filter.bot_id", filter.bot_id);
    let queue_id = named("filter.queue_id", filter.queue_id);
    let agent_id = named("filter.agent_id", filter.agent_id);
    finish(checks)?;
    if let Some(bot_id) = bot_id {
        actor.require_bot(bot_id)?;
    }
    Ok(TicketQuery {
        tenant_id: actor.tenant_id,
        states,
        bot_id,
        queue_id,
        agent_id,
        permitted_bots: permitted_bots(actor),
    })
}
