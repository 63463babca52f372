//! How late stages act when all four services run as processes: from the deadline to the commit of its effect.

use std::time::Duration;

use plazo_proto::ticketing::v1::Stage;
use plazo_tests::cluster::{Cluster, Durability};
use plazo_tests::desk::{Desk, Stages};
use plazo_tests::ledger::Ledger;
use plazo_tests::load::{put_tickets, start_clocks};
use plazo_tests::truth::{Databases, now_us};

use crate::Options;
use crate::report::{Report, Table, rounded, shown};

/// Tickets that fall due in each second.
const DUE_PER_S: i64 = 2_000;
const SECOND_US: i64 = 1_000_000;
const TENANT: i64 = 7;
/// All are armed by then.
const LEAD: Duration = Duration::from_secs(25);
/// What is late by more is no matter of milliseconds.
const LATENESS_MAX: Duration = Duration::from_mins(1);

/// Measures the lateness of first alerts under a steady load.
pub(super) async fn run(options: &Options, report: &mut Report) {
    let seconds: i64 = if options.quick { 5 } else { 20 };
    let count = usize::try_from(seconds * DUE_PER_S).expect("a small number");
    let cluster = Cluster::start(Durability::Full).await;
    let databases = Databases::open(&cluster).await;
    let mut desk = Desk::set_up(&cluster, TENANT, first_alert_after(3_600)).await;
    let seeds = put_tickets(&databases.ticketing, &desk, count, seconds * 1_000).await;
    databases.wait_for_consumers(Duration::from_mins(2)).await;

    // Only now is it known how long ago the agents wrote.
    let age_us = now_us(&databases.ticketing).await - seeds[0].anchor_us;
    let lead_s = i64::try_from(LEAD.as_secs()).expect("a short time");
    let put_under = desk.policy_version;
    desk.set_stages(first_alert_after(age_us / SECOND_US + lead_s))
        .await;
    desk.started_under.insert(put_under, desk.policy_version);
    start_clocks(&databases.ticketing, &desk, &seeds).await;
    plazo_tests::eventually("all are armed", LEAD, async || {
        databases.unarmed().await == 0
    })
    .await;
    let expected = i64::try_from(3 * count).expect("a small number");
    plazo_tests::eventually("all have fired", Duration::from_mins(3), async || {
        // Seldom: counting is work for the server that is measured.
        tokio::time::sleep(Duration::from_secs(2)).await;
        Ledger::count_events(&databases.ticketing, desk.tenant_id).await >= expected
    })
    .await;
    let account = Ledger::settle_and_check(&databases, &[&desk], LATENESS_MAX).await;
    assert_eq!(account.count(Stage::FirstAlert), count, "each once");
    cluster.stop().await;

    let mut table = Table::new(&["due/s", "p50 ms", "p99 ms", "p99.9 ms", "max ms"]);
    let mut cells = vec![DUE_PER_S.to_string()];
    let mut figures = serde_json::Map::new();
    for (name, share) in [("p50", 0.5), ("p99", 0.99), ("p999", 0.999), ("max", 1.0)] {
        let late_ms = account.lateness_ms(share);
        figures.insert(name.to_owned(), rounded(late_ms).into());
        cells.push(shown(late_ms));
    }
    figures.insert("due_per_s".to_owned(), DUE_PER_S.into());
    report.set("lateness_ticketing_ms", figures);
    table.row(cells);
    table.print("Lateness of first alerts, all four services, durable commits");
}

/// One stage within the run, and the other a day away.
fn first_alert_after(seconds: i64) -> Stages {
    Stages {
        first_alert_s: i32::try_from(seconds).expect("a day at most"),
        second_alert_s: 2 * 86_400,
        warning_and_close_s: None,
    }
}
