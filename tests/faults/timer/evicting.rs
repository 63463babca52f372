//! 13: the eviction policy is wrong. A timer refuses to start; one that runs says so.

use std::time::Duration;

use plazo_tests::report::FaultReport;
use plazo_tests::timers::TimerSetup;

use super::bed::{Load, Run};
use crate::bed::Size;

const BOUND: Duration = Duration::from_secs(30);

pub(crate) async fn run(size: Size) -> FaultReport {
    let mut run = Run::start(Load::of(size), TimerSetup::default()).await;
    run.until(0.2).await;
    run.timers.terminate(1).await;
    let mut redis = run.timers.redis_connection();
    let set = ["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"];
    redis.run(&set).await.expect("the policy is set");
    run.timers.spawn(1, &[]);
    let status = run.timers.ended(1, BOUND).await;
    let is_told = run.timers.said(1).contains("maxmemory-policy allkeys-lru");
    let mut alert = 0.0;
    plazo_tests::eventually("the other timer says so", BOUND, async || {
        alert = run.timers.sum("plazo_timer_redis_unsafe", "").await;
        alert > 0.5
    })
    .await;
    let set = ["CONFIG", "SET", "maxmemory-policy", "noeviction"];
    redis.run(&set).await.expect("the policy is set");
    plazo_tests::eventually("the alert ends", BOUND, async || {
        run.timers.sum("plazo_timer_redis_unsafe", "").await < 0.5
    })
    .await;
    run.timers.start_timer(1).await;
    let ended = run.fault_is_over();
    let mut judged = run.finish(Duration::ZERO, size.slack, ended).await;
    let refused = !status.success();
    judged
        .report
        .saw("refused_to_start", f64::from(u8::from(refused)));
    judged.report.saw("alert", alert);
    judged.report.require(refused, || "it started".to_owned());
    judged
        .report
        .require(is_told, || "it does not say why it refuses".to_owned());
    judged.conclude().await
}
