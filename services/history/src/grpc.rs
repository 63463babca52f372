//! The service as callers see it: checks requests, asks the store, answers.

mod convert;
mod operation;
mod outreach;
mod report_service;
mod requests;
mod settings_service;

use plazo_proto::history::v1::history_service_server::HistoryService;
use plazo_proto::history::v1::{
    GetContactHistoryRequest, GetContactHistoryResponse, GetTicketHistoryRequest,
    GetTicketHistoryResponse, ListClosedTicketsRequest, ListClosedTicketsResponse,
    ListContactTicketsRequest, ListContactTicketsResponse, ListConversationRequest,
    ListConversationResponse, SearchContactsRequest, SearchContactsResponse,
};
use plazo_service::paging::{
    decode_page_token, encode_page_token, encode_text_page_token, page_size,
};
use plazo_service::status::failed_precondition;
use plazo_service::{MethodPermissions, Permission};
use tonic::{Request, Response, Status};

use self::requests::{
    actor_of_tenant, bot_filter, closed_filter, contact_filter, contact_not_found, contact_order,
    id, instant, interaction_place, ticket_not_found, token_filter,
};
use crate::store::{ContactOrder, EntryOrder, ReadStore, SearchError, Viewer};

pub(crate) use operation::Operation;
pub(crate) use outreach::Outreach;
pub(crate) use report_service::Reports;
pub(crate) use settings_service::HistorySettings;

const DEFAULT_ITEMS: i32 = 50;
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
    (
        "/plazo.history.v1.ProjectionService/RebuildProjection",
        &[Permission::Service],
    ),
    (
        "/plazo.history.v1.ProjectionService/GetProjection",
        &[Permission::Service],
    ),
    (
        "/plazo.history.v1.HistoryService/GetContactHistory",
        &[Permission::HistoryView],
    ),
    (
        "/plazo.history.v1.HistorySettingsService/SetBotHistory",
        &[Permission::HelpdeskEdit],
    ),
    (
        "/plazo.history.v1.HistorySettingsService/ListHistoryBots",
        &[Permission::HelpdeskView],
    ),
    (
        "/plazo.history.v1.HistorySettingsService/SetAgentAccess",
        &[Permission::HelpdeskEdit],
    ),
    (
        "/plazo.history.v1.HistorySettingsService/ListHistoryAgents",
        &[Permission::HelpdeskView],
    ),
    (
        "/plazo.history.v1.HistorySettingsService/GetHistorySettings",
        &[Permission::HelpdeskView],
    ),
    (
        "/plazo.history.v1.HistorySettingsService/UpdateHistorySettings",
        &[Permission::HelpdeskEdit],
    ),
    (
        "/plazo.history.v1.ReportService/ListConversations",
        &[Permission::ReportsView],
    ),
    (
        "/plazo.history.v1.ReportService/GetReport",
        &[Permission::ReportsView],
    ),
    (
        "/plazo.history.v1.ReportService/GetLatenessReport",
        &[Permission::ReportsView],
    ),
    (
        "/plazo.history.v1.ReportService/ExportConversations",
        &[Permission::ReportsView],
    ),
    (
        "/plazo.history.v1.ReportService/ExportReport",
        &[Permission::ReportsView],
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
        let actor = actor_of_tenant(&request)?;
        let viewer = Viewer::from(&actor);
        let message = request.into_inner();
        let filter = closed_filter(&actor, &message)?;
        let page_size = page_size(message.page_size, DEFAULT_ITEMS)?;
        let asked = ListClosedTicketsRequest {
            page_size: 0,
            page_token: String::new(),
            ..message
        };
        let token_filter = token_filter("ListClosedTickets", &viewer, &asked);
        let after = decode_page_token::<2>(&token_filter, &message.page_token)?
            .map(|[closed_at_us, ticket_id]| instant(closed_at_us).map(|at| (at, ticket_id)))
            .transpose()?;

        let page = self.store.list_closed(&viewer, &filter, after, page_size);
        let page = page
            .await
            .map_err(|error| plazo_database::to_status(&error))?;
        let last = page.items.last().filter(|_| page.has_more);
        let next_page_token = last.and_then(|ticket| {
            let closed_at = ticket.closed_at?.to_jiff();
            let cursor = [closed_at.as_microsecond(), ticket.ticket_id];
            Some(encode_page_token(&token_filter, cursor))
        });
        let tickets = page.items.into_iter().map(convert::ticket_history);
        Ok(Response::new(ListClosedTicketsResponse {
            tickets: tickets.collect(),
            next_page_token: next_page_token.unwrap_or_default(),
        }))
    }

    async fn get_ticket_history(
        &self,
        request: Request<GetTicketHistoryRequest>,
    ) -> Result<Response<GetTicketHistoryResponse>, Status> {
        let viewer = Viewer::from(&actor_of_tenant(&request)?);
        let ticket_id = id("ticket_id", request.get_ref().ticket_id)?;
        let found = self.store.find_ticket(&viewer, ticket_id).await;
        let ticket = found
            .map_err(|error| plazo_database::to_status(&error))?
            .ok_or_else(|| ticket_not_found(ticket_id))?;
        Ok(Response::new(GetTicketHistoryResponse {
            ticket: Some(convert::ticket_history(ticket)),
        }))
    }

    async fn list_conversation(
        &self,
        request: Request<ListConversationRequest>,
    ) -> Result<Response<ListConversationResponse>, Status> {
        let viewer = Viewer::from(&actor_of_tenant(&request)?);
        let message = request.into_inner();
        let ticket_id = id("ticket_id", message.ticket_id)?;
        let page_size = page_size(message.page_size, DEFAULT_ENTRIES)?;
        let asked = ListConversationRequest {
            page_size: 0,
            page_token: String::new(),
            ..message
        };
        let token_filter = token_filter("ListConversation", &viewer, &asked);
        let place = decode_page_token::<1>(&token_filter, &message.page_token)?;
        let place = place.map(|[ticket_seq]| ticket_seq);
        let order = if message.newest_first {
            EntryOrder::NewestFirst {
                before: place.unwrap_or(i64::MAX),
            }
        } else {
            EntryOrder::OldestFirst {
                after: place.unwrap_or(0),
            }
        };

        let found = self
            .store
            .find_entries(&viewer, ticket_id, order, page_size);
        let page = found
            .await
            .map_err(|error| plazo_database::to_status(&error))?
            .ok_or_else(|| ticket_not_found(ticket_id))?;
        let last = page.items.last().filter(|_| page.has_more);
        let next_page_token =
            last.map(|entry| encode_page_token(&token_filter, [entry.ticket_seq]));
        let entries = page.items.into_iter().map(convert::conversation_entry);
        Ok(Response::new(ListConversationResponse {
            entries: entries.collect(),
            next_page_token: next_page_token.unwrap_or_default(),
        }))
    }

    async fn search_contacts(
        &self,
        request: Request<SearchContactsRequest>,
    ) -> Result<Response<SearchContactsResponse>, Status> {
        let actor = actor_of_tenant(&request)?;
        let viewer = Viewer::from(&actor);
        let message = request.into_inner();
        let filter = contact_filter(&actor, &message)?;
        let page_size = page_size(message.page_size, DEFAULT_ITEMS)?;
        let asked = SearchContactsRequest {
            page_size: 0,
            page_token: String::new(),
            query: message.query.clone(),
            ..message
        };
        let token_filter = token_filter("SearchContacts", &viewer, &asked);
        let order = contact_order(&message, &token_filter)?;

        let found = self
            .store
            .search_contacts(&viewer, &filter, &order, page_size);
        let page = found.await.map_err(|error| match error {
            SearchError::TooBroad => failed_precondition(
                "QUERY_TOO_BROAD",
                "query",
                "finds too many contacts to order them by what the actor may know; name more of the contact, or order by name",
            ),
            SearchError::Database(error) => plazo_database::to_status(&error),
        })?;
        let last = page.items.last().filter(|_| page.has_more);
        let next_page_token = last.map(|contact| match order {
            ContactOrder::Name { .. } => {
                encode_text_page_token(&token_filter, &contact.name_key, contact.contact_id)
            }
            ContactOrder::LastInteraction { .. } => {
                encode_page_token(&token_filter, interaction_place(contact))
            }
        });
        let contacts = page.items.into_iter().map(convert::contact_history);
        Ok(Response::new(SearchContactsResponse {
            next_page_token: next_page_token.unwrap_or_default(),
            contacts: contacts.collect(),
        }))
    }

    async fn list_contact_tickets(
        &self,
        request: Request<ListContactTicketsRequest>,
    ) -> Result<Response<ListContactTicketsResponse>, Status> {
        let actor = actor_of_tenant(&request)?;
        let viewer = Viewer::from(&actor);
        let message = request.into_inner();
        let contact_id = id("contact_id", message.contact_id)?;
        let bot_id = bot_filter(&actor, message.bot_id)?;
        let page_size = page_size(message.page_size, DEFAULT_ITEMS)?;
        let asked = ListContactTicketsRequest {
            page_size: 0,
            page_token: String::new(),
            ..message
        };
        let token_filter = token_filter("ListContactTickets", &viewer, &asked);
        let before = decode_page_token::<1>(&token_filter, &message.page_token)?;
        let before = before.map_or(i64::MAX, |[ticket_id]| ticket_id);

        let found = self
            .store
            .find_contact_tickets(&viewer, contact_id, bot_id, before, page_size);
        let page = found
            .await
            .map_err(|error| plazo_database::to_status(&error))?
            .ok_or_else(|| contact_not_found(contact_id))?;
        let last = page.items.last().filter(|_| page.has_more);
        let next_page_token = last.map(|last| encode_page_token(&token_filter, [last.ticket_id]));
        let tickets = page.items.into_iter().map(convert::ticket_history);
        Ok(Response::new(ListContactTicketsResponse {
            next_page_token: next_page_token.unwrap_or_default(),
            tickets: tickets.collect(),
        }))
    }

    async fn get_contact_history(
        &self,
        request: Request<GetContactHistoryRequest>,
    ) -> Result<Response<GetContactHistoryResponse>, Status> {
        let viewer = Viewer::from(&actor_of_tenant(&request)?);
        let message = request.into_inner();
        let contact_id = id("contact_id", message.contact_id)?;
        let page_size = page_size(message.page_size, DEFAULT_ITEMS)?;
        let asked = GetContactHistoryRequest {
            page_size: 0,
            page_token: String::new(),
            ..message
        };
        let token_filter = token_filter("GetContactHistory", &viewer, &asked);
        let before = decode_page_token::<3>(&token_filter, &message.page_token)?
            .map(|[at_us, ticket_id, ticket_seq]| {
                instant(at_us).map(|at| (at, ticket_id, ticket_seq))
            })
            .transpose()?;

        let found = self.store.find_contact(&viewer, contact_id).await;
        let contact = found
            .map_err(|error| plazo_database::to_status(&error))?
            .ok_or_else(|| contact_not_found(contact_id))?;
        let page = self
            .store
            .list_comments(&viewer, contact_id, before, page_size);
        let page = page
            .await
            .map_err(|error| plazo_database::to_status(&error))?;
        let last = page.items.last().filter(|_| page.has_more);
        let next_page_token = last.map(|comment| {
            let entry = &comment.entry;
            let at_us = entry.recorded_at.as_microsecond();
            encode_page_token(
                &token_filter,
                [at_us, entry.key.ticket_id, entry.ticket_seq],
            )
        });
        let comments = page.items.into_iter().map(convert::contact_comment);
        Ok(Response::new(GetContactHistoryResponse {
            contact: Some(convert::contact_history(contact)),
            next_page_token: next_page_token.unwrap_or_default(),
            comments: comments.collect(),
        }))
    }
}
