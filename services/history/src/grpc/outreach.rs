//! `plazo.history.v1.OutreachService`: an agent writes to a customer whom he sees in the history. Ticketing sends.

use plazo_proto::history::v1::outreach_service_server::OutreachService;
use plazo_proto::history::v1::{SendActiveMessageRequest, SendActiveMessageResponse};
use plazo_proto::ticketing::v1::outreach_service_client::OutreachServiceClient;
use plazo_proto::ticketing::v1::{StartOutreachRequest, StartOutreachResponse};
use plazo_service::status::{self, FieldViolations, permission_denied, reason_of};
use plazo_service::{
    Actor, Deadline, Permission, RequestIdInvalid, Retry, ServiceChannel, parse_request_id,
};
use tonic::{Code, Request, Response, Status};

use super::requests::ticket_not_found;
use crate::store::{ReadStore, Viewer};

/// The handler.
#[derive(Debug)]
pub(crate) struct Outreach {
    store: ReadStore,
    ticketing: OutreachServiceClient<ServiceChannel>,
    retry: Retry,
}

impl Outreach {
    pub(crate) fn new(
        store: ReadStore,
        ticketing: OutreachServiceClient<ServiceChannel>,
        retry: Retry,
    ) -> Self {
        Self {
            store,
            ticketing,
            retry,
        }
    }

    /// Whether the actor sees the ticket in the history, and it is the contact's.
    async fn is_visible(
        &self,
        actor: &Actor,
        ticket_id: i64,
        contact_id: i64,
    ) -> Result<bool, Status> {
        let found = self
            .store
            .find_ticket(&Viewer::from(actor), ticket_id)
            .await;
        let ticket = found.map_err(|error| plazo_database::to_status(&error))?;
        Ok(ticket.is_some_and(|ticket| ticket.contact_id == contact_id))
    }

    async fn start(
        &self,
        deadline: Deadline,
        message: StartOutreachRequest,
    ) -> Result<StartOutreachResponse, Status> {
        let ticket_id = message.ticket_id;
        // The request id makes it one message, however often it is sent.
        let answer = self.retry.unavailable(deadline, || {
            let mut ticketing = self.ticketing.clone();
            let request = deadline.request(message.clone());
            async move { ticketing.start_outreach(request).await }
        });
        match answer.await {
            Ok(answer) => Ok(answer.into_inner()),
            Err(status) => Err(as_told(&status, ticket_id)),
        }
    }
}

#[tonic::async_trait]
impl OutreachService for Outreach {
    async fn send_active_message(
        &self,
        request: Request<SendActiveMessageRequest>,
    ) -> Result<Response<SendActiveMessageResponse>, Status> {
        let actor = Actor::of(&request)?.clone();
        let deadline = Deadline::of(&request);
        let agent_id = sender(&actor)?;
        let message = request.into_inner();
        check(&message)?;
        let ticket_id = message.ticket_id;
        if !self
            .is_visible(&actor, ticket_id, message.contact_id)
            .await?
        {
            return Err(ticket_not_found(ticket_id));
        }
        let outreach = StartOutreachRequest {
            tenant_id: actor.tenant_id,
            agent_id,
            ticket_id,
            text: message.text,
            image_url: message.image_url,
            request_id: message.request_id,
        };
        let answer = self.start(deadline, outreach).await?;
        Ok(Response::new(SendActiveMessageResponse {
            ticket_id: answer.ticket.map_or(0, |ticket| ticket.ticket_id),
            opened: answer.opened,
            idempotency_key: answer.idempotency_key,
        }))
    }
}

/// The agent who calls. That he may send was asked before; he must see the history too.
fn sender(actor: &Actor) -> Result<i64, Status> {
    if !actor.permissions.contains_any(&[Permission::HistoryView]) {
        return Err(permission_denied(
            "PERMISSION_DENIED",
            "the call needs history:view as well",
        ));
    }
    actor
        .agent_id()
        .ok_or_else(|| permission_denied("AGENT_REQUIRED", "the actor is no agent"))
}

/// What ticketing does not see. Text and image are its to check, under the same names.
fn check(message: &SendActiveMessageRequest) -> Result<(), Status> {
    let mut violations = FieldViolations::new();
    violations.check("contact_id", message.contact_id > 0, "must be above zero");
    violations.check("ticket_id", message.ticket_id > 0, "must be above zero");
    let request_id = parse_request_id(&message.request_id).ok().flatten();
    violations.check("request_id", request_id.is_some(), RequestIdInvalid::REASON);
    violations.into_result()
}

/// Ticketing's refusal as the agent is told. What is not about his request stays inside.
fn as_told(refusal: &Status, ticket_id: i64) -> Status {
    let is_about_agent = matches!(
        reason_of(refusal).as_deref(),
        Some("AGENT_UNKNOWN" | "AGENT_NOT_OF_BOT")
    );
    match refusal.code() {
        Code::NotFound => ticket_not_found(ticket_id),
        Code::InvalidArgument
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::ResourceExhausted
        | Code::Unavailable
        | Code::DeadlineExceeded => again(refusal),
        Code::PermissionDenied if is_about_agent => again(refusal),
        _ => status::internal(refusal),
    }
}

/// The same status, without the headers of the call that it came by.
fn again(status: &Status) -> Status {
    Status::with_details(
        status.code(),
        status.message(),
        prost::bytes::Bytes::copy_from_slice(status.details()),
    )
}
