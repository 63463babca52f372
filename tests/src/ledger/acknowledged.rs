//! What callers were told was done, held against what is there.

use std::collections::{BTreeMap, BTreeSet};

use crate::ledger::{Account, ViolationKind};
use crate::traffic::{Acknowledged, Done};

impl Account {
    /// Judges that exactly what the callers were told was done is there: messages, tickets, closes and holds, each once, and
    /// nothing else but the `seeded` tickets with a message each. Only for runs in which every call was repeated until
    /// it was answered.
    pub fn judge_acknowledged(&mut self, done: &Done, seeded: usize) {
        self.judge_messages(done);
        self.judge_openings(done);
        self.judge_counts("closed", &done.closed, &self.closes_by_people.clone());
        self.judge_counts("put on hold", &done.held, &self.holds.clone());
        for (what, there, told) in [
            ("messages", self.messages.len(), done.messages.len()),
            ("tickets", self.tickets.len(), done.opened.len()),
        ] {
            if there > told + seeded {
                let more = there - told - seeded;
                let text = format!("{more} {what} are there that nobody was told of");
                self.violate(ViolationKind::Twice, text);
            }
        }
    }

    fn judge_messages(&mut self, done: &Done) {
        let kept: BTreeMap<&str, &Acknowledged> = self
            .messages
            .iter()
            .map(|message| (message.text.as_str(), message))
            .collect();
        let is_missing = |message: &&Acknowledged| kept.get(message.text.as_str()) != Some(message);
        let missing: Vec<_> = done.messages.iter().filter(is_missing).collect();
        for message in missing {
            let text = format!("{message:?} was acknowledged and is not there");
            self.violate(ViolationKind::Lost, text);
        }
    }

    fn judge_openings(&mut self, done: &Done) {
        let mut opened: BTreeSet<i64> = BTreeSet::new();
        for ticket_id in &done.opened {
            if !self.tickets.contains(ticket_id) {
                let text = format!("ticket {ticket_id} was opened and is not there");
                self.violate(ViolationKind::Lost, text);
            }
            if !opened.insert(*ticket_id) {
                let text = format!("ticket {ticket_id} was the answer to two requests");
                self.violate(ViolationKind::Wrong, text);
            }
        }
    }

    /// What was done to tickets, as often as it was told.
    fn judge_counts(&mut self, what: &str, done: &[i64], kept: &BTreeMap<i64, usize>) {
        let mut told: BTreeMap<i64, usize> = BTreeMap::new();
        for ticket_id in done {
            *told.entry(*ticket_id).or_default() += 1;
        }
        let touched: BTreeSet<&i64> = told.keys().chain(kept.keys()).collect();
        for ticket_id in touched {
            let count = |of: &BTreeMap<i64, usize>| of.get(ticket_id).copied().unwrap_or_default();
            let (there, told) = (count(kept), count(&told));
            let kind = match there.cmp(&told) {
                std::cmp::Ordering::Less => ViolationKind::Lost,
                std::cmp::Ordering::Greater => ViolationKind::Twice,
                std::cmp::Ordering::Equal => continue,
            };
            let text = format!("ticket {ticket_id} was {what} {there} times, and {told} were told");
            self.violate(kind, text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(number: i64) -> Acknowledged {
        Acknowledged {
            ticket_id: number,
            message_id: 100 + number,
            text: number.to_string(),
        }
    }

    /// One seeded ticket with a message, and one that was opened, written in, put on hold twice and closed.
    fn run() -> (Account, Done) {
        let account = Account {
            messages: vec![message(1), message(2)],
            tickets: [1, 2].into(),
            closes_by_people: [(2, 1)].into(),
            holds: [(2, 2)].into(),
            ..Account::default()
        };
        let done = Done {
            messages: vec![message(2)],
            opened: vec![2],
            closed: vec![2],
            held: vec![2, 2],
            ..Done::default()
        };
        (account, done)
    }

    fn judged(change: impl FnOnce(&mut Account, &mut Done)) -> Vec<ViolationKind> {
        let (mut account, mut done) = run();
        change(&mut account, &mut done);
        account.judge_acknowledged(&done, 1);
        let kinds = account.violations().iter().map(|violation| violation.kind);
        kinds.collect()
    }

    #[test]
    fn what_was_acknowledged_must_be_there_once_and_nothing_else() {
        use ViolationKind::{Lost, Twice, Wrong};
        assert_eq!(judged(|_, _| {}), []);
        assert_eq!(judged(|_, done| done.messages.push(message(3))), [Lost]);
        let another_id = |_: &mut Account, done: &mut Done| done.messages[0].message_id += 1;
        assert_eq!(judged(another_id), [Lost]);
        assert_eq!(judged(|_, done| done.opened.push(3)), [Lost]);
        assert_eq!(judged(|_, done| done.opened.push(2)), [Wrong]);
        assert_eq!(judged(|_, done| done.closed.push(2)), [Lost]);
        assert_eq!(judged(|_, done| done.closed.clear()), [Twice]);
        assert_eq!(judged(|_, done| done.held.push(2)), [Lost]);
        assert_eq!(judged(|_, done| done.held.truncate(1)), [Twice]);
        assert_eq!(
            judged(|account, _| account.messages.push(message(4))),
            [Twice]
        );
        assert_eq!(
            judged(|account, _| {
                account.tickets.insert(4);
            }),
            [Twice]
        );
    }
}
