//! Tickets are put on hold, and go on.

use jiff::Timestamp;
use plazo_domain::{RunningHold, TimeValue, hold_until};
use plazo_proto::ticketing::v1::ticket_event::Payload;
use plazo_proto::ticketing::v1::{HoldEnd, TicketHeld};
use plazo_service::Actor;
use sqlx::PgConnection;

use crate::error::Error;
use crate::store::settings::PolicyCache;
use crate::store::tickets::HoldFacts;
use crate::tickets::change::{PolicyInForce, TicketChange};
use crate::tickets::view::{TicketView, hold_to_proto};
use crate::tickets::{SYSTEM, author_of};

/// How long, and why.
#[derive(Debug, Clone)]
pub struct HoldOrder {
    /// Why.
    pub reason: String,
    /// After how long from now the hold ends by itself; none for as late as possible.
    pub max_length: Option<TimeValue>,
}

/// Puts an open ticket on hold, or changes its hold: the longest hold counts from its beginning, so the changes of a hold
/// don't add up. A hold that was over, and that nobody had noticed, ends first.
pub async fn hold_ticket(
    connection: &mut PgConnection,
    policies: &PolicyCache,
    actor: &Actor,
    ticket_id: i64,
    etag: &str,
    order: &HoldOrder,
) -> Result<TicketView, Error> {
    let mut change = TicketChange::lock(&mut *connection, actor, ticket_id, etag).await?;
    change.require_open()?;
    let (now, author) = (change.now(), author_of(actor));
    if let Some(due_at) = change.locked.clock.state().hold_until
        && change.locked.clock.is_hold_over(now)
    {
        let in_force = change.policy_in_force(&mut *connection, policies).await?;
        let in_force = in_force.as_ref().map(PolicyInForce::as_rules);
        let started = change.clock().resume(now, in_force).unwrap_or_default();
        change.record_hold_ended(SYSTEM, HoldEnd::Expired, due_at, &started);
    }
    let until = hold_end(&change, order.max_length)?;
    let removed = change.clock().hold(until);
    let started_at = change.facts.hold.as_ref().map(|hold| hold.started_at);
    change.facts.hold = Some(HoldFacts {
        reason: order.reason.clone(),
        started_at: started_at.unwrap_or(now),
        author,
    });
    let hold = hold_to_proto(&change.facts, &change.locked.clock);
    change.record(author, Payload::Held(TicketHeld { hold }));
    change.record_cleared(author, removed);
    change.save(connection).await
}

/// When a hold of this length from now ends by itself. INVALID when that is longer than the bot allows.
fn hold_end(change: &TicketChange, length: Option<TimeValue>) -> Result<Timestamp, Error> {
    let longest = change.settings.max_hold;
    let until = change.locked.clock.state().hold_until;
    let hold = change.facts.hold.as_ref();
    let running = hold.zip(until).map(|(hold, until)| RunningHold {
        began_at: hold.started_at,
        until,
    });
    hold_until(change.now(), length, longest, running).map_err(|too_long| {
        let limit = format!("{} {}", longest.value(), longest.unit().symbol());
        let reason = match running {
            None => format!("must be at most the bot's max_hold, {limit}"),
            Some(_) => format!(
                "must be at most {} s: the bot's max_hold, {limit}, counts from the beginning of the hold",
                too_long.left_ms / 1_000
            ),
        };
        Error::invalid("max_length", reason)
    })
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
    let Some((due_at, started)) = due_at.zip(change.clock().resume(now, in_force)) else {
        return Err(Error::Precondition {
            reason: "TICKET_NOT_ON_HOLD",
            subject: format!("ticket/{ticket_id}"),
            description: "the ticket is not on hold",
        });
    };
    change.record_hold_ended(author, HoldEnd::Resumed, due_at, &started);
    change.save(connection).await
}
