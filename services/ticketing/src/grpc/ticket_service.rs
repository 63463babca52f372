//! `plazo.ticketing.v1.TicketService`.

mod batches;
mod explain;
mod reads;
pub(in crate::grpc) mod requests;
mod transcript;
mod watch;

use std::sync::Arc;

use futures::FutureExt as _;
use futures::stream::BoxStream;
use plazo_database::TenantReader;
use plazo_proto::ticketing::v1::ticket_service_server::TicketService as Api;
use plazo_proto::ticketing::v1::{
    AssignTicketRequest, AssignTicketResponse, CloseTicketRequest, CloseTicketResponse,
    CloseTicketsRequest, CloseTicketsResponse, ExplainTicketRequest, ExplainTicketResponse,
    GetTicketRequest, GetTicketResponse, GetTranscriptRequest, GetTranscriptResponse,
    HoldTicketRequest, HoldTicketResponse, ListMessagesRequest, ListMessagesResponse,
    ListTicketEventsRequest, ListTicketEventsResponse, ListTicketsRequest, ListTicketsResponse,
    OpenTicketRequest, OpenTicketResponse, PauseAutomationRequest, PauseAutomationResponse,
    RecordMessageRequest, RecordMessageResponse, RecordMessagesRequest, RecordMessagesResponse,
    ReopenTicketRequest, ReopenTicketResponse, ResumeAutomationRequest, ResumeAutomationResponse,
    ResumeTicketRequest, ResumeTicketResponse, SetTicketOpenRequest, SetTicketOpenResponse,
    TagTicketsRequest, TagTicketsResponse, Ticket, TransferTicketRequest, TransferTicketResponse,
    UnlinkTicketRequest, UnlinkTicketResponse, WatchTicketsRequest, WatchTicketsResponse,
};
use plazo_service::{Actor, BotScope, RequestKey};
use sqlx::PgConnection;
use tonic::{Request, Response, Status};

use super::caller::actor_of_tenant;
use crate::changes::Changes;
use crate::error::Error;
use crate::feed::hub::Hub;
use crate::store::settings::PolicyCache;
use crate::tickets::view::TicketView;
use crate::tickets::{assign, automation, bulk, close, hold, open, read, record, tags, transfer};
use crate::validate::Checks;

/// Tickets and their conversations.
#[derive(Debug, Clone)]
pub struct TicketService {
    changes: Changes,
    policies: Arc<PolicyCache>,
    hub: Hub,
}

impl TicketService {
    /// Tickets in the database of `changes`; `hub` tells of their changes.
    pub fn new(changes: Changes, policies: Arc<PolicyCache>, hub: Hub) -> Self {
        Self {
            changes,
            policies,
            hub,
        }
    }

    async fn connection(&self, tenant_id: i64) -> Result<TenantReader, Error> {
        self.changes.connection(tenant_id).await
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

/// A change that is answered once for each request id. `$order` is what was read from the request; `$use_case` runs in
/// a transaction, with the connection, the policies, the actor, the request and the order, and gives the answer.
macro_rules! change {
    ($self:ident, $request:ident, $method:literal, $read:expr,
     |$connection:ident, $policies:ident, $actor:ident, $message:ident, $order:ident| $answer:expr) => {{
        let actor = actor_of_tenant(&$request)?;
        let request = $request.into_inner();
        let order = $read(&actor, &request)?;
        let key = RequestKey::new(&actor, $method, &request, |it| &mut it.request_id)?;
        let context = Arc::new((Arc::clone(&$self.policies), actor, request, order));
        let answer = $self.changes.run(key, move |$connection| {
            let context = Arc::clone(&context);
            async move {
                let ($policies, $actor, $message, $order) = &*context;
                let $policies: &PolicyCache = $policies;
                let _ = ($policies, $actor, $message, $order);
                $answer
            }
            .boxed()
        });
        Ok(Response::new(answer.await?))
    }};
}

/// A change of one ticket that is answered with the ticket.
macro_rules! change_ticket {
    ($self:ident, $request:ident, $method:literal, $read:expr, $response:ident,
     |$connection:ident, $policies:ident, $actor:ident, $message:ident, $order:ident| $view:expr) => {
        change!(
            $self,
            $request,
            $method,
            $read,
            |$connection, $policies, $actor, $message, $order| {
                let view = $view.await?;
                let ticket = tell($connection, $policies, view).await?;
                Ok($response { ticket })
            }
        )
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
            OpenTicketResponse,
            |db, policies, actor, it, _order| open::open_ticket(db, policies, actor, it)
        )
    }

    async fn get_ticket(
        &self,
        request: Request<GetTicketRequest>,
    ) -> Result<Response<GetTicketResponse>, Status> {
        let actor = actor_of_tenant(&request)?;
        self.read_ticket(&actor, request.get_ref().ticket_id).await
    }

    async fn list_tickets(
        &self,
        request: Request<ListTicketsRequest>,
    ) -> Result<Response<ListTicketsResponse>, Status> {
        let actor = actor_of_tenant(&request)?;
        self.page_of_tickets(&actor, request.get_ref()).await
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
            AssignTicketResponse,
            |db, _policies, actor, it, _order| {
                assign::assign_ticket(db, actor, it.ticket_id, &it.etag, it.agent_id)
            }
        )
    }

    async fn record_message(
        &self,
        request: Request<RecordMessageRequest>,
    ) -> Result<Response<RecordMessageResponse>, Status> {
        change!(
            self,
            request,
            "RecordMessage",
            requests::addressed_message,
            |db, policies, actor, it, order| {
                let order = order.clone();
                let (message, view) = record::record_message(db, policies, actor, order).await?;
                Ok(RecordMessageResponse {
                    message: Some(message),
                    ticket: tell(db, policies, view).await?,
                })
            }
        )
    }

    async fn record_messages(
        &self,
        request: Request<RecordMessagesRequest>,
    ) -> Result<Response<RecordMessagesResponse>, Status> {
        change!(
            self,
            request,
            "RecordMessages",
            requests::addressed_messages,
            |db, policies, actor, it, order| {
                let order = order.clone();
                let outcomes = record::record_messages(db, policies, actor, order).await?;
                let results = batches::message_results(db, policies, outcomes).await?;
                batches::fitting(RecordMessagesResponse { results }, "messages")
            }
        )
    }

    async fn list_messages(
        &self,
        request: Request<ListMessagesRequest>,
    ) -> Result<Response<ListMessagesResponse>, Status> {
        let actor = actor_of_tenant(&request)?;
        self.page_of_messages(&actor, request.get_ref()).await
    }

    async fn close_ticket(
        &self,
        request: Request<CloseTicketRequest>,
    ) -> Result<Response<CloseTicketResponse>, Status> {
        change_ticket!(
            self,
            request,
            "CloseTicket",
            requests::close_order,
            CloseTicketResponse,
            |db, _policies, actor, it, order| {
                close::close_ticket(db, actor, it.ticket_id, &it.etag, order)
            }
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
            requests::check_change,
            ReopenTicketResponse,
            |db, _policies, actor, it, _order| {
                close::reopen_ticket(db, actor, it.ticket_id, &it.etag)
            }
        )
    }

    async fn list_ticket_events(
        &self,
        request: Request<ListTicketEventsRequest>,
    ) -> Result<Response<ListTicketEventsResponse>, Status> {
        let actor = actor_of_tenant(&request)?;
        self.page_of_events(&actor, request.get_ref()).await
    }

    type WatchTicketsStream = BoxStream<'static, Result<WatchTicketsResponse, Status>>;

    async fn watch_tickets(
        &self,
        request: Request<WatchTicketsRequest>,
    ) -> Result<Response<Self::WatchTicketsStream>, Status> {
        let actor = actor_of_tenant(&request)?;
        let request = request.into_inner();
        let query = requests::ticket_query(&actor, request.filter.as_ref())?;
        let stream = watch::open(&self.hub, query, &request.position).await?;
        Ok(Response::new(stream))
    }

    async fn hold_ticket(
        &self,
        request: Request<HoldTicketRequest>,
    ) -> Result<Response<HoldTicketResponse>, Status> {
        change_ticket!(
            self,
            request,
            "HoldTicket",
            requests::hold_order,
            HoldTicketResponse,
            |db, policies, actor, it, order| {
                hold::hold_ticket(db, policies, actor, it.ticket_id, &it.etag, order)
            }
        )
    }

    async fn resume_ticket(
        &self,
        request: Request<ResumeTicketRequest>,
    ) -> Result<Response<ResumeTicketResponse>, Status> {
        change_ticket!(
            self,
            request,
            "ResumeTicket",
            requests::check_change,
            ResumeTicketResponse,
            |db, policies, actor, it, _order| {
                hold::resume_ticket(db, policies, actor, it.ticket_id, &it.etag)
            }
        )
    }

    async fn transfer_ticket(
        &self,
        request: Request<TransferTicketRequest>,
    ) -> Result<Response<TransferTicketResponse>, Status> {
        change_ticket!(
            self,
            request,
            "TransferTicket",
            requests::check_transfer,
            TransferTicketResponse,
            |db, _policies, actor, it, _order| {
                transfer::transfer_ticket(db, actor, it.ticket_id, &it.etag, it.queue_id)
            }
        )
    }

    async fn unlink_ticket(
        &self,
        request: Request<UnlinkTicketRequest>,
    ) -> Result<Response<UnlinkTicketResponse>, Status> {
        change_ticket!(
            self,
            request,
            "UnlinkTicket",
            requests::unlink_order,
            UnlinkTicketResponse,
            |db, _policies, actor, it, order| {
                close::unlink_ticket(db, actor, it.ticket_id, &it.etag, order)
            }
        )
    }

    async fn set_ticket_open(
        &self,
        request: Request<SetTicketOpenRequest>,
    ) -> Result<Response<SetTicketOpenResponse>, Status> {
        change_ticket!(
            self,
            request,
            "SetTicketOpen",
            requests::check_change,
            SetTicketOpenResponse,
            |db, _policies, actor, it, _order| {
                assign::set_open(db, actor, it.ticket_id, &it.etag)
            }
        )
    }

    async fn tag_tickets(
        &self,
        request: Request<TagTicketsRequest>,
    ) -> Result<Response<TagTicketsResponse>, Status> {
        change!(
            self,
            request,
            "TagTickets",
            requests::tag_order,
            |db, policies, actor, it, order| {
                let ids = &it.ticket_ids;
                let outcomes = tags::tag_tickets(db, policies, actor, ids, order).await?;
                let results = batches::ticket_results(db, policies, outcomes).await?;
                batches::fitting(TagTicketsResponse { results }, "ticket_ids")
            }
        )
    }

    async fn close_tickets(
        &self,
        request: Request<CloseTicketsRequest>,
    ) -> Result<Response<CloseTicketsResponse>, Status> {
        change!(
            self,
            request,
            "CloseTickets",
            requests::close_many_order,
            |db, policies, actor, it, order| {
                let outcomes = bulk::close_tickets(db, actor, &it.ticket_ids, order).await?;
                let results = batches::ticket_results(db, policies, outcomes).await?;
                batches::fitting(CloseTicketsResponse { results }, "ticket_ids")
            }
        )
    }

    async fn pause_automation(
        &self,
        request: Request<PauseAutomationRequest>,
    ) -> Result<Response<PauseAutomationResponse>, Status> {
        change_ticket!(
            self,
            request,
            "PauseAutomation",
            requests::pause_order,
            PauseAutomationResponse,
            |db, _policies, actor, it, order| {
                automation::pause(db, actor, it.ticket_id, &it.etag, *order)
            }
        )
    }

    async fn resume_automation(
        &self,
        request: Request<ResumeAutomationRequest>,
    ) -> Result<Response<ResumeAutomationResponse>, Status> {
        change_ticket!(
            self,
            request,
            "ResumeAutomation",
            requests::check_change,
            ResumeAutomationResponse,
            |db, _policies, actor, it, _order| {
                automation::resume(db, actor, it.ticket_id, &it.etag)
            }
        )
    }

    async fn explain_ticket(
        &self,
        request: Request<ExplainTicketRequest>,
    ) -> Result<Response<ExplainTicketResponse>, Status> {
        let actor = actor_of_tenant(&request)?;
        self.explain(&actor, request.get_ref()).await
    }

    async fn get_transcript(
        &self,
        request: Request<GetTranscriptRequest>,
    ) -> Result<Response<GetTranscriptResponse>, Status> {
        let actor = actor_of_tenant(&request)?;
        self.page_of_transcript(&actor, request.get_ref()).await
    }
}

/// Wrong ids are told together with everything else that is wrong.
fn finish(checks: Checks) -> Result<(), Status> {
    Ok(checks.finish()?)
}
