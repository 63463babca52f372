//! How events move a ticket between opening and closing, and whose it is.

use plazo_proto::ticketing::v1::{
    Contact, TicketClosed, TicketOpened, TicketReopened, TicketState, TicketTransferred,
};

use super::facts::plain_ms;
use super::storable::{storable, storable_list};
use super::ticket::storable_contact;
use super::{ContactTold, Firing, Step, TicketClosure, from_proto};

impl Step<'_> {
    pub(super) fn open(&mut self, opened: TicketOpened) {
        let ticket = &mut self.record.ticket;
        ticket.opened_at = self.at;
        ticket.queue_id = opened.queue_id;
        ticket.previous_ticket_id = opened.previous_ticket_id;
        self.record.facts.first_queue_id = opened.queue_id;
        self.record.facts.opened_by = self.author;
        self.record.facts.begin_business(self.calendar);
        self.know_contact(opened.contact.unwrap_or_default());
        self.interact(self.at);
        self.assign(opened.agent_id);
    }

    /// To be assigned to somebody is to be open. Nobody (0) is assigned by no event.
    pub(super) fn assign(&mut self, agent_id: i64) {
        if agent_id == 0 {
            return;
        }
        let (key, opened_at) = (self.record.ticket.key, self.record.ticket.opened_at);
        let facts = &mut self.record.facts;
        if facts.assigned_agent_id != agent_id && self.record.ticket.closure.is_none() {
            self.changes.deal(key, facts.assigned_agent_id, self.at);
        }
        facts.assigned_agent_id = agent_id;
        facts.assigned(opened_at, self.at, self.calendar);
        self.record.ticket.agent_id = agent_id;
        self.changes.deal(key, agent_id, self.at);
        self.become_open(TicketState::Open, self.at);
    }

    pub(super) fn close(&mut self, closed: TicketClosed) -> Result<(), &'static str> {
        const INCOMPLETE: &str = "has no closure with a valid close_time";
        let closure = closed.closure.ok_or(INCOMPLETE)?;
        let closed_at = from_proto(closure.close_time).ok_or(INCOMPLETE)?;
        let ticket = &mut self.record.ticket;
        ticket.closure = Some(TicketClosure {
            closed_at,
            source: closure.source,
            author: closure.author.unwrap_or_default(),
            exit_route: storable(closure.exit_route),
            note: closure
                .note
                .map(|note| (storable(note.category), storable(note.summary))),
        });
        ticket.state = TicketState::Closed.into();
        ticket.tags = storable_list(closed.tags);
        let facts = &mut self.record.facts;
        facts.is_held = false;
        facts.closed(ticket.opened_at, closed_at, self.calendar);
        self.changes
            .deal(ticket.key, facts.assigned_agent_id, closed_at);
        // Whom the close takes away has dealt with the ticket last: it stays his in the history.
        if closed.unassigned_agent_id != 0 {
            ticket.agent_id = closed.unassigned_agent_id;
            facts.assigned_agent_id = 0;
            self.changes
                .deal(ticket.key, closed.unassigned_agent_id, closed_at);
        }
        self.interact(closed_at);
        Ok(())
    }

    /// A close that is superseded never was: the ticket is as the event says, and nothing is counted.
    pub(super) fn reopen(&mut self, reopened: TicketReopened) {
        let ticket = &mut self.record.ticket;
        let facts = &mut self.record.facts;
        let superseded = ticket.closure.take_if(|_| reopened.supersedes_close);
        if let Some(closure) = superseded {
            facts.close_superseded(closure.closed_at, self.calendar);
            ticket.agent_id = reopened.agent_id;
        } else if reopened.agent_id != 0 {
            ticket.agent_id = reopened.agent_id;
        }
        facts.assigned_agent_id = reopened.agent_id;
        self.changes.deal(ticket.key, reopened.agent_id, self.at);
        ticket.tags = storable_list(reopened.tags.clone());
        self.become_open(reopened.state(), self.at);
        if let Some(contact) = reopened.contact {
            self.know_contact(contact);
        }
        self.interact(self.at);
    }

    /// Only open tickets are transferred.
    pub(super) fn transfer(&mut self, transferred: &TicketTransferred) {
        let ticket = &mut self.record.ticket;
        let facts = &mut self.record.facts;
        self.changes
            .deal(ticket.key, facts.assigned_agent_id, self.at);
        facts.assigned_agent_id = 0;
        ticket.queue_id = transferred.queue_id;
        ticket.agent_id = 0;
        self.become_open(TicketState::Waiting, self.at);
    }

    pub(super) fn unlink(&mut self) -> Result<(), &'static str> {
        if self.record.ticket.closure.is_none() {
            return Err("unlinks a ticket that is not closed");
        }
        self.record.ticket.is_unlinked = true;
        Ok(())
    }

    /// A ticket on hold is as open as before.
    pub(super) fn hold(&mut self, is_held: bool) {
        self.record.facts.is_held = is_held;
        self.settle_handling(self.at);
    }

    /// Counts how often the ticket came back from the closed state, whichever event brought it back: a message, an
    /// assignment and a reopening may each come alone or together.
    pub(super) fn become_open(&mut self, state: TicketState, at: jiff::Timestamp) {
        let ticket = &mut self.record.ticket;
        match state {
            TicketState::Waiting | TicketState::Open => {
                let was_closed = ticket.closure.take().is_some();
                ticket.is_unlinked = false;
                ticket.state = state.into();
                if was_closed {
                    ticket.reopen_count += 1;
                    self.record.facts.opened_again();
                    self.interact(at);
                }
                self.settle_handling(at);
            }
            TicketState::Closed | TicketState::Unspecified => {}
        }
    }

    /// Begins or ends a span of handling as the ticket now is. The close ends one by itself.
    fn settle_handling(&mut self, at: jiff::Timestamp) {
        let (ticket, facts) = (&self.record.ticket, &mut self.record.facts);
        if ticket.closure.is_some() {
            return;
        }
        let is_open = ticket.state == i32::from(TicketState::Open);
        let is_handled = is_open && facts.assigned_agent_id != 0 && !facts.is_held;
        facts.set_handled(is_handled, at, self.calendar);
    }

    pub(super) fn interact(&mut self, at: jiff::Timestamp) {
        let (ticket, facts) = (&self.record.ticket, &mut self.record.facts);
        facts.last_interaction_at = facts.last_interaction_at.max(at);
        let contact_id = ticket.contact.contact_id;
        self.changes.interact(ticket.key.tenant_id, contact_id, at);
    }

    /// The ticket belongs to this contact, which is known by these data from now on.
    fn know_contact(&mut self, contact: Contact) {
        let ticket = &mut self.record.ticket;
        ticket.contact = storable_contact(contact);
        let tenant_id = ticket.key.tenant_id;
        let told = ContactTold {
            contact: ticket.contact.clone(),
            told_at: self.at,
            ticket_id: ticket.key.ticket_id,
        };
        self.changes.tell(tenant_id, told);
        // A contact's row has the last interaction in any of its tickets, so each row needs one.
        let seen_at = self.record.facts.last_interaction_at;
        let contact_id = ticket.contact.contact_id;
        self.changes.interact(tenant_id, contact_id, seen_at);
    }

    /// The customer is known by other data, or is another contact after a merge: then the ticket and all that belongs to
    /// it go over, and of the contact before nothing stays.
    pub(super) fn change_contact(&mut self, contact: Contact, previous_contact_id: i64) {
        let key = self.record.ticket.key;
        if previous_contact_id != 0 && previous_contact_id != contact.contact_id {
            self.changes.merge_away(key.tenant_id, previous_contact_id);
        }
        if self.record.ticket.contact.contact_id != contact.contact_id {
            self.changes.moved.push(key);
        }
        self.know_contact(contact);
    }

    pub(super) fn fire(&mut self, stage: i32, cycle_kind: i32, could_act_at: jiff::Timestamp) {
        let ticket = &self.record.ticket;
        self.changes.firings.push(Firing {
            key: ticket.key,
            ticket_seq: ticket.ticket_seq,
            bot_id: ticket.bot_id,
            queue_id: ticket.queue_id,
            stage,
            cycle_kind,
            fired_at: self.at,
            late_ms: plain_ms(could_act_at, self.at),
        });
    }
}
