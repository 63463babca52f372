//! The ledger as the owner of its tickets.

use std::time::Duration;

use plazo_proto::timer::v1 as proto;
use plazo_proto::timer::v1::HandleOutcome;

use super::{HANDLED_UNIT_US, IS_TOLD_A_WAIT, Ledger, SharedLedger, State};
use crate::load::handler::{Owner, now_us, proto_timestamp_us};

impl Ledger {
    /// What the timer asks of one ticket.
    pub(in crate::load) fn look(
        &mut self,
        asked: &proto::TicketGeneration,
        now_us: i64,
    ) -> proto::HandledTicket {
        let mut answer = proto::HandledTicket::default();
        let Some(index) = self.index_of(asked) else {
            self.looks.foreign += 1;
            answer.outcome = HandleOutcome::Stale.into();
            return answer;
        };
        let ticket = self.tickets[index];
        let outcome = match ticket.state {
            _ if i64::from(ticket.generation) != asked.generation => {
                self.looks.stale += 1;
                HandleOutcome::Stale
            }
            State::Unopened => HandleOutcome::Stale,
            State::Ended => {
                self.looks.ended += 1;
                HandleOutcome::Already
            }
            State::Fired => {
                let first_us = self.start_us + i64::from(ticket.handled) * HANDLED_UNIT_US;
                self.looks.again(first_us, now_us);
                HandleOutcome::Already
            }
            State::Pending => {
                let late_us = now_us - self.unix_us(ticket.due_ms);
                if late_us >= 0 {
                    self.fire(index, late_us, now_us);
                    HandleOutcome::Fired
                } else {
                    answer.look_again_after = Some(self.look_again(index, now_us, -late_us));
                    HandleOutcome::NotDue
                }
            }
        };
        answer.outcome = outcome.into();
        answer
    }

    /// The timer asks before the ticket is due. After it was told a wait, it can't know the instant to the millisecond.
    fn look_again(&mut self, index: usize, now_us: i64, wait_us: i64) -> prost_types::Duration {
        let ticket = self.tickets[index];
        let earlier_us = self.unix_us(ticket.told_ms) - now_us;
        if earlier_us > 0 && ticket.flags & IS_TOLD_A_WAIT == 0 {
            self.looks.early(earlier_us);
        } else {
            self.looks.postponed += 1;
        }
        self.tickets[index].flags |= IS_TOLD_A_WAIT;
        let wait = Duration::from_micros(u64::try_from(wait_us).unwrap_or(0));
        prost_types::Duration::try_from(wait).unwrap_or_default()
    }

    /// Pending tickets from a place on.
    pub(in crate::load) fn page(
        &self,
        from: u64,
        limit: usize,
    ) -> (Vec<proto::PendingTicket>, Option<u64>) {
        let mut page = Vec::with_capacity(limit);
        let from = usize::try_from(from).unwrap_or(usize::MAX);
        for (index, ticket) in self.tickets.iter().enumerate().skip(from) {
            if ticket.state != State::Pending {
                continue;
            }
            if page.len() == limit {
                return (page, Some(index as u64));
            }
            page.push(proto::PendingTicket {
                ticket: Some(self.name(index)),
                due_time: Some(proto_timestamp_us(self.unix_us(ticket.due_ms))),
            });
        }
        (page, None)
    }

    /// Real ticketing tells that a stage took effect whose cycle was over by then, as far as this side knew: somebody wrote
    /// at the same time.
    pub(in crate::load) fn told_of_overtaken(&mut self) {
        self.looks.stale += 1;
    }

    /// Real ticketing tells that a stage took effect, so much after its instant. Events come a little later than that.
    pub(in crate::load) fn told_of_firing(&mut self, index: usize, late_us: i64, at_us: i64) {
        let Some(ticket) = self.tickets.get(index) else {
            return;
        };
        match ticket.state {
            State::Unopened => {}
            State::Fired => self.counts.fired_twice += 1,
            // It was the customer's answer that came too late.
            State::Ended => self.looks.ended += 1,
            State::Pending => {
                self.counts.fired_early += u64::from(late_us < 0);
                self.fire(index, late_us, at_us);
            }
        }
    }
}

impl Owner for SharedLedger {
    fn handle(
        &self,
        tickets: &[proto::TicketGeneration],
        now_us: i64,
    ) -> Vec<proto::HandledTicket> {
        let mut ledger = self.lock();
        tickets
            .iter()
            .map(|ticket| ledger.look(ticket, now_us))
            .collect()
    }

    fn pending(&self, from: u64, limit: usize) -> (Vec<proto::PendingTicket>, Option<u64>) {
        let mut ledger = self.lock();
        // Before anything is armed there is nothing that a rebuild could bring back.
        if ledger.counts.opened > 0 {
            ledger.faults.rebuild_pages += 1;
            ledger.faults.add(now_us());
        }
        ledger.page(from, limit)
    }
}
