//! Many tickets that fall due almost at once, through real ticketing.

use std::time::Duration;

use plazo_proto::ticketing::v1::Stage;
use plazo_tests::cluster::{Cluster, Durability};
use plazo_tests::desk::{Desk, Stages};
use plazo_tests::ledger::Ledger;
use plazo_tests::load::{Seed, put_tickets, start_clocks};
use plazo_tests::process::Service;
use plazo_tests::truth::{Databases, now_us};
use tokio::time::Instant;

const TICKETS: usize = 100_000;
const WITHIN_MS: i64 = 10_000;
/// Tickets that show how fast this machine arms.
const PROBE: usize = 5_000;
/// A machine that takes longer arms the last tickets while the first ones fire.
const LEAD_MAX: Duration = Duration::from_secs(30);
const SECOND_US: i64 = 1_000_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_tickets_due_within_ten_seconds_fire_once_each() {
    let cluster = Cluster::start(Durability::PostgresOnly).await;
    let databases = Databases::open(&cluster).await;
    let probe = Desk::set_up(&cluster, 7, first_alert_after(86_400)).await;
    let mut desk = Desk::set_up(&cluster, 7, first_alert_after(3_600)).await;
    let seeds = put_tickets(&databases.ticketing, &desk, TICKETS, WITHIN_MS).await;
    databases.wait_for_consumers(Duration::from_mins(1)).await;
    let lead_s = arming_time_s(&databases, &probe).await;

    // Only now is it known how long ago the agents wrote: the first alert is set so that the first ticket is due when
    // all are armed.
    let age_us = now_us(&databases.ticketing).await - seeds[0].anchor_us;
    let first_alert_s = age_us / SECOND_US + lead_s;
    let put_under = desk.policy_version;
    desk.set_stages(first_alert_after(first_alert_s)).await;
    desk.started_under.insert(put_under, desk.policy_version);
    arm(&databases, &desk, &seeds).await;
    let first_due_us = seeds[0].anchor_us + first_alert_s * SECOND_US;
    let ahead_us = first_due_us - now_us(&databases.ticketing).await;

    let expected = i64::try_from(3 * TICKETS + 2 * PROBE).expect("a small number");
    let bound =
        Duration::from_micros(u64::try_from(ahead_us).unwrap_or(0)) + Duration::from_mins(2);
    plazo_tests::eventually("all have fired", bound, async || {
        Ledger::count_events(&databases.ticketing, desk.tenant_id).await >= expected
    })
    .await;
    let took_us = now_us(&databases.ticketing).await - first_due_us;

    let desks = [&desk, &probe];
    let account = Ledger::settle_and_check(&databases, &desks, Duration::from_mins(2)).await;
    assert_eq!(account.count(Stage::FirstAlert), TICKETS);
    assert_eq!(account.fired.len(), TICKETS);
    let metrics = cluster.metrics(Service::Timer).await;
    assert!(metrics.sum("plazo_timer_repaired_total", "cause=\"sweep\"") < 0.5);
    println!(
        "{TICKETS} tickets due within {} s were handled in {} ms; lateness p50 {:.0} ms, p99 {:.0} ms, max {:.0} ms; \
         all were armed {} ms before the first was due",
        WITHIN_MS / 1_000,
        took_us / 1_000,
        account.lateness_ms(0.5),
        account.lateness_ms(0.99),
        account.lateness_ms(1.0),
        ahead_us / 1_000,
    );
    cluster.stop().await;
}

/// One stage within the test, and the other a day away.
fn first_alert_after(seconds: i64) -> Stages {
    Stages {
        first_alert_s: i32::try_from(seconds).expect("a day at most"),
        second_alert_s: 2 * 86_400,
        warning_and_close_s: None,
    }
}

/// How long arming all tickets may take, in seconds, by what a part of them takes, with a margin.
async fn arming_time_s(databases: &Databases, probe: &Desk) -> i64 {
    let seeds = put_tickets(&databases.ticketing, probe, PROBE, WITHIN_MS).await;
    let started = Instant::now();
    arm(databases, probe, &seeds).await;
    let all = started.elapsed() * u32::try_from(TICKETS / PROBE).expect("a small number");
    let lead = all + all / 2 + Duration::from_secs(2);
    i64::try_from(lead.min(LEAD_MAX).as_secs()).expect("a short time")
}

/// Starts the clocks, and waits until the timer holds all of them.
async fn arm(databases: &Databases, desk: &Desk, seeds: &[Seed]) {
    start_clocks(&databases.ticketing, desk, seeds).await;
    plazo_tests::eventually("all are armed", Duration::from_mins(1), async || {
        databases.unarmed().await == 0
    })
    .await;
}
