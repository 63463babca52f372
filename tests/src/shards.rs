//! Where the timer keeps a ticket, as its documentation fixes it: the tenant picks a lane, and the ticket a shard in it.

/// Lanes of a namespace by default.
pub const LANES: u16 = 4;
/// Shards of a namespace by default.
pub const SHARDS: u16 = 16;

/// The lane of a tenant.
pub fn lane_of(tenant_id: i64) -> u16 {
    pick(tenant_id, LANES)
}

/// The shard of a ticket.
pub fn shard_of(tenant_id: i64, ticket_id: i64) -> u16 {
    let size = SHARDS / LANES;
    lane_of(tenant_id) * size + pick(ticket_id, size)
}

/// The hash tag of a shard's keys in the default namespace.
pub fn tag_of(shard: u16) -> String {
    format!("plazo:{{tickets:s{shard:03}}}")
}

/// The key of the list of replicas in the default namespace.
pub const REPLICAS_KEY: &str = "plazo:{tickets}:replicas";

/// The output function of splitmix64, over so many places.
fn pick(id: i64, count: u16) -> u16 {
    let mut z = id.cast_unsigned().wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    let place = (z ^ (z >> 31)) % u64::from(count);
    u16::try_from(place).expect("below the count")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tickets_are_where_the_timer_keeps_them() {
        // As the timer's own tests have them.
        let shards: Vec<_> = (1..=8).map(|ticket| shard_of(1, ticket)).collect();
        assert_eq!(shards, [5, 6, 5, 6, 6, 4, 7, 6]);
    }
}
