//! What history keeps of a ticket, and how one event changes it. Pure: no database, no clock.

mod time;

use plazo_proto::common::v1::{Author, AuthorKind, ChannelIdentity};
use plazo_proto::history::v1::ConversationEntryKind;
use plazo_proto::notification::v1::{ActiveMessage, ActiveMessageKind};
use plazo_proto::ticketing::v1::ticket_event::Payload;
use plazo_proto::ticketing::v1::{
    Closure, Contact, Message, MessageKind, MessageRecorded, TicketClosed, TicketEvent,
    TicketOpened, TicketReopened, TicketState, TicketTransferred,
};

pub(crate) use time::{from_proto, to_proto};

/// Joins the items of a list in one SQL text; see `queries/save_tickets.sql`.
pub(crate) const UNIT_SEPARATOR: char = '\u{1f}';

/// A ticket's key. `tenant_id` leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TicketKey {
    pub(crate) tenant_id: i64,
    pub(crate) ticket_id: i64,
}

/// A ticket after its event `ticket_seq`. Ids of 0 mean "none"; enumerations are the numbers of their protos, so that
/// values of later versions survive.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::struct_field_names,
    reason = "ticket_seq is what all others call it"
)]
pub(crate) struct Ticket {
    pub(crate) key: TicketKey,
    pub(crate) bot_id: i64,
    pub(crate) queue_id: i64,
    /// The agent it was last assigned to; none after a transfer to a queue until somebody is assigned.
    pub(crate) agent_id: i64,
    pub(crate) state: i32,
    pub(crate) opened_at: jiff::Timestamp,
    pub(crate) previous_ticket_id: i64,
    pub(crate) tags: Vec<String>,
    pub(crate) customer_message_count: i32,
    pub(crate) agent_message_count: i32,
    pub(crate) reopen_count: i32,
    /// The customer as of the opening; its etag is not kept.
    pub(crate) contact: Contact,
    pub(crate) closure: Option<TicketClosure>,
    /// Closed, and hidden from the desk's lists.
    pub(crate) is_unlinked: bool,
    pub(crate) ticket_seq: i64,
}

/// How a ticket was last closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TicketClosure {
    pub(crate) closed_at: jiff::Timestamp,
    pub(crate) source: i32,
    pub(crate) author: Author,
    pub(crate) exit_route: String,
    /// Category and summary, if a note was left.
    pub(crate) note: Option<(String, String)>,
}

/// Something that was written in a ticket, at the place of its event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) key: TicketKey,
    pub(crate) ticket_seq: i64,
    pub(crate) kind: ConversationEntryKind,
    /// 0 for what the desk itself wrote.
    pub(crate) message_id: i64,
    pub(crate) author: Author,
    pub(crate) text: String,
    pub(crate) attachment_urls: Vec<String>,
    pub(crate) recorded_at: jiff::Timestamp,
    pub(crate) channel_at: Option<jiff::Timestamp>,
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
}

/// The ticket after `event`, and what was thereby written in it. `known` is the ticket before, if any event of it
/// was seen. A payload that this version does not know changes the ticket's sequence number alone.
pub(crate) fn apply(
    known: Option<Ticket>,
    event: TicketEvent,
) -> Result<(Ticket, Option<Entry>), Refusal> {
    let expected = known.as_ref().map_or(1, |ticket| ticket.ticket_seq + 1);
    if event.ticket_seq != expected {
        let (ticket_id, found) = (event.ticket_id, event.ticket_seq);
        return Err(Refusal::OutOfSequence {
            ticket_id,
            expected,
            found,
        });
    }
    let malformed = malformed(&event);
    if event.tenant_id <= 0 || event.ticket_id <= 0 {
        return Err(malformed("names no tenant or no ticket"));
    }
    let event_at =
        from_proto(event.event_time).ok_or_else(|| malformed("has no valid event_time"))?;
    let mut ticket = known.unwrap_or_else(|| Ticket::first_seen(&event, event_at));
    ticket.ticket_seq = event.ticket_seq;
    let at = Place {
        event_at,
        author: event.author.unwrap_or_default(),
    };

    let mut entry = None;
    match event.payload {
        Some(Payload::Opened(opened)) => ticket.open(opened, event_at),
        Some(Payload::Assigned(assigned)) => ticket.assign(assigned.agent_id),
        Some(Payload::MessageRecorded(recorded)) => {
            let written = ticket.record(recorded, &at);
            entry = Some(written.ok_or_else(|| malformed("records no message"))?);
        }
        Some(Payload::Closed(closed)) => {
            ticket
                .close(closed)
                .ok_or_else(|| malformed("has no closure with a valid close_time"))?;
        }
        Some(Payload::Reopened(reopened)) => ticket.reopen(reopened),
        Some(Payload::Transferred(transferred)) => ticket.transfer(&transferred),
        Some(Payload::Unlinked(_)) => {
            ticket
                .unlink()
                .ok_or_else(|| malformed("unlinks a ticket that is not closed"))?;
        }
        Some(Payload::SetOpen(_)) => ticket.become_open(TicketState::Open),
        Some(Payload::TagsChanged(changed)) => ticket.tags = storable_list(changed.tags),
        Some(Payload::ActiveMessageRequested(requested)) => {
            let message = requested
                .message
                .ok_or_else(|| malformed("requests no message"))?;
            entry = ticket.request(message, &at);
        }
        // Clocks, alerts and deliveries are no part of what history keeps, and neither are later versions' payloads. A
        // ticket on hold is as open as before.
        Some(
            Payload::StageFired(_)
            | Payload::AlertCleared(_)
            | Payload::ActiveMessageReported(_)
            | Payload::Held(_)
            | Payload::HoldEnded(_)
            | Payload::AutomationPaused(_)
            | Payload::AutomationResumed(_)
            | Payload::PolicyApplied(_)
            | Payload::ContactChanged(_)
            | Payload::PersonalDataErased(_),
        )
        | None => {}
    }
    Ok((ticket, entry))
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

/// When an event was and who caused it.
struct Place {
    event_at: jiff::Timestamp,
    author: Author,
}

impl Ticket {
    fn first_seen(event: &TicketEvent, event_at: jiff::Timestamp) -> Self {
        Self {
            key: TicketKey {
                tenant_id: event.tenant_id,
                ticket_id: event.ticket_id,
            },
            bot_id: event.bot_id,
            queue_id: 0,
            agent_id: 0,
            state: TicketState::Waiting.into(),
            opened_at: event_at,
            previous_ticket_id: 0,
            tags: Vec::new(),
            customer_message_count: 0,
            agent_message_count: 0,
            reopen_count: 0,
            contact: Contact {
                channel_identity: Some(ChannelIdentity::default()),
                ..Contact::default()
            },
            closure: None,
            is_unlinked: false,
            ticket_seq: 0,
        }
    }

    fn open(&mut self, opened: TicketOpened, event_at: jiff::Timestamp) {
        self.opened_at = event_at;
        self.queue_id = opened.queue_id;
        self.previous_ticket_id = opened.previous_ticket_id;
        self.assign(opened.agent_id);
        let contact = opened.contact.unwrap_or_default();
        let identity = contact.channel_identity.unwrap_or_default();
        self.contact = Contact {
            contact_id: contact.contact_id,
            name: storable(contact.name),
            email: storable(contact.email),
            phone: storable(contact.phone),
            channel_identity: Some(ChannelIdentity {
                channel: identity.channel,
                address: storable(identity.address),
            }),
            etag: String::new(),
        };
    }

    /// To be assigned to somebody is to be open.
    fn assign(&mut self, agent_id: i64) {
        if agent_id != 0 {
            self.agent_id = agent_id;
            self.become_open(TicketState::Open);
        }
    }

    /// A close that is superseded never was: the ticket is as the event says, and nothing is counted.
    fn reopen(&mut self, reopened: TicketReopened) {
        if reopened.supersedes_close {
            self.closure = None;
            self.agent_id = reopened.agent_id;
        } else if reopened.agent_id != 0 {
            self.agent_id = reopened.agent_id;
        }
        self.become_open(reopened.state());
        self.tags = storable_list(reopened.tags);
    }

    /// Only open tickets are transferred.
    fn transfer(&mut self, transferred: &TicketTransferred) {
        self.queue_id = transferred.queue_id;
        self.agent_id = 0;
        self.become_open(TicketState::Waiting);
    }

    fn unlink(&mut self) -> Option<()> {
        self.closure.as_ref()?;
        self.is_unlinked = true;
        Some(())
    }

    /// Counts how often the ticket came back from the closed state, whichever event brought it back: a message, an
    /// assignment and a reopening may each come alone or together.
    fn become_open(&mut self, state: TicketState) {
        match state {
            TicketState::Waiting | TicketState::Open => {
                if self.closure.take().is_some() {
                    self.reopen_count += 1;
                }
                self.is_unlinked = false;
                self.state = state.into();
            }
            TicketState::Closed | TicketState::Unspecified => {}
        }
    }

    fn record(&mut self, recorded: MessageRecorded, at: &Place) -> Option<Entry> {
        let state = recorded.state();
        let message = recorded.message?;
        self.become_open(state);

        let author = message.author.unwrap_or(at.author);
        let kind = match message.kind() {
            MessageKind::Note => ConversationEntryKind::Note,
            MessageKind::Comment => ConversationEntryKind::Comment,
            MessageKind::Chat | MessageKind::Unspecified => ConversationEntryKind::Chat,
        };
        if kind == ConversationEntryKind::Chat {
            match author.kind() {
                AuthorKind::Customer => self.customer_message_count += 1,
                AuthorKind::Agent => self.agent_message_count += 1,
                _ => {}
            }
        }
        Some(Entry {
            key: self.key,
            ticket_seq: self.ticket_seq,
            kind,
            message_id: message.message_id,
            author,
            text: storable(message.text),
            attachment_urls: storable_list(message.attachment_urls),
            recorded_at: from_proto(message.record_time).unwrap_or(at.event_at),
            channel_at: from_proto(message.channel_time),
        })
    }

    fn close(&mut self, closed: TicketClosed) -> Option<()> {
        let closure = closed.closure?;
        self.closure = Some(TicketClosure {
            closed_at: from_proto(closure.close_time)?,
            source: closure.source,
            author: closure.author.unwrap_or_default(),
            exit_route: storable(closure.exit_route),
            note: closure
                .note
                .map(|note| (storable(note.category), storable(note.summary))),
        });
        self.state = TicketState::Closed.into();
        self.tags = storable_list(closed.tags);
        // Whom the close takes away has dealt with the ticket last: it stays his in the history.
        if closed.unassigned_agent_id != 0 {
            self.agent_id = closed.unassigned_agent_id;
        }
        Some(())
    }

    /// The warning and the closing text are part of the conversation. Other active messages have a place of their
    /// own.
    fn request(&self, message: ActiveMessage, at: &Place) -> Option<Entry> {
        let kind = match message.kind() {
            ActiveMessageKind::Warning => ConversationEntryKind::Warning,
            ActiveMessageKind::ClosingText => ConversationEntryKind::ClosingText,
            ActiveMessageKind::Outreach | ActiveMessageKind::Unspecified => return None,
        };
        Some(Entry {
            key: self.key,
            ticket_seq: self.ticket_seq,
            kind,
            message_id: 0,
            author: Author {
                kind: AuthorKind::System.into(),
                id: 0,
            },
            text: storable(message.text),
            attachment_urls: storable_list(vec![message.image_url]),
            recorded_at: at.event_at,
            channel_at: None,
        })
    }
}

impl TicketClosure {
    pub(crate) fn into_proto(self) -> Closure {
        let note = self.note.map(
            |(category, summary)| plazo_proto::ticketing::v1::ClosingNote { category, summary },
        );
        Closure {
            close_time: Some(to_proto(self.closed_at)),
            source: self.source,
            author: Some(self.author),
            note,
            exit_route: self.exit_route,
        }
    }
}

impl Entry {
    pub(crate) fn into_message(self) -> Message {
        let kind = match self.kind {
            ConversationEntryKind::Note => MessageKind::Note,
            ConversationEntryKind::Comment => MessageKind::Comment,
            _ => MessageKind::Chat,
        };
        Message {
            message_id: self.message_id,
            ticket_id: self.key.ticket_id,
            author: Some(self.author),
            kind: kind.into(),
            text: self.text,
            attachment_urls: self.attachment_urls,
            record_time: Some(to_proto(self.recorded_at)),
            channel_time: self.channel_at.map(to_proto),
            ticket_seq: self.ticket_seq,
        }
    }
}

/// PostgreSQL holds no NUL in a text. An event that has one must not stop the feed.
fn storable(text: String) -> String {
    if text.contains('\0') {
        text.replace('\0', "\u{fffd}")
    } else {
        text
    }
}

/// The items that a list joined by [`UNIT_SEPARATOR`] can hold: not empty, and without it.
fn storable_list(items: Vec<String>) -> Vec<String> {
    let items = items.into_iter().filter(|item| !item.is_empty());
    items
        .map(|item| storable(item).replace(UNIT_SEPARATOR, "\u{fffd}"))
        .collect()
}

#[cfg(test)]
mod tests;
