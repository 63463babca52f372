//! The layer that makes the actor and checks its permission before a handler runs.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::request::Parts;

use super::{MethodPermissions, Permission};
use crate::access::{Access, Admitted, Refusal};

/// Health and reflection say nothing of any tenant, and probes have no actor.
const OPEN_TO_ALL: [&str; 2] = ["/grpc.health.", "/grpc.reflection."];

/// What the layer checks against.
#[derive(Debug)]
pub(crate) struct ActorRules {
    permissions: HashMap<&'static str, &'static [Permission]>,
    access: Arc<Access>,
}

impl ActorRules {
    pub(crate) fn new(permissions: MethodPermissions, access: Arc<Access>) -> Self {
        Self {
            permissions: permissions.iter().copied().collect(),
            access,
        }
    }

    async fn admit(&self, request: &mut Parts) -> Result<Admitted, Refusal> {
        let admitted = self.access.identify(request).await?;
        // The server does not start unless each served method is in the table. Whatever else is called is not there, and
        // never gets past this layer.
        let wanted = self.permissions.get(request.uri.path());
        let wanted = wanted.ok_or(Refusal::MethodUnknown)?;
        if !admitted.actor.permissions.contains_any(wanted) {
            return Err(Refusal::PermissionDenied);
        }
        self.access.count(&admitted.actor)?;
        Ok(admitted)
    }
}

/// Puts the [`Actor`](super::Actor) into the request's extensions, or answers in the handler's stead.
pub(crate) async fn check_actor(
    State(rules): State<Arc<ActorRules>>,
    request: Request,
    next: Next,
) -> Response {
    let path = request.uri().path();
    if OPEN_TO_ALL.iter().any(|prefix| path.starts_with(prefix)) {
        return next.run(request).await;
    }
    let (mut parts, body) = request.into_parts();
    let admitted = match rules.admit(&mut parts).await {
        Ok(admitted) => admitted,
        Err(refusal) => {
            rules.access.note(&refusal, &parts);
            return refusal.into_status().into_http();
        }
    };
    let Admitted { actor, end } = admitted;
    let span = tracing::Span::current();
    span.record("tenant_id", actor.tenant_id);
    span.record("actor", tracing::field::display(&actor.kind));
    parts.extensions.insert(actor);
    let mut response = next.run(Request::from_parts(parts, body)).await;
    if let Some(end) = end {
        response.extensions_mut().insert(end);
    }
    response
}
