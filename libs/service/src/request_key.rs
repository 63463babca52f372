//! What identifies a request that may be repeated (AIP-155): the same request again gets its first answer.

use prost::Message;
use sha2::{Digest as _, Sha256};
use tonic::Status;
use uuid::Uuid;

use crate::actor::{Actor, ActorKind};
use crate::status::{FieldViolations, invalid, invalid_with};

/// The field that every request with a request id has it in.
const FIELD: &str = "request_id";
const MUST_BE: &str = "must be a UUID";

/// A request as it is recognised again.
#[derive(Debug, Clone)]
pub struct RequestKey {
    /// The tenant within which request ids are told apart.
    pub tenant_id: i64,
    /// Who makes the request.
    pub maker: ActorKind,
    /// The method, as in `OpenTicket`.
    pub method: &'static str,
    /// The id that the caller chose; without one the request can't be recognised again.
    pub request_id: Option<Uuid>,
    /// A digest of who makes the request and of all that it says besides its id, which has several spellings. Another
    /// actor's request is another request, however alike: its maker may see other things.
    pub fingerprint: [u8; 32],
}

/// The field `request_id` is neither empty nor a UUID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{FIELD} {MUST_BE}")]
pub struct RequestIdInvalid;

impl RequestIdInvalid {
    /// What is wrong with the field, to follow its name.
    pub const REASON: &'static str = MUST_BE;
}

impl From<RequestIdInvalid> for Status {
    fn from(_: RequestIdInvalid) -> Self {
        invalid(FIELD, MUST_BE)
    }
}

/// A request id in any of the spellings of a UUID: in small letters or capitals, with hyphens or without, in braces, as
/// a URN. None when it is empty.
pub fn parse_request_id(text: &str) -> Result<Option<Uuid>, RequestIdInvalid> {
    if text.is_empty() {
        return Ok(None);
    }
    Uuid::try_parse(text)
        .map(Some)
        .map_err(|_| RequestIdInvalid)
}

impl RequestKey {
    /// The key of `request`, whose field `request_id` is named by `field`.
    pub fn new<M: Message + Clone>(
        actor: &Actor,
        method: &'static str,
        request: &M,
        field: fn(&mut M) -> &mut String,
    ) -> Result<Self, RequestIdInvalid> {
        let mut rest = request.clone();
        let request_id = parse_request_id(&std::mem::take(field(&mut rest)))?;
        let mut fingerprint = Sha256::new();
        fingerprint.update(actor.kind.to_string());
        fingerprint.update([0]);
        fingerprint.update(rest.encode_to_vec());
        Ok(Self {
            tenant_id: actor.tenant_id,
            maker: actor.kind.clone(),
            method,
            request_id,
            fingerprint: fingerprint.finalize().into(),
        })
    }
}

/// INVALID_ARGUMENT (`REQUEST_ID_REUSED`): the id was used before with another request.
pub fn request_id_reused() -> Status {
    let mut fields = FieldViolations::new();
    fields.add(FIELD, "was used before with another request");
    invalid_with("REQUEST_ID_REUSED", fields)
}

#[cfg(test)]
mod tests {
    use prost_types::Any;

    use super::*;

    const SPELLINGS: [&str; 5] = [
        "0190a5c0-aaaa-7000-8000-00000000000f",
        "0190A5C0-AAAA-7000-8000-00000000000F",
        "{0190a5c0-aaaa-7000-8000-00000000000f}",
        "0190a5c0aaaa7000800000000000000f",
        "urn:uuid:0190a5c0-aaaa-7000-8000-00000000000f",
    ];

    #[test]
    fn one_uuid_is_one_id_however_it_is_spelt() {
        let ids: Vec<_> = SPELLINGS
            .iter()
            .map(|text| parse_request_id(text).expect("a UUID"))
            .collect();
        assert!(ids.iter().all(|id| id.is_some() && *id == ids[0]));
        assert_eq!(parse_request_id(""), Ok(None));
        for text in ["1", " ", "{}", "0190a5c0-aaaa-7000-8000-00000000000g"] {
            assert_eq!(parse_request_id(text), Err(RequestIdInvalid), "{text}");
        }
    }

    /// A request whose id is in `type_url`, and whose body is in `value`.
    fn key(actor: &Actor, id: &str, body: &str) -> RequestKey {
        let request = Any {
            type_url: id.to_owned(),
            value: body.as_bytes().to_vec(),
        };
        RequestKey::new(actor, "Do", &request, |it| &mut it.type_url).expect("a UUID")
    }

    #[test]
    fn the_spelling_of_the_id_is_no_part_of_what_a_request_says() {
        let actor = Actor::service("one");
        let first = key(&actor, SPELLINGS[0], "a");
        for id in SPELLINGS {
            assert_eq!(key(&actor, id, "a").fingerprint, first.fingerprint);
            assert_ne!(key(&actor, id, "b").fingerprint, first.fingerprint);
        }
        let other = key(&Actor::service("two"), SPELLINGS[0], "a");
        assert_ne!(other.fingerprint, first.fingerprint);
    }
}
