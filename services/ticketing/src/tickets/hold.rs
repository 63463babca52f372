//! Tickets are put on hold, and go on.

use jiff::SignedDuration;
use plazo_domain::TimeValue;
use plazo_proto::ticketing::v1::ticket_event::Payload;
use plazo_proto::ticketing::v1::{HoldEnd, TicketHeld};
use plazo_service::Actor;
use sqlx::PgConnection;

use crate::error::Error;
use crate::store::settings::PolicyCache;
use crate::store::tickets::HoldFacts;
use crate::tickets::author_of;
use crate::tickets::change::{PolicyInForce, TicketChange};
use crate::tickets::view::{TicketView, hold_to_proto};

/// How long, and why.
#[derive(Debug, Clone)]
pub struct HoldOrder {
    /// Why.
    pub reason: String,
    /// After how long the hold ends by itself; none for the bot's longest.
    pub max_length: Option<TimeValue>,
}

/// Puts an open ticket on hold, or changes its hold.
pub async fn hold_ticket(
    connection: &mut PgConnection,
    actor: &Actor,
    ticket_id: i64,
    etag: &str,
    order: &HoldOrder,
) -> Result<TicketView, Error> {
    let mut change = TicketChange::lock(&mut *connection, actor, ticket_id, etag).await?;
    change.require_open()?;
    let longest = change.settings.max_hold;
    let length = order.max_length.unwrap_or(longest);
    if longest.is_shorter_than(length) {
        let reason = format!(
            "must be at most the bot's max_hold, {} {}",
            longest.value(),
            longest.unit().symbol()
        );
        return Err(Error::invalid("max_length", reason));
    }
    let (now, author) = (change.now(), author_of(actor));
    let until = now + SignedDuration::from_millis(length.as_millis());
    let removed = change.clock().hold(until);
    change.facts.hold = Some(HoldFacts {
        reason: order.reason.clone(),
        started_at: now,
        author,
    });
    let hold = hold_to_proto(&change.facts, &change.locked.clock);
    change.record(author, Payload::Held(TicketHeld { hold }));
    change.record_cleared(author, removed);
    change.save(connection).await
}

/// Ends a hold: what counted before counts from now.
pub async fn resume_ticket(
    connection: &mut PgConnection,
    policies: &PolicyCache,
    actor: &Actor,
    ticket_id: i64,
    etag: &str,
) -> Result<TicketView, Error> {
    let mut change = TicketChange::lock(&mut *connection, actor, ticket_id, etag).await?;
    let in_force = change.policy_in_force(&mut *connection, policies).await?;
    let (now, author) = (change.now(), author_of(actor));
    let due_at = change.locked.clock.state().hold_until;
    let in_force = in_force.as_ref().map(PolicyInForce::as_rules);
    let Some(started) = change.clock().resume(now, in_force) else {
        return Err(Error::Precondition {
            reason: "TICKET_NOT_ON_HOLD",
            subject: format!("ticket/{ticket_id}"),
            description: "the ticket is not on hold",
        });
    };
    change.record_hold_ended(author, HoldEnd::Resumed, due_at, &started);
    change.save(connection).await
}
