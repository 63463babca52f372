//! Which shard a ticket belongs to.
//!
//! The tenant's hash picks a lane, and the ticket's hash a shard in it. So a tenant with a million tickets due delays
//! only its own lane. The hash is written out here because it must never change: it decides where entries that are
//! already stored are looked for. It has nothing to do with the slots of Redis Cluster.

use crate::entry::Member;

/// The number of a shard, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Shard(u16);

impl Shard {
    pub(crate) const fn new(number: u16) -> Self {
        Self(number)
    }

    /// Its place in lists of shards.
    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }

    pub(crate) const fn number(self) -> u16 {
        self.0
    }
}

/// How many shards a namespace has, and how many lanes they form. Lane `l` of `n` has the shards `l * n` and up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layout {
    shard_count: u16,
    lane_count: u16,
}

impl Layout {
    /// One shard in one lane.
    pub(crate) const SINGLE: Self = Self {
        shard_count: 1,
        lane_count: 1,
    };

    /// A layout, if the lanes are of equal size and there is at least one shard.
    pub(crate) const fn new(shard_count: u16, lane_count: u16) -> Option<Self> {
        if shard_count == 0 || lane_count == 0 || !shard_count.is_multiple_of(lane_count) {
            return None;
        }
        Some(Self {
            shard_count,
            lane_count,
        })
    }

    pub(crate) const fn shard_count(self) -> u16 {
        self.shard_count
    }

    pub(crate) const fn lane_count(self) -> u16 {
        self.lane_count
    }

    pub(crate) const fn lane_size(self) -> u16 {
        self.shard_count / self.lane_count
    }

    /// All shards, in order.
    pub(crate) fn shards(self) -> impl Iterator<Item = Shard> {
        (0..self.shard_count).map(Shard)
    }

    /// The lane that a shard belongs to, from 0.
    pub(crate) const fn lane_of(self, shard: Shard) -> u16 {
        shard.0 / self.lane_size()
    }

    /// The shards of a tenant's lane.
    pub(crate) fn shards_of_tenant(self, tenant_id: i64) -> impl Iterator<Item = Shard> {
        let first = self.lane_of_tenant(tenant_id) * self.lane_size();
        (first..first + self.lane_size()).map(Shard)
    }

    /// The shard of a ticket, whatever its generation.
    pub(crate) fn shard_of(self, tenant_id: i64, ticket_id: i64) -> Shard {
        let lane = self.lane_of_tenant(tenant_id);
        Shard(lane * self.lane_size() + pick(ticket_id, self.lane_size()))
    }

    /// The shard of a member.
    pub(crate) fn shard_of_member(self, member: &Member) -> Shard {
        self.shard_of(member.tenant_id, member.ticket_id)
    }

    fn lane_of_tenant(self, tenant_id: i64) -> u16 {
        pick(tenant_id, self.lane_count)
    }
}

/// One of `count` places for an id, evenly.
fn pick(id: i64, count: u16) -> u16 {
    let place = mix(id.cast_unsigned()) % u64::from(count);
    u16::try_from(place).unwrap_or_default()
}

/// The output function of splitmix64 (Steele, Lea and Flood, 2014): every bit of the id changes about half of the
/// bits of the result, so ids that follow each other spread evenly.
pub(crate) const fn mix(id: u64) -> u64 {
    let mut z = id.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tickets_stay_where_earlier_versions_put_them() {
        // The first outputs of splitmix64 with seed 0, as published.
        assert_eq!(mix(0), 0xe220_a839_7b1d_cdaf);
        assert_eq!(mix(0x9e37_79b9_7f4a_7c15), 0x6e78_9e6a_a1b9_65f4);
        let layout = Layout::new(16, 4).expect("it is even");
        let shards: Vec<_> = (1..=8)
            .map(|ticket| layout.shard_of(1, ticket).number())
            .collect();
        assert_eq!(shards, [5, 6, 5, 6, 6, 4, 7, 6]);
    }

    #[test]
    fn a_tenant_stays_in_its_lane_and_shards_fill_evenly() {
        let layout = Layout::new(16, 4).expect("it is even");
        let mut counts = [0_u32; 16];
        for tenant in 1..=100 {
            for ticket in 1..=160 {
                let shard = layout.shard_of(tenant, ticket);
                assert!(layout.shards_of_tenant(tenant).any(|own| own == shard));
                counts[shard.index()] += 1;
            }
        }
        assert!(
            counts.iter().all(|count| (600..1_500).contains(count)),
            "{counts:?}"
        );
    }

    #[test]
    fn uneven_layouts_are_refused() {
        assert!(Layout::new(16, 3).is_none());
        assert!(Layout::new(0, 1).is_none());
        assert!(Layout::new(4, 0).is_none());
    }
}
