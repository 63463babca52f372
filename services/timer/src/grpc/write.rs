//! From what the store found to answers.

use plazo_proto::timer::v1 as proto;
use prost_types::Timestamp;

use crate::ownership::owner_of;
use crate::shard::Layout;
use crate::store::{FoundCounts, StoredEntry, StoredState};

/// An entry with where it stands.
pub(super) fn entry(found: StoredEntry) -> proto::TimerEntry {
    let member = found.entry.member;
    let (state, lease_end_ms, quarantine_reason) = match found.state {
        StoredState::Waiting => (proto::EntryState::Waiting, None, String::new()),
        StoredState::Leased { ends_ms } => {
            (proto::EntryState::Leased, Some(ends_ms), String::new())
        }
        StoredState::Quarantined { reason } => (proto::EntryState::Quarantined, None, reason),
    };
    proto::TimerEntry {
        ticket: Some(proto::TicketGeneration {
            tenant_id: member.tenant_id,
            ticket_id: member.ticket_id,
            generation: member.generation,
        }),
        state: state.into(),
        due_time: Some(timestamp(found.entry.due_ms)),
        lease_end_time: lease_end_ms.map(timestamp),
        failed_attempts: i32::try_from(found.failed_attempts).unwrap_or(i32::MAX),
        quarantine_reason,
        shard: i32::from(found.shard.number()),
    }
}

/// Counts of a shard.
pub(super) fn shard_stats(
    (shard, counts): &FoundCounts,
    layout: Layout,
    replica_ids: &[String],
) -> proto::ShardStats {
    let place = proto::ShardStats {
        shard: i32::from(shard.number()),
        lane: i32::from(layout.lane_of(*shard)),
        unavailable: counts.is_err(),
        owner_replica_id: owner_of(replica_ids, *shard).unwrap_or_default().to_owned(),
        ..Default::default()
    };
    let Ok(counts) = counts else {
        return place;
    };
    proto::ShardStats {
        waiting_count: counts.waiting,
        due_count: counts.due,
        lease_count: counts.leases,
        quarantined_count: counts.quarantined,
        first_due_time: counts.first_due_ms.map(timestamp),
        rebuilding: counts.is_rebuilding,
        ..place
    }
}

/// Unix milliseconds as a timestamp.
pub(super) fn timestamp(unix_ms: i64) -> Timestamp {
    let nanos = i32::try_from(unix_ms.rem_euclid(1_000) * 1_000_000).unwrap_or_default();
    Timestamp {
        seconds: unix_ms.div_euclid(1_000),
        nanos,
    }
}
