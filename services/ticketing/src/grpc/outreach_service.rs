//! `plazo.ticketing.v1.OutreachService`: history sends what agents write to customers whom they once dealt with.

use std::sync::Arc;

use futures::FutureExt as _;
use plazo_domain::{MAX_TEXT_CHARS, check_https_url};
use plazo_proto::ticketing::v1::outreach_service_server::OutreachService as Api;
use plazo_proto::ticketing::v1::{StartOutreachRequest, StartOutreachResponse};
use plazo_service::{Actor, RequestIdInvalid, RequestKey, parse_request_id};
use tonic::{Request, Response, Status};

use super::ticket_service::requests::check_text;
use crate::changes::Changes;
use crate::error::Error;
use crate::store::settings::PolicyCache;
use crate::tickets::outreach::{self, OutreachOrder};
use crate::tickets::read;
use crate::validate::Checks;

/// Active messages that agents start.
#[derive(Debug, Clone)]
pub struct OutreachService {
    changes: Changes,
    policies: Arc<PolicyCache>,
}

impl OutreachService {
    /// Wiring.
    pub fn new(changes: Changes, policies: Arc<PolicyCache>) -> Self {
        Self { changes, policies }
    }
}

#[tonic::async_trait]
impl Api for OutreachService {
    async fn start_outreach(
        &self,
        request: Request<StartOutreachRequest>,
    ) -> Result<Response<StartOutreachResponse>, Status> {
        let actor = Actor::of(&request)?.clone();
        let request = request.into_inner();
        let order = order(&request)?;
        // Request ids are told apart within the tenant, whoever calls for it.
        let actor = Actor {
            tenant_id: order.tenant_id,
            ..actor
        };
        let key = RequestKey::new(&actor, "StartOutreach", &request, |it| &mut it.request_id)?;
        let context = Arc::new((Arc::clone(&self.policies), order));
        let answer = self.changes.run(key, move |connection| {
            let context = Arc::clone(&context);
            async move {
                let (policies, order) = &*context;
                let done = outreach::start(connection, policies, order).await?;
                let told = read::to_protos(connection, policies, &[done.view]).await?;
                Ok(StartOutreachResponse {
                    ticket: told.into_iter().next(),
                    opened: done.is_opened,
                    idempotency_key: done.idempotency_key,
                })
            }
            .boxed()
        });
        Ok(Response::new(answer.await?))
    }
}

fn order(request: &StartOutreachRequest) -> Result<OutreachOrder, Error> {
    let mut checks = Checks::new();
    checks.id("tenant_id", request.tenant_id);
    checks.id("agent_id", request.agent_id);
    checks.id("ticket_id", request.ticket_id);
    let is_blank = request.text.trim().is_empty();
    checks.check("text", !is_blank, "must not be blank");
    check_text(&mut checks, &request.text, is_blank);
    let count = request.text.chars().count();
    if count > MAX_TEXT_CHARS {
        let reason = format!("must be at most {MAX_TEXT_CHARS} characters, is {count}");
        checks.refuse("text", reason);
    }
    if !request.image_url.is_empty() {
        let mut violations = Vec::new();
        check_https_url("image_url", &request.image_url, &mut violations);
        checks.extend(violations);
    }
    let request_id = parse_request_id(&request.request_id).ok().flatten();
    checks.check("request_id", request_id.is_some(), RequestIdInvalid::REASON);
    let request_id = checks.finish_with(request_id)?;
    Ok(OutreachOrder {
        tenant_id: request.tenant_id,
        agent_id: request.agent_id,
        ticket_id: request.ticket_id,
        text: request.text.clone(),
        image_url: request.image_url.clone(),
        request_id,
    })
}
