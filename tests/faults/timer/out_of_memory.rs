//! 12: Redis has no memory left and evicts nothing. Claims and acks go on; arming waits in the owner's rows.

use std::time::Duration;

use plazo_tests::report::FaultReport;
use plazo_tests::timers::TimerSetup;

use super::bed::{Load, Run};
use crate::bed::{Size, to_float};

pub(crate) async fn run(size: Size) -> FaultReport {
    let mut run = Run::start(Load::of(size).lasting(size.fault), TimerSetup::default()).await;
    run.until(0.2).await;
    let before = run.owner.acted_count();
    let unarmed = inject(&run, size.fault).await;
    let acted = run.owner.acted_count() - before;
    let ended = run.fault_is_over();
    let mut judged = run.finish(size.fault, size.slack, ended).await;
    judged.report.saw("unarmed_meanwhile", to_float(unarmed));
    judged.report.saw("acted_meanwhile", to_float(acted));
    judged
        .report
        .require(unarmed > 0, || "nothing waited to be armed".to_owned());
    judged
        .must_have_seen("refused", "plazo_timer_redis_errors_total", "out_of_memory")
        .await;
    // What was armed before is claimed, handled and acked all the while.
    let due = judged.report.due_per_s * size.fault.as_secs_f64();
    judged.report.require(to_float(acted) >= due / 2.0, || {
        format!("only {acted} acted meanwhile")
    });
    judged.conclude().await
}

/// Lets Redis have no memory for so long; returns how many rows waited to be armed then.
pub(super) async fn inject(run: &Run, length: Duration) -> usize {
    let mut redis = run.timers.redis_connection();
    let mut limit = async |bytes| {
        let set = ["CONFIG", "SET", "maxmemory", bytes];
        redis.run(&set).await.expect("the limit is set");
    };
    limit("1").await;
    tokio::time::sleep(length).await;
    let unarmed = run.owner.unarmed_count();
    limit("0").await;
    unarmed
}
