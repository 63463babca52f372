//! The gRPC services: from requests to use cases and back.

mod channel_accounts;
mod convert;
mod notification;
mod webhook_subscriptions;

use plazo_service::{Actor, MethodPermissions, Permission, status};
use tonic::{Request, Status};

pub(crate) use channel_accounts::ChannelAccounts;
pub(crate) use notification::Notifications;
pub(crate) use webhook_subscriptions::WebhookSubscriptions;

/// Who may call what.
pub(crate) const PERMISSIONS: MethodPermissions = &[
    (
        "/plazo.notification.v1.NotificationService/SendActiveMessages",
        &[Permission::Service],
    ),
    (
        "/plazo.notification.v1.NotificationService/GetActiveMessage",
        &[Permission::MessagesSend],
    ),
    (
        "/plazo.notification.v1.NotificationService/ListActiveMessages",
        &[Permission::MessagesSend],
    ),
    (
        "/plazo.notification.v1.NotificationService/ResendActiveMessage",
        &[Permission::MessagesSend],
    ),
    (
        "/plazo.notification.v1.NotificationService/ResolveActiveMessage",
        &[Permission::MessagesSend],
    ),
    (
        "/plazo.notification.v1.NotificationService/CancelActiveMessage",
        &[Permission::MessagesSend],
    ),
    (
        "/plazo.notification.v1.ChannelAccountService/CreateChannelAccount",
        &[Permission::HelpdeskEdit],
    ),
    (
        "/plazo.notification.v1.ChannelAccountService/UpdateChannelAccount",
        &[Permission::HelpdeskEdit],
    ),
    (
        "/plazo.notification.v1.ChannelAccountService/ListChannelAccounts",
        &[Permission::HelpdeskView],
    ),
    (
        "/plazo.notification.v1.ChannelAccountService/SetChannelAccountEnabled",
        &[Permission::HelpdeskEdit],
    ),
    (
        "/plazo.notification.v1.WebhookSubscriptionService/CreateWebhookSubscription",
        &[Permission::HelpdeskEdit],
    ),
    (
        "/plazo.notification.v1.WebhookSubscriptionService/GetWebhookSubscription",
        &[Permission::HelpdeskView],
    ),
    (
        "/plazo.notification.v1.WebhookSubscriptionService/ListWebhookSubscriptions",
        &[Permission::HelpdeskView],
    ),
    (
        "/plazo.notification.v1.WebhookSubscriptionService/UpdateWebhookSubscription",
        &[Permission::HelpdeskEdit],
    ),
    (
        "/plazo.notification.v1.WebhookSubscriptionService/DeleteWebhookSubscription",
        &[Permission::HelpdeskEdit],
    ),
    (
        "/plazo.notification.v1.WebhookSubscriptionService/RotateWebhookSecret",
        &[Permission::HelpdeskEdit],
    ),
    (
        "/plazo.notification.v1.WebhookSubscriptionService/TestWebhookSubscription",
        &[Permission::HelpdeskEdit],
    ),
    (
        "/plazo.notification.v1.WebhookSubscriptionService/ListWebhookDeliveries",
        &[Permission::HelpdeskView],
    ),
    (
        "/plazo.notification.v1.WebhookSubscriptionService/ReplayWebhookEvents",
        &[Permission::HelpdeskEdit],
    ),
];

/// The actor of a call that belongs to one tenant. A service that acts across tenants can't make it.
fn tenant_actor<T>(request: &Request<T>) -> Result<Actor, Status> {
    let actor = Actor::of(request)?;
    if actor.tenant_id > 0 {
        Ok(actor.clone())
    } else {
        Err(status::permission_denied(
            "TENANT_REQUIRED",
            "the call needs an actor of one tenant",
        ))
    }
}
