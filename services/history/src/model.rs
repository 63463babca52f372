//! What history keeps of a ticket, and how one event changes it. Pure: no database, no clock.

mod calendars;
mod changes;
mod entry;
mod facts;
mod life;
mod storable;
mod ticket;
mod time;
mod writing;

use plazo_domain::Calendar;
use plazo_proto::common::v1::Author;
use plazo_proto::ticketing::v1::ticket_event::Payload;
use plazo_proto::ticketing::v1::{TicketEvent, TicketState};

pub(crate) use calendars::{CalendarKey, Calendars, calendar_from_proto};
pub(crate) use changes::{Changes, ContactTold, Erasure, Firing};
pub(crate) use entry::Entry;
pub(crate) use facts::{BusinessTimes, Facts};
pub(crate) use storable::UNIT_SEPARATOR;
pub(crate) use ticket::{Record, Ticket, TicketClosure};
pub(crate) use time::{from_proto, to_proto};

/// A ticket's key. `tenant_id` leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TicketKey {
    pub(crate) tenant_id: i64,
    pub(crate) ticket_id: i64,
}

impl TicketKey {
    /// The ticket that an event is about.
    pub(crate) fn of(event: &TicketEvent) -> Self {
        Self {
            tenant_id: event.tenant_id,
            ticket_id: event.ticket_id,
        }
    }
}

/// Why an event can't be applied. Guessing would make the history wrong for good, so the consumer stops.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// The event is not the next one of its ticket.
    #[error("ticket {ticket_id}: event {found} came where {expected} was due")]
    OutOfSequence {
        ticket_id: i64,
        expected: i64,
        found: i64,
    },
    /// The event lacks what every event of its kind has.
    #[error("event {event_id} of ticket {ticket_id}: {problem}")]
    Malformed {
        event_id: i64,
        ticket_id: i64,
        problem: &'static str,
    },
    /// The ticket counts business time by a calendar that is not known.
    #[error("tenant {tenant_id}: version {calendar_version} of a calendar is not known")]
    NoCalendar {
        tenant_id: i64,
        calendar_version: i64,
    },
}

/// Which numbers an event may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Numbering {
    /// The next one of its ticket, and no other.
    WithoutGaps,
    /// Any above the last one: a snapshot leaves out what says nothing.
    Rising,
}

/// The ticket after `event`; what was thereby written, dealt, fired or told of a contact goes to `changes`. `known` is
/// the ticket before, if any event of it was seen. A payload that this version does not know changes the ticket's
/// sequence number alone.
pub(crate) fn apply(
    known: Option<Record>,
    event: TicketEvent,
    numbering: Numbering,
    calendars: &Calendars,
    changes: &mut Changes,
) -> Result<Record, Refusal> {
    check_number(known.as_ref(), &event, numbering)?;
    let malformed = malformed(&event);
    if event.tenant_id <= 0 || event.ticket_id <= 0 {
        return Err(malformed("names no tenant or no ticket"));
    }
    let at = from_proto(event.event_time).ok_or_else(|| malformed("has no valid event_time"))?;
    let mut record = known.unwrap_or_else(|| Record::first_seen(&event, at));
    record.ticket.ticket_seq = event.ticket_seq;
    if let Some(Payload::Opened(opened)) = &event.payload {
        record.facts.calendar_version = opened.calendar_version;
    }
    let calendar = calendars.find(CalendarKey {
        tenant_id: event.tenant_id,
        calendar_version: record.facts.calendar_version,
    })?;
    let mut step = Step {
        record: &mut record,
        calendar,
        changes,
        at,
        author: event.author.unwrap_or_default(),
    };
    if let Some(payload) = event.payload {
        step.take(payload).map_err(malformed)?;
    }
    Ok(record)
}

fn check_number(
    known: Option<&Record>,
    event: &TicketEvent,
    numbering: Numbering,
) -> Result<(), Refusal> {
    let expected = known.map_or(1, |known| known.ticket.ticket_seq + 1);
    let found = event.ticket_seq;
    let fits = match numbering {
        Numbering::WithoutGaps => found == expected,
        Numbering::Rising => found >= expected,
    };
    if fits {
        return Ok(());
    }
    Err(Refusal::OutOfSequence {
        ticket_id: event.ticket_id,
        expected,
        found,
    })
}

/// Makes the refusal of this event.
fn malformed(event: &TicketEvent) -> impl Fn(&'static str) -> Refusal + use<> {
    let (event_id, ticket_id) = (event.event_id, event.ticket_id);
    move |problem| Refusal::Malformed {
        event_id,
        ticket_id,
        problem,
    }
}

/// One event on its way into a ticket.
struct Step<'a> {
    record: &'a mut Record,
    /// The calendar that the bot had when the ticket was opened.
    calendar: Option<&'a Calendar>,
    changes: &'a mut Changes,
    /// When it was.
    at: jiff::Timestamp,
    author: Author,
}

impl Step<'_> {
    fn take(&mut self, payload: Payload) -> Result<(), &'static str> {
        match payload {
            Payload::Opened(opened) => self.open(opened),
            Payload::Assigned(assigned) => self.assign(assigned.agent_id),
            Payload::MessageRecorded(recorded) => self.record_message(recorded)?,
            Payload::StageFired(fired) => {
                let could_act_at = from_proto(fired.could_act_time.or(fired.due_time))
                    .ok_or("says not when it could act")?;
                self.fire(fired.stage, fired.kind, could_act_at);
            }
            Payload::Closed(closed) => self.close(closed)?,
            Payload::Reopened(reopened) => self.reopen(reopened),
            Payload::Held(_) => self.hold(true),
            Payload::HoldEnded(_) => self.hold(false),
            Payload::Transferred(transferred) => self.transfer(&transferred),
            Payload::Unlinked(_) => self.unlink()?,
            Payload::SetOpen(_) => self.become_open(TicketState::Open, self.at),
            Payload::TagsChanged(changed) => {
                self.record.ticket.tags = storable::storable_list(changed.tags);
            }
            Payload::ActiveMessageRequested(requested) => {
                let message = requested.message.ok_or("requests no message")?;
                self.request(message);
            }
            Payload::ContactChanged(changed) => {
                let contact = changed.contact.ok_or("tells of no contact")?;
                self.change_contact(contact, changed.previous_contact_id);
            }
            Payload::PersonalDataErased(erased) => {
                let key = self.record.ticket.key;
                self.changes.erase(key, &erased, self.at)?;
            }
            // Alerts, deliveries and clocks are no part of what history keeps.
            Payload::AlertCleared(_)
            | Payload::ActiveMessageReported(_)
            | Payload::AutomationPaused(_)
            | Payload::AutomationResumed(_)
            | Payload::PolicyApplied(_) => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
