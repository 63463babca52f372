//! One change of many tickets, in one transaction, with an answer for each.

use std::collections::HashMap;

use plazo_service::Actor;
use sqlx::PgConnection;

use crate::error::Error;
use crate::store::settings::bots;
use crate::tickets::change::{TicketChange, save};
use crate::tickets::close::CloseOrder;
use crate::tickets::view::TicketView;

/// What became of each ticket, in the order asked.
pub type Outcomes = Vec<(i64, Result<TicketView, Error>)>;

/// Closes tickets.
pub async fn close_tickets(
    connection: &mut PgConnection,
    actor: &Actor,
    ticket_ids: &[i64],
    order: &CloseOrder,
) -> Result<Outcomes, Error> {
    let mut changes = TicketChange::lock_all(&mut *connection, actor, ticket_ids).await?;
    let bot_ids: Vec<i64> = changes.values().map(|change| change.facts.bot_id).collect();
    let rules = bots::note_rules(&mut *connection, actor.tenant_id, &bot_ids).await?;
    change_all(connection, &mut changes, ticket_ids, |change| {
        change.close_as_ordered(order, &rules)
    })
    .await
}

/// Changes the tickets that are locked, and writes those where that worked; a ticket whose change fails stays as it
/// was. `ticket_ids` names each ticket once.
pub(crate) async fn change_all(
    connection: &mut PgConnection,
    changes: &mut HashMap<i64, TicketChange>,
    ticket_ids: &[i64],
    mut apply: impl FnMut(&mut TicketChange) -> Result<(), Error>,
) -> Result<Outcomes, Error> {
    let mut kept = Vec::with_capacity(ticket_ids.len());
    let mut outcomes = Vec::with_capacity(ticket_ids.len());
    for &ticket_id in ticket_ids {
        let outcome = match changes.remove(&ticket_id) {
            None => Err(Error::NotFound {
                kind: "ticket",
                id: ticket_id,
            }),
            Some(mut change) => change
                .require_attended()
                .and_then(|()| change.require_not_erased())
                .and_then(|()| apply(&mut change))
                .map(|()| change),
        };
        match outcome {
            Ok(change) => {
                outcomes.push((ticket_id, Ok(())));
                kept.push(change);
            }
            Err(error) => outcomes.push((ticket_id, Err(error))),
        }
    }
    let mut saved = save(connection, kept).await?.into_iter();
    let outcomes = outcomes.into_iter().map(|(ticket_id, outcome)| {
        let view = outcome.and_then(|()| {
            let saved = saved.next().ok_or(Error::OutOfRange("tickets"))?;
            Ok(saved.view)
        });
        (ticket_id, view)
    });
    Ok(outcomes.collect())
}
