//! 4: a timer is frozen for three leases in the middle of its work, and goes on with what it held. Others have done that
//! meanwhile; its late answers and acks change nothing.

use std::time::Duration;

use nix::sys::signal::Signal;
use plazo_tests::cluster::LEASE;
use plazo_tests::report::FaultReport;
use plazo_tests::timers::TimerSetup;

use super::bed::{Load, Run};
use crate::bed::{Size, to_float};

pub(crate) async fn run(size: Size) -> FaultReport {
    let frozen = 3 * LEASE;
    let mut run = Run::start(Load::of(size).lasting(frozen), TimerSetup::default()).await;
    run.until(0.1).await;
    inject(&run, frozen).await;
    let ended = run.fault_is_over();
    // Calls to a frozen timer have to fail first.
    let mut judged = run.finish(LEASE, size.slack, ended).await;
    judged.report.saw("frozen_s", frozen.as_secs_f64());
    let already = judged.counts.already;
    judged.report.saw("answered_already", to_float(already));
    judged
        .must_have_seen("ended_leases", "plazo_timer_ended_leases_total", "")
        .await;
    judged.conclude().await
}

/// Freezes a timer for so long.
pub(super) async fn inject(run: &Run, length: Duration) {
    run.timers.signal(1, Signal::SIGSTOP);
    tokio::time::sleep(length).await;
    run.timers.signal(1, Signal::SIGCONT);
}
