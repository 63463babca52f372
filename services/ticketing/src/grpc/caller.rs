//! Who makes a call.

use plazo_service::{Actor, status};
use tonic::{Request, Status};

/// The actor of a call about the things of one tenant. PERMISSION_DENIED for a service that acts across
/// tenants.
pub(super) fn actor_of_tenant<T>(request: &Request<T>) -> Result<Actor, Status> {
    let actor = Actor::of(request)?;
    if actor.tenant_id > 0 {
        Ok(actor.clone())
    } else {
        Err(status::permission_denied(
            "TENANT_REQUIRED",
            "the actor belongs to no tenant",
        ))
    }
}
