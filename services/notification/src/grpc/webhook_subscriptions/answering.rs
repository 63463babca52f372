//! What the calls do.

use plazo_database::{first_answer, keep_answer};
use plazo_proto::notification::v1::{
    CreateWebhookSubscriptionResponse, ReplayWebhookEventsResponse, RotateWebhookSecretResponse,
    TestWebhookSubscriptionResponse, UpdateWebhookSubscriptionResponse, WebhookAttempt,
    WebhookSubscription,
};
use plazo_service::{Actor, RequestKey};
use sqlx::PgConnection;
use tokio::time::Instant;

use super::checks::{self, Start, Update};
use super::{WebhookSubscriptions, convert};
use crate::error::Error;
use crate::message::to_proto_time;
use crate::sending::{Outcome, SignedCall, signing};
use crate::store::replays::NewReplay;
use crate::store::subscriptions::{Subscription, Wishes, paused};
use crate::store::{event_feed, replays, subscriptions};
use crate::subscriptions::event_body;

const SUBSCRIPTIONS_MAX: i64 = 50;

impl WebhookSubscriptions {
    pub(super) async fn create(
        &self,
        actor: &Actor,
        wishes: Wishes,
        key: &RequestKey,
    ) -> Result<CreateWebhookSubscriptionResponse, Error> {
        let mut transaction = self.requests.begin(actor.tenant_id).await?;
        let tenant_id = actor.tenant_id;
        let first: Option<CreateWebhookSubscriptionResponse> =
            first_answer(&mut transaction, key).await?;
        if let Some(mut answer) = first {
            let shown = answer.subscription.as_ref();
            let id = shown.map_or(0, |it| it.subscription_id);
            answer.signing_secret = secret_text(&mut transaction, actor, id).await?;
            return Ok(answer);
        }
        let existing = subscriptions::count_for_creation(&mut transaction, tenant_id).await?;
        if existing >= SUBSCRIPTIONS_MAX {
            return Err(Error::SubscriptionsLimit);
        }
        let secret = signing::new_secret();
        let subscription_id =
            subscriptions::create(&mut transaction, tenant_id, &wishes, &secret).await?;
        let subscription = self.shown(&mut transaction, actor, subscription_id).await?;
        let mut answer = CreateWebhookSubscriptionResponse {
            subscription: Some(subscription),
            signing_secret: String::new(),
        };
        // The secret stays in one place.
        keep_answer(&mut transaction, key, &answer).await?;
        transaction.commit().await?;
        answer.signing_secret = signing::secret_text(&secret);
        Ok(answer)
    }

    pub(super) async fn update(
        &self,
        actor: &Actor,
        update: Update,
        key: &RequestKey,
    ) -> Result<UpdateWebhookSubscriptionResponse, Error> {
        let mut transaction = self.requests.begin(actor.tenant_id).await?;
        if let Some(answer) = first_answer(&mut transaction, key).await? {
            return Ok(answer);
        }
        let mut subscription = lock(&mut transaction, actor, update.subscription_id).await?;
        if update
            .version
            .is_some_and(|version| version != subscription.version)
        {
            return Err(Error::EtagMismatch);
        }
        let (tenant_id, subscription_id) = (actor.tenant_id, subscription.subscription_id);
        let (enabled, skip_missed) = (update.enabled, update.skip_missed);
        apply(&mut subscription, update);
        if enabled == Some(true) && skip_missed {
            replays::drop_catch_up(&mut transaction, tenant_id, subscription_id).await?;
            subscription.is_behind = false;
        }
        subscriptions::update(&mut transaction, &subscription).await?;
        let subscription = self.shown(&mut transaction, actor, subscription_id).await?;
        let answer = UpdateWebhookSubscriptionResponse {
            subscription: Some(subscription),
        };
        keep_answer(&mut transaction, key, &answer).await?;
        transaction.commit().await?;
        self.wakers.sender.notify_one();
        self.wakers.replays.notify_one();
        Ok(answer)
    }

    pub(super) async fn rotate(
        &self,
        actor: &Actor,
        subscription_id: i64,
        overlap_secs: f64,
        key: &RequestKey,
    ) -> Result<RotateWebhookSecretResponse, Error> {
        let mut transaction = self.requests.begin(actor.tenant_id).await?;
        let tenant_id = actor.tenant_id;
        let first: Option<RotateWebhookSecretResponse> =
            first_answer(&mut transaction, key).await?;
        if let Some(mut answer) = first {
            answer.signing_secret = secret_text(&mut transaction, actor, subscription_id).await?;
            return Ok(answer);
        }
        lock(&mut transaction, actor, subscription_id).await?;
        let secret = signing::new_secret();
        subscriptions::rotate(
            &mut transaction,
            tenant_id,
            subscription_id,
            &secret,
            overlap_secs,
        )
        .await?;
        let subscription = self.shown(&mut transaction, actor, subscription_id).await?;
        let mut answer = RotateWebhookSecretResponse {
            subscription: Some(subscription),
            signing_secret: String::new(),
        };
        // The secret stays in one place.
        keep_answer(&mut transaction, key, &answer).await?;
        transaction.commit().await?;
        answer.signing_secret = signing::secret_text(&secret);
        Ok(answer)
    }

    /// No connection to the database is held during the call.
    pub(super) async fn test(
        &self,
        actor: &Actor,
        subscription_id: i64,
    ) -> Result<TestWebhookSubscriptionResponse, Error> {
        let mut connection = self.requests.read(actor.tenant_id).await?;
        find(&mut connection, actor, subscription_id).await?;
        let tenant_id = actor.tenant_id;
        let endpoint = subscriptions::endpoint(&mut connection, tenant_id, subscription_id)
            .await?
            .ok_or(not_found(subscription_id))?;
        drop(connection);
        let webhook_id = format!("test_{:032x}", rand::random::<u128>());
        let body = event_body::test_body(tenant_id, subscription_id, endpoint.now);
        let call = SignedCall {
            url: &endpoint.webhook_url,
            secrets: std::iter::once(&endpoint.signing_secret.0)
                .chain(&endpoint.previous_secret)
                .map(Vec::as_slice)
                .collect(),
            id: webhook_id.clone(),
            body: body.into_bytes(),
        };
        let began = Instant::now();
        let (outcome, http_status) = self.webhook.post(call, endpoint.now).await;
        let delivered = outcome == Outcome::Delivered;
        let reason = match outcome {
            Outcome::Delivered | Outcome::Sent { .. } => "OK".to_owned(),
            Outcome::Gone => "ENDPOINT_GONE".to_owned(),
            Outcome::PutOff { .. } => "PUT_OFF".to_owned(),
            Outcome::Failed { reason }
            | Outcome::Uncertain { reason }
            | Outcome::StopAccount { reason }
            | Outcome::Retry { reason, .. }
            | Outcome::RetryOne { reason, .. } => reason,
        };
        Ok(TestWebhookSubscriptionResponse {
            delivered,
            attempt: Some(WebhookAttempt {
                attempt: 1,
                attempt_time: Some(to_proto_time(endpoint.now)),
                duration: prost_types::Duration::try_from(began.elapsed()).ok(),
                http_status: http_status.into(),
                outcome: reason,
            }),
            webhook_id,
        })
    }

    pub(super) async fn replay(
        &self,
        actor: &Actor,
        subscription_id: i64,
        start: Start,
        key: &RequestKey,
    ) -> Result<ReplayWebhookEventsResponse, Error> {
        let mut transaction = self.requests.begin(actor.tenant_id).await?;
        if let Some(answer) = first_answer(&mut transaction, key).await? {
            return Ok(answer);
        }
        // First, as everybody locks it first: what comes after this place is the live feed's.
        let live = event_feed::lock_place(&mut transaction).await?;
        lock(&mut transaction, actor, subscription_id).await?;
        let mut new = NewReplay {
            from: live.clone(),
            first_event: 0,
            first_event_at: None,
            until_events: live.events,
        };
        match start {
            Start::Position(index) if index >= live.events => return Err(Error::PositionUnknown),
            Start::Position(index) => {
                let mark = event_feed::mark_before(&mut transaction, index).await?;
                new.from = mark.ok_or(Error::PositionExpired)?;
                new.first_event = index;
            }
            Start::Time(at) => {
                let mark = event_feed::mark_before_time(&mut transaction, at).await?;
                new.from = mark.unwrap_or(live);
                new.first_event_at = Some(at);
            }
        }
        let replay = replays::create(&mut transaction, actor.tenant_id, subscription_id, &new)
            .await?
            .ok_or(Error::ReplayRunning(subscription_id))?;
        let answer = ReplayWebhookEventsResponse {
            replay: Some(convert::replay(replay)),
        };
        keep_answer(&mut transaction, key, &answer).await?;
        transaction.commit().await?;
        self.wakers.replays.notify_one();
        Ok(answer)
    }

    /// A subscription as it is shown, with its last replay.
    pub(super) async fn shown(
        &self,
        connection: &mut PgConnection,
        actor: &Actor,
        subscription_id: i64,
    ) -> Result<WebhookSubscription, Error> {
        let subscription = find(connection, actor, subscription_id).await?;
        let last = replays::last(connection, actor.tenant_id, subscription_id).await?;
        let mut shown = convert::subscription(subscription, self.max_waiting);
        shown.last_replay = last.map(convert::replay);
        Ok(shown)
    }
}

/// The secret that signs now, for the repetition of a request that made one; empty when the subscription is gone, or is no
/// longer the actor's to see.
async fn secret_text(
    connection: &mut PgConnection,
    actor: &Actor,
    subscription_id: i64,
) -> Result<String, Error> {
    let tenant_id = actor.tenant_id;
    let found = subscriptions::find(connection, tenant_id, subscription_id).await?;
    if !found.is_some_and(|found| may_see(actor, &found)) {
        return Ok(String::new());
    }
    let endpoint = subscriptions::endpoint(connection, tenant_id, subscription_id).await?;
    Ok(endpoint.map_or_else(String::new, |it| signing::secret_text(&it.signing_secret.0)))
}

/// Whether an actor sees a subscription: those of some bots alone see those whose bots are all among theirs.
fn may_see(actor: &Actor, subscription: &Subscription) -> bool {
    checks::bots_permitted(actor, &subscription.bot_ids).is_ok()
}

fn not_found(subscription_id: i64) -> Error {
    Error::NotFound {
        kind: "webhook subscription",
        id: subscription_id,
    }
}

pub(super) async fn find(
    connection: &mut PgConnection,
    actor: &Actor,
    subscription_id: i64,
) -> Result<Subscription, Error> {
    subscriptions::find(connection, actor.tenant_id, subscription_id)
        .await?
        .filter(|found| may_see(actor, found))
        .ok_or(not_found(subscription_id))
}

pub(super) async fn lock(
    connection: &mut PgConnection,
    actor: &Actor,
    subscription_id: i64,
) -> Result<Subscription, Error> {
    subscriptions::lock(connection, actor.tenant_id, subscription_id)
        .await?
        .filter(|found| may_see(actor, found))
        .ok_or(not_found(subscription_id))
}

fn apply(subscription: &mut Subscription, update: Update) {
    fn set<T>(field: &mut T, value: Option<T>) {
        if let Some(value) = value {
            *field = value;
        }
    }
    set(&mut subscription.name, update.name);
    set(&mut subscription.webhook_url, update.webhook_url);
    set(&mut subscription.event_types, update.event_types);
    set(&mut subscription.bot_ids, update.bot_ids);
    let customer_data = update.include_customer_data;
    set(&mut subscription.include_customer_data, customer_data);
    match update.enabled {
        Some(true) => subscription.paused_reason.clear(),
        Some(false) if subscription.paused_reason.is_empty() => {
            paused::REQUESTED.clone_into(&mut subscription.paused_reason);
        }
        _ => {}
    }
}
