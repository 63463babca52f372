//! Many entries due at once. How fast is for benchmarks to say; that nothing is lost or doubled, for this.

use crate::bed::{Bed, arm, wait_for};
use crate::desk::now_ms;

/// Tickets of one tenant in the way of those of another.
const CROWD: i64 = 20_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backlog_drains_without_loss() {
    // A call of Redis that took too long would be repeated, and the tickets looked at once more.
    let mut bed = Bed::new().await.set("REDIS__RESPONSE_TIMEOUT_MS", "5000");
    let mut timer = bed.start().await;
    timer.rebuilt().await;
    let due = now_ms();
    for first in (1..=CROWD).step_by(1_000) {
        let tickets = first..(first + 1_000);
        let arms = tickets
            .map(|ticket| {
                bed.desk.set((1 + ticket % 11, ticket), 1, &[due]);
                arm((1 + ticket % 11, ticket), 1, Some(due), 0)
            })
            .collect();
        timer.arm_all(arms).await;
    }
    let total = usize::try_from(CROWD).expect("it is small");
    wait_for("the drain", async || bed.desk.firing_count() == total).await;
    bed.desk.assert_all_fired_once_and_not_early();
    assert_eq!(bed.desk.state().looks.len(), total);
}
