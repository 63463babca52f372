//! One change of one ticket: its rows as they will be, and the events that tell of it.

use jiff::Timestamp;
use plazo_domain::{Alert, Clock};
use plazo_proto::common::v1::Author;
use plazo_proto::ticketing::v1::ticket_event::Payload;
use plazo_proto::ticketing::v1::{AlertCleared, Message, MessageRecorded, TicketOpened};
use plazo_service::Actor;
use sqlx::PgConnection;

use crate::error::Error;
use crate::store::clocks::{self, LockedClock, TicketKey};
use crate::store::events::{self, NewEvent};
use crate::store::messages::{self, NewMessage};
use crate::store::parties;
use crate::store::tickets::{self, BotSettings, KnownTicket, NewTicket, TicketFacts};
use crate::tickets::view::TicketView;

/// A ticket that is locked and being changed. Nothing is written before [`Self::save`], but for the rows of a new
/// ticket and the messages.
#[derive(Debug)]
pub struct TicketChange {
    /// The hot row.
    pub locked: LockedClock,
    /// The rest of what is known.
    pub facts: TicketFacts,
    /// What the ticket's bot says now.
    pub settings: BotSettings,
    facts_before: TicketFacts,
    events: Vec<NewEvent>,
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

impl TicketChange {
    /// Waits for the ticket and locks it. `NotFound` when it does not exist for this actor; Changed when `etag` is
    /// neither empty nor the present one.
    pub async fn lock(
        connection: &mut PgConnection,
        actor: &Actor,
        ticket_id: i64,
        etag: &str,
    ) -> Result<Self, Error> {
        let key = TicketKey {
            tenant_id: actor.tenant_id,
            ticket_id,
        };
        let not_found = || Error::NotFound {
            kind: "ticket",
            id: ticket_id,
        };
        let locked = clocks::lock(&mut *connection, key)
            .await?
            .ok_or_else(not_found)?;
        if !actor.may_use_bot(locked.bot_id) {
            return Err(not_found());
        }
        if !etag.is_empty() && etag != locked.ticket_seq.to_string() {
            return Err(Error::Changed);
        }
        // Read after the lock, in a statement of its own: a statement that waited for the lock would show these rows as
        // they were before the wait.
        let known = tickets::known(connection, &[key]).await?.pop();
        let KnownTicket {
            facts, settings, ..
        } = known.ok_or_else(not_found)?;
        Ok(Self {
            locked,
            facts_before: facts.clone(),
            facts,
            settings,
            events: Vec::new(),
        })
    }

    /// Inserts a new ticket, and records that it was opened.
    pub async fn open(
        connection: &mut PgConnection,
        new: &NewTicket,
        author: Author,
    ) -> Result<Self, Error> {
        let contact = parties::contact(&mut *connection, new.tenant_id, new.contact_id)
            .await?
            .ok_or_else(|| Error::invalid("contact_id", "names no contact"))?;
        let facts = tickets::insert(&mut *connection, new).await?;
        let mut locked = clocks::insert(&mut *connection, facts.key, new.bot_id).await?;
        // One moment: the ticket was opened when its first event says so.
        locked.now = facts.opened_at;
        let known = tickets::known(connection, &[facts.key]).await?.pop();
        let KnownTicket {
            facts, settings, ..
        } = known.ok_or(Error::NotFound {
            kind: "ticket",
            id: facts.key.ticket_id,
        })?;
        let mut change = Self {
            locked,
            facts_before: facts.clone(),
            facts,
            settings,
            events: Vec::new(),
        };
        change.record(
            author,
            Payload::Opened(TicketOpened {
                queue_id: new.queue_id.unwrap_or_default(),
                contact: Some(contact),
                agent_id: new.agent_id.unwrap_or_default(),
                previous_ticket_id: new.previous_ticket_id.unwrap_or_default(),
            }),
        );
        Ok(change)
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

    /// Adds the event that an alert went away, if one did.
    pub fn record_cleared(&mut self, author: Author, removed: Option<Alert>) {
        if let Some(alert) = removed {
            let payload = AlertCleared {
                previous_alert: alert.code().into(),
            };
            self.record(author, Payload::AlertCleared(payload));
        }
    }

    /// Writes a message and adds its event.
    pub async fn record_message(
        &mut self,
        connection: &mut PgConnection,
        new: &NewMessage,
        started_cycle: Option<i32>,
    ) -> Result<Message, Error> {
        let ticket_seq = self.locked.ticket_seq + 1;
        let message =
            messages::insert(connection, self.locked.key, ticket_seq, self.now(), new).await?;
        self.record(
            new.author,
            Payload::MessageRecorded(MessageRecorded {
                message: Some(message.clone()),
                state: self.facts.state.code().into(),
                started_cycle: started_cycle.unwrap_or_default(),
            }),
        );
        Ok(message)
    }

    /// Writes everything, and returns the ticket as it is then.
    pub async fn save(self, connection: &mut PgConnection) -> Result<TicketView, Error> {
        clocks::save(&mut *connection, &[&self.locked]).await?;
        if self.facts != self.facts_before {
            tickets::save(&mut *connection, &[&self.facts]).await?;
        }
        events::append(connection, &self.events).await?;
        Ok(TicketView::from_change(self.facts, self.locked))
    }
}
