//! Reading tickets, their messages and their events.

use plazo_proto::ticketing::v1::{
    GetTicketResponse, ListMessagesRequest, ListMessagesResponse, ListTicketEventsRequest,
    ListTicketEventsResponse, ListTicketsRequest, ListTicketsResponse,
};
use plazo_service::Actor;
use prost::Message;
use tonic::{Response, Status};

use super::super::pages::Page;
use super::{TicketService, requests, tell};
use crate::store::clocks::TicketKey;
use crate::store::{events, messages, tickets};
use crate::tickets::read;

impl TicketService {
    pub(super) async fn read_ticket(
        &self,
        actor: &Actor,
        ticket_id: i64,
    ) -> Result<Response<GetTicketResponse>, Status> {
        requests::check_ticket_id(ticket_id)?;
        let mut connection = self.connection(actor.tenant_id).await?;
        let view = read::ticket(&mut connection, actor, ticket_id).await?;
        let ticket = tell(&mut connection, &self.policies, view).await?;
        Ok(Response::new(GetTicketResponse { ticket }))
    }

    pub(super) async fn page_of_tickets(
        &self,
        actor: &Actor,
        request: &ListTicketsRequest,
    ) -> Result<Response<ListTicketsResponse>, Status> {
        let query = requests::ticket_query(actor, request.filter.as_ref())?;
        let filter = format!("tickets {query:?}");
        let page = Page::read(filter, request.page_size, &request.page_token)?;
        let before = if page.after == 0 {
            i64::MAX
        } else {
            page.after
        };
        let mut connection = self.connection(actor.tenant_id).await?;
        let ids = tickets::list(&mut connection, &query, before, page.limit()).await?;
        let (ids, next_page_token) = page.finish(ids, |id| *id);
        let keys: Vec<TicketKey> = ids
            .into_iter()
            .map(|ticket_id| TicketKey {
                tenant_id: actor.tenant_id,
                ticket_id,
            })
            .collect();
        let views = read::tickets(&mut connection, &keys).await?;
        let tickets = read::to_protos(&mut connection, &self.policies, &views).await?;
        Ok(Response::new(ListTicketsResponse {
            tickets,
            next_page_token,
        }))
    }

    pub(super) async fn page_of_messages(
        &self,
        actor: &Actor,
        request: &ListMessagesRequest,
    ) -> Result<Response<ListMessagesResponse>, Status> {
        requests::check_ticket_id(request.ticket_id)?;
        let filter = format!("messages {}", request.ticket_id);
        let page = Page::read(filter, or_100(request.page_size), &request.page_token)?;
        let mut connection = self.connection(actor.tenant_id).await?;
        let key = read::ticket(&mut connection, actor, request.ticket_id)
            .await?
            .facts
            .key;
        let rows = messages::list(&mut connection, key, page.after, page.limit()).await?;
        let (messages, next_page_token) =
            page.finish_by_size(rows, |message| message.ticket_seq, Message::encoded_len);
        Ok(Response::new(ListMessagesResponse {
            messages,
            next_page_token,
        }))
    }

    pub(super) async fn page_of_events(
        &self,
        actor: &Actor,
        request: &ListTicketEventsRequest,
    ) -> Result<Response<ListTicketEventsResponse>, Status> {
        requests::check_ticket_id(request.ticket_id)?;
        let filter = format!("events {}", request.ticket_id);
        let page = Page::read(filter, or_100(request.page_size), &request.page_token)?;
        let mut connection = self.connection(actor.tenant_id).await?;
        let key = read::ticket(&mut connection, actor, request.ticket_id)
            .await?
            .facts
            .key;
        let rows = events::of_ticket(&mut connection, key, page.after, page.limit()).await?;
        let (events, next_page_token) =
            page.finish_by_size(rows, |event| event.ticket_seq, Message::encoded_len);
        Ok(Response::new(ListTicketEventsResponse {
            events,
            next_page_token,
        }))
    }
}

/// The default page of messages and events.
fn or_100(page_size: i32) -> i32 {
    if page_size == 0 { 100 } else { page_size }
}
