//! Somebody wrote.

use jiff::{SignedDuration, Timestamp};
use plazo_domain::{AgentPresence, InactivityPolicy, TicketState, may_reopen};
use plazo_proto::common::v1::{Author, AuthorKind};
use plazo_proto::ticketing::v1::{Message, MessageKind};
use plazo_service::{Actor, ActorKind};
use sqlx::PgConnection;

use crate::error::Error;
use crate::store::messages::NewMessage;
use crate::store::parties;
use crate::store::settings::PolicyCache;
use crate::store::tickets::{self, NewTicket};
use crate::tickets::author_of;
use crate::tickets::change::TicketChange;
use crate::tickets::view::TicketView;

/// Records a message. The view is of the ticket that it went to.
pub async fn record_message(
    connection: &mut PgConnection,
    policies: &PolicyCache,
    actor: &Actor,
    ticket_id: i64,
    mut new: NewMessage,
) -> Result<(Message, TicketView), Error> {
    new.author = writer(actor, new.author)?;
    let mut change = TicketChange::lock(&mut *connection, actor, ticket_id, "").await?;
    let kind = AuthorKind::try_from(new.author.kind).unwrap_or_default();
    complete_author(&mut *connection, &change, kind, &mut new.author).await?;

    if kind == AuthorKind::Customer {
        if new.kind == MessageKind::Note {
            return Err(Error::invalid("kind", "must be chat for a customer"));
        }
        new.channel_at = new
            .channel_at
            .map(|at| plausible(at, change.facts.opened_at, change.now()));
        return customer_wrote(connection, actor, change, &new).await;
    }
    let started_cycle = if kind == AuthorKind::Agent && new.kind != MessageKind::Note {
        agent_wrote(&mut *connection, policies, &mut change, new.author).await?
    } else {
        None
    };
    let message = change
        .record_message(&mut *connection, &new, started_cycle)
        .await?;
    Ok((message, change.save(connection).await?))
}

/// Who wrote. An agent writes only as himself; others say who it was, and are it themselves if they say nothing.
fn writer(actor: &Actor, said: Author) -> Result<Author, Error> {
    let own = author_of(actor);
    let unsaid = said == Author::default();
    match &actor.kind {
        ActorKind::Agent(_) if unsaid || said == own => Ok(own),
        ActorKind::Agent(_) => Err(Error::invalid(
            "author",
            "must be the agent who calls, or unset",
        )),
        ActorKind::Bot(_) if unsaid => Ok(own),
        _ if unsaid => Err(Error::invalid("author", "must say who wrote")),
        _ => match AuthorKind::try_from(said.kind) {
            Ok(AuthorKind::Customer | AuthorKind::Agent | AuthorKind::Bot | AuthorKind::System) => {
                Ok(said)
            }
            _ => Err(Error::invalid(
                "author.kind",
                "must be CUSTOMER, AGENT, BOT or SYSTEM",
            )),
        },
    }
}

/// Fills in the id of an author whom the ticket knows, and refuses one who can't be its author.
async fn complete_author(
    connection: &mut PgConnection,
    change: &TicketChange,
    kind: AuthorKind,
    author: &mut Author,
) -> Result<(), Error> {
    let known_id = match kind {
        AuthorKind::Customer => change.facts.contact_id,
        AuthorKind::Bot => change.facts.bot_id,
        AuthorKind::Agent => {
            let tenant_id = change.facts.key.tenant_id;
            let bot_id = change.facts.bot_id;
            let agent_id = Some(author.id);
            return match parties::agent_presence(connection, tenant_id, agent_id, bot_id).await? {
                AgentPresence::Present | AgentPresence::Away => Ok(()),
                AgentPresence::Gone => Err(Error::invalid(
                    "author.id",
                    "names no agent of this ticket's bot",
                )),
            };
        }
        _ => 0,
    };
    if author.id != 0 && author.id != known_id {
        return Err(Error::invalid("author.id", "names nobody of this ticket"));
    }
    author.id = known_id;
    Ok(())
}

/// A channel's time that lies in the future or before the ticket is replaced by the time of arrival. Many channels
/// tell whole seconds only, so the ticket's first second counts as a whole.
fn plausible(channel_at: Timestamp, opened_at: Timestamp, arrived_at: Timestamp) -> Timestamp {
    let ticket_began_at =
        opened_at - SignedDuration::from_nanos(i64::from(opened_at.subsec_nanosecond()));
    if channel_at > arrived_at || channel_at < ticket_began_at {
        arrived_at
    } else {
        channel_at
    }
}

/// The agent's message opens the ticket and starts a cycle under the policy that is in force now.
async fn agent_wrote(
    connection: &mut PgConnection,
    policies: &PolicyCache,
    change: &mut TicketChange,
    author: Author,
) -> Result<Option<i32>, Error> {
    let now = change.now();
    if !change.facts.state.is_open() {
        change.reopen(author, TicketState::Open);
    }
    change.facts.state = change.facts.state.after_agent_message();
    change.facts.first_agent_message_at.get_or_insert(now);
    let tenant_id = change.facts.key.tenant_id;
    match change.settings.policy_version {
        Some(version) => {
            let policy = policies.policy(connection, tenant_id, version).await?;
            Ok(change.clock().agent_wrote(now, version, &policy))
        }
        None => Ok(change
            .clock()
            .agent_wrote(now, 0, &InactivityPolicy::default())),
    }
}

/// The customer's message stops the clock. In a closed ticket it opens it again, or goes on in a new one when that is
/// too long ago.
async fn customer_wrote(
    connection: &mut PgConnection,
    actor: &Actor,
    mut change: TicketChange,
    new: &NewMessage,
) -> Result<(Message, TicketView), Error> {
    while let Some(closure) = &change.facts.closure {
        if may_reopen(
            closure.closed_at,
            change.settings.reopen_window,
            change.now(),
        ) {
            reopen(&mut *connection, &mut change, new.author).await?;
            break;
        }
        // Who goes on writing to the old ticket is heard in the one that continues it. The lock of the old one is
        // held, so there is only one.
        change = match tickets::continuation(&mut *connection, change.facts.key).await? {
            Some(ticket_id) => TicketChange::lock(&mut *connection, actor, ticket_id, "").await?,
            None => continue_in_new_ticket(&mut *connection, &change, new.author).await?,
        };
    }
    change.locked.last_customer_message_at = Some(change.now());
    let removed = change.clock().customer_wrote();
    let message = change.record_message(&mut *connection, new, None).await?;
    change.record_cleared(new.author, removed);
    Ok((message, change.save(connection).await?))
}

async fn reopen(
    connection: &mut PgConnection,
    change: &mut TicketChange,
    author: Author,
) -> Result<(), Error> {
    let facts = &change.facts;
    let tenant_id = facts.key.tenant_id;
    let presence =
        parties::agent_presence(connection, tenant_id, facts.agent_id, facts.bot_id).await?;
    let state = facts.state.after_customer_message(presence);
    change.reopen(author, state);
    Ok(())
}

async fn continue_in_new_ticket(
    connection: &mut PgConnection,
    closed: &TicketChange,
    author: Author,
) -> Result<TicketChange, Error> {
    let new = NewTicket {
        tenant_id: closed.facts.key.tenant_id,
        bot_id: closed.facts.bot_id,
        queue_id: closed.facts.queue_id,
        contact_id: closed.facts.contact_id,
        agent_id: None,
        previous_ticket_id: Some(closed.facts.key.ticket_id),
    };
    TicketChange::open(connection, &new, author).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn implausible_channel_times_are_replaced_by_the_arrival() {
        let at = |text: &str| text.parse::<Timestamp>().expect("an instant");
        let opened = at("2026-03-01T12:00:00.7Z");
        let arrived = at("2026-03-01T12:00:09.2Z");
        let check = |said: &str| plausible(at(said), opened, arrived);
        assert_eq!(check("2026-03-01T12:00:09Z"), at("2026-03-01T12:00:09Z"));
        assert_eq!(check("2026-03-01T12:00:00Z"), at("2026-03-01T12:00:00Z"));
        assert_eq!(check("2026-03-01T11:59:59Z"), arrived);
        assert_eq!(check("2026-03-01T12:00:10Z"), arrived);
    }
}
