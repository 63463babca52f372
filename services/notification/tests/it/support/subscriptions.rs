//! Webhook subscriptions, as tests use them.

use plazo_proto::notification::v1::webhook_subscription_service_client::WebhookSubscriptionServiceClient;
use plazo_proto::notification::v1::{
    CreateWebhookSubscriptionRequest, GetWebhookSubscriptionRequest, ListWebhookDeliveriesRequest,
    UpdateWebhookSubscriptionRequest, WebhookDelivery, WebhookSubscription,
    WebhookSubscriptionState,
};
use plazo_proto::ticketing::v1::ticket_event::Payload;
use plazo_proto::ticketing::v1::{TicketEvent, TicketSetOpen};
use plazo_service::{Actor, ServiceChannel};

use super::endpoint::{Call, Endpoint};
use super::ticketing::event;
use super::{Api, administrator, eventually};

/// A subscription to all events.
pub(crate) fn subscription(url: &str) -> WebhookSubscription {
    WebhookSubscription {
        name: "other system".to_owned(),
        url: url.to_owned(),
        ..WebhookSubscription::default()
    }
}

/// An event without a payload of its own.
pub(crate) fn set_open(ticket_id: i64, ticket_seq: i64) -> TicketEvent {
    event(ticket_id, ticket_seq, Payload::SetOpen(TicketSetOpen {}))
}

/// `ticket_seq` of the calls of a ticket that were answered with 200, in their order.
pub(crate) fn taken(calls: &[Call], ticket_id: i64) -> Vec<i64> {
    let ticket_id = ticket_id.to_string();
    calls
        .iter()
        .filter(|call| call.status == 200)
        .map(Call::json)
        .filter(|body| body["data"]["ticket_id"] == ticket_id.as_str())
        .map(|body| seq(&body))
        .collect()
}

/// `ticket_seq` in a body.
pub(crate) fn seq(body: &serde_json::Value) -> i64 {
    let text = body["data"]["ticket_seq"].as_str().expect("a string");
    text.parse().expect("a number")
}

/// Waits until so many calls were answered with 200.
pub(crate) async fn until_taken(endpoint: &Endpoint, path: &str, times: usize) -> Vec<Call> {
    eventually(&format!("{path} takes {times}"), || async {
        let calls = endpoint.calls(path);
        (calls.iter().filter(|call| call.status == 200).count() >= times).then_some(calls)
    })
    .await
}

impl Api {
    pub(crate) fn subscriptions(
        self,
        actor: Actor,
    ) -> WebhookSubscriptionServiceClient<ServiceChannel> {
        WebhookSubscriptionServiceClient::new(self.channel(actor))
    }

    /// Creates a subscription; its id and secret.
    pub(crate) async fn subscribe(self, subscription: WebhookSubscription) -> (i64, String) {
        let request = CreateWebhookSubscriptionRequest {
            subscription: Some(subscription),
            request_id: String::new(),
        };
        let answer = self
            .subscriptions(administrator())
            .create_webhook_subscription(request)
            .await;
        let answer = answer.expect("the subscription is good").into_inner();
        let created = answer.subscription.expect("it is set");
        assert_eq!(created.state(), WebhookSubscriptionState::Active);
        (created.subscription_id, answer.signing_secret)
    }

    pub(crate) async fn subscription(self, subscription_id: i64) -> WebhookSubscription {
        let request = GetWebhookSubscriptionRequest { subscription_id };
        let answer = self
            .subscriptions(administrator())
            .get_webhook_subscription(request)
            .await;
        let answer = answer.expect("it is there").into_inner();
        answer.subscription.expect("it is set")
    }

    /// Waits until a subscription is in a state for a reason.
    pub(crate) async fn until_subscription(
        self,
        subscription_id: i64,
        state: WebhookSubscriptionState,
        reason: &str,
    ) -> WebhookSubscription {
        eventually(&format!("{subscription_id} is {state:?}"), || async move {
            let found = self.subscription(subscription_id).await;
            (found.state() == state && found.reason == reason).then_some(found)
        })
        .await
    }

    /// Pauses a subscription, or enables it.
    pub(crate) async fn set_subscription_enabled(
        self,
        subscription_id: i64,
        enabled: bool,
        skip_missed: bool,
    ) {
        let request = UpdateWebhookSubscriptionRequest {
            subscription: Some(WebhookSubscription {
                subscription_id,
                enabled,
                ..WebhookSubscription::default()
            }),
            update_mask: Some(prost_types::FieldMask {
                paths: vec!["enabled".to_owned()],
            }),
            skip_missed,
            request_id: String::new(),
        };
        self.subscriptions(administrator())
            .update_webhook_subscription(request)
            .await
            .expect("it is there");
    }

    /// All deliveries of a subscription, the last first.
    pub(crate) async fn deliveries(self, subscription_id: i64) -> Vec<WebhookDelivery> {
        let request = ListWebhookDeliveriesRequest {
            subscription_id,
            page_size: 500,
            ..ListWebhookDeliveriesRequest::default()
        };
        let answer = self
            .subscriptions(administrator())
            .list_webhook_deliveries(request)
            .await;
        answer.expect("it is there").into_inner().deliveries
    }
}
