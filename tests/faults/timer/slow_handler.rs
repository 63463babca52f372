//! 21: the owner is slow: a proxy holds its answers back for five seconds, longer than a call may take. Claims are
//! limited by the slots, and leases don't end for it.

use std::time::Duration;

use plazo_tests::proxy::Passing;
use plazo_tests::report::FaultReport;
use plazo_tests::timers::TimerSetup;
use tokio::time::Instant;

use super::bed::{Load, Run};
use crate::bed::{Size, to_float};

const SLOW: Duration = Duration::from_secs(5);
/// Two timers, and of each its slots times tickets in a batch.
const IN_FLIGHT_MAX: f64 = 2.0 * 8.0 * 256.0;
const PERIOD: Duration = Duration::from_millis(100);

pub(crate) async fn run(size: Size) -> FaultReport {
    let setup = TimerSetup {
        has_proxies: true,
        ..TimerSetup::default()
    };
    let slow_for = size.fault + SLOW;
    let mut run = Run::start(Load::of(size).lasting(slow_for), setup).await;
    run.until(0.1).await;
    let proxy = run.timers.handler_proxy();
    proxy.set(Passing::AnswersLater(SLOW));
    let until = Instant::now() + slow_for;
    let mut in_flight = 0.0_f64;
    while Instant::now() < until {
        in_flight = in_flight.max(run.timers.sum("plazo_timer_in_flight", "").await);
        tokio::time::sleep(PERIOD).await;
    }
    proxy.set(Passing::Freely);
    let delayed = proxy.affected();
    let ended = run.fault_is_over();
    let mut judged = run.finish(slow_for + SLOW, size.slack, ended).await;
    judged.report.saw("delayed", to_float(delayed));
    judged.report.saw("in_flight_max", in_flight);
    judged
        .report
        .require(delayed > 0, || "no answer was delayed".to_owned());
    judged.report.require(in_flight <= IN_FLIGHT_MAX, || {
        format!("{in_flight} were in flight at once")
    });
    let ended_leases = judged.sum("plazo_timer_ended_leases_total", "").await;
    judged.report.saw("ended_leases", ended_leases);
    judged.report.require(ended_leases < 0.5, || {
        format!("{ended_leases} leases ended")
    });
    judged.conclude().await
}
