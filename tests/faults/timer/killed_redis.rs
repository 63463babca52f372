//! 7: Redis is killed, with an append-only file that is synced every second, and restarted with all that it has: a
//! million entries under the full load.

use std::time::Duration;

use plazo_tests::report::FaultReport;
use plazo_tests::timers::TimerSetup;

use super::bed::{Load, Run};
use crate::bed::{Size, rounded};

const ENTRIES: usize = 1_000_000;
const RECOVERED_WITHIN_S: f64 = 30.0;

pub(crate) async fn run(size: Size) -> FaultReport {
    let mut load = Load::of(size).lasting(Duration::from_secs(15));
    if size.is_full {
        load.armed = ENTRIES;
    }
    let setup = TimerSetup {
        append_only: true,
        ..TimerSetup::default()
    };
    let mut run = Run::start(load, setup).await;
    run.until(0.2).await;
    let before = run.timers.redis_connection().info("run_id").await;
    run.timers.redis().kill().await.expect("it is killed");
    // The fault ends with the kill: the recovery includes the loading.
    let ended = run.fault_is_over();
    run.timers.redis().restart().await.expect("it starts again");
    let after = run.timers.redis_connection().info("run_id").await;
    let outage = Duration::from_secs(15);
    let mut judged = run.finish(outage, size.slack, ended).await;
    judged
        .report
        .saw("run_id_changed", f64::from(u8::from(before != after)));
    judged
        .report
        .require(before != after, || "it is the same server".to_owned());
    judged
        .must_have_seen("shards_rebuilt", "plazo_timer_rebuild_total", "")
        .await;
    let recovered_s = rounded(judged.report.recovered_s.max(judged.report.caught_up_s));
    judged
        .report
        .require(recovered_s <= RECOVERED_WITHIN_S, || {
            format!("it took {recovered_s} s to recover")
        });
    judged.conclude().await
}
