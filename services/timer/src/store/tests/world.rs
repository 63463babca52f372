//! An owner of tickets, timers, and a network that delays and repeats, around a real Redis and its model.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use super::model::{Model, SentAck};
use super::state::ShardState;
use super::steps::{ClaimFate, Delivery, Handling, Step};
use crate::entry::{Entry, GivenUp, Member};
use crate::store::{Ack, Arm, Claim, ClaimRules, Claimed, ClaimedEntry, LeaseId, Store};

/// All that takes long takes a multiple of this; what a test takes by itself is far less.
const TICK_MS: i64 = 1_000_000;
/// A score may be later than it should by what a step takes in reality.
const TOLERANCE_MS: i64 = TICK_MS / 4;
const LEASE_MS: u64 = 1_500_000;
const QUARANTINE_RETRY_MS: u64 = 5_000_000;
/// The relay removes so many older generations at most.
const SUPERSEDED_MAX: i64 = 16;

/// After so many rounds without faults everything must have ended: leases, then quarantine, then its next try.
const ROUNDS_MAX: usize = 6;

/// How many tickets there are, in groups that do everything together.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    pub(super) groups: usize,
    /// Tickets in a group.
    pub(super) each: usize,
    /// The limits of claims.
    pub(super) limits: &'static [usize],
}

/// The owner's row of a ticket. Within a generation its instant never falls, and none stays none.
#[derive(Debug, Clone, Copy)]
struct Row {
    tenant_id: i64,
    ticket_id: i64,
    generation: i64,
    next_ms: Option<i64>,
    armed_generation: i64,
}

impl Row {
    fn member(&self) -> Member {
        Member {
            tenant_id: self.tenant_id,
            ticket_id: self.ticket_id,
            generation: self.generation,
        }
    }

    fn entry(&self) -> Option<Entry> {
        let due_ms = self.next_ms?;
        Some(Entry {
            member: self.member(),
            due_ms,
        })
    }
}

/// A message on its way.
#[derive(Debug, Clone)]
enum Message {
    Arms(Vec<Arm>),
    Ack(usize, SentAck),
    Repair(Vec<Entry>),
}

/// Members that a step may make due although they are in quarantine, or the other way round: they were armed, or left a
/// lease whose holder knew nothing of another one.
type Allowed = BTreeSet<Member>;

/// The whole of it.
pub(super) struct World<'a> {
    store: &'a Store,
    size: Size,
    rules: ClaimRules,
    rows: Vec<Row>,
    network: Vec<Message>,
    /// Claims whose answers were lost.
    lost: Vec<Claim>,
    /// Claimed batches that nobody has handled yet.
    batches: Vec<(usize, Claimed)>,
    models: Vec<Model>,
    /// The models as of the last copy.
    copy: Option<Vec<Model>>,
    /// Members that were put off, and until when: the handler was busy, or failed.
    put_off: BTreeMap<Member, i64>,
    /// Members that are both due and in quarantine.
    both: BTreeSet<Member>,
    /// The time of Redis in microseconds, when it was last read.
    time_us: i64,
    next_claim: u64,
    /// How often something fired.
    pub(super) fired: usize,
    /// How often something was given up.
    pub(super) given_up: usize,
}

impl<'a> World<'a> {
    pub(super) async fn new(store: &'a Store, size: Size, attempts_max: u32) -> Self {
        store.wipe().await;
        store.copy(false).await;
        let (time_us, states) = store.read_all().await;
        let ids = 1..=i64::try_from(size.groups * size.each).expect("few");
        let rows = ids.map(|ticket_id| Row {
            tenant_id: 1 + ticket_id % 2,
            ticket_id,
            generation: 1,
            next_ms: None,
            armed_generation: 1,
        });
        Self {
            store,
            size,
            rules: ClaimRules {
                lease_ms: LEASE_MS,
                attempts_max,
                quarantine_retry_ms: QUARANTINE_RETRY_MS,
            },
            rows: rows.collect(),
            network: Vec::new(),
            lost: Vec::new(),
            batches: Vec::new(),
            models: vec![Model::default(); states.len()],
            copy: None,
            put_off: BTreeMap::new(),
            both: BTreeSet::new(),
            time_us,
            next_claim: 0,
            fired: 0,
            given_up: 0,
        }
    }

    /// Takes a step, and checks everything.
    pub(super) async fn step(&mut self, step: Step) {
        let mut allowed = Allowed::default();
        self.take(step, &mut allowed).await;
        self.check(&allowed).await;
    }

    /// Lets all messages arrive and all time pass, without further faults: then everything has fired, and nothing is
    /// left anywhere.
    pub(super) async fn drain(&mut self) {
        while !self.network.is_empty() {
            let (message, again) = (0, false);
            self.step(Step::Arrive { message, again }).await;
        }
        for _ in 0..ROUNDS_MAX {
            for group in 0..self.size.groups {
                let group = u8::try_from(group).expect("few");
                let delivery = Delivery::Once;
                self.step(Step::Relay { group, delivery }).await;
            }
            self.step(Step::Pass { ticks: 6 }).await;
            self.step(Step::Retry { limit: 3 }).await;
            for place in 0..self.models.len() {
                self.empty(place).await;
            }
            let is_empty = |model: &Model| model.state == ShardState::default();
            if self.models.iter().all(is_empty) {
                let pending = self.rows.iter().find(|row| row.next_ms.is_some());
                assert!(pending.is_none(), "never fired: {pending:?}");
                return;
            }
        }
        panic!("something is left for ever: {:?}", self.models);
    }

    /// Claims and handles until nothing is due in a shard.
    async fn empty(&mut self, place: usize) {
        let limit = self.size.limits[self.size.limits.len() - 1];
        let claims_max = 8 * self.rows.len();
        for _ in 0..claims_max {
            let mut allowed = Allowed::new();
            self.claim(place, limit, ClaimFate::Held, &mut allowed)
                .await;
            self.check(&allowed).await;
            let mut was_idle = true;
            while !self.batches.is_empty() {
                was_idle = false;
                self.step(Step::Handle {
                    batch: 0,
                    handling: Handling::Whole,
                    ticks: 0,
                    delivery: Delivery::Once,
                })
                .await;
            }
            let now_ms = self.now_ms();
            let has_ended = |model: &Model| model.state.leases.values().any(|end| *end <= now_ms);
            if was_idle && !has_ended(&self.models[place]) {
                return;
            }
        }
        panic!("claimed {claims_max} times, and there is more");
    }

    async fn take(&mut self, step: Step, allowed: &mut Allowed) {
        match step {
            Step::Write { group, ticks, ms } => self.write(group, ticks * TICK_MS + ms),
            Step::Reply { group } => {
                for index in self.group(group) {
                    self.rows[index].next_ms = None;
                }
            }
            Step::Relay { group, delivery } => self.relay(group, delivery, allowed).await,
            Step::Claim { shard, limit, fate } => {
                let limits = self.size.limits;
                let limit = limits[usize::from(limit) % limits.len()];
                self.claim(usize::from(shard), limit, fate, allowed).await;
            }
            Step::GiveBack { claim } => self.give_back(claim, allowed).await,
            Step::Handle {
                batch,
                handling,
                ticks,
                delivery,
            } => {
                if !self.batches.is_empty() {
                    let batch = self
                        .batches
                        .swap_remove(usize::from(batch) % self.batches.len());
                    self.handle(batch, handling, ticks, delivery, allowed).await;
                }
            }
            Step::Arrive { message, again } => self.arrive(message, again, allowed).await,
            Step::Pass { ticks } => self.pass(ticks * TICK_MS).await,
            Step::Repair { mask, delivery } => {
                let picked = self.rows.iter().enumerate();
                let picked = picked.filter(|(index, _)| mask >> (index % 8) & 1 == 1);
                let entries: Vec<_> = picked.filter_map(|(_, row)| row.entry()).collect();
                self.send(Message::Repair(entries), delivery, allowed).await;
            }
            Step::Release { group } => self.release(group).await,
            Step::Retry { limit } => {
                let limit = 1 + usize::from(limit) % 4 * self.size.each;
                self.retry(limit).await;
            }
            Step::EndLeases => {
                self.store.end_leases().await;
                self.models.iter_mut().for_each(Model::end_leases);
            }
            Step::Copy => {
                self.store.copy(false).await;
                self.copy = Some(self.models.clone());
            }
            Step::GoBack => {
                if let Some(models) = self.copy.clone() {
                    self.store.copy(true).await;
                    self.models = models;
                    self.rebuild(allowed).await;
                }
            }
            Step::Wipe => {
                self.store.wipe().await;
                self.models.fill(Model::default());
                self.rebuild(allowed).await;
            }
        }
    }

    fn now_ms(&self) -> i64 {
        self.time_us / 1_000
    }

    fn group(&self, group: u8) -> std::ops::Range<usize> {
        let first = usize::from(group) % self.size.groups * self.size.each;
        first..first + self.size.each
    }

    fn row_of(&mut self, member: &Member) -> &mut Row {
        let index = usize::try_from(member.ticket_id - 1).expect("from one on");
        &mut self.rows[index]
    }

    fn write(&mut self, group: u8, after_ms: i64) {
        let now_ms = self.now_ms();
        for index in self.group(group) {
            let row = &mut self.rows[index];
            // Some at the same instant, some not.
            let due_ms = now_ms + after_ms + i64::try_from(index % 3).expect("it is small");
            if row.next_ms.is_none_or(|next_ms| due_ms < next_ms) {
                row.generation += 1;
            }
            row.next_ms = Some(due_ms);
        }
    }

    async fn relay(&mut self, group: u8, delivery: Delivery, allowed: &mut Allowed) {
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

    async fn send(&mut self, message: Message, delivery: Delivery, allowed: &mut Allowed) {
        if matches!(delivery, Delivery::Twice | Delivery::Late) {
            self.network.push(message.clone());
        }
        if matches!(delivery, Delivery::Once | Delivery::Twice) {
            self.deliver(message, allowed).await;
        }
    }

    async fn arrive(&mut self, message: u8, again: bool, allowed: &mut Allowed) {
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

    async fn rebuild(&mut self, allowed: &mut Allowed) {
        let entries: Vec<_> = self.rows.iter().filter_map(Row::entry).collect();
        self.deliver_repair(&entries).await;
        // What is in the copy was allowed when it came about.
        allowed.extend(self.rows.iter().map(Row::member));
        for model in &self.models {
            allowed.extend(model.state.due.keys());
        }
    }

    async fn claim(&mut self, place: usize, limit: usize, fate: ClaimFate, allowed: &mut Allowed) {
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
    async fn give_back(&mut self, claim: u8, allowed: &mut Allowed) {
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

    async fn handle(
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

    async fn release(&mut self, group: u8) {
        let members: Vec<_> = self
            .group(group)
            .map(|index| self.rows[index].member())
            .take(500)
            .collect();
        let released = self.store.release(&members).await.expect("it releases");
        let mut expected = 0;
        for member in members {
            let place = self.store.place_of(&member);
            expected += self.note_released(&[member], 0, place);
        }
        assert_eq!(released, expected);
    }

    async fn retry(&mut self, limit: usize) {
        let kept = self.rules.attempts_max - 1;
        let retried = self.store.retry_quarantined(kept, limit).await;
        let mut expected = 0;
        for place in 0..self.models.len() {
            let members = self.models[place].to_retry(self.now_ms(), limit);
            expected += self.note_released(&members, kept, place);
        }
        assert_eq!(retried, expected);
    }

    /// What is released was due before: it is due from now on.
    fn note_released(&mut self, members: &[Member], kept: u32, place: usize) -> i64 {
        let now_ms = self.now_ms();
        let released = self.models[place].release(members, kept);
        for member in &released {
            self.note_put_off(*member, now_ms);
        }
        i64::try_from(released.len()).expect("few")
    }

    fn note_put_off(&mut self, member: Member, until_ms: i64) {
        let until_ms = until_ms.max(self.now_ms());
        let known = self.put_off.entry(member).or_insert(until_ms);
        *known = until_ms.max(*known);
    }

    async fn pass(&mut self, by_ms: i64) {
        self.store.pass(by_ms).await;
        let copied = self.copy.iter_mut().flatten();
        for model in self.models.iter_mut().chain(copied) {
            model.state.shift(by_ms);
        }
        for row in &mut self.rows {
            row.next_ms = row.next_ms.map(|next_ms| next_ms - by_ms);
        }
        for message in &mut self.network {
            match message {
                Message::Arms(arms) => {
                    for arm in arms {
                        arm.due_ms = arm.due_ms.map(|due_ms| due_ms - by_ms);
                    }
                }
                Message::Ack(_, ack) => ack.shift(by_ms),
                Message::Repair(entries) => {
                    for entry in entries {
                        entry.due_ms -= by_ms;
                    }
                }
            }
        }
        for (_, claimed) in &mut self.batches {
            for claimed in &mut claimed.entries {
                claimed.entry.due_ms -= by_ms;
            }
        }
        for until_ms in self.put_off.values_mut() {
            *until_ms -= by_ms;
        }
    }

    /// Compares Redis with the models, and checks what must hold at all times.
    async fn check(&mut self, allowed: &Allowed) {
        let (time_us, found) = self.store.read_all().await;
        let between = (self.time_us, time_us);
        self.time_us = time_us;
        let mut both = BTreeSet::new();
        for (model, found) in self.models.iter_mut().zip(&found) {
            model.settle(found, between);
            check_shard(found);
            let quarantined = found.quarantine.keys();
            both.extend(quarantined.filter(|member| found.due.contains_key(member)));
        }
        let strange = both
            .difference(&self.both)
            .find(|member| !allowed.contains(member));
        assert_eq!(strange, None, "due and in quarantine");
        self.both = both;
        for row in &self.rows {
            let found = &found[self.store.place_of(&row.member())];
            self.check_row(row, found);
        }
    }

    /// The invariant: a ticket with a next due instant whose generation is armed is in `due` at a score at or below
    /// that instant, or in a lease, or in quarantine.
    fn check_row(&self, row: &Row, found: &ShardState) {
        let Some(next_ms) = row.next_ms else { return };
        if row.armed_generation != row.generation {
            return;
        }
        let member = row.member();
        if found.is_leased(&member) || found.quarantine.contains_key(&member) {
            return;
        }
        let Some(score) = found.due.get(&member) else {
            panic!("lost: {row:?}");
        };
        let latest_ms = self.put_off.get(&member).copied().unwrap_or(next_ms);
        let late_ms = score - latest_ms.max(next_ms);
        assert!(late_ms <= TOLERANCE_MS, "{late_ms} ms too late: {row:?}");
    }
}

/// What holds of a shard whatever came before.
fn check_shard(found: &ShardState) {
    assert!(
        found.leases.keys().eq(found.leased.keys()),
        "the leases differ from what is leased: {found:?}"
    );
    assert!(
        found.quarantine.keys().eq(found.quarantined.keys()),
        "the reasons differ from what is in quarantine: {found:?}"
    );
    let forgotten = found.attempts.keys().find(|member| {
        !found.due.contains_key(member)
            && !found.quarantine.contains_key(member)
            && !found.is_leased(member)
    });
    assert_eq!(forgotten, None, "attempts of what is nowhere");
}

/// What holds of a claim, however the model sees it.
fn check_batch(claimed: &Claimed, limit: usize, attempts_max: u32) {
    let entries = &claimed.entries;
    assert!(entries.len() <= limit, "more than were asked for");
    let now_ms = claimed.redis_us / 1_000;
    assert!(
        entries.iter().all(|claimed| claimed.entry.due_ms <= now_ms),
        "not due: {entries:?} at {now_ms}"
    );
    let most_failed = entries.iter().map(|claimed| claimed.failed_attempts).max();
    let most_failed = most_failed.unwrap_or(0);
    let apart = entries
        .iter()
        .all(|claimed| (claimed.failed_attempts > 0) == (most_failed > 0));
    assert!(apart, "failed ones among others: {entries:?}");
    if most_failed > 0 && most_failed + 1 >= attempts_max {
        assert_eq!(
            entries.len(),
            1,
            "would go into quarantine together: {entries:?}"
        );
    }
}
