//! Holds, and how they end.
//!
//! A hold that is over may be noticed late: by the timer, or by the first message before it. Whoever it is, what counted
//! before the hold counts from the hold's own end. What a message then ends again was running until that moment, and is
//! judged like any other cycle.

use plazo_proto::ticketing::v1::{HoldEnd, HoldEnded, TicketHeld};

use super::{Awaited, Walk};
use crate::ledger::ViolationKind;
use crate::truth::us_of;

impl Walk<'_> {
    /// An open ticket is put on hold, or its hold gets another end.
    pub(super) fn held(&mut self, event: &TicketHeld, at_us: i64) {
        self.expect_open("put on hold");
        *self.account.holds.entry(self.ticket_id).or_default() += 1;
        let is_over = self.hold_until_us.is_some_and(|until_us| until_us <= at_us);
        self.expect(!is_over, || {
            "what changed a hold did not notice that it was over".to_owned()
        });
        self.cycles_end(at_us);
        self.clear(true, true);
        let hold = event.hold.clone().unwrap_or_default();
        let until_us = us_of(hold.end_time.as_ref());
        self.expect(until_us > at_us, || "a hold without a length".to_owned());
        let since_us = us_of(hold.start_time.as_ref());
        let began_us = *self.hold_since_us.get_or_insert(at_us);
        self.expect(since_us == began_us, || {
            format!("a hold of {began_us} says that it began at {since_us}")
        });
        self.hold_until_us = Some(until_us);
    }

    pub(super) fn hold_ended(&mut self, ended: &HoldEnded, awaited: Option<Awaited>, at_us: i64) {
        let (cause, due_us) = (ended.cause(), us_of(ended.due_time.as_ref()));
        self.expect(self.hold_until_us == Some(due_us), || {
            format!("a hold ended that was due at {due_us}")
        });
        if cause == HoldEnd::Expired {
            self.expect_on_time("the end of a hold", due_us, at_us);
        } else {
            self.expect_noticed(at_us);
        }
        self.hold_until_us = None;
        self.hold_since_us = None;
        let restart_us = match cause {
            // Who resumes a hold that is over changes nothing about when it was over.
            HoldEnd::Resumed => Some(at_us.min(due_us)),
            HoldEnd::Expired => {
                self.account.expired_holds += 1;
                self.expired_us = Some(at_us);
                Some(due_us)
            }
            HoldEnd::CustomerWrote => {
                self.expect(at_us < due_us, || {
                    "the customer ended a hold that was over".to_owned()
                });
                self.awaited.push_back(Awaited::CustomerMessage);
                None
            }
            HoldEnd::Closed | HoldEnd::Transferred | HoldEnd::Unspecified => {
                let is_awaited = awaited == Some(Awaited::HoldEnd(cause));
                self.expect(is_awaited, || {
                    format!("a hold ended by {cause:?} for nothing")
                });
                None
            }
        };
        let expected = match restart_us {
            Some(restart_us) => {
                self.turn = self.turn.restarted(restart_us);
                self.turn.cycles()
            }
            None => Vec::new(),
        };
        self.started(&ended.cycles, expected);
    }

    /// The end of a hold that was over by now must have been noticed, or be no longer overdue than is allowed.
    pub(super) fn expect_noticed(&mut self, at_us: i64) {
        let late_us = self.hold_until_us.map_or(0, |until_us| at_us - until_us);
        let is_lost = late_us > self.lateness_max_us;
        self.expect_of(ViolationKind::Lost, !is_lost, || {
            format!("the end of a hold is lost: {late_us} µs overdue")
        });
    }

    /// A message at this instant: whether it found a hold over is told in one transaction with it.
    pub(super) fn count_found_over(&mut self, at_us: i64) {
        if self.expired_us.take() == Some(at_us) {
            self.account.found_over_holds += 1;
        }
    }

    /// A message comes after the end of a hold has been noticed, even if it had to be by the message itself.
    pub(super) fn expect_none_over(&mut self, at_us: i64) {
        let is_over = self.hold_until_us.is_some_and(|until_us| until_us <= at_us);
        self.expect(!is_over, || {
            "a message did not notice that the hold was over".to_owned()
        });
    }
}
