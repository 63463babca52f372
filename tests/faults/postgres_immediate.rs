//! 18: PostgreSQL is stopped in the middle of commits, and started again.

use plazo_tests::cluster::{Durability, Setup};
use plazo_tests::report::FaultReport;
use plazo_tests::traffic::Done;
use tokio::time::Instant;

use crate::bed::{Bed, Size, rounded, to_float};

/// What a server says that was not stopped in order.
const RECOVERY: &str = "automatic recovery in progress";

pub(crate) async fn run(size: Size) -> FaultReport {
    let mut bed = Bed::start(size, Setup::new(Durability::PostgresOnly)).await;
    let log_path = bed.cluster.postgres().log_path();
    let recoveries = || {
        let text = std::fs::read_to_string(&log_path).unwrap_or_default();
        text.matches(RECOVERY).count()
    };
    let recoveries_before = recoveries();
    let (mut servers, mut away_s) = (0, 0.0);
    // As `pg_ctl stop -m immediate` does it, and by SIGKILL.
    for (share, is_crash) in [(0.2, false), (0.5, true)] {
        bed.until(share).await;
        let postgres = bed.cluster.postgres();
        let before = postgres.pid().expect("PostgreSQL runs");
        let went_at = Instant::now();
        let stopped = if is_crash {
            postgres.kill().await
        } else {
            postgres.stop_immediately().await
        };
        stopped.expect("PostgreSQL ends");
        postgres.restart().await.expect("PostgreSQL starts again");
        away_s += went_at.elapsed().as_secs_f64();
        servers += usize::from(postgres.pid().expect("PostgreSQL runs") != before);
    }
    let ended = bed.fault_is_over().await;
    let mut judged = bed.finish(size.fault, ended, Done::default()).await;

    let recovered = recoveries() - recoveries_before;
    let report = &mut judged.report;
    report.saw("servers_replaced", to_float(servers));
    report.saw("recoveries_from_the_log", to_float(recovered));
    report.saw("away_s", rounded(away_s));
    report.require(servers == 2, || "the same server answered".to_owned());
    report.require(recovered == 2, || "no recovery was needed".to_owned());
    let repeated = report.repeated;
    report.require(repeated > 0, || "no call met a dead server".to_owned());
    judged.conclude().await
}
