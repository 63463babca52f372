//! 5: all timers are down for a minute. Then each ticket goes to the highest stage that is due.

use std::time::Duration;

use plazo_tests::report::FaultReport;
use plazo_tests::timers::TimerSetup;

use super::bed::{Load, Run};
use crate::bed::{Size, to_float};

const DOWN: Duration = Duration::from_mins(1);

pub(crate) async fn run(size: Size) -> FaultReport {
    let down = if size.is_full { DOWN } else { size.fault };
    let mut run = Run::start(Load::of(size).lasting(down), TimerSetup::default()).await;
    run.until(0.1).await;
    for replica in 0..2 {
        run.timers.kill(replica).await;
    }
    tokio::time::sleep(down).await;
    for replica in 0..2 {
        run.timers.start_timer(replica).await;
    }
    let ended = run.fault_is_over();
    let mut judged = run.finish(down, size.slack, ended).await;
    judged.report.saw("down_s", down.as_secs_f64());
    let overtaken = judged.account.overtaken;
    judged.report.saw("overtaken_stages", to_float(overtaken));
    judged.report.require(overtaken > 0, || {
        "no stage was overtaken by a higher one".to_owned()
    });
    judged.conclude().await
}
