//! The keys in Redis, built here and nowhere else.
//!
//! All keys of a shard carry the hash tag `{namespace:sNNN}`, so that every script touches one slot of Redis Cluster;
//! the keys of a namespace carry `{namespace}`.

use crate::shard::Shard;
use crate::store::{Route, slot_of};

/// The keys of one shard.
#[derive(Debug, Clone)]
pub(crate) struct ShardKeys {
    /// Where they are.
    pub(crate) route: Route,
    /// Sorted set: member ([`Member`](crate::entry::Member)), scored by its due instant in Unix milliseconds.
    pub(crate) due: String,
    /// Sorted set: lease id, scored by the instant at which the lease ends, in Unix milliseconds.
    pub(crate) leases: String,
    /// Hash: lease id, and the claimed members with their scores ([`decode_claimed`](crate::entry::decode_claimed)).
    pub(crate) leased: String,
    /// Hash: member, and its failed attempts. Only members that failed.
    pub(crate) attempts: String,
    /// Sorted set: member that was given up, scored by the instant at which it is tried again, in Unix milliseconds.
    pub(crate) quarantine: String,
    /// Hash: member that was given up, and why ([`GivenUp`](crate::entry::GivenUp)).
    pub(crate) quarantined: String,
    /// String: identity, counter and rebuild nonce ([`Epoch`](crate::store::Epoch)).
    pub(crate) epoch: String,
}

/// The keys of one namespace.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    shards: Vec<ShardKeys>,
    /// Where the keys of the namespace as a whole are.
    pub(crate) route: Route,
    /// Sorted set: replica id, scored by its last heartbeat in Unix milliseconds.
    pub(crate) replicas: String,
    /// Sorted set: id of a replica that is about to end, scored by the instant until which it may ack its leases, in Unix
    /// milliseconds.
    pub(crate) leaving: String,
    /// String: the number of shards and of lanes, as in `16/4`.
    pub(crate) layout: String,
}

impl Keys {
    /// The keys of a namespace with so many shards.
    pub(crate) fn new(namespace: &str, shard_count: u16) -> Self {
        let shards = (0..shard_count)
            .map(|shard| {
                let key = |name: &str| format!("plazo:{{{namespace}:s{shard:03}}}:{name}");
                ShardKeys {
                    route: Route {
                        slot: slot_of(&key("due")),
                        shard: Some(Shard::new(shard)),
                    },
                    due: key("due"),
                    leases: key("leases"),
                    leased: key("leased"),
                    attempts: key("attempts"),
                    quarantine: key("quarantine"),
                    quarantined: key("quarantined"),
                    epoch: key("epoch"),
                }
            })
            .collect();
        let replicas = format!("plazo:{{{namespace}}}:replicas");
        Self {
            shards,
            route: Route {
                slot: slot_of(&replicas),
                shard: None,
            },
            replicas,
            leaving: format!("plazo:{{{namespace}}}:leaving"),
            layout: format!("plazo:{{{namespace}}}:shards"),
        }
    }

    /// The keys of a shard of this namespace.
    pub(crate) fn of(&self, shard: Shard) -> &ShardKeys {
        &self.shards[shard.index()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_keys_of_a_shard_carry_its_hash_tag() {
        let keys = Keys::new("desk", 16);
        let shard = keys.of(Shard::new(7));
        assert_eq!(shard.due, "plazo:{desk:s007}:due");
        let others = [
            &shard.leases,
            &shard.leased,
            &shard.attempts,
            &shard.quarantine,
            &shard.quarantined,
            &shard.epoch,
        ];
        for key in others {
            assert!(key.starts_with("plazo:{desk:s007}:"), "{key}");
        }
        assert_eq!(keys.replicas, "plazo:{desk}:replicas");
        assert_eq!(keys.leaving, "plazo:{desk}:leaving");
        assert_eq!(keys.layout, "plazo:{desk}:shards");
    }
}
