//! 26: a million tickets of one tenant fall due in one second. Tenants in other lanes don't notice.

use plazo_tests::report::FaultReport;
use plazo_tests::shards::lane_of;
use plazo_tests::timers::TimerSetup;
use std::time::Duration;

use super::bed::{Load, Run, once, wait_until_armed};
use crate::bed::{Size, rounded, to_float};

const TENANT: i64 = 1_001;
const MANY: usize = 1_000_000;
/// The goal for the lateness of others, at the 99th percentile, in milliseconds.
const GOAL_MS: f64 = 15.0;

pub(crate) async fn run(size: Size) -> FaultReport {
    let is_full = size.is_full;
    let many = if is_full { MANY } else { MANY / 50 };
    let load = Load::of(size).lasting(Duration::from_secs(20));
    let timers = plazo_tests::timers::Timers::start(TimerSetup::default()).await;
    let first = timers.owner.add(TENANT, many);
    // Far away until the rest of the load is armed; then moved to one second of it.
    let far_ms = timers.owner.now_ms() + 1_200_000;
    let tickets = first..first + many;
    timers
        .owner
        .write(tickets.clone().map(|index| (index, once(far_ms))));
    wait_until_armed(&timers.owner).await;
    let mut run = Run::on(load, timers).await;
    run.until(0.2).await;
    let spread = i64::try_from(many / 1_000).expect("a small number").max(1);
    let due_ms = run.owner.now_ms() + 3_000;
    run.owner.write(tickets.enumerate().map(|(place, index)| {
        let place = i64::try_from(place).expect("a small number");
        (index, once(due_ms + place / spread))
    }));
    wait_until_armed(&run.owner).await;
    let ended = run.fault_is_over();
    let mut judged = run.finish(Duration::from_mins(2), size.slack, ended).await;
    let is_other = |tenant: i64| lane_of(tenant) != lane_of(TENANT);
    let owner = judged.timers.owner.clone();
    let others = |acted: &plazo_tests::owner::Acted| {
        acted.due_us >= due_ms * 1_000 && is_other(owner.tenant_of(acted.ticket))
    };
    let p99_ms = rounded(judged.account.lateness_ms(0.99, others));
    let count = judged
        .account
        .acted
        .iter()
        .filter(|acted| others(acted))
        .count();
    judged.report.saw("due_in_one_second", to_float(many));
    judged.report.saw("others", to_float(count));
    judged.report.saw("p99_of_others_ms", p99_ms);
    // A small load beside other tests shows that it acts; the figure is for a machine that does nothing else.
    judged.report.require(p99_ms <= GOAL_MS || !is_full, || {
        format!("tenants in other lanes were {p99_ms} ms late at the 99th percentile")
    });
    judged.conclude().await
}
