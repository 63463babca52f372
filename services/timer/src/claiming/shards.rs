//! What the claim loop knows of each shard, and the order in which it takes them.

use crate::dispatch::Room;
use crate::shard::{Layout, Shard};
use crate::store::{Claimed, Look};

/// A shard without a backlog is claimed with a fourth of the batch, so that several share one call of the handler.
const SMALL_SHARE: usize = 4;

/// Who claims from a shard.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Claimant {
    /// Another replica.
    #[default]
    Other,
    /// Another replica should, but nobody does: this one, once.
    ThisOnce,
    /// This replica.
    This,
}

impl Claimant {
    fn after_claim(self) -> Self {
        match self {
            Self::ThisOnce => Self::Other,
            claimant => claimant,
        }
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct ShardState {
    claimant: Claimant,
    /// The first entry, in Unix milliseconds; it may be gone, but none is earlier, as far as is known.
    next_due_ms: Option<i64>,
    /// The end of the first lease, in Unix milliseconds.
    next_lease_end_ms: Option<i64>,
    /// The first entry that was hinted at since the last look was sent, which may not have seen it.
    hinted_ms: Option<i64>,
    /// A claim is under way.
    is_claiming: bool,
    /// The last claim brought as many as it asked for, so there is more: a backlog.
    is_full: bool,
    /// Its Redis gives no answers, and nothing is claimed.
    is_left_alone: bool,
}

impl ShardState {
    fn is_owned(&self) -> bool {
        self.claimant == Claimant::This
    }

    /// The next instant at which this replica has something to claim there.
    fn next_ms(&self) -> i64 {
        if self.is_left_alone || self.is_claiming || self.claimant == Claimant::Other {
            return i64::MAX;
        }
        let next = [self.next_due_ms, self.next_lease_end_ms]
            .into_iter()
            .flatten()
            .min();
        next.unwrap_or(i64::MAX)
    }
}

/// The earlier of two instants, where there are any.
fn earliest(one: Option<i64>, other: Option<i64>) -> Option<i64> {
    one.into_iter().chain(other).min()
}

/// What is known of all shards.
#[derive(Debug)]
pub(super) struct ShardStates {
    layout: Layout,
    states: Vec<ShardState>,
    /// The lane, and in each lane the place, where the next round begins.
    next_lane: u16,
    next_places: Vec<u16>,
}

impl ShardStates {
    pub(super) fn new(layout: Layout) -> Self {
        Self {
            layout,
            states: vec![ShardState::default(); usize::from(layout.shard_count())],
            next_lane: 0,
            next_places: vec![0; usize::from(layout.lane_count())],
        }
    }

    /// Takes over which shards are this replica's. What was known of those that come or go is forgotten: it has to be
    /// looked at.
    pub(super) fn set_owned(&mut self, is_owned: impl Fn(Shard) -> bool) {
        for (shard, state) in self.layout.shards().zip(&mut self.states) {
            if state.is_owned() != is_owned(shard) {
                let claimant = if state.is_owned() {
                    Claimant::Other
                } else {
                    Claimant::This
                };
                *state = ShardState {
                    claimant,
                    ..ShardState::default()
                };
            }
        }
    }

    /// The shards that are this replica's, or those that are not.
    pub(super) fn list(&self, are_owned: bool) -> Vec<Shard> {
        self.layout
            .shards()
            .filter(|shard| self.states[shard.index()].is_owned() == are_owned)
            .collect()
    }

    /// There is an entry due at this instant.
    pub(super) fn hint(&mut self, shard: usize, due_ms: i64) {
        let state = &mut self.states[shard];
        state.next_due_ms = earliest(state.next_due_ms, Some(due_ms));
        state.hinted_ms = earliest(state.hinted_ms, Some(due_ms));
    }

    /// A look at these shards is sent: what is hinted at from now on it may not see.
    pub(super) fn looking(&mut self, shards: &[Shard]) {
        for shard in shards {
            self.states[shard.index()].hinted_ms = None;
        }
    }

    /// Takes what a look at these shards has seen in place of what was known. Where it saw nothing, what was known stays.
    pub(super) fn apply(&mut self, shards: &[Shard], look: &Look, with_leases: bool) {
        for (shard, seen) in shards.iter().zip(&look.shards) {
            let Ok(seen) = seen else { continue };
            let state = &mut self.states[shard.index()];
            state.next_due_ms = earliest(seen.first_due_ms, state.hinted_ms);
            if with_leases {
                state.next_lease_end_ms = seen.first_lease_end_ms;
            }
        }
    }

    /// Says which shards are to be left alone. They have nothing to claim until they no longer are.
    pub(super) fn leave_alone(&mut self, is_left_alone: impl Fn(Shard) -> bool) {
        for (shard, state) in self.layout.shards().zip(&mut self.states) {
            state.is_left_alone = is_left_alone(shard);
        }
    }

    /// After a look at shards of others: those where something should have been claimed by this instant, in Unix
    /// milliseconds, are taken over for one claim. Returns how many.
    pub(super) fn take_over(&mut self, shards: &[Shard], oldest_ms: i64) -> usize {
        for shard in shards {
            let state = &mut self.states[shard.index()];
            state.claimant = Claimant::ThisOnce;
            if state.next_ms() >= oldest_ms {
                state.claimant = Claimant::Other;
            }
        }
        let is_taken_over =
            |shard: &&Shard| self.states[shard.index()].claimant == Claimant::ThisOnce;
        shards.iter().filter(is_taken_over).count()
    }

    /// A claim is sent. What is hinted at from now on is for the next one.
    pub(super) fn claiming(&mut self, shard: Shard) {
        let state = &mut self.states[shard.index()];
        state.is_claiming = true;
        state.next_due_ms = None;
    }

    /// Notes what a claim with this limit has brought.
    pub(super) fn claimed(&mut self, claimed: &Claimed, limit: usize) {
        let state = &mut self.states[claimed.shard.index()];
        *state = ShardState {
            claimant: state.claimant.after_claim(),
            next_due_ms: earliest(state.next_due_ms, claimed.next_due_ms),
            next_lease_end_ms: claimed.next_lease_end_ms,
            hinted_ms: state.hinted_ms,
            is_full: claimed.entries.len() == limit,
            is_claiming: false,
            is_left_alone: false,
        };
    }

    /// The claim failed: what is due is claimed at this instant.
    pub(super) fn failed(&mut self, shard: Shard, again_ms: i64) {
        let state = &mut self.states[shard.index()];
        state.is_claiming = false;
        state.claimant = state.claimant.after_claim();
        state.next_due_ms = Some(again_ms);
        let lease_end_ms = &mut state.next_lease_end_ms;
        *lease_end_ms = lease_end_ms.map(|known| known.max(again_ms));
    }

    /// None when no shard has anything to claim; else whether one of them has a backlog.
    pub(super) fn ready(&self, now_ms: i64) -> Option<bool> {
        let mut ready = self
            .states
            .iter()
            .filter(|state| state.next_ms() <= now_ms)
            .peekable();
        ready.peek()?;
        Some(ready.any(|state| state.is_full))
    }

    /// The next instant after this one at which there is something to claim, in Unix milliseconds.
    pub(super) fn next_ms_after(&self, now_ms: i64) -> i64 {
        self.states
            .iter()
            .map(ShardState::next_ms)
            .filter(|next_ms| *next_ms > now_ms)
            .min()
            .unwrap_or(i64::MAX)
    }

    /// The shards to claim from, and how many entries from each: in turn from each lane that has work, so that lanes
    /// get equal shares, and at most what there is room for. Backlogs leave some of the room to others.
    pub(super) fn select(&mut self, now_ms: i64, room: Room) -> Vec<(Shard, usize)> {
        let Room {
            batch,
            mut free,
            mut free_for_backlogs,
        } = room;
        let small_limit = (batch / SMALL_SHARE).max(1);
        let mut queues = self.ready_by_lane(now_ms);
        let mut selected = Vec::new();
        let mut refused_lane = None;
        let mut lane = self.next_lane;
        while queues.iter().any(|queue| !queue.is_empty()) && free >= small_limit {
            if let Some(shard) = queues[usize::from(lane)].pop() {
                let is_full = self.states[shard.index()].is_full;
                let limit = if is_full { batch } else { small_limit };
                if is_full && limit > free_for_backlogs {
                    refused_lane = refused_lane.or(Some(lane));
                } else {
                    free = free.saturating_sub(limit);
                    free_for_backlogs = free_for_backlogs.saturating_sub(limit);
                    selected.push((shard, limit));
                    let place = shard.number() % self.layout.lane_size();
                    self.next_places[usize::from(lane)] = (place + 1) % self.layout.lane_size();
                }
            }
            lane = (lane + 1) % self.layout.lane_count();
        }
        // The lane whose turn it was when the room was used up is the first of the next round.
        self.next_lane = refused_lane.unwrap_or(lane);
        selected
    }

    /// For each lane the shards that have work, the next one last.
    fn ready_by_lane(&self, now_ms: i64) -> Vec<Vec<Shard>> {
        let size = self.layout.lane_size();
        (0..self.layout.lane_count())
            .map(|lane| {
                let first_place = self.next_places[usize::from(lane)];
                (0..size)
                    .rev()
                    .map(|step| Shard::new(lane * size + (first_place + step) % size))
                    .filter(|shard| self.states[shard.index()].next_ms() <= now_ms)
                    .collect()
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{LeaseId, ShardLook, StoreError};

    fn room(batches: usize) -> Room {
        Room {
            batch: 256,
            free: batches * 256,
            free_for_backlogs: batches * 256,
        }
    }

    fn all_owned(layout: Layout) -> ShardStates {
        let mut states = ShardStates::new(layout);
        states.set_owned(|_| true);
        states
    }

    fn backlog(layout: Layout, shards: &[usize]) -> ShardStates {
        let mut states = all_owned(layout);
        for shard in shards {
            states.hint(*shard, 1);
            states.states[*shard].is_full = true;
        }
        states
    }

    #[test]
    fn lanes_with_work_get_equal_shares() {
        let layout = Layout::new(16, 4).expect("it is even");
        // One lane has work in all its shards, another in one, the others none.
        let mut states = backlog(layout, &[0, 1, 2, 3, 9]);
        let mut claims = [0; 16];
        for _ in 0..40 {
            let selected = states.select(10, room(1));
            assert_eq!(selected.len(), 1);
            claims[selected[0].0.index()] += 1;
        }
        assert_eq!(claims[9], 20, "{claims:?}");
        assert_eq!(claims[..4], [5, 5, 5, 5], "{claims:?}");
    }

    #[test]
    fn a_round_takes_no_more_than_there_is_room_for() {
        let layout = Layout::new(16, 4).expect("it is even");
        let all: Vec<_> = (0..16).collect();
        let mut states = backlog(layout, &all);
        assert_eq!(states.select(10, room(3)).len(), 3);
        assert_eq!(states.select(10, room(0)), []);
        let mut states = all_owned(layout);
        for shard in &all {
            states.hint(*shard, 1);
        }
        let selected = states.select(10, room(2));
        assert_eq!(selected.len(), 8);
        assert!(selected.iter().all(|(_, limit)| *limit == 64));
        assert_eq!(states.select(0, room(2)), []);
        assert_eq!(states.ready(0), None);
        assert_eq!(states.ready(1), Some(false));
        assert_eq!(
            (states.next_ms_after(0), states.next_ms_after(1)),
            (1, i64::MAX)
        );
    }

    #[test]
    fn a_backlog_leaves_room_for_others() {
        let layout = Layout::new(16, 4).expect("it is even");
        let mut states = backlog(layout, &[0, 1, 2, 3, 8, 9]);
        states.hint(5, 1);
        let room = Room {
            batch: 256,
            free: 512,
            free_for_backlogs: 256,
        };
        let selected = states.select(10, room);
        let full: Vec<_> = selected.iter().filter(|(_, limit)| *limit == 256).collect();
        assert_eq!(full.len(), 1, "{selected:?}");
        assert!(selected.contains(&(Shard::new(5), 64)), "{selected:?}");
        // The lane that had to wait comes first then.
        assert_eq!(states.select(10, room)[0].0.index() / 4, 2);
    }

    #[test]
    fn shards_of_others_are_left_alone_until_nobody_claims_there() {
        let layout = Layout::new(16, 4).expect("it is even");
        let mut states = ShardStates::new(layout);
        states.set_owned(|shard| shard.number() < 8);
        assert_eq!(states.list(true).len(), 8);
        let foreign = states.list(false);
        states.hint(3, 1_000);
        states.hint(12, 1_000);
        assert_eq!(states.select(5_000, room(8)), [(Shard::new(3), 64)]);
        assert_eq!(states.take_over(&foreign, 1_000), 0);
        assert_eq!(states.take_over(&foreign, 1_001), 1);
        let selected = states.select(5_000, room(8));
        assert!(selected.contains(&(Shard::new(12), 64)), "{selected:?}");
        states.set_owned(|shard| shard.number() >= 8);
        assert_eq!(states.ready(5_000), None, "what is new has to be looked at");
        assert_eq!(states.list(true), foreign);
    }

    #[test]
    fn what_is_hinted_at_meanwhile_is_neither_lost_by_a_claim_nor_by_a_look() {
        let layout = Layout::new(4, 2).expect("it is even");
        let shard = Shard::new(1);
        let mut states = backlog(layout, &[1]);
        states.claiming(shard);
        assert_eq!(states.ready(10), None, "one claim of a shard at a time");
        states.hint(1, 5);
        states.claimed(&claimed(shard, Some(50)), 256);
        assert_eq!(states.ready(5), Some(false));

        states.looking(&[shard]);
        states.hint(1, 7);
        let look = Look {
            redis_us: None,
            shards: vec![Ok(ShardLook::default())],
        };
        states.apply(&[shard], &look, false);
        assert_eq!(states.next_ms_after(0), 7);
        states.looking(&[shard]);
        states.apply(&[shard], &look, false);
        assert_eq!(states.next_ms_after(0), i64::MAX, "the look has seen all");
    }

    fn claimed(shard: Shard, next_due_ms: Option<i64>) -> Claimed {
        Claimed {
            shard,
            lease_id: LeaseId::new("a claim", 1),
            entries: Vec::new(),
            redis_us: 1,
            ahead_us: 0,
            next_due_ms,
            next_lease_end_ms: None,
            ended_leases: 0,
            quarantined: 0,
        }
    }

    #[test]
    fn a_failed_claim_is_made_again_after_a_moment() {
        let layout = Layout::new(4, 2).expect("it is even");
        let mut states = backlog(layout, &[0, 1]);
        states.failed(Shard::new(0), 30);
        assert_eq!(states.select(10, room(8)), [(Shard::new(1), 256)]);
        assert_eq!(states.select(30, room(8)).len(), 2);
    }

    #[test]
    fn shards_without_answers_are_passed_over_and_keep_what_is_known() {
        let layout = Layout::new(4, 2).expect("it is even");
        let mut states = backlog(layout, &[0, 1]);
        states.leave_alone(|shard| shard.number() == 0);
        assert_eq!(states.select(10, room(8)), [(Shard::new(1), 256)]);
        states.leave_alone(|_| true);
        assert_eq!(states.ready(10), None);
        assert_eq!(states.next_ms_after(0), i64::MAX);
        let look = Look {
            redis_us: None,
            shards: (0..4).map(|_| Err(StoreError::LeftAlone)).collect(),
        };
        let all: Vec<_> = layout.shards().collect();
        states.apply(&all, &look, true);
        states.leave_alone(|_| false);
        assert_eq!(states.select(10, room(8)).len(), 2);
    }
}
