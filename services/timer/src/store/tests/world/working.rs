//! Timers that claim, and what their handlers make of the batches.

use super::checks::check_batch;
use super::network::Message;
use super::{Allowed, QUARANTINE_RETRY_MS, TICK_MS, World};
use crate::entry::{GivenUp, Member};
use crate::store::tests::model::SentAck;
use crate::store::tests::steps::{ClaimFate, Delivery, Handling};
use crate::store::{Claim, Claimed, ClaimedEntry};

impl World<'_> {
    pub(super) async fn claim(
        &mut self,
        place: usize,
        limit: usize,
        fate: ClaimFate,
        allowed: &mut Allowed,
    ) {
        let shard = self.store.shard_at(place);
        let place = shard.index();
        self.next_claim += 1;
        let claim = Claim {
            shard,
            id: format!("replica:{}", self.next_claim),
            limit,
        };
        let times = if fate == ClaimFate::Doubled { 2 } else { 1 };
        let claims = vec![claim.clone(); times];
        if fate == ClaimFate::Lost {
            self.lost.push(claim.clone());
        }
        let answers = self.store.claim(&claims, self.rules).await;
        for (number, answer) in answers.into_iter().enumerate() {
            let claimed = answer.expect("claiming works");
            let model = &mut self.models[place];
            let expected = model.claim(claimed.redis_us, &claim.id, limit, self.rules);
            allowed.extend(&expected.returned);
            assert_eq!(claimed.entries, expected.entries);
            assert_eq!(claimed.next_due_ms, expected.next_due_ms);
            assert_eq!(claimed.next_lease_end_ms, expected.next_lease_end_ms);
            assert_eq!(claimed.ended_leases, expected.ended_leases);
            assert_eq!(claimed.quarantined, expected.quarantined);
            check_batch(&claimed, limit, self.rules.attempts_max);
            let is_last = number + 1 == times;
            if is_last && fate != ClaimFate::Lost && !claimed.entries.is_empty() {
                self.batches.push((place, claimed));
            }
        }
    }

    /// It may be given back before and after its lease has ended, and more than once.
    pub(super) async fn give_back(&mut self, claim: u8, allowed: &mut Allowed) {
        if self.lost.is_empty() {
            return;
        }
        let claim = &self.lost[usize::from(claim) % self.lost.len()];
        let answer = self.store.give_back(&[claim]).await.remove(0);
        let given_back = answer.expect("it is given back");
        let model = &mut self.models[claim.shard.index()];
        let returned = model.give_back(&claim.id);
        assert_eq!(usize::try_from(given_back.count), Ok(returned.len()));
        assert_eq!(
            given_back.next_due_ms,
            model.state.due.values().min().copied()
        );
        allowed.extend(&returned);
    }

    pub(super) async fn handle(
        &mut self,
        (place, claimed): (usize, Claimed),
        handling: Handling,
        ticks: i64,
        delivery: Delivery,
        allowed: &mut Allowed,
    ) {
        if handling == Handling::Dies {
            return;
        }
        let mut ack = SentAck {
            lease: claimed.lease_id.name.clone(),
            sent_us: self.time_us,
            ..SentAck::default()
        };
        let now_ms = self.now_ms();
        for (index, claimed) in claimed.entries.iter().enumerate() {
            let member = claimed.entry.member;
            let is_picked = index % 2 == 0;
            match handling {
                Handling::Down => ack.back.push((member, now_ms + TICK_MS / 2)),
                Handling::Busy if is_picked => ack.back.push((member, now_ms + 2)),
                Handling::Fails => self.fail(&mut ack, claimed, now_ms),
                Handling::Errors if is_picked => {
                    self.fail(&mut ack, claimed, now_ms);
                }
                _ => {
                    self.look_at(member, ticks, &mut ack);
                    if claimed.failed_attempts > 0 {
                        ack.over.push(member);
                    }
                }
            }
        }
        self.send(Message::Ack(place, ack), delivery, allowed).await;
    }

    fn fail(&mut self, ack: &mut SentAck, claimed: &ClaimedEntry, now_ms: i64) {
        let entry = claimed.entry;
        let failed_attempts = claimed.failed_attempts + 1;
        if failed_attempts < self.rules.attempts_max {
            ack.failed
                .push((entry.member, now_ms + TICK_MS, failed_attempts));
            return;
        }
        let retry_ms = i64::try_from(QUARANTINE_RETRY_MS).expect("it is short");
        let given_up = GivenUp {
            due_ms: entry.due_ms,
            failed_attempts,
            reason: "TEST".to_owned(),
        };
        ack.given_up
            .push((entry.member, now_ms + retry_ms, given_up));
        self.given_up += 1;
    }

    /// What the owner does with a ticket that it is asked about.
    fn look_at(&mut self, member: Member, ticks: i64, ack: &mut SentAck) {
        let now_ms = self.now_ms();
        let mut fired = 0;
        let row = self.row_of(&member);
        if row.generation != member.generation {
            return;
        }
        if row.next_ms.is_some_and(|next_ms| next_ms <= now_ms) {
            row.next_ms = (ticks > 0).then_some(now_ms + ticks * TICK_MS);
            fired = 1;
        }
        if let Some(next_ms) = row.next_ms {
            ack.again.push((member, next_ms));
        }
        self.fired += fired;
    }
}
