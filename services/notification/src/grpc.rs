//! The gRPC services: from requests to use cases and back.

mod channel_accounts;
mod convert;
mod notification;

use plazo_service::{Actor, MethodPermissions, Permission, status};
use tonic::{Request, Status};

pub(crate) use channel_accounts::ChannelAccounts;
pub(crate) use notification::Notifications;

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
        "/plazo.notification.v1.ChannelAccountService/ListChannelAccounts",
        &[Permission::HelpdeskView],
    ),
    (
        "/plazo.notification.v1.ChannelAccountService/SetChannelAccountEnabled",
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
