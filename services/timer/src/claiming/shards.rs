//! What the claim loop knows of each shard, and the order in which it takes them.

use crate::shard::{Layout, Shard};
use crate::store::{Claimed, Look};

/// A shard without a backlog is claimed with a fourth of the batch, so that several share one call of the handler.
const SMALL_SHARE: usize = 4;

#[derive(Debug, Clone, Copy, Default)]
struct ShardState {
    /// The first entry, in Unix milliseconds; it may be gone, but none is earlier, as far as is known.
    next_due_ms: Option<i64>,
    /// The end of the first lease, in Unix milliseconds.
    next_lease_end_ms: Option<i64>,
    /// The last claim brought as many as it asked for, so there is more: a backlog.
    is_full: bool,
}

impl ShardState {
    fn next_ms(&self) -> i64 {
        let next = [self.next_due_ms, self.next_lease_end_ms]
            .into_iter()
            .flatten()
            .min();
        next.unwrap_or(i64::MAX)
    }
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

    /// There is an entry due at this instant.
    pub(super) fn hint(&mut self, shard: usize, due_ms: i64) {
        let state = &mut self.states[shard];
        state.next_due_ms = Some(state.next_due_ms.map_or(due_ms, |known| known.min(due_ms)));
    }

    /// Takes what a look has seen in place of what was known.
    pub(super) fn apply(&mut self, look: &Look) {
        for (state, due_ms) in self.states.iter_mut().zip(&look.first_due_ms) {
            state.next_due_ms = *due_ms;
        }
        for (state, end_ms) in self.states.iter_mut().zip(&look.first_lease_end_ms) {
            state.next_lease_end_ms = *end_ms;
        }
    }

    /// Notes what a claim with this limit has brought.
    pub(super) fn claimed(&mut self, claimed: &Claimed, limit: usize) {
        self.states[claimed.shard.index()] = ShardState {
            next_due_ms: claimed.next_due_ms,
            next_lease_end_ms: claimed.next_lease_end_ms,
            is_full: claimed.entries.len() == limit,
        };
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

    /// The next instant at which there is something to claim, in Unix milliseconds.
    pub(super) fn next_ms(&self) -> i64 {
        self.states
            .iter()
            .map(ShardState::next_ms)
            .min()
            .unwrap_or(i64::MAX)
    }

    /// The shards to claim from, and how many entries from each: in turn from each lane that has work, so that lanes
    /// get equal shares, and at most what the free slots can take.
    pub(super) fn select(
        &mut self,
        now_ms: i64,
        free_slots: usize,
        batch_limit: usize,
    ) -> Vec<(Shard, usize)> {
        let mut budget = free_slots * batch_limit;
        let small_limit = (batch_limit / SMALL_SHARE).max(1);
        let mut queues = self.ready_by_lane(now_ms);
        let mut selected = Vec::new();
        let mut lane = self.next_lane;
        while queues.iter().any(|queue| !queue.is_empty()) {
            let queue = &mut queues[usize::from(lane)];
            if let Some(shard) = queue.pop() {
                let is_full = self.states[shard.index()].is_full;
                let limit = if is_full { batch_limit } else { small_limit };
                if limit > budget {
                    break;
                }
                budget -= limit;
                selected.push((shard, limit));
                let place = shard.number() % self.layout.lane_size();
                self.next_places[usize::from(lane)] = (place + 1) % self.layout.lane_size();
            }
            lane = (lane + 1) % self.layout.lane_count();
        }
        // The lane whose turn it was when the budget was used up is the first of the next round.
        self.next_lane = lane;
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

    fn backlog(layout: Layout, shards: &[usize]) -> ShardStates {
        let mut states = ShardStates::new(layout);
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
            let selected = states.select(10, 1, 256);
            assert_eq!(selected.len(), 1);
            claims[selected[0].0.index()] += 1;
        }
        assert_eq!(claims[9], 20, "{claims:?}");
        assert_eq!(claims[..4], [5, 5, 5, 5], "{claims:?}");
    }

    #[test]
    fn a_round_takes_no_more_than_the_slots_bear() {
        let layout = Layout::new(16, 4).expect("it is even");
        let all: Vec<_> = (0..16).collect();
        let mut states = backlog(layout, &all);
        assert_eq!(states.select(10, 3, 256).len(), 3);
        let mut states = ShardStates::new(layout);
        for shard in &all {
            states.hint(*shard, 1);
        }
        let selected = states.select(10, 2, 256);
        assert_eq!(selected.len(), 8);
        assert!(selected.iter().all(|(_, limit)| *limit == 64));
        assert_eq!(states.select(0, 2, 256), []);
        assert_eq!(states.ready(0), None);
        assert_eq!(states.ready(1), Some(false));
        assert_eq!(states.next_ms(), 1);
    }
}
