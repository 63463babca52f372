//! An actor as request metadata, written and read.

use http::{HeaderMap, HeaderName, HeaderValue};
use tonic::{Request, Status};

use super::{Actor, ActorKind, BotScope, Permission, Permissions};
use crate::status;

const TENANT: HeaderName = HeaderName::from_static("plazo-tenant");
const ACTOR: HeaderName = HeaderName::from_static("plazo-actor");
const PERMISSIONS: HeaderName = HeaderName::from_static("plazo-permissions");
const BOTS: HeaderName = HeaderName::from_static("plazo-bots");

const MAX_SERVICE_NAME_BYTES: usize = 64;

impl Actor {
    /// Reads the actor of a request. UNAUTHENTICATED with reason `ACTOR_MISSING` or `ACTOR_INVALID` and the
    /// metadata key if it is missing or ill-formed.
    pub(crate) fn read(headers: &HeaderMap) -> Result<Self, Status> {
        let kind = single(headers, &ACTOR)?.ok_or_else(|| missing(&ACTOR))?;
        let kind = parse_actor_kind(kind).ok_or_else(|| {
            invalid(
                &ACTOR,
                "must be agent/ID, bot/ID, administrator/ID or service/NAME",
            )
        })?;
        let tenant_id = read_tenant(headers, &kind)?;
        let permissions = read_permissions(headers, &kind)?;
        let bots = read_bots(headers, &kind)?;
        Ok(Self {
            tenant_id,
            kind,
            permissions,
            bots,
        })
    }

    /// Reads what [`Self::sign`] writes, for the fuzz targets alone: a server takes the actor from its layer.
    #[doc(hidden)]
    pub fn read_for_fuzzing(headers: &HeaderMap) -> Result<Self, Status> {
        Self::read(headers)
    }

    /// Puts the actor into the metadata of an outgoing request, in the place of one that is there.
    pub(crate) fn write(&self, headers: &mut HeaderMap) {
        let permissions: Vec<_> = self.permissions.iter().map(Permission::name).collect();
        let bots = match &self.bots {
            BotScope::All => "*".to_owned(),
            BotScope::Only(ids) => ids.iter().map(i64::to_string).collect::<Vec<_>>().join(","),
        };
        let values = [
            (TENANT, self.tenant_id.to_string()),
            (ACTOR, self.kind.to_string()),
            (PERMISSIONS, permissions.join(",")),
            (BOTS, bots),
        ];
        for (key, value) in values {
            // Only a service name from outside the permitted letters fails here; the server then
            // refuses the call as one without an actor.
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(key, value);
            }
        }
    }

    /// Whether a request says already who makes it.
    pub(crate) fn is_in(headers: &HeaderMap) -> bool {
        headers.contains_key(ACTOR)
    }

    /// Takes the actor out of a request's metadata.
    pub(crate) fn remove(headers: &mut HeaderMap) {
        for key in [TENANT, ACTOR, PERMISSIONS, BOTS] {
            headers.remove(key);
        }
    }

    /// A request made by this actor. Without it, a client's calls are made by the actor given to
    /// [`connect_lazy`](crate::client::connect_lazy).
    #[must_use]
    pub fn sign<T>(&self, request: Request<T>) -> Request<T> {
        let (mut metadata, extensions, message) = request.into_parts();
        let mut headers = std::mem::take(&mut metadata).into_headers();
        self.write(&mut headers);
        metadata = tonic::metadata::MetadataMap::from_headers(headers);
        Request::from_parts(metadata, extensions, message)
    }
}

fn read_tenant(headers: &HeaderMap, kind: &ActorKind) -> Result<i64, Status> {
    let is_service = matches!(kind, ActorKind::Service(_));
    match single(headers, &TENANT)? {
        None if is_service => Ok(0),
        None => Err(missing(&TENANT)),
        Some(text) => parse_id(text, i64::from(!is_service))
            .ok_or_else(|| invalid(&TENANT, "must be a tenant's id")),
    }
}

fn read_permissions(headers: &HeaderMap, kind: &ActorKind) -> Result<Permissions, Status> {
    let text = single(headers, &PERMISSIONS)?.unwrap_or_default();
    let permissions: Permissions = split(text)
        .map(Permission::from_name)
        .collect::<Option<_>>()
        .ok_or_else(|| invalid(&PERMISSIONS, "names an unknown permission"))?;
    let is_service = matches!(kind, ActorKind::Service(_));
    if permissions.contains(Permission::Service) && !is_service {
        return Err(invalid(&PERMISSIONS, "has what only a service can have"));
    }
    Ok(permissions)
}

fn read_bots(headers: &HeaderMap, kind: &ActorKind) -> Result<BotScope, Status> {
    match single(headers, &BOTS)? {
        Some("*") => Ok(BotScope::All),
        Some(text) => {
            let ids = split(text)
                .map(|id| parse_id(id, 1))
                .collect::<Option<Vec<_>>>()
                .ok_or_else(|| invalid(&BOTS, "must be * or ids of bots"))?;
            Ok(BotScope::only(ids))
        }
        None => Ok(default_bots(kind)),
    }
}

/// The bots of an actor of whom nothing else is said.
pub(crate) fn default_bots(kind: &ActorKind) -> BotScope {
    match kind {
        ActorKind::Agent(_) | ActorKind::Bot(_) => BotScope::Only(Vec::new()),
        ActorKind::Administrator(_) | ActorKind::Service(_) => BotScope::All,
    }
}

/// As in `agent/12`.
pub(crate) fn parse_actor_kind(text: &str) -> Option<ActorKind> {
    let (kind, which) = text.split_once('/')?;
    match kind {
        "agent" => parse_id(which, 1).map(ActorKind::Agent),
        "bot" => parse_id(which, 1).map(ActorKind::Bot),
        "administrator" => parse_id(which, 1).map(ActorKind::Administrator),
        "service" => is_service_name(which).then(|| ActorKind::Service(which.to_owned())),
        _ => None,
    }
}

/// Up to 64 lower-case letters, digits and dashes.
pub(crate) fn is_service_name(text: &str) -> bool {
    let is_allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=MAX_SERVICE_NAME_BYTES).contains(&text.len()) && text.bytes().all(is_allowed)
}

/// Digits only: `+7` and ` 7` are no ids.
fn parse_id(text: &str, lowest: i64) -> Option<i64> {
    let id = text.parse().ok().filter(|id| *id >= lowest)?;
    text.bytes().all(|b| b.is_ascii_digit()).then_some(id)
}

fn split(text: &str) -> impl Iterator<Item = &str> {
    text.split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
}

/// The value of a key that must not be there twice: which one would count?
fn single<'a>(headers: &'a HeaderMap, key: &HeaderName) -> Result<Option<&'a str>, Status> {
    let mut values = headers.get_all(key).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(invalid(key, "must be there once"));
    }
    first
        .map(|value| {
            value
                .to_str()
                .map_err(|_| invalid(key, "must be ASCII text"))
        })
        .transpose()
}

fn missing(key: &HeaderName) -> Status {
    status::unauthenticated("ACTOR_MISSING", key.as_str(), "is missing")
}

fn invalid(key: &HeaderName, description: &str) -> Status {
    status::unauthenticated("ACTOR_INVALID", key.as_str(), description)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (key, value) in pairs {
            headers.append(
                *key,
                HeaderValue::from_str(value).expect("a valid header value"),
            );
        }
        headers
    }

    #[test]
    fn an_agent_is_read_with_permissions_and_sorted_bots() {
        let actor = Actor::read(&headers(&[
            ("plazo-tenant", "7"),
            ("plazo-actor", "agent/12"),
            ("plazo-permissions", "tickets:attend, helpdesk:edit"),
            ("plazo-bots", "5,2,5"),
        ]))
        .expect("a well-formed actor");

        assert_eq!((actor.tenant_id, actor.agent_id()), (7, Some(12)));
        assert!(actor.permissions.contains(Permission::TicketsAttend));
        assert!(actor.permissions.contains(Permission::HelpdeskEdit));
        assert!(!actor.permissions.contains(Permission::Service));
        assert_eq!(actor.bots, BotScope::Only(vec![2, 5]));
        assert!(actor.require_bot(5).is_ok() && actor.require_bot(1).is_err());
    }

    #[test]
    fn absent_bots_mean_none_for_agents_and_all_for_administrators_and_services() {
        for (kind, may_use_bot) in [
            ("agent/1", false),
            ("bot/1", false),
            ("administrator/1", true),
            ("service/timer", true),
        ] {
            let actor = Actor::read(&headers(&[("plazo-tenant", "7"), ("plazo-actor", kind)]))
                .expect("a well-formed actor");
            assert_eq!(actor.may_use_bot(1), may_use_bot, "{kind}");
        }
    }

    #[test]
    fn ill_formed_metadata_is_refused_and_named() {
        let table: &[(&[(&'static str, &str)], &str)] = &[
            (&[("plazo-tenant", "7")], "plazo-actor"),
            (&[("plazo-actor", "agent/1")], "plazo-tenant"),
            (
                &[("plazo-actor", "agent/1"), ("plazo-tenant", "0")],
                "plazo-tenant",
            ),
            (
                &[("plazo-actor", "agent/1"), ("plazo-tenant", "+7")],
                "plazo-tenant",
            ),
            (
                &[
                    ("plazo-actor", "agent/1"),
                    ("plazo-tenant", "99999999999999999999"),
                ],
                "plazo-tenant",
            ),
            (
                &[
                    ("plazo-actor", "agent/1"),
                    ("plazo-tenant", "7"),
                    ("plazo-tenant", "8"),
                ],
                "plazo-tenant",
            ),
            (
                &[("plazo-actor", "agent/0"), ("plazo-tenant", "7")],
                "plazo-actor",
            ),
            (
                &[("plazo-actor", "agent"), ("plazo-tenant", "7")],
                "plazo-actor",
            ),
            (
                &[("plazo-actor", "root/1"), ("plazo-tenant", "7")],
                "plazo-actor",
            ),
            (
                &[("plazo-actor", "service/Timer!"), ("plazo-tenant", "7")],
                "plazo-actor",
            ),
            (
                &[
                    ("plazo-actor", "agent/1"),
                    ("plazo-tenant", "7"),
                    ("plazo-permissions", "all"),
                ],
                "plazo-permissions",
            ),
            (
                &[
                    ("plazo-actor", "agent/1"),
                    ("plazo-tenant", "7"),
                    ("plazo-permissions", "service"),
                ],
                "plazo-permissions",
            ),
            (
                &[
                    ("plazo-actor", "agent/1"),
                    ("plazo-tenant", "7"),
                    ("plazo-bots", "1,x"),
                ],
                "plazo-bots",
            ),
        ];
        for (pairs, key) in table {
            let status = Actor::read(&headers(pairs)).expect_err("ill-formed metadata");
            assert_eq!(status.code(), tonic::Code::Unauthenticated, "{pairs:?}");
            assert!(
                status.message().contains(key),
                "{pairs:?}: {}",
                status.message()
            );
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let agent = Actor {
            tenant_id: 7,
            kind: ActorKind::Agent(12),
            permissions: Permission::ALL
                .into_iter()
                .filter(|permission| *permission != Permission::Service)
                .collect(),
            bots: BotScope::Only(vec![1, 9]),
        };
        for actor in [agent, Actor::service("timer")] {
            let mut headers = HeaderMap::new();
            actor.write(&mut headers);
            assert_eq!(Actor::read(&headers).expect("just written"), actor);
        }
    }
}
