//! 14: the scripts that Redis knows are flushed again and again, and a script of somebody else keeps it busy. No error
//! reaches a caller.

use std::time::Duration;

use plazo_tests::report::FaultReport;
use plazo_tests::timers::TimerSetup;
use tokio::time::Instant;

use super::bed::{Load, Run};
use crate::bed::{Size, to_float};

/// Keeps Redis busy for a while, beyond the time after which it answers BUSY.
const SPIN: &str = "
local time = redis.call('TIME')
local until_us = time[1] * 1000000 + time[2] + ARGV[1] * 1000
repeat
  time = redis.call('TIME')
until time[1] * 1000000 + time[2] >= until_us
return 1
";
const SPIN_MS: &str = "900";
const BUSY_AFTER_MS: &str = "100";

pub(crate) async fn run(size: Size) -> FaultReport {
    let mut run = Run::start(Load::of(size).lasting(size.fault), TimerSetup::default()).await;
    run.until(0.2).await;
    let (flushed, spun) = inject(&run, size.fault).await;
    let ended = run.fault_is_over();
    let mut judged = run.finish(size.fault, size.slack, ended).await;
    judged.report.saw("flushed", to_float(flushed));
    judged.report.saw("spun", to_float(spun));
    judged
        .must_have_seen("redis_errors", "plazo_timer_redis_errors_total", "")
        .await;
    let failures = judged.counts.arm_failures.clone();
    judged.report.require(failures.is_empty(), || {
        format!("callers saw errors: {failures:?}")
    });
    judged.conclude().await
}

/// Flushes scripts, and now and then keeps Redis busy, for so long. Returns how often.
pub(super) async fn inject(run: &Run, length: Duration) -> (usize, usize) {
    let mut redis = run.timers.redis_connection();
    let set = ["CONFIG", "SET", "busy-reply-threshold", BUSY_AFTER_MS];
    redis.run(&set).await.expect("the threshold is set");
    let until = Instant::now() + length;
    let (mut flushed, mut spun) = (0, 0);
    while Instant::now() < until {
        for _ in 0..100 {
            redis
                .run(&["SCRIPT", "FLUSH"])
                .await
                .expect("scripts are flushed");
            flushed += 1;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        redis
            .run(&["EVAL", SPIN, "0", SPIN_MS])
            .await
            .expect("it spins");
        spun += 1;
    }
    (flushed, spun)
}
