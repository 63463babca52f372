//! The service as callers see it: checks requests, asks the store, answers.

mod convert;
mod outreach;

use plazo_proto::history::v1::history_service_server::HistoryService;
use plazo_proto::history::v1::{
    GetTicketHistoryRequest, GetTicketHistoryResponse, ListClosedTicketsRequest,
    ListClosedTicketsResponse, ListContactTicketsRequest, ListContactTicketsResponse,
    ListConversationRequest, ListConversationResponse, SearchContactsRequest,
    SearchContactsResponse,
};
use plazo_service::paging::{decode_page_token, encode_page_token, page_size};
use plazo_service::status::{FieldViolations, invalid_with, not_found, unimplemented};
use plazo_service::{Actor, BotScope, MethodPermissions, Permission};
use tonic::{Request, Response, Status};

use crate::model::{TicketKey, from_proto};
use crate::store::{BotFilter, ClosedFilter, ReadStore};

pub(crate) use outreach::Outreach;

const DEFAULT_TICKETS: i32 = 50;
const DEFAULT_ENTRIES: i32 = 100;

/// Who may call what.
pub(crate) const PERMISSIONS: MethodPermissions = &[
    (
        "/plazo.history.v1.HistoryService/ListClosedTickets",
        &[Permission::HistoryView],
    ),
    (
        "/plazo.history.v1.HistoryService/GetTicketHistory",
        &[Permission::HistoryView],
    ),
    (
        "/plazo.history.v1.HistoryService/ListConversation",
        &[Permission::HistoryView],
    ),
    (
        "/plazo.history.v1.HistoryService/SearchContacts",
        &[Permission::HistoryView],
    ),
    (
        "/plazo.history.v1.HistoryService/ListContactTickets",
        &[Permission::HistoryView],
    ),
    // And for the history.
    (
        "/plazo.history.v1.OutreachService/SendActiveMessage",
        &[Permission::MessagesSend],
    ),
];

/// The handlers.
#[derive(Debug)]
pub(crate) struct History {
    store: ReadStore,
}

impl History {
    pub(crate) fn new(store: ReadStore) -> Self {
        Self { store }
    }
}

#[tonic::async_trait]
impl HistoryService for History {
    async fn list_closed_tickets(
        &self,
        request: Request<ListClosedTicketsRequest>,
    ) -> Result<Response<ListClosedTicketsResponse>, Status> {
        let actor = Actor::of(&request)?.clone();
        let message = request.into_inner();
        let filter = closed_filter(&actor, &message)?;
        let page_size = page_size(message.page_size, DEFAULT_TICKETS)?;
        let token_filter = ListClosedTicketsRequest {
            page_size: 0,
            page_token: String::new(),
            ..message
        };
        let token_filter = token_filter_bytes("ListClosedTickets", &actor, &token_filter);
        let after = decode_page_token::<2>(&token_filter, &message.page_token)?
            .map(|[closed_at_us, ticket_id]| {
                jiff::Timestamp::from_microsecond(closed_at_us)
                    .map(|closed_at| (closed_at, ticket_id))
                    .map_err(|_| page_token_invalid())
            })
            .transpose()?;

        let page = self.store.list_closed(&filter, after, page_size).await;
        let page = page.map_err(|error| plazo_database::to_status(&error))?;
        let last = page.items.last().filter(|_| page.has_more);
        let next_page_token = last.and_then(|ticket| {
            let closed_at = ticket.closure.as_ref()?.closed_at;
            let cursor = [closed_at.as_microsecond(), ticket.key.ticket_id];
            Some(encode_page_token(&token_filter, cursor))
        });
        Ok(Response::new(ListClosedTicketsResponse {
            tickets: page
                .items
                .into_iter()
                .map(convert::ticket_history)
                .collect(),
            next_page_token: next_page_token.unwrap_or_default(),
        }))
    }

    async fn get_ticket_history(
        &self,
        request: Request<GetTicketHistoryRequest>,
    ) -> Result<Response<GetTicketHistoryResponse>, Status> {
        let actor = Actor::of(&request)?;
        let (key, bots) = (
            ticket_key(actor, request.get_ref().ticket_id)?,
            bots_of(actor),
        );
        let found = self.store.find_ticket(key, &bots).await;
        let ticket = found
            .map_err(|error| plazo_database::to_status(&error))?
            .ok_or_else(|| ticket_not_found(key.ticket_id))?;
        Ok(Response::new(GetTicketHistoryResponse {
            ticket: Some(convert::ticket_history(ticket)),
        }))
    }

    async fn list_conversation(
        &self,
        request: Request<ListConversationRequest>,
    ) -> Result<Response<ListConversationResponse>, Status> {
        let actor = Actor::of(&request)?.clone();
        let message = request.into_inner();
        let (key, bots) = (ticket_key(&actor, message.ticket_id)?, bots_of(&actor));
        let page_size = page_size(message.page_size, DEFAULT_ENTRIES)?;
        let token_filter = ListConversationRequest {
            page_size: 0,
            page_token: String::new(),
            ..message
        };
        let token_filter = token_filter_bytes("ListConversation", &actor, &token_filter);
        let after_seq = decode_page_token::<1>(&token_filter, &message.page_token)?;
        let after_seq = after_seq.map_or(0, |[ticket_seq]| ticket_seq);

        let found = self
            .store
            .find_entries(key, &bots, after_seq, page_size)
            .await;
        let page = found
            .map_err(|error| plazo_database::to_status(&error))?
            .ok_or_else(|| ticket_not_found(key.ticket_id))?;
        let last = page.items.last().filter(|_| page.has_more);
        let next_page_token =
            last.map(|entry| encode_page_token(&token_filter, [entry.ticket_seq]));
        Ok(Response::new(ListConversationResponse {
            entries: page
                .items
                .into_iter()
                .map(convert::conversation_entry)
                .collect(),
            next_page_token: next_page_token.unwrap_or_default(),
        }))
    }

    async fn search_contacts(
        &self,
        _: Request<SearchContactsRequest>,
    ) -> Result<Response<SearchContactsResponse>, Status> {
        Err(unimplemented("NOT_BUILT_YET", "the search for contacts"))
    }

    async fn list_contact_tickets(
        &self,
        _: Request<ListContactTicketsRequest>,
    ) -> Result<Response<ListContactTicketsResponse>, Status> {
        Err(unimplemented(
            "NOT_BUILT_YET",
            "the list of a contact's tickets",
        ))
    }
}

fn closed_filter(
    actor: &Actor,
    message: &ListClosedTicketsRequest,
) -> Result<ClosedFilter, Status> {
    let mut violations = FieldViolations::new();
    violations.check("bot_id", message.bot_id >= 0, "must not be negative");
    violations.check("agent_id", message.agent_id >= 0, "must not be negative");
    let mut instant = |field: &str, value: Option<prost_types::Timestamp>| {
        let at = from_proto(value);
        violations.check(
            field,
            value.is_some() == at.is_some(),
            "must lie in the years 1 to 9999",
        );
        at.map(|at| at_or_after(at, value))
    };
    let from = instant("closed_from_time", message.closed_from_time);
    let until = instant("closed_until_time", message.closed_until_time);
    let is_order_right = from.zip(until).is_none_or(|(from, until)| from < until);
    violations.check(
        "closed_until_time",
        is_order_right,
        "must be later than closed_from_time",
    );
    violations.into_result()?;

    let bots = match message.bot_id {
        0 => bots_of(actor),
        bot_id => {
            actor.require_bot(bot_id)?;
            BotFilter::Only(vec![bot_id])
        }
    };
    Ok(ClosedFilter {
        tenant_id: actor.tenant_id,
        bots,
        agent_id: Some(message.agent_id).filter(|agent_id| *agent_id != 0),
        from,
        until,
    })
}

/// The first instant with whole microseconds, as closing times have, at or after `exact`: comparing with it is
/// comparing with the exact one. `rounded` is `exact` rounded down.
fn at_or_after(rounded: jiff::Timestamp, exact: Option<prost_types::Timestamp>) -> jiff::Timestamp {
    if exact.is_some_and(|exact| exact.nanos % 1_000 != 0) {
        rounded
            .checked_add(jiff::Span::new().microseconds(1))
            .unwrap_or(rounded)
    } else {
        rounded
    }
}

fn bots_of(actor: &Actor) -> BotFilter {
    match &actor.bots {
        BotScope::All => BotFilter::All,
        BotScope::Only(bot_ids) => BotFilter::Only(bot_ids.clone()),
    }
}

fn ticket_key(actor: &Actor, ticket_id: i64) -> Result<TicketKey, Status> {
    let mut violations = FieldViolations::new();
    violations.check("ticket_id", ticket_id > 0, "must be above zero");
    violations.into_result()?;
    Ok(TicketKey {
        tenant_id: actor.tenant_id,
        ticket_id,
    })
}

/// What a page token is bound to: the list, the tenant and the filter.
fn token_filter_bytes(list: &str, actor: &Actor, filter: &impl prost::Message) -> Vec<u8> {
    let mut bytes = list.as_bytes().to_vec();
    bytes.extend(actor.tenant_id.to_be_bytes());
    bytes.extend(filter.encode_to_vec());
    bytes
}

fn page_token_invalid() -> Status {
    let mut violations = FieldViolations::new();
    violations.add(
        "page_token",
        "is not the next_page_token of a page with the same filter",
    );
    invalid_with("PAGE_TOKEN_INVALID", violations)
}

/// The same for a ticket that does not exist, that is not known yet, and that the actor may not see.
fn ticket_not_found(ticket_id: i64) -> Status {
    not_found("TICKET_NOT_FOUND", "ticket", &ticket_id)
}
