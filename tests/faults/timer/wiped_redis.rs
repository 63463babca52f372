//! 8: Redis comes back empty: once wiped, and once restarted without anything on disk. The missing epoch tells.

use plazo_tests::report::FaultReport;
use plazo_tests::timers::TimerSetup;

use super::bed::{Load, Run};
use crate::bed::Size;

pub(crate) async fn run(size: Size) -> FaultReport {
    let mut run = Run::start(Load::of(size).lasting(size.fault), TimerSetup::default()).await;
    run.until(0.2).await;
    inject(&run).await;
    run.until(0.6).await;
    run.timers.redis().kill().await.expect("it is killed");
    run.timers.redis().restart().await.expect("it starts again");
    let ended = run.fault_is_over();
    let mut judged = run.finish(size.fault, size.slack, ended).await;
    judged
        .must_have_seen("shards_rebuilt", "plazo_timer_rebuild_total", "")
        .await;
    judged
        .must_have_seen(
            "entries_brought_back",
            "plazo_timer_repaired_total",
            "rebuild",
        )
        .await;
    judged.conclude().await
}

/// Wipes Redis.
pub(super) async fn inject(run: &Run) {
    let mut redis = run.timers.redis_connection();
    redis.run(&["FLUSHALL"]).await.expect("it is wiped");
}
