//! Active messages, channel accounts and webhook subscriptions.

use plazo_proto::notification::v1 as api;
use plazo_proto::notification::v1::replay_webhook_events_request::Start;
use prost_types::Timestamp;

use super::{CHANNEL_ACCOUNTS, Call, NOTIFICATIONS, SUBSCRIPTIONS, call};
use crate::access::things::SAID;
use crate::access::values;
use crate::access::world::Needs::{
    FailedMessage, Shared, Subscription, UncertainMessage, WaitingMessage,
};

pub(super) fn calls() -> Vec<Call> {
    let mut calls = messages();
    calls.extend(accounts());
    calls.extend(subscriptions());
    calls
}

fn messages() -> Vec<Call> {
    vec![
        call(NOTIFICATIONS, "GetActiveMessage", Shared, |it| {
            api::GetActiveMessageRequest {
                message_id: it.message_id,
            }
        }),
        call(NOTIFICATIONS, "ListActiveMessages", Shared, |_| {
            api::ListActiveMessagesRequest::default()
        }),
        call(NOTIFICATIONS, "ListActiveMessages?ticket", Shared, |it| {
            api::ListActiveMessagesRequest {
                ticket_id: it.ticket_id,
                ..Default::default()
            }
        }),
        call(NOTIFICATIONS, "ListActiveMessages?bot", Shared, |it| {
            api::ListActiveMessagesRequest {
                bot_id: it.bot_id,
                ..Default::default()
            }
        }),
        call(NOTIFICATIONS, "ResendActiveMessage", FailedMessage, |it| {
            api::ResendActiveMessageRequest {
                message_id: it.message_id,
                ..Default::default()
            }
        }),
        call(
            NOTIFICATIONS,
            "ResolveActiveMessage",
            UncertainMessage,
            |it| api::ResolveActiveMessageRequest {
                message_id: it.message_id,
                resolution: api::Resolution::Sent.into(),
                ..Default::default()
            },
        ),
        call(NOTIFICATIONS, "CancelActiveMessage", WaitingMessage, |it| {
            api::CancelActiveMessageRequest {
                message_id: it.message_id,
                ..Default::default()
            }
        }),
    ]
}

fn accounts() -> Vec<Call> {
    vec![
        call(CHANNEL_ACCOUNTS, "CreateChannelAccount", Shared, |it| {
            api::CreateChannelAccountRequest {
                account: Some(values::account(&it.new_word)),
                ..Default::default()
            }
        }),
        call(CHANNEL_ACCOUNTS, "UpdateChannelAccount", Shared, |it| {
            api::UpdateChannelAccountRequest {
                account: Some(api::ChannelAccount {
                    channel_account_id: it.account_id,
                    ..values::account(SAID)
                }),
                ..Default::default()
            }
        }),
        call(CHANNEL_ACCOUNTS, "ListChannelAccounts", Shared, |_| {
            api::ListChannelAccountsRequest::default()
        }),
        call(CHANNEL_ACCOUNTS, "SetChannelAccountEnabled", Shared, |it| {
            api::SetChannelAccountEnabledRequest {
                channel_account_id: it.account_id,
                enabled: false,
            }
        }),
    ]
}

fn subscriptions() -> Vec<Call> {
    vec![
        call(SUBSCRIPTIONS, "CreateWebhookSubscription", Shared, |it| {
            api::CreateWebhookSubscriptionRequest {
                subscription: Some(values::subscription(it, SAID)),
                ..Default::default()
            }
        }),
        call(SUBSCRIPTIONS, "GetWebhookSubscription", Shared, |it| {
            api::GetWebhookSubscriptionRequest {
                subscription_id: it.subscription_id,
            }
        }),
        call(SUBSCRIPTIONS, "ListWebhookSubscriptions", Shared, |_| {
            api::ListWebhookSubscriptionsRequest::default()
        }),
        call(
            SUBSCRIPTIONS,
            "UpdateWebhookSubscription",
            Subscription,
            |it| api::UpdateWebhookSubscriptionRequest {
                subscription: Some(api::WebhookSubscription {
                    subscription_id: it.subscription_id,
                    enabled: true,
                    ..values::subscription(it, SAID)
                }),
                ..Default::default()
            },
        ),
        call(
            SUBSCRIPTIONS,
            "UpdateWebhookSubscription?name",
            Subscription,
            |it| api::UpdateWebhookSubscriptionRequest {
                subscription: Some(api::WebhookSubscription {
                    subscription_id: it.subscription_id,
                    ..values::subscription(it, SAID)
                }),
                update_mask: Some(prost_types::FieldMask {
                    paths: vec!["name".to_owned()],
                }),
                ..Default::default()
            },
        ),
        call(
            SUBSCRIPTIONS,
            "DeleteWebhookSubscription",
            Subscription,
            |it| api::DeleteWebhookSubscriptionRequest {
                subscription_id: it.subscription_id,
            },
        ),
        call(SUBSCRIPTIONS, "RotateWebhookSecret", Subscription, |it| {
            api::RotateWebhookSecretRequest {
                subscription_id: it.subscription_id,
                ..Default::default()
            }
        }),
        call(SUBSCRIPTIONS, "TestWebhookSubscription", Shared, |it| {
            api::TestWebhookSubscriptionRequest {
                subscription_id: it.subscription_id,
            }
        }),
        call(SUBSCRIPTIONS, "ListWebhookDeliveries", Shared, |it| {
            api::ListWebhookDeliveriesRequest {
                subscription_id: it.subscription_id,
                ..Default::default()
            }
        }),
        call(SUBSCRIPTIONS, "ReplayWebhookEvents", Subscription, |it| {
            api::ReplayWebhookEventsRequest {
                subscription_id: it.subscription_id,
                start: Some(Start::Time(Timestamp {
                    seconds: 1_600_000_000,
                    nanos: 0,
                })),
                ..Default::default()
            }
        }),
    ]
}
