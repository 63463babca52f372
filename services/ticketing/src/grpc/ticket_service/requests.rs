//! What requests of the ticket service may say.

use std::collections::HashSet;

use jiff::Timestamp;
use plazo_domain::{AutomationPause, TicketState, Violation, check_tags};
use plazo_proto::ticketing::v1::pause_automation_request::Length;
use plazo_proto::ticketing::v1::{
    AssignTicketRequest, CloseTicketRequest, CloseTicketsRequest, HoldTicketRequest, MessageKind,
    OpenTicketRequest, PauseAutomationRequest, RecordMessageRequest, RecordMessagesRequest,
    ReopenTicketRequest, ResumeAutomationRequest, ResumeTicketRequest, SetTicketOpenRequest,
    TagTicketsRequest, TicketFilter, TransferTicketRequest, UnlinkTicketRequest,
};
use plazo_service::Actor;
use tonic::Status;

use super::{finish, permitted_bots};
use crate::instants::from_proto;
use crate::store::messages::NewMessage;
use crate::store::tickets::TicketQuery;
use crate::tickets::close::CloseOrder;
use crate::tickets::hold::HoldOrder;
use crate::tickets::record::{AddressedMessage, CheckedMessage};
use crate::tickets::tags::TagOrder;
use crate::validate::Checks;

const MAX_TEXT_CHARS: usize = 16_384;
const MAX_ATTACHMENTS: usize = 10;
const MAX_URL_CHARS: usize = 2_048;
const MAX_REASON_CHARS: usize = 200;
/// The most tickets of one call.
const MAX_BATCH: usize = 500;
/// The most messages of one call.
const MAX_MESSAGES: usize = 200;

pub(super) fn check_ticket_id(ticket_id: i64) -> Result<(), Status> {
    let mut checks = Checks::new();
    checks.id("ticket_id", ticket_id);
    finish(checks)
}

pub(super) fn check_open(_: &Actor, request: &OpenTicketRequest) -> Result<(), Status> {
    let mut checks = Checks::new();
    checks.id("bot_id", request.bot_id);
    checks.optional_id("queue_id", request.queue_id);
    checks.id("contact_id", request.contact_id);
    checks.optional_id("agent_id", request.agent_id);
    checks.request_id(&request.request_id);
    finish(checks)
}

pub(super) fn check_assign(_: &Actor, request: &AssignTicketRequest) -> Result<(), Status> {
    let mut checks = Checks::new();
    checks.id("ticket_id", request.ticket_id);
    checks.id("agent_id", request.agent_id);
    checks.request_id(&request.request_id);
    finish(checks)
}

pub(super) fn check_transfer(_: &Actor, request: &TransferTicketRequest) -> Result<(), Status> {
    let mut checks = Checks::new();
    checks.id("ticket_id", request.ticket_id);
    checks.id("queue_id", request.queue_id);
    checks.request_id(&request.request_id);
    finish(checks)
}

/// A request that says no more than which ticket.
pub(super) trait NamesTicket {
    /// The ticket and the request id.
    fn names(&self) -> (i64, &str);
}

macro_rules! names_ticket {
    ($($request:ty),+) => {
        $(impl NamesTicket for $request {
            fn names(&self) -> (i64, &str) {
                (self.ticket_id, &self.request_id)
            }
        })+
    };
}
names_ticket!(
    ReopenTicketRequest,
    ResumeTicketRequest,
    SetTicketOpenRequest,
    ResumeAutomationRequest,
    HoldTicketRequest,
    CloseTicketRequest,
    UnlinkTicketRequest,
    PauseAutomationRequest,
    RecordMessageRequest
);

fn checks_of<R: NamesTicket>(request: &R) -> Checks {
    let (ticket_id, request_id) = request.names();
    let mut checks = Checks::new();
    checks.id("ticket_id", ticket_id);
    checks.request_id(request_id);
    checks
}

pub(super) fn check_change<R: NamesTicket>(_: &Actor, request: &R) -> Result<(), Status> {
    finish(checks_of(request))
}

pub(super) fn close_order(
    actor: &Actor,
    request: &CloseTicketRequest,
) -> Result<CloseOrder, Status> {
    finish(checks_of(request))?;
    Ok(CloseOrder::new(
        actor,
        request.source,
        request.note.as_ref(),
    )?)
}

pub(super) fn unlink_order(
    actor: &Actor,
    request: &UnlinkTicketRequest,
) -> Result<CloseOrder, Status> {
    finish(checks_of(request))?;
    Ok(CloseOrder::new(actor, 0, request.note.as_ref())?)
}

pub(super) fn close_many_order(
    actor: &Actor,
    request: &CloseTicketsRequest,
) -> Result<CloseOrder, Status> {
    let mut checks = Checks::new();
    check_ticket_ids(&mut checks, &request.ticket_ids);
    checks.request_id(&request.request_id);
    finish(checks)?;
    Ok(CloseOrder::new(
        actor,
        request.source,
        request.note.as_ref(),
    )?)
}

pub(super) fn tag_order(_: &Actor, request: &TagTicketsRequest) -> Result<TagOrder, Status> {
    let mut checks = Checks::new();
    check_ticket_ids(&mut checks, &request.ticket_ids);
    checks.request_id(&request.request_id);
    checks.extend(check_tags("add_tags", &request.add_tags));
    checks.extend(check_tags("remove_tags", &request.remove_tags));
    let is_empty = request.add_tags.is_empty() && request.remove_tags.is_empty();
    checks.check(
        "add_tags",
        !is_empty,
        "must not be empty without remove_tags",
    );
    for (index, tag) in request.remove_tags.iter().enumerate() {
        let field = format!("remove_tags[{index}]");
        let is_added = request.add_tags.contains(tag);
        checks.check(&field, !is_added, "must not be one of add_tags");
    }
    finish(checks)?;
    Ok(TagOrder {
        add: request.add_tags.clone(),
        remove: request.remove_tags.clone(),
    })
}

fn check_ticket_ids(checks: &mut Checks, ticket_ids: &[i64]) {
    let count = ticket_ids.len();
    if count == 0 || count > MAX_BATCH {
        let reason = format!("must be 1 to {MAX_BATCH}, are {count}");
        checks.refuse("ticket_ids", reason);
        return;
    }
    let mut seen = HashSet::with_capacity(count);
    for (index, &ticket_id) in ticket_ids.iter().enumerate() {
        let field = format!("ticket_ids[{index}]");
        checks.id(&field, ticket_id);
        checks.check(
            &field,
            seen.insert(ticket_id),
            "must not repeat an earlier id",
        );
    }
}

pub(super) fn hold_order(_: &Actor, request: &HoldTicketRequest) -> Result<HoldOrder, Status> {
    let mut checks = checks_of(request);
    checks.filled_line("reason", &request.reason, MAX_REASON_CHARS);
    let max_length = request
        .max_length
        .as_ref()
        .and_then(|length| checks.time_value("max_length", Some(length)));
    finish(checks)?;
    Ok(HoldOrder {
        reason: request.reason.clone(),
        max_length,
    })
}

pub(super) fn pause_order(
    _: &Actor,
    request: &PauseAutomationRequest,
) -> Result<AutomationPause, Status> {
    let mut checks = checks_of(request);
    let pause = match &request.length {
        Some(Length::PauseFor(length)) => checks
            .time_value("pause_for", Some(length))
            .map(AutomationPause::For),
        Some(Length::UntilCompleted(true)) => Some(AutomationPause::UntilCompleted),
        Some(Length::UntilCompleted(false)) => {
            checks.refuse("until_completed", "must be true");
            None
        }
        None => {
            checks.refuse("pause_for", "must be set, or until_completed");
            None
        }
    };
    Ok(checks.finish_with(pause)?)
}

/// The messages of a batch. One that is ill-formed stops none of the others.
pub(super) fn addressed_messages(
    _: &Actor,
    request: &RecordMessagesRequest,
) -> Result<Vec<CheckedMessage>, Status> {
    let mut checks = Checks::new();
    checks.request_id(&request.request_id);
    let count = request.messages.len();
    if count == 0 || count > MAX_MESSAGES {
        let reason = format!("must be 1 to {MAX_MESSAGES}, are {count}");
        checks.refuse("messages", reason);
    }
    finish(checks)?;
    let messages = request.messages.iter().map(|message| {
        let (addressed, violations) = read_message(message);
        let mut checks = Checks::new();
        checks.extend(violations);
        checks.left_to_service("request_id", &message.request_id);
        let violations = checks.into_violations();
        if violations.is_empty() {
            Ok(addressed)
        } else {
            Err(violations)
        }
    });
    Ok(messages.collect())
}

/// The message that a request wants recorded, with its author as the request says.
pub(super) fn addressed_message(
    _: &Actor,
    request: &RecordMessageRequest,
) -> Result<AddressedMessage, Status> {
    let (addressed, violations) = read_message(request);
    let mut checks = Checks::new();
    checks.extend(violations);
    finish(checks)?;
    Ok(addressed)
}

fn read_message(request: &RecordMessageRequest) -> (AddressedMessage, Vec<Violation>) {
    let mut checks = checks_of(request);
    let kind = match MessageKind::try_from(request.kind) {
        Ok(MessageKind::Unspecified) => MessageKind::Chat,
        Ok(kind) => kind,
        Err(_) => {
            checks.refuse("kind", "must be one of the known values");
            MessageKind::Chat
        }
    };
    let has_attachments = !request.attachment_urls.is_empty();
    check_text(&mut checks, &request.text, has_attachments);
    check_attachments(&mut checks, &request.attachment_urls);
    let channel_at = channel_time(&mut checks, request);
    let addressed = AddressedMessage {
        ticket_id: request.ticket_id,
        new: NewMessage {
            author: request.author.unwrap_or_default(),
            kind,
            text: request.text.clone(),
            attachment_urls: request.attachment_urls.clone(),
            channel_at,
        },
    };
    (addressed, checks.into_violations())
}

/// The text of a message.
pub(in crate::grpc) fn check_text(checks: &mut Checks, text: &str, has_attachments: bool) {
    let is_empty = text.is_empty() && !has_attachments;
    checks.check("text", !is_empty, "must not be empty without an attachment");
    let count = text.chars().count();
    if count > MAX_TEXT_CHARS {
        checks.refuse(
            "text",
            format!("must be at most {MAX_TEXT_CHARS} characters, is {count}"),
        );
    }
    let is_forbidden = |c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t');
    let reason = "must not contain control characters other than line breaks and tabs";
    checks.check("text", !text.chars().any(is_forbidden), reason);
}

/// The attachments of a message.
pub(in crate::grpc) fn check_attachments(checks: &mut Checks, urls: &[String]) {
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
