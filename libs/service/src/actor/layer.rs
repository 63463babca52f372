//! The layer that makes the actor and checks its permission before a handler runs.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use tonic::Status;

use super::{Actor, MethodPermissions, Permission};
use crate::status;

/// Health and reflection say nothing of any tenant, and probes have no actor.
const OPEN_TO_ALL: [&str; 2] = ["/grpc.health.", "/grpc.reflection."];

/// What the layer checks against.
#[derive(Debug)]
pub(crate) struct ActorRules {
    permissions: HashMap<&'static str, &'static [Permission]>,
}

impl ActorRules {
    pub(crate) fn new(permissions: MethodPermissions) -> Self {
        Self {
            permissions: permissions.iter().copied().collect(),
        }
    }

    fn admit(&self, request: &Request) -> Result<Actor, Status> {
        let actor = Actor::read(request.headers())?;
        // The server does not start unless each served method is in the table. Whatever else is called is not there, and
        // never gets past this layer.
        let Some(wanted) = self.permissions.get(request.uri().path()) else {
            return Err(status::unimplemented("METHOD_UNKNOWN", "this method"));
        };
        if actor.permissions.contains_any(wanted) {
            Ok(actor)
        } else {
            Err(status::permission_denied(
                "PERMISSION_DENIED",
                "the actor may not call this method",
            ))
        }
    }
}

/// Puts the [`Actor`] into the request's extensions, or answers in the handler's stead.
pub(crate) async fn check_actor(
    State(rules): State<Arc<ActorRules>>,
    mut request: Request,
    next: Next,
) -> Response {
    let path = request.uri().path();
    if OPEN_TO_ALL.iter().any(|prefix| path.starts_with(prefix)) {
        return next.run(request).await;
    }
    match rules.admit(&request) {
        Ok(actor) => {
            let span = tracing::Span::current();
            span.record("tenant_id", actor.tenant_id);
            span.record("actor", tracing::field::display(&actor.kind));
            request.extensions_mut().insert(actor);
            next.run(request).await
        }
        Err(status) => status.into_http(),
    }
}
