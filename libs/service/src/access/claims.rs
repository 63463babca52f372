//! What a token says of the caller, once its signature was checked.

use serde_json::{Map, Value};

use super::refusal::Refusal;
use crate::actor::{
    Actor, ActorKind, BotScope, Permission, Permissions, default_bots, parse_actor_kind,
};

/// The claims of a token, not yet looked at.
#[derive(Debug)]
pub(super) struct Claims(Map<String, Value>);

impl Claims {
    pub(super) fn parse(json: &[u8]) -> Result<Self, Refusal> {
        serde_json::from_slice(json)
            .map(Self)
            .map_err(|_| Refusal::TokenMalformed("has claims that are no JSON object"))
    }

    pub(super) fn issuer(&self) -> Result<&str, Refusal> {
        match self.0.get("iss") {
            Some(Value::String(issuer)) => Ok(issuer),
            _ => Err(Refusal::ClaimInvalid("iss", "must be a text")),
        }
    }

    /// Whether the token is for `audience`.
    pub(super) fn check_audience(&self, audience: &str) -> Result<(), Refusal> {
        let is_for_us = match self.0.get("aud") {
            Some(Value::String(own)) => own == audience,
            Some(Value::Array(all)) => all.iter().any(|own| own == audience),
            _ => return Err(Refusal::ClaimInvalid("aud", "must be a text or a list")),
        };
        is_for_us.then_some(()).ok_or(Refusal::AudienceWrong)
    }

    /// Whether the token is valid at an instant, and until when, each in milliseconds since 1970. `leeway_ms` is added on
    /// both sides.
    pub(super) fn check_time(&self, now_ms: i64, leeway_ms: i64) -> Result<i64, Refusal> {
        let must = "must be a number of seconds";
        let instant = |claim: &'static str| match self.0.get(claim) {
            None => Ok(None),
            Some(value) => milliseconds(value)
                .map(Some)
                .ok_or(Refusal::ClaimInvalid(claim, must)),
        };
        let expires_at = instant("exp")?.ok_or(Refusal::ClaimInvalid("exp", must))?;
        let valid_from = instant("nbf")?;
        instant("iat")?;
        let ends_at = expires_at.saturating_add(leeway_ms);
        if now_ms >= ends_at {
            return Err(Refusal::TokenExpired);
        }
        if valid_from.is_some_and(|from| now_ms < from.saturating_sub(leeway_ms)) {
            return Err(Refusal::TokenNotYetValid);
        }
        Ok(ends_at)
    }

    /// Who makes the call: an agent, a bot or an administrator of one tenant, never a service.
    pub(super) fn actor(&self) -> Result<Actor, Refusal> {
        let has_subject =
            matches!(self.0.get("sub"), Some(Value::String(text)) if !text.is_empty());
        if !has_subject {
            return Err(Refusal::ClaimInvalid("sub", "must be a text"));
        }
        let tenant_id =
            self.0.get("plazo_tenant").and_then(id).ok_or({
                Refusal::ClaimInvalid("plazo_tenant", "must be a tenant's id, a number")
            })?;
        let kind = self
            .0
            .get("plazo_actor")
            .and_then(Value::as_str)
            .and_then(parse_actor_kind)
            .filter(|kind| !matches!(kind, ActorKind::Service(_)))
            .ok_or(Refusal::ClaimInvalid(
                "plazo_actor",
                "must be agent/ID, bot/ID or administrator/ID",
            ))?;
        Ok(Actor {
            tenant_id,
            permissions: self.permissions()?,
            bots: self.bots(&kind)?,
            kind,
        })
    }

    fn permissions(&self) -> Result<Permissions, Refusal> {
        let named = match self.0.get("plazo_permissions") {
            None => return Ok(Permissions::NONE),
            Some(Value::Array(names)) => names
                .iter()
                .map(|name| name.as_str().and_then(Permission::from_name))
                .map(|named| named.filter(|permission| *permission != Permission::Service))
                .collect::<Option<_>>(),
            Some(_) => None,
        };
        named.ok_or(Refusal::ClaimInvalid(
            "plazo_permissions",
            "must be a list of permissions that a caller from outside can have",
        ))
    }

    fn bots(&self, kind: &ActorKind) -> Result<BotScope, Refusal> {
        let invalid = || Refusal::ClaimInvalid("plazo_bots", "must be \"*\" or a list of ids");
        match self.0.get("plazo_bots") {
            None => Ok(default_bots(kind)),
            Some(Value::String(text)) if text == "*" => Ok(BotScope::All),
            Some(Value::Array(ids)) => {
                let ids: Option<Vec<i64>> = ids.iter().map(id).collect();
                ids.map(BotScope::only).ok_or_else(invalid)
            }
            Some(_) => Err(invalid()),
        }
    }
}

fn id(value: &Value) -> Option<i64> {
    value.as_i64().filter(|id| *id > 0)
}

/// Seconds since 1970, whole or not, in milliseconds. What is beyond all calendars stays beyond them.
fn milliseconds(value: &Value) -> Option<i64> {
    let number = value.as_number()?;
    if let Some(seconds) = number.as_i64() {
        return Some(seconds.saturating_mul(1_000));
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "it saturates, and what is less than a millisecond does not count"
    )]
    number.as_f64().map(|seconds| (seconds * 1_000.0) as i64)
}

#[cfg(test)]
mod tests;
