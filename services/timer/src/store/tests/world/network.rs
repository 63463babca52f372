//! What the owner sends to the timer, and how it arrives: late, twice or never.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::{Allowed, Row, SUPERSEDED_MAX, World};
use crate::entry::{Entry, Member};
use crate::store::tests::model::{Model, SentAck};
use crate::store::tests::steps::Delivery;
use crate::store::{Ack, Arm, LeaseId};

/// A message on its way.
#[derive(Debug, Clone)]
pub(super) enum Message {
    Arms(Vec<Arm>),
    Ack(usize, SentAck),
    Repair(Vec<Entry>),
}

impl World<'_> {
    pub(super) async fn relay(&mut self, group: u8, delivery: Delivery, allowed: &mut Allowed) {
        let mut arms = Vec::new();
        for index in self.group(group) {
            let row = self.rows[index];
            if row.armed_generation == row.generation {
                continue;
            }
            let oldest = row
                .armed_generation
                .max(row.generation - SUPERSEDED_MAX)
                .max(1);
            arms.push(Arm {
                member: row.member(),
                due_ms: row.next_ms,
                first_superseded: Some(oldest),
            });
        }
        if arms.is_empty() {
            return;
        }
        self.send(Message::Arms(arms.clone()), delivery, allowed)
            .await;
        if matches!(delivery, Delivery::Once | Delivery::Twice) {
            for arm in arms {
                let row = self.row_of(&arm.member);
                row.armed_generation = row.armed_generation.max(arm.member.generation);
            }
        }
    }

    pub(super) async fn send(
        &mut self,
        message: Message,
        delivery: Delivery,
        allowed: &mut Allowed,
    ) {
        if matches!(delivery, Delivery::Twice | Delivery::Late) {
            self.network.push(message.clone());
        }
        if matches!(delivery, Delivery::Once | Delivery::Twice) {
            self.deliver(message, allowed).await;
        }
    }

    pub(super) async fn arrive(&mut self, message: u8, again: bool, allowed: &mut Allowed) {
        if self.network.is_empty() {
            return;
        }
        let index = usize::from(message) % self.network.len();
        let message = if again {
            self.network[index].clone()
        } else {
            self.network.swap_remove(index)
        };
        self.deliver(message, allowed).await;
    }

    async fn deliver(&mut self, message: Message, allowed: &mut Allowed) {
        match message {
            Message::Arms(arms) => self.deliver_arms(&arms, allowed).await,
            Message::Ack(place, ack) => self.deliver_ack(place, &ack, allowed).await,
            Message::Repair(entries) => self.deliver_repair(&entries).await,
        }
    }

    async fn deliver_arms(&mut self, arms: &[Arm], allowed: &mut Allowed) {
        let has_failures: Vec<_> = self.models.iter().map(Model::has_failures).collect();
        let armed = self
            .store
            .arm(arms, |shard| has_failures[shard.index()])
            .await;
        assert!(armed.iter().all(|armed| armed.outcome.is_ok()));
        for arm in arms {
            let model = &mut self.models[self.store.place_of(&arm.member)];
            let first = arm.first_superseded.expect("the relay says it");
            model.arm(arm.member, arm.due_ms, first);
            allowed.insert(arm.member);
        }
    }

    async fn deliver_repair(&mut self, entries: &[Entry]) {
        let repaired: Vec<_> = self
            .store
            .repair(entries)
            .await
            .into_iter()
            .map(|(shard, repaired)| (shard, repaired.expect("repairing works")))
            .collect();
        let found: i64 = repaired.iter().map(|(_, repaired)| repaired.added).sum();
        let mut by_place: BTreeMap<usize, Vec<Entry>> = BTreeMap::new();
        for entry in entries {
            let place = self.store.place_of(&entry.member);
            by_place.entry(place).or_default().push(*entry);
        }
        let mut expected = 0;
        for (place, entries) in by_place {
            let (added, first) = self.models[place].repair(&entries);
            expected += added;
            let found_first = repaired
                .iter()
                .filter(|(shard, _)| shard.index() == place)
                .filter_map(|(_, repaired)| repaired.first_due_ms)
                .min();
            assert_eq!(found_first, first, "the first of what was missing");
        }
        assert_eq!(found, expected, "how many were missing");
    }

    pub(super) async fn rebuild(&mut self, allowed: &mut Allowed) {
        let entries: Vec<_> = self.rows.iter().filter_map(Row::entry).collect();
        self.deliver_repair(&entries).await;
        // What is in the copy was allowed when it came about.
        allowed.extend(self.rows.iter().map(Row::member));
        for model in &self.models {
            allowed.extend(model.state.due.keys());
        }
    }

    async fn deliver_ack(&mut self, place: usize, sent: &SentAck, allowed: &mut Allowed) {
        let now = Instant::now();
        let at = |at_ms| {
            let delay_us = u64::try_from(sent.delay_us(at_ms)).expect("it lies ahead");
            now + Duration::from_micros(delay_us)
        };
        let lease_id = LeaseId {
            name: sent.lease.clone(),
            claimed_us: sent.sent_us,
            answered_at: now,
        };
        let failed = sent.failed.iter();
        let given_up = sent.given_up.iter();
        let put = |(member, at_ms): &(Member, i64)| (*member, at(*at_ms));
        let ack = Ack {
            again: sent.again.iter().map(put).collect(),
            back: sent.back.iter().map(put).collect(),
            failed: failed.map(|(m, at_ms, n)| (*m, at(*at_ms), *n)).collect(),
            given_up: given_up
                .map(|(m, at_ms, why)| (*m, at(*at_ms), why.clone()))
                .collect(),
            over: sent.over.clone(),
            ..Ack::new(self.store.shard_at(place), lease_id)
        };
        let acked = self.store.ack(&[ack]).await.remove(0);
        let acked = acked.expect("acking works");
        let (was_held, put_off) = self.models[place].ack(sent);
        assert_eq!(acked.was_held, was_held);
        for member in put_off {
            // Until about then; the exact instant is in the score.
            let until_ms = self.models[place].state.due[&member];
            self.note_put_off(member, until_ms);
        }
        // An instant that has passed meanwhile is as good as the present.
        for (member, _) in &sent.again {
            self.note_put_off(*member, self.now_ms());
        }
        allowed.extend(sent.again.iter().map(|(member, _)| *member));
        allowed.extend(sent.back.iter().map(|(member, _)| *member));
        allowed.extend(sent.failed.iter().map(|(member, ..)| *member));
        allowed.extend(sent.given_up.iter().map(|(member, ..)| *member));
    }
}
