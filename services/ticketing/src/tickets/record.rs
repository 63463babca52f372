//! Somebody wrote.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};
use plazo_domain::{
    AgentPresence, CloseSource, CycleKind, StartedCycle, Violation, may_reopen, supersedes_close,
};
use plazo_proto::common::v1::{Author, AuthorKind};
use plazo_proto::ticketing::v1::{HoldEnd, Message, MessageKind};
use plazo_service::{Actor, ActorKind};
use sqlx::PgConnection;

use crate::error::Error;
use crate::store::messages::NewMessage;
use crate::store::parties;
use crate::store::settings::PolicyCache;
use crate::store::tickets::{self, NewTicket};
use crate::tickets::change::{PolicyInForce, Saved, TicketChange, save};
use crate::tickets::view::TicketView;
use crate::tickets::{SYSTEM, author_of};

/// A message, and the ticket that it is meant for.
#[derive(Debug, Clone)]
pub struct AddressedMessage {
    /// The ticket.
    pub ticket_id: i64,
    /// What was written.
    pub new: NewMessage,
}

/// A message of a batch, or what is wrong with it.
pub type CheckedMessage = Result<AddressedMessage, Vec<Violation>>;

/// Records a message. The view is of the ticket that it went to.
pub async fn record_message(
    connection: &mut PgConnection,
    policies: &PolicyCache,
    actor: &Actor,
    addressed: AddressedMessage,
) -> Result<(Message, TicketView), Error> {
    record_messages(connection, policies, actor, vec![Ok(addressed)])
        .await?
        .pop()
        .ok_or(Error::OutOfRange("messages"))?
}

/// Records messages, those of one ticket in the order given, with an answer for each. The outer error is one of the
/// database or of what it holds: then nothing was recorded.
pub async fn record_messages(
    connection: &mut PgConnection,
    policies: &PolicyCache,
    actor: &Actor,
    addressed: Vec<CheckedMessage>,
) -> Result<Vec<Result<(Message, TicketView), Error>>, Error> {
    let well_formed = addressed.iter().flatten();
    let ticket_ids: Vec<i64> = well_formed.map(|message| message.ticket_id).collect();
    let changes = TicketChange::lock_all(&mut *connection, actor, &ticket_ids).await?;
    let mut recording = Recording {
        connection,
        policies,
        actor,
        changes,
        counts: HashMap::new(),
    };
    let mut places = Vec::with_capacity(addressed.len());
    for message in addressed {
        let place = match message {
            Ok(message) => recording.record(message).await,
            Err(violations) => Err(Error::Invalid(violations)),
        };
        match place {
            Err(error) if !error.is_refusal() => return Err(error),
            place => places.push(place),
        }
    }
    let Recording {
        connection,
        changes,
        counts,
        ..
    } = recording;
    let (ids, written): (Vec<i64>, Vec<TicketChange>) = changes
        .into_iter()
        .filter(|(ticket_id, _)| counts.contains_key(ticket_id))
        .unzip();
    let saved = save(connection, written).await?;
    let saved: HashMap<i64, Saved> = ids.into_iter().zip(saved).collect();
    let answer = |(ticket_id, index): (i64, usize)| {
        let saved = saved.get(&ticket_id).ok_or(Error::OutOfRange("messages"))?;
        let message = saved
            .messages
            .get(index)
            .ok_or(Error::OutOfRange("messages"))?;
        Ok((message.clone(), saved.view.clone()))
    };
    Ok(places.into_iter().map(|place| answer(place?)).collect())
}

/// Messages on their way into the tickets that they are meant for.
struct Recording<'a> {
    connection: &'a mut PgConnection,
    policies: &'a PolicyCache,
    actor: &'a Actor,
    /// The tickets that are locked, by id.
    changes: HashMap<i64, TicketChange>,
    /// How many messages each ticket got.
    counts: HashMap<i64, usize>,
}

impl Recording<'_> {
    /// Records one message: the ticket that it went to, and its place among that ticket's new messages. On an error
    /// nothing was changed.
    async fn record(&mut self, addressed: AddressedMessage) -> Result<(i64, usize), Error> {
        let AddressedMessage { ticket_id, mut new } = addressed;
        new.author = writer(self.actor, new.author)?;
        let change = self.changes.get(&ticket_id).ok_or(Error::NotFound {
            kind: "ticket",
            id: ticket_id,
        })?;
        change.require_attended()?;
        change.require_not_erased()?;
        let kind = AuthorKind::try_from(new.author.kind).unwrap_or_default();
        if self.actor.agent_id().is_none() {
            complete_author(self.connection, change, kind, &mut new.author).await?;
        }
        let is_chat = matches!(new.kind, MessageKind::Chat | MessageKind::Unspecified);
        if kind == AuthorKind::Customer && !is_chat {
            return Err(Error::invalid("kind", "must be CHAT for a customer"));
        }
        let ticket_id = match kind {
            AuthorKind::Customer => self.customer_wrote(ticket_id, new).await?,
            AuthorKind::Agent if is_chat => {
                let (connection, policies) = (&mut *self.connection, self.policies);
                let change = self.changes.get_mut(&ticket_id).ok_or(Error::NotFound {
                    kind: "ticket",
                    id: ticket_id,
                })?;
                agent_wrote(connection, policies, change, new).await?;
                ticket_id
            }
            _ => {
                self.change(ticket_id)?.record_message(new, None, &[]);
                ticket_id
            }
        };
        let count = self.counts.entry(ticket_id).or_default();
        let index = *count;
        *count += 1;
        Ok((ticket_id, index))
    }

    fn change(&mut self, ticket_id: i64) -> Result<&mut TicketChange, Error> {
        self.changes.get_mut(&ticket_id).ok_or(Error::NotFound {
            kind: "ticket",
            id: ticket_id,
        })
    }

    /// The customer's message stops the clock. In a closed ticket it opens it again, or goes on in a new one when that is
    /// too long ago or the ticket was unlinked. Returns the ticket that it went to.
    async fn customer_wrote(
        &mut self,
        mut ticket_id: i64,
        mut new: NewMessage,
    ) -> Result<i64, Error> {
        let author = new.author;
        let said_at = new.channel_at;
        loop {
            let change = self.change(ticket_id)?;
            match WayIn::of(change, said_at) {
                WayIn::Open => break,
                WayIn::SupersedesClose => {
                    change.supersede_close(author);
                    break;
                }
                WayIn::Reopens => {
                    self.reopen(ticket_id, author).await?;
                    break;
                }
                WayIn::Continues => {
                    ticket_id = self.continuation(ticket_id, author).await?;
                }
            }
        }
        let change = self.changes.get(&ticket_id).ok_or(Error::NotFound {
            kind: "ticket",
            id: ticket_id,
        })?;
        let in_force = change
            .policy_in_force(self.connection, self.policies)
            .await?;
        let change = self.change(ticket_id)?;
        let now = change.now();
        new.channel_at = said_at.map(|at| plausible(at, change.facts.opened_at, now));
        change.locked.last_customer_message_at = Some(now);
        let in_force = in_force.as_ref().map(PolicyInForce::as_rules);
        let wrote = change.clock().customer_wrote(now, in_force);
        if let Some(hold) = &wrote.hold_ended {
            // It may have been over already, and nobody had noticed.
            let (ender, cause) = if hold.due_at <= now {
                (SYSTEM, HoldEnd::Expired)
            } else {
                (author, HoldEnd::CustomerWrote)
            };
            change.record_hold_ended(ender, cause, hold.due_at, &hold.started);
        }
        change.record_message(new, customer_side(&wrote.started), &wrote.started);
        change.record_cleared(author, wrote.removed);
        Ok(ticket_id)
    }

    /// Opens a closed ticket again for its customer.
    async fn reopen(&mut self, ticket_id: i64, author: Author) -> Result<(), Error> {
        let facts = self.change(ticket_id)?.facts.clone();
        let tenant_id = facts.key.tenant_id;
        let presence =
            parties::agent_presence(self.connection, tenant_id, facts.agent_id, facts.bot_id)
                .await?;
        let change = self.change(ticket_id)?;
        change.reopen(author, facts.state.after_customer_message(presence));
        change.pause_automation(author);
        Ok(())
    }

    /// The ticket that continues a closed one: the one that does so already, since who goes on writing to the old ticket
    /// is heard there, else a new one. The lock of the old one is held, so there is only one.
    async fn continuation(&mut self, closed_id: i64, author: Author) -> Result<i64, Error> {
        let closed = self.change(closed_id)?.facts.clone();
        if let Some(ticket_id) = tickets::continuation(self.connection, closed.key).await? {
            if !self.changes.contains_key(&ticket_id) {
                let change = TicketChange::lock(self.connection, self.actor, ticket_id, "").await?;
                self.changes.insert(ticket_id, change);
            }
            return Ok(ticket_id);
        }
        let new = NewTicket {
            tenant_id: closed.key.tenant_id,
            bot_id: closed.bot_id,
            queue_id: closed.queue_id,
            contact_id: closed.reached_contact_id.unwrap_or(closed.contact_id),
            agent_id: None,
            previous_ticket_id: Some(closed.key.ticket_id),
        };
        let change = TicketChange::open(self.connection, self.policies, &new, author).await?;
        let ticket_id = change.facts.key.ticket_id;
        self.changes.insert(ticket_id, change);
        Ok(ticket_id)
    }
}

/// The agent's message opens the ticket, pauses the automation, and starts a cycle under the policy that is in force now.
pub(super) async fn agent_wrote(
    connection: &mut PgConnection,
    policies: &PolicyCache,
    change: &mut TicketChange,
    new: NewMessage,
) -> Result<(), Error> {
    let in_force = change.policy_in_force(connection, policies).await?;
    let running = change.running_policy(connection, policies).await?;
    let (now, author) = (change.now(), new.author);
    if !change.facts.state.is_open() {
        change.reopen(author, plazo_domain::TicketState::Open);
    }
    change.facts.state = change.facts.state.after_agent_message();
    change.facts.first_agent_message_at.get_or_insert(now);
    let in_force = in_force.as_ref().map(PolicyInForce::as_rules);
    let wrote = change
        .clock()
        .agent_wrote(now, in_force, running.as_deref());
    if let Some(hold) = &wrote.hold_ended {
        change.record_hold_ended(SYSTEM, HoldEnd::Expired, hold.due_at, &hold.started);
    }
    change.record_message(new, customer_side(&wrote.started), &wrote.started);
    change.record_cleared(author, wrote.removed);
    change.pause_automation(author);
    Ok(())
}

/// What a customer's message does first to the ticket that it is meant for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WayIn {
    /// Nothing: the ticket is open.
    Open,
    /// It undoes the close, which it was written before.
    SupersedesClose,
    /// It opens the ticket again.
    Reopens,
    /// It goes on in another ticket.
    Continues,
}

impl WayIn {
    /// Of a message to a locked ticket that was written at this instant, as the channel says.
    pub fn of(change: &TicketChange, said_at: Option<Timestamp>) -> Self {
        let Some(closure) = &change.facts.closure else {
            return Self::Open;
        };
        if change.facts.is_unlinked {
            return Self::Continues;
        }
        let now = change.now();
        let grace = change.settings.late_reply_grace;
        let written_at = said_at.map(|at| plausible(at, change.facts.opened_at, now));
        if closure.source == CloseSource::CustomerInactivity
            && written_at.is_some_and(|at| supersedes_close(closure.closed_at, grace, at, now))
        {
            return Self::SupersedesClose;
        }
        if may_reopen(closure.closed_at, change.settings.reopen_window, now) {
            Self::Reopens
        } else {
            Self::Continues
        }
    }
}

/// The number of the cycle about the customer among those that began.
fn customer_side(started: &[StartedCycle]) -> Option<i32> {
    started
        .iter()
        .find(|cycle| cycle.kind != CycleKind::AgentSilent)
        .map(|cycle| cycle.number)
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

/// Fills in the id of an author of whom somebody else tells and whom the ticket knows, and refuses one who can't be its
/// author.
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
