//! How draining slows down with the number of tickets that wait behind those that are due.

use crate::report::{Report, Table, median, rounded, shown};
use crate::timer::NAMESPACE;
use crate::timer::bed::{Bed, now_ms};
use crate::timer::drain::drained_per_s;
use crate::timer::effort::Effort;
use crate::timer::raw;

/// Drains at each step.
const DRAINS: usize = 3;
/// Nobody will see them due.
const YEAR_MS: i64 = 31_536_000_000;
/// Tickets that are put in at a time.
const CHUNK: usize = 250_000;

/// Puts in more and more tickets, and drains others beside them.
pub(super) async fn run(bed: &mut Bed, effort: Effort, report: &mut Report) {
    let mut table = Table::new(&["waiting", "drained per s", "µs each"]);
    let mut told = serde_json::Map::new();
    let mut waiting = 0;
    for step in effort.pending_steps {
        while waiting < *step {
            let count = CHUNK.min(step - waiting);
            let due_ms = now_ms() + YEAR_MS;
            let tickets = bed.tickets(count, |number| {
                due_ms + i64::try_from(number).expect("a small number")
            });
            let socket = bed.redis.socket_path();
            let put = move || raw::add(&socket, NAMESPACE, &tickets, 0);
            tokio::task::spawn_blocking(put)
                .await
                .expect("the bare commands run");
            waiting += count;
        }
        let mut drains = Vec::new();
        for _ in 0..DRAINS {
            let (due_ms, _, seen) = bed.fire(effort.drained_at_step, |_| 0).await;
            drains.push(drained_per_s(due_ms, &seen));
        }
        let per_s = median(&drains);
        told.insert(step.to_string(), rounded(per_s).into());
        table.row(vec![shown_count(*step), shown(per_s), shown(1e6 / per_s)]);
    }
    report.set("drain_per_s_by_pending", told);
    table.print("drain beside tickets that wait");
}

#[expect(clippy::cast_precision_loss, reason = "a small number")]
fn shown_count(count: usize) -> String {
    shown(count as f64)
}
