//! What a batch of events asks for. Pure.

use std::collections::BTreeMap;

use plazo_proto::common::v1::AuthorKind;
use plazo_proto::notification::v1::ActiveMessageKind;
use plazo_proto::ticketing::v1::ticket_event::Payload;
use plazo_proto::ticketing::v1::{MessageKind, MessageRecorded, TicketEvent};

use crate::message::{self, NewMessage};
use crate::store::erasing::ErasedTicket;
use crate::store::feed::CallOff;
use crate::store::ticket_positions::TicketKey;

/// An event is missing or came twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("ticket {ticket_id} of tenant {tenant_id}: event {found} came where {expected} was due")]
pub(crate) struct SequenceBroken {
    tenant_id: i64,
    ticket_id: i64,
    expected: i64,
    found: i64,
}

/// What to do for a batch.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Messages to accept, with the `ticket_seq` of the event that asks for them.
    pub(super) requested: Vec<(NewMessage, i64)>,
    /// (tenant, ticket, key) of messages that can't be stored.
    pub(super) refused: Vec<(i64, i64, String)>,
    /// What calls warnings and closing texts off.
    pub(super) call_offs: Vec<CallOff>,
    /// Tickets whose customers' personal data are to be erased.
    pub(super) erased: Vec<ErasedTicket>,
    /// The last event of each ticket.
    pub(super) ticket_positions: BTreeMap<TicketKey, i64>,
}

/// The tickets of a batch, each once.
pub(crate) fn tickets_of(events: &[TicketEvent]) -> Vec<TicketKey> {
    let mut tickets: Vec<_> = events
        .iter()
        .map(|event| (event.tenant_id, event.ticket_id))
        .collect();
    tickets.sort_unstable();
    tickets.dedup();
    tickets
}

/// The last event of each ticket of a batch that follows `before`.
pub(crate) fn follow(
    events: &[TicketEvent],
    before: &BTreeMap<TicketKey, i64>,
) -> Result<BTreeMap<TicketKey, i64>, SequenceBroken> {
    let mut positions = BTreeMap::new();
    for event in events {
        let ticket = (event.tenant_id, event.ticket_id);
        let last = positions.get(&ticket).or_else(|| before.get(&ticket));
        let expected = last.copied().unwrap_or(0) + 1;
        if event.ticket_seq != expected {
            return Err(SequenceBroken {
                tenant_id: event.tenant_id,
                ticket_id: event.ticket_id,
                expected,
                found: event.ticket_seq,
            });
        }
        positions.insert(ticket, event.ticket_seq);
    }
    Ok(positions)
}

impl Plan {
    /// The plan for events that follow `before`, the last applied event of each ticket that has one.
    pub(super) fn new(
        events: &[TicketEvent],
        before: &BTreeMap<TicketKey, i64>,
    ) -> Result<Self, SequenceBroken> {
        let mut plan = Self {
            ticket_positions: follow(events, before)?,
            ..Self::default()
        };
        for event in events {
            plan.add(event);
        }
        Ok(plan)
    }

    fn add(&mut self, event: &TicketEvent) {
        let call_off = |kind, idempotency_key, reason| CallOff {
            ticket: (event.tenant_id, event.ticket_id),
            ticket_seq: event.ticket_seq,
            kind,
            idempotency_key,
            reason,
        };
        if let Some((kind, reason)) = event.payload.as_ref().and_then(calls_off) {
            self.call_offs.push(call_off(kind, None, reason));
        }
        // The ticket's other cycle may run on, and with it its warning.
        if let Some(Payload::PolicyApplied(applied)) = &event.payload {
            for cycle in &applied.ended_cycles {
                let key = format!("ticket/{}/cycle/{cycle}/warning", event.ticket_id);
                let warning = ActiveMessageKind::Warning;
                self.call_offs
                    .push(call_off(warning, Some(key), "CYCLE_ENDED"));
            }
        }
        if let Some(Payload::PersonalDataErased(erased)) = &event.payload {
            self.erased.push(ErasedTicket {
                ticket: (event.tenant_id, event.ticket_id),
                erasure_id: erased.erasure_id,
                is_last: erased.last,
            });
        }
        if let Some(Payload::ActiveMessageRequested(requested)) = &event.payload {
            self.add_request(event, requested.message.clone().unwrap_or_default());
        }
    }

    /// A message that can't be stored was promised by ticketing all the same: it is reported as failed.
    fn add_request(
        &mut self,
        event: &TicketEvent,
        message: plazo_proto::notification::v1::ActiveMessage,
    ) {
        let key = message.idempotency_key.clone();
        if is_erased(&message) {
            self.refused.push((event.tenant_id, event.ticket_id, key));
            return;
        }
        let belongs = message.tenant_id == event.tenant_id && message.ticket_id == event.ticket_id;
        let (field, reason) = match NewMessage::check(message) {
            Ok(message) if belongs => {
                self.requested.push((message, event.ticket_seq));
                return;
            }
            Ok(_) => ("ticket_id", "must be the event's"),
            Err(invalid) => (invalid.field, invalid.reason),
        };
        tracing::error!(
            event_id = event.event_id,
            ticket_id = event.ticket_id,
            field,
            reason,
            "an event asks for a message that can't be stored"
        );
        if message::is_key(&key) {
            self.refused.push((event.tenant_id, event.ticket_id, key));
        }
    }
}

/// Whether ticketing erased what the message said and to whom: there is nothing to send, and nothing is wrong.
fn is_erased(message: &plazo_proto::notification::v1::ActiveMessage) -> bool {
    let address = message.recipient.as_ref().map(|one| one.address.as_str());
    message.text.is_empty() && address == Some("") && message::is_key(&message.idempotency_key)
}

/// The kind of messages that an event makes pointless, and why. A warning announces a close that is no longer coming;
/// a closing text tells of one that no longer stands.
fn calls_off(payload: &Payload) -> Option<(ActiveMessageKind, &'static str)> {
    let (warning, closing) = (ActiveMessageKind::Warning, ActiveMessageKind::ClosingText);
    match payload {
        Payload::MessageRecorded(recorded) if is_answer(recorded) => {
            Some((warning, "CUSTOMER_ANSWERED"))
        }
        Payload::Closed(_) => Some((warning, "TICKET_CLOSED")),
        Payload::Unlinked(_) => Some((warning, "TICKET_UNLINKED")),
        Payload::Held(_) => Some((warning, "TICKET_HELD")),
        Payload::Transferred(_) => Some((warning, "TICKET_TRANSFERRED")),
        Payload::Reopened(reopened) if reopened.supersedes_close => {
            Some((closing, "CLOSE_SUPERSEDED"))
        }
        Payload::Reopened(_) => Some((closing, "TICKET_REOPENED")),
        // Also payloads of a newer ticketing.
        _ => None,
    }
}

/// Whether the customer wrote.
fn is_answer(recorded: &MessageRecorded) -> bool {
    recorded.message.as_ref().is_some_and(|message| {
        let author = message
            .author
            .as_ref()
            .map(plazo_proto::common::v1::Author::kind);
        let is_chat = matches!(message.kind(), MessageKind::Chat | MessageKind::Unspecified);
        author == Some(AuthorKind::Customer) && is_chat
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(ticket_id: i64, ticket_seq: i64) -> TicketEvent {
        TicketEvent {
            tenant_id: 1,
            ticket_id,
            ticket_seq,
            ..TicketEvent::default()
        }
    }

    #[test]
    fn tickets_are_counted_one_by_one() {
        let before = BTreeMap::from([((1, 7), 4)]);
        let plan = Plan::new(&[event(7, 5), event(8, 1), event(7, 6)], &before).expect("no gap");
        assert_eq!(
            plan.ticket_positions,
            BTreeMap::from([((1, 7), 6), ((1, 8), 1)])
        );
    }

    #[test]
    fn a_skip_and_a_step_back_are_told() {
        let before = BTreeMap::from([((1, 7), 4)]);
        for (events, expected, found) in [
            (vec![event(7, 6)], 5, 6),
            (vec![event(7, 4)], 5, 4),
            (vec![event(7, 5), event(7, 5)], 6, 5),
            (vec![event(9, 2)], 1, 2),
        ] {
            let broken = Plan::new(&events, &before).expect_err("the order is broken");
            assert_eq!((broken.expected, broken.found), (expected, found));
        }
    }
}
