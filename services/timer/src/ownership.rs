//! Which replica claims from which shard: rendezvous hashing over the replicas that are alive.
//!
//! It only saves work. Any replica may claim from any shard, and does so from one that nobody serves
//! (`timer.take_over_ms`), so two replicas that disagree about who is alive lose nothing, and neither do shards whose
//! owner is alive but doesn't claim.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::shard::{Shard, mix};

/// The replica that a shard falls to; none when there are no replicas. Their order doesn't matter. When one joins, it
/// takes some shards from each of the others, and when one leaves, its shards are spread over the rest; no other shard
/// moves.
pub(crate) fn owner_of(replica_ids: &[String], shard: Shard) -> Option<&str> {
    replica_ids
        .iter()
        .map(String::as_str)
        .max_by_key(|id| (weight(id, shard), *id))
}

fn weight(replica_id: &str, shard: Shard) -> u64 {
    // FNV-1a. Its low bits are weak, which `mix` mends.
    let replica = replica_id
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
    mix(replica ^ mix(u64::from(shard.number())))
}

/// The shards that this replica claims from. None before its first heartbeat; the last ones known while the list of
/// replicas can't be read.
#[derive(Debug)]
pub(crate) struct Ownership {
    owned: Vec<AtomicBool>,
    version: AtomicU64,
}

impl Ownership {
    pub(crate) fn new(shard_count: usize) -> Self {
        Self {
            owned: (0..shard_count).map(|_| AtomicBool::new(false)).collect(),
            version: AtomicU64::new(0),
        }
    }

    /// Takes over a new list of those alive. Returns how many shards this replica owns, if that changed.
    pub(crate) fn update(&self, replica_id: &str, alive: &[String]) -> Option<usize> {
        let mut has_changed = false;
        let mut count = 0;
        for (number, owned) in (0..).zip(&self.owned) {
            let is_owner = owner_of(alive, Shard::new(number)) == Some(replica_id);
            has_changed |= owned.swap(is_owner, Ordering::SeqCst) != is_owner;
            count += usize::from(is_owner);
        }
        if has_changed {
            self.version.fetch_add(1, Ordering::SeqCst);
        }
        has_changed.then_some(count)
    }

    /// Whether this replica claims from the shard.
    pub(crate) fn owns(&self, shard: Shard) -> bool {
        self.owned[shard.index()].load(Ordering::SeqCst)
    }

    /// Raised with each change.
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const SHARDS: u16 = 1_000;

    fn replicas(count: u64) -> Vec<String> {
        (0..count).map(|n| format!("{:016x}", mix(n))).collect()
    }

    fn owners(replica_ids: &[String]) -> Vec<String> {
        (0..SHARDS)
            .map(|shard| {
                owner_of(replica_ids, Shard::new(shard))
                    .expect("some are alive")
                    .to_owned()
            })
            .collect()
    }

    #[test]
    fn shards_spread_evenly() {
        for count in 1..=8 {
            let mut shares = BTreeMap::new();
            for owner in owners(&replicas(count)) {
                *shares.entry(owner).or_insert(0_u64) += 1;
            }
            let even = u64::from(SHARDS) / count;
            let is_even = |share: &u64| (even * 3 / 4..=even * 5 / 4).contains(share);
            assert!(shares.values().all(is_even), "{count} replicas: {shares:?}");
        }
    }

    #[test]
    fn joining_and_leaving_move_no_more_shards_than_they_must() {
        for count in 1..=7 {
            let before = replicas(count);
            let mut after = replicas(count + 1);
            let joined = after.last().expect("it has joined").clone();
            let moves = owners(&before)
                .into_iter()
                .zip(owners(&after))
                .filter(|(old, new)| old != new)
                .map(|(_, new)| new);
            // The other way round it is a replica that leaves, and gives up what it has and nothing else.
            assert!(moves.into_iter().all(|new| new == joined));
            after.reverse();
            assert_eq!(
                owners(&after),
                owners(&replicas(count + 1)),
                "order matters not"
            );
        }
    }

    #[test]
    fn a_replica_knows_what_it_owns() {
        let ownership = Ownership::new(16);
        assert!(!ownership.owns(Shard::new(3)));
        let both = replicas(2);
        let share = ownership.update(&both[0], &both).expect("it has some now");
        assert!((1..16).contains(&share), "{share}");
        assert_eq!(ownership.update(&both[0], &both), None);
        let version = ownership.version();
        assert_eq!(ownership.update(&both[0], &both[..1]), Some(16));
        assert!(ownership.owns(Shard::new(3)) && ownership.version() > version);
        assert_eq!(ownership.update(&both[0], &both[1..]), Some(0));
        assert_eq!(owner_of(&[], Shard::new(3)), None);
    }
}
