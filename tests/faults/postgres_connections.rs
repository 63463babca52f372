//! 17: all connections of the services to PostgreSQL are killed, again and again.

use std::time::Duration;

use plazo_tests::cluster::{Durability, Setup};
use plazo_tests::process::Service;
use plazo_tests::report::FaultReport;
use plazo_tests::traffic::Done;
use sqlx::PgPool;
use tokio::time::Instant;

use crate::bed::{Bed, Size, to_float};

const PERIOD: Duration = Duration::from_millis(100);
const RECOVERED_WITHIN_S: f64 = 5.0;

pub(crate) async fn run(size: Size) -> FaultReport {
    let mut bed = Bed::start(size, Setup::new(Durability::Fast)).await;
    bed.until(0.2).await;
    let pool = bed.cluster.database(Service::Ticketing).await;
    let began: String = sqlx::query_scalar("SELECT clock_timestamp()::text")
        .fetch_one(&pool)
        .await
        .expect("the time");
    let until = Instant::now() + size.fault;
    let mut terminated = 0;
    while Instant::now() < until {
        terminated += terminate_all(&pool).await;
        tokio::time::sleep(PERIOD).await;
    }
    let ended = bed.fault_is_over().await;
    let mut judged = bed.finish(size.fault, ended, Done::default()).await;

    let report = &mut judged.report;
    report.saw("connections_terminated", to_float(terminated));
    report.require(terminated > 0, || "no connection was killed".to_owned());
    for service in ["ticketing", "notification", "history"] {
        let opened = opened_since(&pool, service, &began).await;
        report.saw(
            &format!("connections_opened_by_{service}"),
            to_float(opened),
        );
        report.require(opened > 0, || format!("{service} opened no new connection"));
    }
    let (recovered_s, repeated) = (report.recovered_s, report.repeated);
    report.require(repeated > 0, || "no call met a dead connection".to_owned());
    report.require(recovered_s <= RECOVERED_WITHIN_S, || {
        format!("it took {recovered_s} s to recover")
    });
    judged.conclude().await
}

async fn terminate_all(pool: &PgPool) -> i64 {
    sqlx::query_scalar(
        "SELECT count(*) FILTER (WHERE pg_terminate_backend(pid))
         FROM pg_stat_activity WHERE application_name LIKE 'plazo-%'",
    )
    .fetch_one(pool)
    .await
    .expect("connections can be terminated")
}

async fn opened_since(pool: &PgPool, service: &str, began: &str) -> i64 {
    sqlx::query_scalar(
        "SELECT count(*) FROM pg_stat_activity
         WHERE application_name = 'plazo-' || $1 AND backend_start > $2::timestamptz",
    )
    .bind(service)
    .bind(began)
    .fetch_one(pool)
    .await
    .expect("connections can be counted")
}
