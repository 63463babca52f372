//! What requests ask for, checked.

use plazo_proto::history::v1::{
    ContactOrder as OrderName, ListClosedTicketsRequest, SearchContactsRequest,
};
use plazo_service::paging::{decode_page_token, decode_text_page_token, page_token_invalid};
use plazo_service::status::{self, FieldViolations, not_found};
use plazo_service::{Actor, status::invalid};
use tonic::{Request, Status};

use crate::model::from_proto;
use crate::search_query::SearchQuery;
use crate::store::{ClosedFilter, ContactFilter, ContactOrder, ContactView, Viewer};

/// The actor of a call about the things of one tenant, who sees `viewer`'s part of it.
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

/// The id in a field, which must be above zero.
pub(super) fn id(field: &str, id: i64) -> Result<i64, Status> {
    if id > 0 {
        Ok(id)
    } else {
        Err(invalid(field, "must be above zero"))
    }
}

/// The bot in a filter; 0 for all that the actor may use.
pub(super) fn bot_filter(actor: &Actor, bot_id: i64) -> Result<i64, Status> {
    match bot_id {
        ..0 => Err(invalid("bot_id", "must not be negative")),
        0 => Ok(0),
        _ => actor.require_bot(bot_id).map(|()| bot_id),
    }
}

pub(super) fn closed_filter(
    actor: &Actor,
    message: &ListClosedTicketsRequest,
) -> Result<ClosedFilter, Status> {
    let mut violations = FieldViolations::new();
    violations.check("bot_id", message.bot_id >= 0, "must not be negative");
    violations.check("agent_id", message.agent_id >= 0, "must not be negative");
    let mut instant = |field: &str, value: Option<prost_types::Timestamp>| {
        let at = from_proto(value);
        violations.check(
            field,
            value.is_some() == at.is_some(),
            "must lie in the years 1 to 9999",
        );
        at.map(|at| at_or_after(at, value))
    };
    let from = instant("closed_from_time", message.closed_from_time);
    let until = instant("closed_until_time", message.closed_until_time);
    let is_order_right = from.zip(until).is_none_or(|(from, until)| from < until);
    violations.check(
        "closed_until_time",
        is_order_right,
        "must be later than closed_from_time",
    );
    violations.into_result()?;
    Ok(ClosedFilter {
        bot_id: bot_filter(actor, message.bot_id)?,
        agent_id: message.agent_id,
        from,
        until,
    })
}

/// The first instant with whole microseconds, as closing times have, at or after `exact`: comparing with it is
/// comparing with the exact one. `rounded` is `exact` rounded down.
fn at_or_after(rounded: jiff::Timestamp, exact: Option<prost_types::Timestamp>) -> jiff::Timestamp {
    if exact.is_some_and(|exact| exact.nanos % 1_000 != 0) {
        rounded
            .checked_add(jiff::Span::new().microseconds(1))
            .unwrap_or(rounded)
    } else {
        rounded
    }
}

pub(super) fn contact_filter(
    actor: &Actor,
    message: &SearchContactsRequest,
) -> Result<ContactFilter, Status> {
    let query = SearchQuery::parse(&message.query)
        .map_err(|problem| invalid("query", problem.to_string()))?;
    let bot_id = bot_filter(actor, message.bot_id)?;
    Ok(ContactFilter { query, bot_id })
}

/// The order that is asked for, from the place in the token on.
pub(super) fn contact_order(
    message: &SearchContactsRequest,
    token_filter: &[u8],
) -> Result<ContactOrder, Status> {
    match OrderName::try_from(message.order_by) {
        Ok(OrderName::Unspecified | OrderName::Name) => {
            let after = decode_text_page_token(token_filter, &message.page_token)?;
            Ok(ContactOrder::Name {
                after: after.unwrap_or_default(),
            })
        }
        Ok(OrderName::LastInteraction) => {
            let before = decode_page_token::<2>(token_filter, &message.page_token)?;
            let before = match before {
                None => (None, i64::MAX),
                Some([at_us, contact_id]) => (Some(instant(at_us)?), contact_id),
            };
            Ok(ContactOrder::LastInteraction { before })
        }
        Err(_) => Err(invalid("order_by", "must be a known order")),
    }
}

/// The place of a contact in an order by last interaction. One without any stands at 1970, as in the queries.
pub(super) fn interaction_place(contact: &ContactView) -> [i64; 2] {
    let at = contact
        .last_interaction_at
        .map(jiff_sqlx::Timestamp::to_jiff);
    let at_us = at.map_or(0, jiff::Timestamp::as_microsecond);
    [at_us, contact.contact_id]
}

/// An instant in a page token.
pub(super) fn instant(microseconds: i64) -> Result<jiff::Timestamp, Status> {
    jiff::Timestamp::from_microsecond(microseconds).map_err(|_| page_token_invalid())
}

/// What a page token is bound to: the list, whose view it is of, and the filter.
pub(super) fn token_filter(list: &str, viewer: &Viewer, filter: &impl prost::Message) -> Vec<u8> {
    let mut bytes = list.as_bytes().to_vec();
    bytes.extend(viewer.tenant_id.to_be_bytes());
    bytes.extend(filter.encode_to_vec());
    bytes
}

/// The same for a ticket that does not exist, that is not known yet, and that the actor may not see.
pub(super) fn ticket_not_found(ticket_id: i64) -> Status {
    not_found("TICKET_NOT_FOUND", "ticket", &ticket_id)
}

/// The same for a contact that does not exist, that is not known yet, and that the actor may not see.
pub(super) fn contact_not_found(contact_id: i64) -> Status {
    not_found("CONTACT_NOT_FOUND", "contact", &contact_id)
}
