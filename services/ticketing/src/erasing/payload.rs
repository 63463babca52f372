//! What erasing leaves of an event. Pure.
//!
//! Ids, kinds, instants, states, tags and categories stay: they are what reports count, and what the order of a ticket's
//! events rests on. What people wrote, and the customer's name and addresses, go.

use plazo_proto::notification::v1::ActiveMessage;
use plazo_proto::ticketing::v1::ticket_event::Payload;
use plazo_proto::ticketing::v1::{Closure, Contact, Hold, Message, Ticket, TicketEvent};
use prost::Message as _;

use crate::error::Error;

/// An encoded event without personal data, if it had any.
pub fn without_personal_data(encoded: &[u8]) -> Result<Option<Vec<u8>>, Error> {
    let mut event = TicketEvent::decode(encoded)?;
    let is_changed = event.payload.as_mut().is_some_and(erase);
    Ok(is_changed.then(|| event.encode_to_vec()))
}

/// Takes the personal data out of a payload. Whether there were any.
pub fn erase(payload: &mut Payload) -> bool {
    match payload {
        Payload::Opened(opened) => opened.contact.as_mut().is_some_and(erase_contact),
        Payload::Reopened(reopened) => reopened.contact.as_mut().is_some_and(erase_contact),
        Payload::ContactChanged(changed) => changed.contact.as_mut().is_some_and(erase_contact),
        Payload::MessageRecorded(recorded) => recorded.message.as_mut().is_some_and(erase_message),
        Payload::Closed(closed) => closed.closure.as_mut().is_some_and(erase_closure),
        Payload::Held(held) => held.hold.as_mut().is_some_and(erase_hold),
        Payload::ActiveMessageRequested(requested) => {
            requested.message.as_mut().is_some_and(erase_active_message)
        }
        // A reason is a code; what is none may be a provider's words about the customer.
        Payload::ActiveMessageReported(reported) => {
            !is_code(&reported.failure_reason) && erase_text(&mut reported.failure_reason)
        }
        Payload::Assigned(_)
        | Payload::StageFired(_)
        | Payload::AlertCleared(_)
        | Payload::HoldEnded(_)
        | Payload::Transferred(_)
        | Payload::Unlinked(_)
        | Payload::SetOpen(_)
        | Payload::TagsChanged(_)
        | Payload::AutomationPaused(_)
        | Payload::AutomationResumed(_)
        | Payload::PolicyApplied(_)
        | Payload::PersonalDataErased(_) => false,
    }
}

/// Takes the personal data out of a contact. Its id and channel stay. Whether there were any.
pub(super) fn erase_contact(contact: &mut Contact) -> bool {
    let mut is_changed = erase_text(&mut contact.name);
    is_changed |= erase_text(&mut contact.email);
    is_changed |= erase_text(&mut contact.phone);
    if let Some(identity) = &mut contact.channel_identity {
        is_changed |= erase_text(&mut identity.address);
    }
    is_changed
}

/// The same of a message: who wrote it and when stays.
pub(super) fn erase_message(message: &mut Message) -> bool {
    let had_urls = !message.attachment_urls.is_empty();
    message.attachment_urls.clear();
    erase_text(&mut message.text) || had_urls
}

/// The same of a ticket.
pub(super) fn erase_ticket(ticket: &mut Ticket) -> bool {
    let mut is_changed = ticket.closure.as_mut().is_some_and(erase_closure);
    is_changed |= ticket.hold.as_mut().is_some_and(erase_hold);
    is_changed
}

fn erase_closure(closure: &mut Closure) -> bool {
    let note = closure.note.as_mut();
    note.is_some_and(|note| erase_text(&mut note.summary))
}

fn erase_hold(hold: &mut Hold) -> bool {
    erase_text(&mut hold.reason)
}

fn erase_active_message(message: &mut ActiveMessage) -> bool {
    let mut is_changed = erase_text(&mut message.text);
    is_changed |= erase_text(&mut message.image_url);
    if let Some(recipient) = &mut message.recipient {
        is_changed |= erase_text(&mut recipient.address);
    }
    is_changed
}

fn erase_text(text: &mut String) -> bool {
    let had_text = !text.is_empty();
    text.clear();
    had_text
}

fn is_code(text: &str) -> bool {
    let is_code_char = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    text.chars().all(is_code_char)
}

#[cfg(test)]
mod tests;
