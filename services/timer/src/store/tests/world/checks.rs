//! What must hold after each step.

use std::collections::BTreeSet;

use super::{Allowed, Row, TOLERANCE_MS, World};
use crate::store::Claimed;
use crate::store::tests::state::ShardState;

impl World<'_> {
    /// Compares Redis with the models, and checks what must hold at all times.
    pub(super) async fn check(&mut self, allowed: &Allowed) {
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
pub(super) fn check_batch(claimed: &Claimed, limit: usize, attempts_max: u32) {
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
