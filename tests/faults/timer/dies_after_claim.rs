//! 1: a timer dies after a claim and before its dispatch, at a failpoint. The other timer goes on, and takes the batch
//! when its lease ends.

use std::time::Duration;

use plazo_tests::cluster::LEASE;
use plazo_tests::report::FaultReport;
use plazo_tests::timers::TimerSetup;

use super::bed::{AFTER_LEASE, Judged, Load, Run};
use crate::bed::{Size, to_float};

/// The failpoint acts at this claim that brought something: the timer is at work by then.
const AT: &str = "20";
const BOUND: Duration = Duration::from_secs(30);

pub(crate) async fn run(size: Size) -> FaultReport {
    let mut judged = die_at(size, "FAULT__ABORT_AFTER_CLAIM").await;
    judged
        .must_have_seen("ended_leases", "plazo_timer_ended_leases_total", "")
        .await;
    judged.conclude().await
}

/// A timer under load dies at the failpoint, and another one takes over.
pub(super) async fn die_at(size: Size, failpoint: &str) -> Judged {
    let mut run = Run::start(Load::of(size).lasting(LEASE), TimerSetup::default()).await;
    run.until(0.2).await;
    run.timers.terminate(1).await;
    run.timers.spawn(1, &[(failpoint, AT)]);
    run.timers.aborted(1, BOUND).await;
    let ended = run.fault_is_over();
    let mut judged = run.finish(Duration::ZERO, size.slack, ended).await;
    let bound = LEASE + AFTER_LEASE;
    let slowest_ms = judged.report.lateness_max_ms;
    judged
        .report
        .require(slowest_ms <= to_float(bound.as_millis()), || {
            format!("an entry waited {slowest_ms} ms, and {bound:?} are the bound")
        });
    judged
}
