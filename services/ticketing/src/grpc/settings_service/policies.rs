//! Calls about policies.

use futures::FutureExt as _;
use plazo_proto::ticketing::v1 as proto;
use plazo_service::RequestKey;
use tonic::{Request, Status};

use super::{SettingsService, answers, requests};
use crate::grpc::caller::actor_of_tenant;
use crate::settings::{check_reach, policies, preview};

impl SettingsService {
    pub(super) async fn policy(
        &self,
        request: Request<proto::GetInactivityPolicyRequest>,
    ) -> Result<proto::GetInactivityPolicyResponse, Status> {
        let actor = actor_of_tenant(&request)?;
        let request = request.into_inner();
        let scope = requests::policy_scope(request.bot_id, request.queue_id)?;
        let found =
            policies::get(&mut *self.connection(actor.tenant_id).await?, &actor, scope).await?;
        Ok(proto::GetInactivityPolicyResponse {
            policy: Some(found.policy),
            inherited: found.inherited,
            applying: found.applying,
        })
    }

    pub(super) async fn replace_policy(
        &self,
        request: Request<proto::SetInactivityPolicyRequest>,
    ) -> Result<proto::SetInactivityPolicyResponse, Status> {
        let actor = actor_of_tenant(&request)?;
        let request = request.into_inner();
        let replacement = requests::policy_replacement(&request)?;
        check_reach(&actor, request.bot_id)?;
        let key = RequestKey::new(&actor, "SetInactivityPolicy", &request, |it| {
            &mut it.request_id
        })?;
        let answer = self.changes.run(key, move |connection| {
            let (actor, replacement) = (actor.clone(), replacement.clone());
            async move {
                let policy = policies::replace(connection, &actor, &replacement).await?;
                Ok(proto::SetInactivityPolicyResponse {
                    policy: Some(policy),
                })
            }
            .boxed()
        });
        let answer = answer.await?;
        self.applying.wake();
        Ok(answer)
    }

    pub(super) async fn remove_policy(
        &self,
        request: Request<proto::RemoveQueuePolicyRequest>,
    ) -> Result<proto::RemoveQueuePolicyResponse, Status> {
        let actor = actor_of_tenant(&request)?;
        let request = request.into_inner();
        requests::policy_removal(&request)?;
        check_reach(&actor, request.bot_id)?;
        let key = RequestKey::new(&actor, "RemoveQueuePolicy", &request, |it| {
            &mut it.request_id
        })?;
        let answer = self.changes.run(key, move |connection| {
            let (actor, request) = (actor.clone(), request.clone());
            async move {
                let removed = policies::remove(
                    connection,
                    &actor,
                    request.bot_id,
                    request.queue_id,
                    request.apply_to_open_tickets,
                );
                Ok(proto::RemoveQueuePolicyResponse {
                    queue: Some(answers::queue(removed.await?)),
                })
            }
            .boxed()
        });
        let answer = answer.await?;
        self.applying.wake();
        Ok(answer)
    }

    pub(super) async fn preview(
        &self,
        request: Request<proto::PreviewSettingsRequest>,
    ) -> Result<proto::PreviewSettingsResponse, Status> {
        let actor = actor_of_tenant(&request)?;
        let (scope, read) = requests::preview(request.get_ref())?;
        // The server ends the call at its caller's deadline, between two pages.
        let found = preview::run(self.changes.requests(), &actor, scope, &read).await?;
        Ok(proto::PreviewSettingsResponse {
            alerted_count: found.alerted,
            warned_count: found.warned,
            closed_count: found.closed,
            examined_count: found.examined,
            truncated: found.truncated,
        })
    }
}
