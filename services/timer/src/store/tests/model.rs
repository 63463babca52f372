//! A naive model of a shard: what DESIGN says that arming, claiming, acknowledging and repairing do, on maps.

use std::collections::BTreeMap;

use super::state::ShardState;
use crate::entry::{Entry, GivenUp, Member};
use crate::store::{ClaimRules, ClaimedEntry};

/// Ended leases that one claim takes back.
const ENDED_MAX: usize = 4;
/// An ack that was on its way for longer is reckoned from its sending.
const SHORT_WAY_US: i64 = 50_000;

/// What follows for the members of a lease, with instants in Unix milliseconds by the clock of Redis.
#[derive(Debug, Clone, Default)]
pub(super) struct SentAck {
    pub(super) lease: String,
    pub(super) again: Vec<(Member, i64)>,
    pub(super) back: Vec<(Member, i64)>,
    pub(super) failed: Vec<(Member, i64, u32)>,
    pub(super) given_up: Vec<(Member, i64, GivenUp)>,
    pub(super) over: Vec<Member>,
    /// The time of Redis in microseconds when it was sent.
    pub(super) sent_us: i64,
}

impl SentAck {
    pub(super) fn shift(&mut self, by_ms: i64) {
        for (_, at) in self.again.iter_mut().chain(&mut self.back) {
            *at -= by_ms;
        }
        for (_, at, _) in &mut self.failed {
            *at -= by_ms;
        }
        for (_, at, given_up) in &mut self.given_up {
            *at -= by_ms;
            given_up.due_ms -= by_ms;
        }
        self.sent_us -= by_ms * 1_000;
    }

    /// How long after the sending, in microseconds; at least a millisecond, as the store sees to.
    pub(super) fn delay_us(&self, at_ms: i64) -> i64 {
        (at_ms * 1_000 - self.sent_us).max(1_000)
    }
}

/// What a claim must answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ExpectedClaim {
    pub(super) entries: Vec<ClaimedEntry>,
    pub(super) next_due_ms: Option<i64>,
    pub(super) next_lease_end_ms: Option<i64>,
    pub(super) ended_leases: i64,
    pub(super) quarantined: i64,
    /// Members that came out of ended leases.
    pub(super) returned: Vec<Member>,
}

/// A score that Redis made from its own time, which lay between two known instants.
#[derive(Debug, Clone, Copy)]
enum Unsure {
    /// The present.
    Now,
    /// So many microseconds after an instant, or after the present when that is near.
    After { from_us: i64, delay_us: i64 },
}

impl Unsure {
    fn bounds(self, (first_us, last_us): (i64, i64)) -> (i64, i64) {
        match self {
            Self::Now => (first_us / 1_000, last_us / 1_000),
            Self::After { from_us, delay_us } => {
                let score = |from_us: i64, now_us: i64| {
                    let instant = (from_us + delay_us + 999).div_euclid(1_000);
                    instant.max(now_us / 1_000 + 1)
                };
                let low = score(from_us.min(first_us) - 1, first_us);
                if first_us - from_us > SHORT_WAY_US {
                    (low, score(from_us, last_us))
                } else {
                    (low, score(last_us, last_us))
                }
            }
        }
    }
}

/// The model of one shard.
#[derive(Debug, Clone, Default)]
pub(super) struct Model {
    pub(super) state: ShardState,
    unsure_due: BTreeMap<Member, Unsure>,
    unsure_quarantine: BTreeMap<Member, Unsure>,
}

impl Model {
    pub(super) fn has_failures(&self) -> bool {
        !self.state.attempts.is_empty() || !self.state.quarantine.is_empty()
    }

    pub(super) fn arm(&mut self, member: Member, due_ms: Option<i64>, first_superseded: i64) {
        if let Some(due_ms) = due_ms {
            self.state.due.insert(member, due_ms);
        }
        for generation in first_superseded..member.generation {
            let older = Member {
                generation,
                ..member
            };
            self.state.due.remove(&older);
            self.state.quarantine.remove(&older);
            self.state.quarantined.remove(&older);
            self.state.attempts.remove(&older);
        }
    }

    pub(super) fn claim(
        &mut self,
        redis_us: i64,
        claim_id: &str,
        limit: usize,
        rules: ClaimRules,
    ) -> ExpectedClaim {
        let now_ms = redis_us / 1_000;
        let mut ended: Vec<_> = self
            .state
            .leases
            .iter()
            .filter(|(_, end)| **end <= now_ms)
            .map(|(name, end)| (*end, name.clone()))
            .collect();
        ended.sort();
        ended.truncate(ENDED_MAX);
        let mut quarantined = 0;
        let mut returned = Vec::new();
        for (_, name) in &ended {
            self.state.leases.remove(name);
            for entry in self.state.leased.remove(name).unwrap_or_default() {
                returned.push(entry.member);
                quarantined += self.end_lease_of(entry, now_ms, rules);
            }
        }

        let mut due: Vec<_> = self
            .state
            .due
            .iter()
            .filter(|(_, score)| **score <= now_ms)
            .map(|(member, score)| (*score, *member))
            .collect();
        due.sort();
        due.truncate(limit);
        let entries = self.batch_of(&due, limit, rules.attempts_max);
        let lease: Vec<_> = entries.iter().map(|claimed| claimed.entry).collect();
        if !lease.is_empty() {
            for entry in &lease {
                self.state.due.remove(&entry.member);
            }
            let name = format!("{claim_id}:{redis_us}");
            let lease_ms = i64::try_from(rules.lease_ms).expect("it is short");
            self.state.leases.insert(name.clone(), now_ms + lease_ms);
            self.state.leased.insert(name, lease);
        }
        ExpectedClaim {
            entries,
            next_due_ms: self.state.due.values().min().copied(),
            next_lease_end_ms: self.state.leases.values().min().copied(),
            ended_leases: i64::try_from(ended.len()).expect("few"),
            quarantined,
            returned,
        }
    }

    /// Gives back what a claim took. Returns the members.
    pub(super) fn give_back(&mut self, claim_id: &str) -> Vec<Member> {
        let is_its_own = |name: &str| {
            let rest = name.strip_prefix(claim_id);
            rest.is_some_and(|rest| rest.starts_with(':'))
        };
        self.state.leases.retain(|name, _| !is_its_own(name));
        let mut returned = Vec::new();
        let names: Vec<_> = self.state.leased.keys().cloned().collect();
        for name in names.into_iter().filter(|name| is_its_own(name)) {
            for entry in self.state.leased.remove(&name).unwrap_or_default() {
                returned.push(entry.member);
                self.state.due.entry(entry.member).or_insert(entry.due_ms);
            }
        }
        returned
    }

    /// The member counts a failed attempt. Returns how many went into quarantine.
    fn end_lease_of(&mut self, entry: Entry, now_ms: i64, rules: ClaimRules) -> i64 {
        let member = entry.member;
        let failed_attempts = self.state.attempts.get(&member).copied().unwrap_or(0) + 1;
        if failed_attempts < rules.attempts_max {
            self.state.attempts.insert(member, failed_attempts);
            self.state.due.entry(member).or_insert(entry.due_ms);
            return 0;
        }
        self.state.attempts.remove(&member);
        let retry_ms = i64::try_from(rules.quarantine_retry_ms).expect("it is short");
        self.state.quarantine.insert(member, now_ms + retry_ms);
        let given_up = GivenUp {
            due_ms: entry.due_ms,
            failed_attempts,
            reason: "LEASE_ENDED".to_owned(),
        };
        self.state.quarantined.insert(member, given_up);
        1
    }

    /// Those that failed before, or those that didn't, as the first one; the more they failed, the fewer.
    fn batch_of(
        &self,
        due: &[(i64, Member)],
        limit: usize,
        attempts_max: u32,
    ) -> Vec<ClaimedEntry> {
        let failed = |member: &Member| self.state.attempts.get(member).copied().unwrap_or(0);
        let mut batch = Vec::new();
        let mut most_failed = 0;
        for (due_ms, member) in due {
            let failed_attempts = failed(member);
            if (failed_attempts > 0) != (failed(&due[0].1) > 0) {
                continue;
            }
            let most = most_failed.max(failed_attempts);
            if batch.len() < size_after(most, limit, attempts_max) {
                most_failed = most;
                let entry = Entry {
                    member: *member,
                    due_ms: *due_ms,
                };
                batch.push(ClaimedEntry {
                    entry,
                    failed_attempts,
                });
            }
        }
        batch
    }

    /// Returns whether the lease was there, and the members that were put off.
    pub(super) fn ack(&mut self, ack: &SentAck) -> (bool, Vec<Member>) {
        let unsure = |at_ms| Unsure::After {
            from_us: ack.sent_us,
            delay_us: ack.delay_us(at_ms),
        };
        let held = self.state.leased.remove(&ack.lease).is_some();
        self.state.leases.remove(&ack.lease);
        let mut put_off = Vec::new();
        for (member, at_ms) in &ack.again {
            self.state.due.insert(*member, *at_ms);
            self.unsure_due.insert(*member, unsure(*at_ms));
        }
        if held {
            let failed = ack.failed.iter().map(|(member, at_ms, _)| (member, at_ms));
            let back = ack.back.iter().map(|(member, at_ms)| (member, at_ms));
            for (member, at_ms) in back.chain(failed) {
                if !self.state.due.contains_key(member) {
                    self.state.due.insert(*member, *at_ms);
                    self.unsure_due.insert(*member, unsure(*at_ms));
                    put_off.push(*member);
                }
            }
            for (member, _, failed_attempts) in &ack.failed {
                self.state.attempts.insert(*member, *failed_attempts);
            }
            for (member, at_ms, given_up) in &ack.given_up {
                self.state.quarantine.insert(*member, *at_ms);
                self.unsure_quarantine.insert(*member, unsure(*at_ms));
                self.state.quarantined.insert(*member, given_up.clone());
                self.state.attempts.remove(member);
            }
        }
        for member in &ack.over {
            self.state.attempts.remove(member);
        }
        (held, put_off)
    }

    /// Returns how many were missing, and the first of them.
    pub(super) fn repair(&mut self, entries: &[Entry]) -> (i64, Option<i64>) {
        let missing: Vec<_> = entries
            .iter()
            .filter(|entry| {
                let member = &entry.member;
                !self.state.due.contains_key(member)
                    && !self.state.is_leased(member)
                    && !self.state.quarantine.contains_key(member)
            })
            .copied()
            .collect();
        for entry in &missing {
            self.state.due.insert(entry.member, entry.due_ms);
        }
        let first = missing.iter().map(|entry| entry.due_ms).min();
        (i64::try_from(missing.len()).expect("few"), first)
    }

    /// Those of the members that are in quarantine become due; returns them.
    pub(super) fn release(&mut self, members: &[Member], kept_attempts: u32) -> Vec<Member> {
        let mut released = Vec::new();
        for member in members {
            if self.state.quarantine.remove(member).is_none() {
                continue;
            }
            self.state.quarantined.remove(member);
            if !self.state.due.contains_key(member) {
                self.state.due.insert(*member, 0);
                self.unsure_due.insert(*member, Unsure::Now);
            }
            if kept_attempts > 0 {
                self.state.attempts.insert(*member, kept_attempts);
            } else {
                self.state.attempts.remove(member);
            }
            released.push(*member);
        }
        released
    }

    /// The members in quarantine whose time to be tried again has come, the first ones.
    pub(super) fn to_retry(&self, now_ms: i64, limit: usize) -> Vec<Member> {
        let mut members: Vec<_> = self
            .state
            .quarantine
            .iter()
            .filter(|(_, at)| **at <= now_ms)
            .map(|(member, at)| (*at, *member))
            .collect();
        members.sort();
        members.truncate(limit);
        members.into_iter().map(|(_, member)| member).collect()
    }

    pub(super) fn end_leases(&mut self) {
        for end in self.state.leases.values_mut() {
            *end = 0;
        }
    }

    /// Compares with what Redis holds after a step that took place between two instants in microseconds, and takes over
    /// the scores that depend on when exactly that was.
    pub(super) fn settle(&mut self, found: &ShardState, between: (i64, i64)) {
        let unsure = [
            (&mut self.unsure_due, &mut self.state.due, &found.due),
            (
                &mut self.unsure_quarantine,
                &mut self.state.quarantine,
                &found.quarantine,
            ),
        ];
        for (unsure, expected, found) in unsure {
            for (member, score) in std::mem::take(unsure) {
                let (low, high) = score.bounds(between);
                if let (Some(expected), Some(found)) =
                    (expected.get_mut(&member), found.get(&member))
                {
                    assert!(
                        (low..=high).contains(found),
                        "the score of {member:?} is {found}, not in {low}..={high}: {score:?}"
                    );
                    *expected = *found;
                }
            }
        }
        assert_eq!(self.state, *found, "the model (left) differs from Redis");
    }
}

/// The largest batch of members with so many failures: each failure makes it smaller by the same factor, down to one when
/// the next failure is the last.
fn size_after(failed: u32, limit: usize, attempts_max: u32) -> usize {
    let steps = attempts_max.saturating_sub(1);
    let left = steps.saturating_sub(failed);
    let fits = |size: &usize| size.pow(steps) <= limit.pow(left);
    match failed {
        0 => limit,
        _ => (1..=limit)
            .take_while(fits)
            .last()
            .filter(|_| left > 0)
            .unwrap_or(1),
    }
}
