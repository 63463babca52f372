//! 3: replies of Redis are lost after the scripts ran: a proxy throws them away. What was claimed for nobody is
//! given back.

use std::time::Duration;

use plazo_tests::proxy::Passing;
use plazo_tests::report::FaultReport;
use plazo_tests::timers::TimerSetup;

use super::bed::{Load, Run};
use crate::bed::{Size, to_float};

pub(crate) async fn run(size: Size) -> FaultReport {
    let setup = TimerSetup {
        has_proxies: true,
        ..TimerSetup::default()
    };
    let mut run = Run::start(Load::of(size).lasting(size.fault), setup).await;
    run.until(0.2).await;
    inject(&run, size.fault).await;
    let ended = run.fault_is_over();
    let dropped = run.timers.redis_proxy().affected();
    let mut judged = run.finish(size.fault, size.slack, ended).await;
    judged.report.saw("dropped", to_float(dropped));
    judged
        .must_have_seen("given_back", "plazo_timer_given_back_total", "")
        .await;
    judged.conclude().await
}

/// Throws replies away, now and then, for so long.
pub(super) async fn inject(run: &Run, length: Duration) {
    let proxy = run.timers.redis_proxy();
    for _ in 0..4 {
        proxy.set(Passing::AnswersDropped);
        tokio::time::sleep(length / 8).await;
        proxy.set(Passing::Freely);
        tokio::time::sleep(length / 8).await;
    }
}
