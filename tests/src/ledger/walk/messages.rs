//! What is written: messages, and the cycles that begin with them.

use plazo_proto::common::v1::AuthorKind;
use plazo_proto::ticketing::v1::{CycleKind, CycleStart, MessageKind, MessageRecorded};

use super::cycle::Turn;
use super::{Awaited, Walk};
use crate::traffic::Acknowledged;

impl Walk<'_> {
    pub(super) fn wrote(
        &mut self,
        recorded: &MessageRecorded,
        awaited: Option<Awaited>,
        at_us: i64,
    ) {
        let message = recorded.message.clone().unwrap_or_default();
        let author = message.author.unwrap_or_default().kind();
        let is_chat = matches!(message.kind(), MessageKind::Chat | MessageKind::Unspecified);
        self.account.messages.push(Acknowledged {
            ticket_id: self.ticket_id,
            message_id: message.message_id,
            text: message.text,
        });
        let about_customer = |start: &&CycleStart| start.kind() != CycleKind::AgentSilent;
        let first = recorded.cycles.iter().find(about_customer);
        let number = first.map_or(0, |start| start.cycle);
        self.expect(recorded.started_cycle == number, || {
            let said = recorded.started_cycle;
            format!("a message says that it started cycle {said}, not {number}")
        });
        match author {
            AuthorKind::Agent if is_chat => {
                self.expect_open("written in");
                self.expect_none_over(at_us);
                self.count_found_over(at_us);
                self.turn = Turn::Customer { last_us: at_us };
                self.agent_has_written = true;
                self.side_ends(CycleKind::AgentSilent, at_us);
                let expected = if self.hold_until_us.is_none() {
                    self.side_ends(CycleKind::CustomerSilent, at_us);
                    self.turn.cycles()
                } else {
                    Vec::new()
                };
                self.started(&recorded.cycles, expected);
                self.clear(false, true);
            }
            AuthorKind::Customer if is_chat => {
                self.expect_open("written in");
                self.expect(self.hold_until_us.is_none(), || {
                    "a customer's message did not end the hold".to_owned()
                });
                self.customer_wrote(&recorded.cycles, awaited, at_us);
            }
            _ => self.started(&recorded.cycles, Vec::new()),
        }
    }

    fn customer_wrote(&mut self, starts: &[CycleStart], awaited: Option<Awaited>, at_us: i64) {
        self.count_found_over(at_us);
        let ended_a_hold = awaited == Some(Awaited::CustomerMessage);
        let (since_us, is_first) = match self.turn {
            Turn::Agent { since_us, .. } if !ended_a_hold => (since_us, false),
            _ => (at_us, true),
        };
        self.turn = Turn::Agent {
            since_us,
            last_us: at_us,
        };
        self.side_ends(CycleKind::CustomerWaits, at_us);
        let mut expected = self.turn.cycles();
        expected.retain(|(kind, _)| is_first || *kind != CycleKind::AgentSilent);
        self.started(starts, expected);
        self.clear(true, false);
    }
}
