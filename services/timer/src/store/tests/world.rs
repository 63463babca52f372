//! An owner of tickets, timers, and a network that delays and repeats, around a real Redis and its model.

mod checks;
mod network;
mod working;

use std::collections::{BTreeMap, BTreeSet};

use self::network::Message;
use super::model::Model;
use super::state::ShardState;
use super::steps::{ClaimFate, Delivery, Handling, Step};
use crate::entry::{Entry, Member};
use crate::store::{Claim, ClaimRules, Claimed, Store};

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
}
