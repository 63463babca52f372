//! `WebhookSubscriptionService`.

mod answering;
mod checks;
mod convert;

use plazo_database::TenantPool;
use plazo_proto::notification::v1::webhook_subscription_service_server::WebhookSubscriptionService;
use plazo_proto::notification::v1::{
    CreateWebhookSubscriptionRequest, CreateWebhookSubscriptionResponse,
    DeleteWebhookSubscriptionRequest, DeleteWebhookSubscriptionResponse,
    GetWebhookSubscriptionRequest, GetWebhookSubscriptionResponse, ListWebhookDeliveriesRequest,
    ListWebhookDeliveriesResponse, ListWebhookSubscriptionsRequest,
    ListWebhookSubscriptionsResponse, ReplayWebhookEventsRequest, ReplayWebhookEventsResponse,
    RotateWebhookSecretRequest, RotateWebhookSecretResponse, TestWebhookSubscriptionRequest,
    TestWebhookSubscriptionResponse, UpdateWebhookSubscriptionRequest,
    UpdateWebhookSubscriptionResponse, WebhookDeliveryState,
};
use plazo_service::status::FieldViolations;
use plazo_service::{Actor, BotScope, RequestKey, commit_in_background, paging, status};
use tonic::{Request, Response, Status};

use super::tenant_actor;
use crate::error::Error;
use crate::sending::WebhookSender;
use crate::store::{deliveries, enum_number, subscriptions};
use crate::subscriptions::EventWakers;
use answering::{find, lock};

const DEFAULT_PAGE_SIZE: i32 = 50;

/// Webhook subscriptions of tenants.
#[derive(Debug, Clone)]
pub(crate) struct WebhookSubscriptions {
    pub(crate) requests: TenantPool,
    pub(crate) webhook: WebhookSender,
    /// How many events may wait for a subscription.
    pub(crate) max_waiting: u32,
    pub(crate) wakers: EventWakers,
}

#[tonic::async_trait]
impl WebhookSubscriptionService for WebhookSubscriptions {
    async fn create_webhook_subscription(
        &self,
        request: Request<CreateWebhookSubscriptionRequest>,
    ) -> Result<Response<CreateWebhookSubscriptionResponse>, Status> {
        let actor = tenant_actor(&request)?;
        let request = request.into_inner();
        let mut violations = FieldViolations::new();
        checks::request_id(&request.request_id, &mut violations);
        let wanted = request.subscription.clone().unwrap_or_default();
        let wishes = checks::new(&wanted, self.webhook.policy(), &mut violations).await;
        violations.into_result()?;
        checks::bots_permitted(&actor, &wishes.bot_ids)?;
        let key = RequestKey::new(&actor, "CreateWebhookSubscription", &request, |it| {
            &mut it.request_id
        })?;
        let this = self.clone();
        let answer =
            commit_in_background(async move { this.create(&actor, wishes, &key).await }).await?;
        Ok(Response::new(answer))
    }

    async fn get_webhook_subscription(
        &self,
        request: Request<GetWebhookSubscriptionRequest>,
    ) -> Result<Response<GetWebhookSubscriptionResponse>, Status> {
        let actor = tenant_actor(&request)?;
        let subscription_id = checks::id(request.into_inner().subscription_id)?;
        let reading = self.requests.read(actor.tenant_id);
        let mut connection = reading.await.map_err(Error::from)?;
        let subscription = self.shown(&mut connection, &actor, subscription_id).await?;
        Ok(Response::new(GetWebhookSubscriptionResponse {
            subscription: Some(subscription),
        }))
    }

    async fn list_webhook_subscriptions(
        &self,
        request: Request<ListWebhookSubscriptionsRequest>,
    ) -> Result<Response<ListWebhookSubscriptionsResponse>, Status> {
        let actor = tenant_actor(&request)?;
        let request = request.into_inner();
        let page_size = paging::page_size(request.page_size, DEFAULT_PAGE_SIZE)?;
        let bound_to = format!("webhook subscriptions/{}/{:?}", actor.tenant_id, actor.bots);
        let after = paging::decode_page_token::<1>(bound_to.as_bytes(), &request.page_token)?
            .map_or(0, |[after]| after);
        let permitted_bots = match &actor.bots {
            BotScope::All => None,
            BotScope::Only(bot_ids) => Some(bot_ids.as_slice()),
        };
        let (tenant_id, limit) = (actor.tenant_id, page_size + 1);
        let reading = self.requests.read(tenant_id);
        let mut connection = reading.await.map_err(Error::from)?;
        let listing = subscriptions::list(&mut connection, tenant_id, permitted_bots, after, limit);
        let mut page = listing.await.map_err(Error::from)?;
        let size = usize::try_from(page_size).unwrap_or(usize::MAX);
        let has_more = page.len() > size;
        page.truncate(size);
        let next_page_token = match page.last() {
            Some(last) if has_more => {
                paging::encode_page_token(bound_to.as_bytes(), [last.subscription_id])
            }
            _ => String::new(),
        };
        let subscriptions = page
            .into_iter()
            .map(|one| convert::subscription(one, self.max_waiting))
            .collect();
        Ok(Response::new(ListWebhookSubscriptionsResponse {
            subscriptions,
            next_page_token,
        }))
    }

    async fn update_webhook_subscription(
        &self,
        request: Request<UpdateWebhookSubscriptionRequest>,
    ) -> Result<Response<UpdateWebhookSubscriptionResponse>, Status> {
        let actor = tenant_actor(&request)?;
        let request = request.into_inner();
        let update = checks::update(&request, self.webhook.policy()).await?;
        checks::bots_permitted(
            &actor,
            update.bot_ids.as_deref().unwrap_or(&actor_bots(&actor)),
        )?;
        let key = RequestKey::new(&actor, "UpdateWebhookSubscription", &request, |it| {
            &mut it.request_id
        })?;
        let this = self.clone();
        let answer =
            commit_in_background(async move { this.update(&actor, update, &key).await }).await?;
        Ok(Response::new(answer))
    }

    async fn delete_webhook_subscription(
        &self,
        request: Request<DeleteWebhookSubscriptionRequest>,
    ) -> Result<Response<DeleteWebhookSubscriptionResponse>, Status> {
        let actor = tenant_actor(&request)?;
        let subscription_id = checks::id(request.into_inner().subscription_id)?;
        let beginning = self.requests.begin(actor.tenant_id);
        let mut transaction = beginning.await.map_err(Error::from)?;
        let subscription = lock(&mut transaction, &actor, subscription_id).await?;
        subscriptions::delete(&mut transaction, actor.tenant_id, subscription_id)
            .await
            .map_err(Error::from)?;
        transaction.commit().await.map_err(Error::from)?;
        Ok(Response::new(DeleteWebhookSubscriptionResponse {
            dropped_events: subscription.waiting,
        }))
    }

    async fn rotate_webhook_secret(
        &self,
        request: Request<RotateWebhookSecretRequest>,
    ) -> Result<Response<RotateWebhookSecretResponse>, Status> {
        let actor = tenant_actor(&request)?;
        let request = request.into_inner();
        let subscription_id = checks::id(request.subscription_id)?;
        let overlap_secs = checks::overlap_secs(request.overlap.as_ref())?;
        let key = RequestKey::new(&actor, "RotateWebhookSecret", &request, |it| {
            &mut it.request_id
        })?;
        let this = self.clone();
        let answer = commit_in_background(async move {
            this.rotate(&actor, subscription_id, overlap_secs, &key)
                .await
        })
        .await?;
        Ok(Response::new(answer))
    }

    async fn test_webhook_subscription(
        &self,
        request: Request<TestWebhookSubscriptionRequest>,
    ) -> Result<Response<TestWebhookSubscriptionResponse>, Status> {
        let actor = tenant_actor(&request)?;
        let subscription_id = checks::id(request.into_inner().subscription_id)?;
        Ok(Response::new(self.test(&actor, subscription_id).await?))
    }

    async fn list_webhook_deliveries(
        &self,
        request: Request<ListWebhookDeliveriesRequest>,
    ) -> Result<Response<ListWebhookDeliveriesResponse>, Status> {
        let actor = tenant_actor(&request)?;
        let request = request.into_inner();
        let subscription_id = checks::id(request.subscription_id)?;
        let state = WebhookDeliveryState::try_from(request.state)
            .map_err(|_| status::invalid("state", "must be a known state"))?;
        let page_size = paging::page_size(request.page_size, DEFAULT_PAGE_SIZE)?;
        let bound_to = format!(
            "webhook deliveries/{}/{subscription_id}/{state:?}",
            actor.tenant_id
        );
        let before = paging::decode_page_token::<1>(bound_to.as_bytes(), &request.page_token)?
            .map_or(i64::MAX, |[before]| before);
        let state = (state != WebhookDeliveryState::Unspecified).then(|| enum_number(state));
        let reading = self.requests.read(actor.tenant_id);
        let mut connection = reading.await.map_err(Error::from)?;
        find(&mut connection, &actor, subscription_id).await?;
        let (tenant_id, limit) = (actor.tenant_id, page_size + 1);
        let listing = deliveries::list(
            &mut connection,
            tenant_id,
            subscription_id,
            state,
            before,
            limit,
        );
        let mut page = listing.await.map_err(Error::from)?;
        let size = usize::try_from(page_size).unwrap_or(usize::MAX);
        let has_more = page.len() > size;
        page.truncate(size);
        let next_page_token = match page.last() {
            Some(last) if has_more => {
                paging::encode_page_token(bound_to.as_bytes(), [last.delivery_id])
            }
            _ => String::new(),
        };
        let event_ids: Vec<_> = page.iter().map(|one| one.event_id).collect();
        let attempts =
            deliveries::attempts(&mut connection, tenant_id, subscription_id, &event_ids)
                .await
                .map_err(Error::from)?;
        Ok(Response::new(ListWebhookDeliveriesResponse {
            deliveries: convert::deliveries(page, attempts),
            next_page_token,
        }))
    }

    async fn replay_webhook_events(
        &self,
        request: Request<ReplayWebhookEventsRequest>,
    ) -> Result<Response<ReplayWebhookEventsResponse>, Status> {
        let actor = tenant_actor(&request)?;
        let request = request.into_inner();
        let subscription_id = checks::id(request.subscription_id)?;
        let start = checks::start(request.start.as_ref())?;
        let key = RequestKey::new(&actor, "ReplayWebhookEvents", &request, |it| {
            &mut it.request_id
        })?;
        let this = self.clone();
        let answer =
            commit_in_background(
                async move { this.replay(&actor, subscription_id, start, &key).await },
            )
            .await?;
        Ok(Response::new(answer))
    }
}

/// Bots that an actor may use in any case.
fn actor_bots(actor: &Actor) -> Vec<i64> {
    match &actor.bots {
        BotScope::All => Vec::new(),
        BotScope::Only(bot_ids) => bot_ids.clone(),
    }
}
