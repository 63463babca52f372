//! `plazo.ticketing.v1.TicketService`.

mod requests;
mod watch;

use std::sync::Arc;

use futures::FutureExt as _;
use futures::stream::BoxStream;
use plazo_proto::ticketing::v1::ticket_service_server::TicketService as Api;
use plazo_proto::ticketing::v1::{
    AssignTicketRequest, AssignTicketResponse, CloseTicketRequest, CloseTicketResponse,
    CloseTicketsRequest, CloseTicketsResponse, ExplainTicketRequest, ExplainTicketResponse,
    GetTicketRequest, GetTicketResponse, HoldTicketRequest, HoldTicketResponse,
    ListMessagesRequest, ListMessagesResponse, ListTicketEventsRequest, ListTicketEventsResponse,
    ListTicketsRequest, ListTicketsResponse, OpenTicketRequest, OpenTicketResponse,
    PauseAutomationRequest, PauseAutomationResponse, RecordMessageRequest, RecordMessageResponse,
    ReopenTicketRequest, ReopenTicketResponse, ResumeAutomationRequest, ResumeAutomationResponse,
    ResumeTicketRequest, ResumeTicketResponse, SetTicketOpenRequest, SetTicketOpenResponse,
    TagTicketsRequest, TagTicketsResponse, Ticket, TransferTicketRequest, TransferTicketResponse,
    UnlinkTicketRequest, UnlinkTicketResponse, WatchTicketsRequest, WatchTicketsResponse,
};
use plazo_service::{Actor, BotScope, status};
use prost::Message;
use sqlx::pool::PoolConnection;
use sqlx::{PgConnection, Postgres};
use tonic::{Request, Response, Status};

use super::caller::actor_of_tenant;
use super::pages::Page;
use crate::changes::{Changes, RequestKey};
use crate::error::Error;
use crate::feed::hub::Hub;
use crate::metrics::FeedMetrics;
use crate::store::clocks::TicketKey;
use crate::store::settings::PolicyCache;
use crate::store::{events, messages, tickets};
use crate::tickets::view::TicketView;
use crate::tickets::{assign, close, open, read, record};
use crate::validate::Checks;

/// Tickets and their conversations.
#[derive(Debug, Clone)]
pub struct TicketService {
    changes: Changes,
    policies: Arc<PolicyCache>,
    hub: Hub,
    metrics: FeedMetrics,
}

impl TicketService {
    /// Tickets in the database of `changes`; `hub` tells of their changes.
    pub fn new(
        changes: Changes,
        policies: Arc<PolicyCache>,
        hub: Hub,
        metrics: FeedMetrics,
    ) -> Self {
        Self {
            changes,
            policies,
            hub,
            metrics,
        }
    }

    async fn connection(&self) -> Result<PoolConnection<Postgres>, Error> {
        Ok(self.changes.pool().acquire().await?)
    }
}

/// The bots that an actor may see, as the store wants them: none for all.
fn permitted_bots(actor: &Actor) -> Option<Vec<i64>> {
    match &actor.bots {
        BotScope::All => None,
        BotScope::Only(bot_ids) => Some(bot_ids.clone()),
    }
}

async fn tell(
    connection: &mut PgConnection,
    policies: &PolicyCache,
    view: TicketView,
) -> Result<Option<Ticket>, Error> {
    Ok(read::to_protos(connection, policies, &[view]).await?.pop())
}

/// A change of a ticket that is answered with the ticket: checks the request, runs the use case in a transaction, and
/// repeats the first answer to a request id.
macro_rules! change_ticket {
    ($self:ident, $request:ident, $method:literal, $check:path, $use_case:path, $answer:ident) => {{
        let actor = actor_of_tenant(&$request)?;
        let request = $request.into_inner();
        $check(&request)?;
        let key = RequestKey::new(&actor, $method, &request.request_id, &request)?;
        let policies = Arc::clone(&$self.policies);
        let answer = $self.changes.run(key, move |connection| {
            let (actor, request, policies) =
                (actor.clone(), request.clone(), Arc::clone(&policies));
            async move {
                let view = $use_case(&mut *connection, &actor, &request).await?;
                Ok($answer {
                    ticket: tell(connection, &policies, view).await?,
                })
            }
            .boxed()
        });
        Ok(Response::new(answer.await?))
    }};
}

/// Answers UNIMPLEMENTED.
macro_rules! not_built_yet {
    ($what:literal) => {
        Err(status::unimplemented("NOT_BUILT_YET", $what))
    };
}

#[tonic::async_trait]
impl Api for TicketService {
    async fn open_ticket(
        &self,
        request: Request<OpenTicketRequest>,
    ) -> Result<Response<OpenTicketResponse>, Status> {
        Actor::of(&request)?.require_bot(request.get_ref().bot_id)?;
        change_ticket!(
            self,
            request,
            "OpenTicket",
            requests::check_open,
            open::open_ticket,
            OpenTicketResponse
        )
    }

    async fn get_ticket(
        &self,
        request: Request<GetTicketRequest>,
    ) -> Result<Response<GetTicketResponse>, Status> {
        let actor = actor_of_tenant(&request)?;
        let ticket_id = request.into_inner().ticket_id;
        requests::check_ticket_id(ticket_id)?;
        let mut connection = self.connection().await?;
        let view = read::ticket(&mut connection, &actor, ticket_id).await?;
        let ticket = tell(&mut connection, &self.policies, view).await?;
        Ok(Response::new(GetTicketResponse { ticket }))
    }

    async fn list_tickets(
        &self,
        request: Request<ListTicketsRequest>,
    ) -> Result<Response<ListTicketsResponse>, Status> {
        let actor = actor_of_tenant(&request)?;
        let request = request.into_inner();
        let query = requests::ticket_query(&actor, request.filter.as_ref())?;
        let filter = format!("tickets {query:?}");
        let page = Page::read(filter, request.page_size, &request.page_token)?;
        let before = if page.after == 0 {
            i64::MAX
        } else {
            page.after
        };
        let mut connection = self.connection().await?;
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

    async fn assign_ticket(
        &self,
        request: Request<AssignTicketRequest>,
    ) -> Result<Response<AssignTicketResponse>, Status> {
        change_ticket!(
            self,
            request,
            "AssignTicket",
            requests::check_assign,
            assign::assign_ticket,
            AssignTicketResponse
        )
    }

    async fn record_message(
        &self,
        request: Request<RecordMessageRequest>,
    ) -> Result<Response<RecordMessageResponse>, Status> {
        let actor = actor_of_tenant(&request)?;
        let request = request.into_inner();
        let new = requests::new_message(&request)?;
        let key = RequestKey::new(&actor, "RecordMessage", &request.request_id, &request)?;
        let policies = Arc::clone(&self.policies);
        let ticket_id = request.ticket_id;
        let answer = self.changes.run(key, move |connection| {
            let (actor, new, policies) = (actor.clone(), new.clone(), Arc::clone(&policies));
            async move {
                let (message, view) =
                    record::record_message(&mut *connection, &policies, &actor, ticket_id, new)
                        .await?;
                let ticket = tell(connection, &policies, view).await?;
                Ok(RecordMessageResponse {
                    message: Some(message),
                    ticket,
                })
            }
            .boxed()
        });
        Ok(Response::new(answer.await?))
    }

    async fn list_messages(
        &self,
        request: Request<ListMessagesRequest>,
    ) -> Result<Response<ListMessagesResponse>, Status> {
        let actor = actor_of_tenant(&request)?;
        let request = request.into_inner();
        requests::check_ticket_id(request.ticket_id)?;
        let filter = format!("messages {}", request.ticket_id);
        let page = Page::read(filter, or_100(request.page_size), &request.page_token)?;
        let mut connection = self.connection().await?;
        let key = read::ticket(&mut connection, &actor, request.ticket_id)
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

    async fn close_ticket(
        &self,
        request: Request<CloseTicketRequest>,
    ) -> Result<Response<CloseTicketResponse>, Status> {
        change_ticket!(
            self,
            request,
            "CloseTicket",
            requests::check_close,
            close::close_ticket,
            CloseTicketResponse
        )
    }

    async fn reopen_ticket(
        &self,
        request: Request<ReopenTicketRequest>,
    ) -> Result<Response<ReopenTicketResponse>, Status> {
        change_ticket!(
            self,
            request,
            "ReopenTicket",
            requests::check_reopen,
            close::reopen_ticket,
            ReopenTicketResponse
        )
    }

    async fn list_ticket_events(
        &self,
        request: Request<ListTicketEventsRequest>,
    ) -> Result<Response<ListTicketEventsResponse>, Status> {
        let actor = actor_of_tenant(&request)?;
        let request = request.into_inner();
        requests::check_ticket_id(request.ticket_id)?;
        let filter = format!("events {}", request.ticket_id);
        let page = Page::read(filter, or_100(request.page_size), &request.page_token)?;
        let mut connection = self.connection().await?;
        let key = read::ticket(&mut connection, &actor, request.ticket_id)
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

    type WatchTicketsStream = BoxStream<'static, Result<WatchTicketsResponse, Status>>;

    async fn watch_tickets(
        &self,
        request: Request<WatchTicketsRequest>,
    ) -> Result<Response<Self::WatchTicketsStream>, Status> {
        let actor = actor_of_tenant(&request)?;
        let query = requests::ticket_query(&actor, request.into_inner().filter.as_ref())?;
        let watcher = watch::Watcher {
            pool: self.changes.pool().clone(),
            policies: Arc::clone(&self.policies),
            changes: self.hub.watch(),
            metrics: self.metrics.clone(),
            query,
        };
        Ok(Response::new(watcher.stream()))
    }

    async fn hold_ticket(
        &self,
        _: Request<HoldTicketRequest>,
    ) -> Result<Response<HoldTicketResponse>, Status> {
        not_built_yet!("putting tickets on hold")
    }

    async fn resume_ticket(
        &self,
        _: Request<ResumeTicketRequest>,
    ) -> Result<Response<ResumeTicketResponse>, Status> {
        not_built_yet!("ending holds")
    }

    async fn transfer_ticket(
        &self,
        _: Request<TransferTicketRequest>,
    ) -> Result<Response<TransferTicketResponse>, Status> {
        not_built_yet!("transferring tickets")
    }

    async fn unlink_ticket(
        &self,
        _: Request<UnlinkTicketRequest>,
    ) -> Result<Response<UnlinkTicketResponse>, Status> {
        not_built_yet!("unlinking tickets")
    }

    async fn set_ticket_open(
        &self,
        _: Request<SetTicketOpenRequest>,
    ) -> Result<Response<SetTicketOpenResponse>, Status> {
        not_built_yet!("the action block \"set open\"")
    }

    async fn tag_tickets(
        &self,
        _: Request<TagTicketsRequest>,
    ) -> Result<Response<TagTicketsResponse>, Status> {
        not_built_yet!("tagging tickets")
    }

    async fn close_tickets(
        &self,
        _: Request<CloseTicketsRequest>,
    ) -> Result<Response<CloseTicketsResponse>, Status> {
        not_built_yet!("closing many tickets")
    }

    async fn pause_automation(
        &self,
        _: Request<PauseAutomationRequest>,
    ) -> Result<Response<PauseAutomationResponse>, Status> {
        not_built_yet!("pausing the automation")
    }

    async fn resume_automation(
        &self,
        _: Request<ResumeAutomationRequest>,
    ) -> Result<Response<ResumeAutomationResponse>, Status> {
        not_built_yet!("resuming the automation")
    }

    async fn explain_ticket(
        &self,
        _: Request<ExplainTicketRequest>,
    ) -> Result<Response<ExplainTicketResponse>, Status> {
        not_built_yet!("explaining tickets")
    }
}

/// The default page of messages and events.
fn or_100(page_size: i32) -> i32 {
    if page_size == 0 { 100 } else { page_size }
}

/// Wrong ids are told together with everything else that is wrong.
fn finish(checks: Checks) -> Result<(), Status> {
    Ok(checks.finish()?)
}
