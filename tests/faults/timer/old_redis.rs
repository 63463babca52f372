//! 9: Redis comes back as it was some time ago: it is killed, and loads a dump of earlier.

use plazo_tests::report::FaultReport;
use plazo_tests::timers::TimerSetup;

use super::bed::{Load, Run};
use crate::bed::Size;

pub(crate) async fn run(size: Size) -> FaultReport {
    let mut run = Run::start(Load::of(size).lasting(size.fault), TimerSetup::default()).await;
    run.until(0.2).await;
    let mut redis = run.timers.redis_connection();
    redis.run(&["SAVE"]).await.expect("a dump is written");
    let before = redis.info("run_id").await;
    run.until(0.6).await;
    run.timers.redis().kill().await.expect("it is killed");
    run.timers.redis().restart().await.expect("it starts again");
    let ended = run.fault_is_over();
    let mut redis = run.timers.redis_connection();
    let after = redis.info("run_id").await;
    let mut judged = run.finish(size.fault, size.slack, ended).await;
    judged
        .report
        .saw("run_id_changed", f64::from(u8::from(before != after)));
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
    // What was handled after the dump is there again, and is looked at once more.
    let again = judged.counts.already + judged.counts.stale;
    judged
        .report
        .saw("looked_at_again", crate::bed::to_float(again));
    judged
        .report
        .require(again > 0, || "nothing came again".to_owned());
    judged.conclude().await
}
