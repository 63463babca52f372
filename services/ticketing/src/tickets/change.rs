//! One change of one ticket: its rows as they will be, and the events that tell of it.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use plazo_domain::{Clock, InForce, InactivityPolicy, StartedCycle};
use plazo_proto::common::v1::Author;
use plazo_proto::ticketing::v1::ticket_event::Payload;
use plazo_proto::ticketing::v1::{Message, MessageRecorded, TicketOpened};
use plazo_service::Actor;
use sqlx::PgConnection;

use crate::callers;
use crate::error::Error;
use crate::store::clocks::{self, LockedClock, TicketKey};
use crate::store::contacts;
use crate::store::events::{self, NewEvent};
use crate::store::messages::{self, NewMessage, PlacedMessage};
use crate::store::settings::PolicyCache;
use crate::store::tickets::{
    self, BotSettings, InsertedTicket, KnownTicket, NewTicket, TicketFacts,
};
use crate::tickets::told::{contact_to_proto, cycles_to_proto};
use crate::tickets::view::TicketView;

/// A ticket that is locked and being changed. Nothing is written before [`save`], but for the rows of a new ticket.
#[derive(Debug)]
pub struct TicketChange {
    /// The hot row.
    pub locked: LockedClock,
    /// The rest of what is known.
    pub facts: TicketFacts,
    /// What the ticket's bot says now.
    pub settings: BotSettings,
    facts_before: TicketFacts,
    is_attended: bool,
    events: Vec<NewEvent>,
    messages: Vec<NewlyWritten>,
}

/// A message that waits for its id, and its event among the events of the change.
#[derive(Debug)]
struct NewlyWritten {
    event_index: usize,
    message: PlacedMessage,
}

/// The policy in force for new cycles of a ticket.
#[derive(Debug, Clone)]
pub struct PolicyInForce {
    version: i64,
    policy: Arc<InactivityPolicy>,
    is_excluded: bool,
}

impl PolicyInForce {
    /// A version as it is in force for a ticket with these tags.
    pub fn new(version: i64, policy: Arc<InactivityPolicy>, tags: &[String]) -> Self {
        Self {
            version,
            is_excluded: policy.excludes(tags),
            policy,
        }
    }

    /// As the rules want it.
    pub fn as_rules(&self) -> InForce<'_> {
        InForce {
            version: self.version,
            policy: &self.policy,
            is_excluded: self.is_excluded,
        }
    }
}

impl LockedClock {
    /// The next event of this ticket, as of the moment of the lock.
    pub fn next_event(&mut self, author: Author, payload: Payload) -> NewEvent {
        self.ticket_seq += 1;
        NewEvent {
            key: self.key,
            bot_id: self.bot_id,
            ticket_seq: self.ticket_seq,
            author,
            recorded_at: self.now,
            payload,
            transaction_id: self.event_transaction_id,
        }
    }
}

/// A change that was saved.
#[derive(Debug)]
pub struct Saved {
    /// The ticket as it is now.
    pub view: TicketView,
    /// The messages that were written, in their order.
    pub messages: Vec<Message>,
}

fn not_found(ticket_id: i64) -> Error {
    Error::NotFound {
        kind: "ticket",
        id: ticket_id,
    }
}

impl TicketChange {
    /// Waits for the ticket and locks it. `NotFound` when it does not exist for this actor; Denied when he is an agent of
    /// other bots; Precondition when its customer was erased; Changed when `etag` is neither empty nor the present one.
    pub async fn lock(
        connection: &mut PgConnection,
        actor: &Actor,
        ticket_id: i64,
        etag: &str,
    ) -> Result<Self, Error> {
        let change = Self::lock_all(connection, actor, &[ticket_id])
            .await?
            .remove(&ticket_id)
            .ok_or_else(|| not_found(ticket_id))?;
        change.require_attended()?;
        change.require_not_erased()?;
        if !etag.is_empty() && etag != change.locked.ticket_seq.to_string() {
            return Err(Error::Changed);
        }
        Ok(change)
    }

    /// Waits for the tickets and locks them, in the order of ids. Those that don't exist for this actor are missing; of
    /// the others each must be asked whether he [attends](Self::require_attended) it, and whether it was
    /// [erased](Self::require_not_erased).
    pub async fn lock_all(
        connection: &mut PgConnection,
        actor: &Actor,
        ticket_ids: &[i64],
    ) -> Result<HashMap<i64, Self>, Error> {
        let keys: Vec<TicketKey> = ticket_ids
            .iter()
            .map(|&ticket_id| TicketKey {
                tenant_id: actor.tenant_id,
                ticket_id,
            })
            .collect();
        let mut locked = clocks::lock(&mut *connection, &keys).await?;
        locked.retain(|row| actor.may_use_bot(row.bot_id));
        let changes = Self::of_locked_for(connection, locked, actor.agent_id()).await?;
        Ok(changes
            .into_iter()
            .map(|change| (change.facts.key.ticket_id, change))
            .collect())
    }

    /// Changes of tickets whose rows are locked, in no order.
    pub async fn of_locked(
        connection: &mut PgConnection,
        locked: Vec<LockedClock>,
    ) -> Result<Vec<Self>, Error> {
        Self::of_locked_for(connection, locked, None).await
    }

    async fn of_locked_for(
        connection: &mut PgConnection,
        locked: Vec<LockedClock>,
        caller_agent_id: Option<i64>,
    ) -> Result<Vec<Self>, Error> {
        if locked.is_empty() {
            return Ok(Vec::new());
        }
        let keys: Vec<TicketKey> = locked.iter().map(|row| row.key).collect();
        // Read after the lock, in a statement of its own: a statement that waited for the lock would show these rows as
        // they were before the wait.
        let mut known: HashMap<TicketKey, KnownTicket> =
            tickets::known_to(connection, &keys, caller_agent_id)
                .await?
                .into_iter()
                .map(|known| (known.facts.key, known))
                .collect();
        let changes = locked.into_iter().filter_map(|row| {
            let known = known.remove(&row.key)?;
            Some(Self::new(row, known))
        });
        Ok(changes.collect())
    }

    fn new(locked: LockedClock, known: KnownTicket) -> Self {
        Self {
            locked,
            facts_before: known.facts.clone(),
            facts: known.facts,
            settings: known.settings,
            is_attended: known.is_attended,
            events: Vec::new(),
            messages: Vec::new(),
        }
    }

    /// Refuses an agent who calls and does not attend the ticket's bot.
    pub fn require_attended(&self) -> Result<(), Error> {
        callers::require_of_bot(self.is_attended)
    }

    /// Refuses a ticket whose customer's personal data were erased: nothing is written there any more.
    pub fn require_not_erased(&self) -> Result<(), Error> {
        if !self.facts.is_erased {
            return Ok(());
        }
        Err(Error::Precondition {
            reason: "CONTACT_ERASED",
            subject: format!("ticket/{}", self.facts.key.ticket_id),
            description: "the personal data of the ticket's customer were erased",
        })
    }

    /// Inserts a new ticket, and records that it was opened. The automation pauses.
    pub async fn open(
        connection: &mut PgConnection,
        policies: &PolicyCache,
        new: &NewTicket,
        author: Author,
    ) -> Result<Self, Error> {
        let contact = contacts::keep_current(&mut *connection, new.tenant_id, new.contact_id)
            .await?
            .ok_or_else(|| Error::invalid("contact_id", "names no contact"))?;
        let InsertedTicket {
            facts,
            calendar_version,
        } = tickets::insert(&mut *connection, new, contact.contact_id).await?;
        let mut locked = clocks::insert(&mut *connection, facts.key, new.bot_id).await?;
        // One moment: the ticket was opened when its first event says so.
        locked.now = facts.opened_at;
        let known = tickets::known(&mut *connection, &[facts.key]).await?.pop();
        let mut change = Self::new(locked, known.ok_or_else(|| not_found(facts.key.ticket_id))?);
        let in_force = change.policy_in_force(connection, policies).await?;
        let now = change.now();
        let in_force = in_force.as_ref().map(PolicyInForce::as_rules);
        let started = change.clock().opened(now, in_force);
        change.record(
            author,
            Payload::Opened(TicketOpened {
                queue_id: new.queue_id.unwrap_or_default(),
                contact: Some(contact_to_proto(&contact)),
                agent_id: new.agent_id.unwrap_or_default(),
                previous_ticket_id: new.previous_ticket_id.unwrap_or_default(),
                cycles: cycles_to_proto(&started),
                calendar_version: calendar_version.unwrap_or_default(),
            }),
        );
        change.pause_automation(author);
        Ok(change)
    }

    /// The policy in force for new cycles of this ticket.
    pub async fn policy_in_force(
        &self,
        connection: &mut PgConnection,
        policies: &PolicyCache,
    ) -> Result<Option<PolicyInForce>, Error> {
        let Some(version) = self.settings.policy_version else {
            return Ok(None);
        };
        let tenant_id = self.facts.key.tenant_id;
        let policy = policies.policy(connection, tenant_id, version).await?;
        Ok(Some(PolicyInForce::new(version, policy, &self.facts.tags)))
    }

    /// The policy that the running cycle about the customer goes by.
    pub async fn running_policy(
        &self,
        connection: &mut PgConnection,
        policies: &PolicyCache,
    ) -> Result<Option<Arc<InactivityPolicy>>, Error> {
        let Some(cycle) = self.locked.clock.cycle() else {
            return Ok(None);
        };
        let tenant_id = self.facts.key.tenant_id;
        let policy = policies.policy(connection, tenant_id, cycle.policy_version);
        Ok(Some(policy.await?))
    }

    /// The database's time after the ticket was locked.
    pub fn now(&self) -> Timestamp {
        self.locked.now
    }

    /// The ticket's clock.
    pub fn clock(&mut self) -> &mut Clock {
        &mut self.locked.clock
    }

    /// Adds an event.
    pub fn record(&mut self, author: Author, payload: Payload) {
        let event = self.locked.next_event(author, payload);
        self.events.push(event);
    }

    /// Adds a message and its event.
    pub fn record_message(
        &mut self,
        new: NewMessage,
        started_cycle: Option<i32>,
        started: &[StartedCycle],
    ) {
        let message = PlacedMessage {
            key: self.locked.key,
            ticket_seq: self.locked.ticket_seq + 1,
            recorded_at: self.now(),
            new,
        };
        let payload = MessageRecorded {
            // Put in when the message has its id.
            message: None,
            state: self.facts.state.code().into(),
            started_cycle: started_cycle.unwrap_or_default(),
            cycles: cycles_to_proto(started),
        };
        let event_index = self.events.len();
        self.record(message.new.author, Payload::MessageRecorded(payload));
        self.messages.push(NewlyWritten {
            event_index,
            message,
        });
    }

    /// The facts, if they are to be written.
    pub fn changed_facts(&self) -> Option<&TicketFacts> {
        (self.facts != self.facts_before).then_some(&self.facts)
    }

    /// The events so far, for who writes them himself.
    pub fn take_events(&mut self) -> Vec<NewEvent> {
        std::mem::take(&mut self.events)
    }

    /// Writes everything, and returns the ticket as it is then.
    pub async fn save(self, connection: &mut PgConnection) -> Result<TicketView, Error> {
        let key = self.facts.key;
        let saved = save(connection, vec![self]).await?.pop();
        Ok(saved.ok_or_else(|| not_found(key.ticket_id))?.view)
    }
}

/// Writes all that changes did, in their order.
pub async fn save(
    connection: &mut PgConnection,
    mut changes: Vec<TicketChange>,
) -> Result<Vec<Saved>, Error> {
    tell_reopened(&mut *connection, &mut changes).await?;
    let written: Vec<&PlacedMessage> = changes
        .iter()
        .flat_map(|change| change.messages.iter().map(|written| &written.message))
        .collect();
    let mut message_ids = messages::insert(&mut *connection, &written)
        .await?
        .into_iter();
    let mut told = Vec::with_capacity(changes.len());
    for change in &mut changes {
        let mut messages = Vec::with_capacity(change.messages.len());
        for written in &change.messages {
            let message = written
                .message
                .to_proto(message_ids.next().unwrap_or_default());
            if let Payload::MessageRecorded(recorded) =
                &mut change.events[written.event_index].payload
            {
                recorded.message = Some(message.clone());
            }
            messages.push(message);
        }
        told.push(messages);
    }

    let locked: Vec<&LockedClock> = changes.iter().map(|change| &change.locked).collect();
    clocks::save(&mut *connection, &locked).await?;
    let facts: Vec<&TicketFacts> = changes
        .iter()
        .filter_map(TicketChange::changed_facts)
        .collect();
    tickets::save(&mut *connection, &facts).await?;
    let new_events: Vec<&NewEvent> = changes.iter().flat_map(|change| &change.events).collect();
    events::append(connection, &new_events).await?;

    Ok(changes
        .into_iter()
        .zip(told)
        .map(|(change, messages)| Saved {
            view: TicketView::from_change(change.facts, change.locked),
            messages,
        })
        .collect())
}

/// Puts the customers, as they are known now, into the events that tickets were opened again.
async fn tell_reopened(
    connection: &mut PgConnection,
    changes: &mut [TicketChange],
) -> Result<(), Error> {
    for change in changes {
        let TicketFacts {
            key, contact_id, ..
        } = change.facts;
        for event in &mut change.events {
            if let Payload::Reopened(reopened) = &mut event.payload {
                let contact =
                    contacts::keep_current(&mut *connection, key.tenant_id, contact_id).await?;
                reopened.contact = contact.as_ref().map(contact_to_proto);
            }
        }
    }
    Ok(())
}
