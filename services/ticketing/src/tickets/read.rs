//! Reading tickets.

use std::collections::HashMap;

use plazo_proto::ticketing::v1::Ticket;
use plazo_service::Actor;
use sqlx::PgConnection;

use crate::error::Error;
use crate::store::clocks::TicketKey;
use crate::store::settings::{PolicyCache, PolicyKey};
use crate::store::tickets;
use crate::tickets::view::TicketView;

/// Tickets as they are told, in the order of `keys`; those that don't exist are missing.
pub async fn tickets(
    connection: &mut PgConnection,
    keys: &[TicketKey],
) -> Result<Vec<TicketView>, Error> {
    let mut known: HashMap<TicketKey, _> = tickets::known(connection, keys)
        .await?
        .into_iter()
        .map(|known| (known.facts.key, known))
        .collect();
    let views = keys.iter().filter_map(|key| {
        let known = known.remove(key)?;
        Some(TicketView::from_rows(known.facts, known.clock))
    });
    Ok(views.collect())
}

/// One ticket. `NotFound` when it does not exist for this actor.
pub async fn ticket(
    connection: &mut PgConnection,
    actor: &Actor,
    ticket_id: i64,
) -> Result<TicketView, Error> {
    let key = TicketKey {
        tenant_id: actor.tenant_id,
        ticket_id,
    };
    tickets(connection, &[key])
        .await?
        .pop()
        .filter(|view| actor.may_use_bot(view.facts.bot_id))
        .ok_or(Error::NotFound {
            kind: "ticket",
            id: ticket_id,
        })
}

/// The protos of tickets, with the stages of their running cycles.
pub async fn to_protos(
    connection: &mut PgConnection,
    policies: &PolicyCache,
    views: &[TicketView],
) -> Result<Vec<Ticket>, Error> {
    let keys: Vec<PolicyKey> = views.iter().flat_map(TicketView::policy_keys).collect();
    let policies = policies.policies(connection, &keys).await?;
    Ok(views.iter().map(|view| view.to_proto(&policies)).collect())
}
