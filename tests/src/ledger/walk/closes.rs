//! Closes, what they end, and what opens a ticket again.

use plazo_proto::ticketing::v1::{HoldEnd, TicketClosed, TicketReopened};

use super::cycle::Turn;
use super::{Awaited, Pause, Walk};
use crate::ledger::ViolationKind;

impl Walk<'_> {
    pub(super) fn closed(&mut self, closed: &TicketClosed, awaited: Option<Awaited>, at_us: i64) {
        self.expect_of(ViolationKind::Twice, self.is_open, || {
            "closed twice".to_owned()
        });
        self.is_open = false;
        let by_clock = awaited == Some(Awaited::Close);
        self.expect(by_clock == (closed.cycle > 0), || {
            "a close by inactivity and its stage don't belong together".to_owned()
        });
        self.was_closed_by_clock = by_clock;
        if !by_clock {
            let by_people = &mut self.account.closes_by_people;
            *by_people.entry(self.ticket_id).or_default() += 1;
        }
        if by_clock {
            let running = self.cycle.take().map(|cycle| cycle.number);
            self.expect(running == Some(closed.cycle), || {
                format!("cycle {} closed while {running:?} ran", closed.cycle)
            });
            self.account.inactivity_closes += 1;
            self.closing = Some(closed.cycle);
        }
        self.tags_before_close = std::mem::replace(&mut self.tags, closed.tags.clone());
        self.pause_before_close = self.pause;
        self.all_ends(HoldEnd::Closed, at_us);
        if self.pause != Pause::Running {
            self.awaited.push_back(Awaited::Resumption);
        }
        if by_clock {
            self.awaited.push_back(Awaited::ClosingRequest);
        }
    }

    /// A superseded close is followed by the customer's message, and leaves no tags.
    pub(super) fn reopened(&mut self, reopened: &TicketReopened) {
        self.expect(!self.is_open, || "reopened while open".to_owned());
        self.is_open = true;
        self.is_unlinked = false;
        if reopened.supersedes_close {
            self.account.superseded_closes += 1;
            let was_closed_by_clock = std::mem::take(&mut self.was_closed_by_clock);
            self.expect(was_closed_by_clock, || {
                "a close was superseded that is not the clock's".to_owned()
            });
            let are_before = reopened.tags == self.tags_before_close;
            self.expect(are_before, || {
                "a superseded close left other tags behind".to_owned()
            });
            if self.pause == Pause::Running {
                self.awaited.push_back(Awaited::Pause);
            }
            self.awaited.push_back(Awaited::CustomerMessage);
        }
        self.tags.clone_from(&reopened.tags);
    }

    /// A close or a transfer ends everything but the automation's pause.
    pub(super) fn all_ends(&mut self, cause: HoldEnd, at_us: i64) {
        self.cycles_end(at_us);
        self.turn = Turn::Nobody;
        if self.hold_until_us.is_some() {
            self.awaited.push_back(Awaited::HoldEnd(cause));
        }
        self.clear(true, true);
    }
}
