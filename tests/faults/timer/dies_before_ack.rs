//! 2: a timer dies after a dispatch and before its ack, at a failpoint. The owner has acted by then, and answers ALREADY
//! when the batch comes again.

use plazo_tests::report::FaultReport;

use super::dies_after_claim::die_at;
use crate::bed::{Size, to_float};

pub(crate) async fn run(size: Size) -> FaultReport {
    let mut judged = die_at(size, "FAULT__ABORT_BEFORE_ACK").await;
    judged
        .must_have_seen("ended_leases", "plazo_timer_ended_leases_total", "")
        .await;
    let already = judged.counts.already;
    judged.report.saw("answered_already", to_float(already));
    judged
        .report
        .require(already > 0, || "nothing came again".to_owned());
    judged.conclude().await
}
