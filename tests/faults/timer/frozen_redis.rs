//! 11: Redis is frozen for ten seconds. The owner's writes go on, and are armed afterwards.

use std::time::Duration;

use plazo_tests::report::FaultReport;
use plazo_tests::timers::TimerSetup;

use super::bed::{Load, Run};
use crate::bed::{Size, to_float};

const FROZEN: Duration = Duration::from_secs(10);

pub(crate) async fn run(size: Size) -> FaultReport {
    let frozen = if size.is_full { FROZEN } else { size.fault };
    let mut run = Run::start(Load::of(size).lasting(frozen), TimerSetup::default()).await;
    run.until(0.2).await;
    let unarmed = inject(&mut run, frozen).await;
    let ended = run.fault_is_over();
    let mut judged = run.finish(frozen, size.slack, ended).await;
    judged.report.saw("frozen_s", frozen.as_secs_f64());
    judged.report.saw("unarmed_meanwhile", to_float(unarmed));
    judged
        .report
        .require(unarmed > 0, || "nothing waited to be armed".to_owned());
    judged
        .must_have_seen("redis_errors", "plazo_timer_redis_errors_total", "")
        .await;
    judged.conclude().await
}

/// Freezes Redis for so long; returns how many rows waited to be armed then.
pub(super) async fn inject(run: &mut Run, length: Duration) -> usize {
    run.timers.redis().pause().expect("it is frozen");
    tokio::time::sleep(length).await;
    let unarmed = run.owner.unarmed_count();
    run.timers.redis().resume().expect("it goes on");
    unarmed
}
