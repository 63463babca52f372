//! What a batch of events changes besides the tickets themselves.

use std::collections::BTreeMap;

use jiff::Timestamp;
use plazo_proto::ticketing::v1::{Contact, PersonalDataErased};

use super::{Entry, TicketKey};

/// What some events change, to be written in one transaction.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// What was written, each entry once.
    pub(crate) entries: Vec<Entry>,
    /// Stages that took effect.
    pub(crate) firings: Vec<Firing>,
    /// When an agent last dealt with a ticket, by (ticket, agent). Their contact is that of the ticket.
    pub(crate) dealings: BTreeMap<(TicketKey, i64), Timestamp>,
    /// By (tenant, contact).
    pub(crate) contacts: BTreeMap<(i64, i64), ContactChange>,
    /// Tickets that went over to another contact: their earlier dealings go with them.
    pub(crate) moved: Vec<TicketKey>,
    /// Personal data that are to go, when all else is written.
    pub(crate) erasures: Vec<Erasure>,
}

/// A stage of an inactivity cycle that took effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Firing {
    pub(crate) key: TicketKey,
    pub(crate) ticket_seq: i64,
    pub(crate) bot_id: i64,
    pub(crate) queue_id: i64,
    pub(crate) stage: i32,
    pub(crate) cycle_kind: i32,
    pub(crate) fired_at: Timestamp,
    pub(crate) late_ms: i64,
}

/// What is new of a contact.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ContactChange {
    /// It was merged into another one. What is told below was told after that.
    pub(crate) is_merged_away: bool,
    pub(crate) told: Option<ContactTold>,
    /// The last opening, chat message, close or reopening in a ticket of the contact.
    pub(crate) last_interaction_at: Option<Timestamp>,
}

/// A contact as a ticket's event told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ContactTold {
    pub(crate) contact: Contact,
    /// When, and by which ticket: what was told last holds, whatever the order in which tickets are applied.
    pub(crate) told_at: Timestamp,
    pub(crate) ticket_id: i64,
}

/// The order to erase a contact's personal data.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::struct_field_names,
    reason = "erasure_id is what all others call it"
)]
pub(crate) struct Erasure {
    /// The ticket whose event tells of it.
    pub(crate) key: TicketKey,
    pub(crate) erasure_id: i64,
    pub(crate) contact_id: i64,
    /// Whether no more events of this erasure come.
    pub(crate) is_last: bool,
    pub(crate) asked_at: Timestamp,
}

impl Changes {
    /// Notes an order to erase, also when the ticket that tells of it is not kept any more.
    pub(crate) fn erase(
        &mut self,
        key: TicketKey,
        erased: &PersonalDataErased,
        asked_at: Timestamp,
    ) -> Result<(), &'static str> {
        if erased.contact_id <= 0 || erased.erasure_id <= 0 {
            return Err("names no contact or no erasure");
        }
        self.erasures.push(Erasure {
            key,
            erasure_id: erased.erasure_id,
            contact_id: erased.contact_id,
            is_last: erased.last,
            asked_at,
        });
        Ok(())
    }

    pub(super) fn deal(&mut self, key: TicketKey, agent_id: i64, at: Timestamp) {
        if agent_id == 0 {
            return;
        }
        let last_dealt_at = self.dealings.entry((key, agent_id)).or_insert(at);
        *last_dealt_at = (*last_dealt_at).max(at);
    }

    pub(super) fn interact(&mut self, tenant_id: i64, contact_id: i64, at: Timestamp) {
        if contact_id != 0 {
            let contact = self.contacts.entry((tenant_id, contact_id)).or_default();
            contact.last_interaction_at = contact.last_interaction_at.max(Some(at));
        }
    }

    pub(super) fn tell(&mut self, tenant_id: i64, told: ContactTold) {
        let contact_id = told.contact.contact_id;
        if contact_id == 0 {
            return;
        }
        let contact = self.contacts.entry((tenant_id, contact_id)).or_default();
        let is_newer = contact.told.as_ref().is_none_or(|before| {
            (before.told_at, before.ticket_id) <= (told.told_at, told.ticket_id)
        });
        if is_newer {
            contact.told = Some(told);
        }
    }

    pub(super) fn merge_away(&mut self, tenant_id: i64, contact_id: i64) {
        let gone = ContactChange {
            is_merged_away: true,
            ..ContactChange::default()
        };
        self.contacts.insert((tenant_id, contact_id), gone);
    }
}
