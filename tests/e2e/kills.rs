//! Processes and servers die under load; nothing is lost, early or twice.
//!
//! Each test sees that its fault had an effect: a process died as it was told to, a lease ended without an answer, the
//! entries were rebuilt, calls had to be repeated.

use std::time::Duration;

use plazo_proto::ticketing::v1::Stage;
use plazo_tests::cluster::{Cluster, Durability, LEASE};
use plazo_tests::desk::{Desk, Stages};
use plazo_tests::ledger::{Account, Ledger};
use plazo_tests::load::{put_tickets, start_clocks};
use plazo_tests::process::Service;
use plazo_tests::traffic::{Done, Traffic};
use plazo_tests::truth::Databases;
use rand::Rng;

const TENANT: i64 = 7;
/// Tickets with alerts alone, and with all stages.
const ALERTED: usize = 3_000;
const CLOSED: usize = 500;
/// Within so much time the agents of these tickets have written.
const WITHIN_MS: i64 = 6_000;
const WRITERS: usize = 24;

/// A cluster under load.
struct Load {
    cluster: Cluster,
    databases: Databases,
    /// Of the tickets with alerts alone, of those with all stages, and of the conversations that go on.
    desks: [Desk; 3],
    traffic: Traffic,
}

impl Load {
    /// Starts a cluster and its load: the first deadlines of the tickets lie from two seconds ahead to eight, the last
    /// ones at twelve.
    async fn start(durability: Durability) -> Self {
        let cluster = Cluster::start(durability).await;
        let databases = Databases::open(&cluster).await;
        let all_stages = |first_alert_s, second_alert_s, warning_s, close_s| Stages {
            first_alert_s,
            second_alert_s,
            warning_and_close_s: Some((warning_s, close_s)),
        };
        let alerts = Stages {
            first_alert_s: 8,
            second_alert_s: 11,
            warning_and_close_s: None,
        };
        let desks = [
            Desk::set_up(&cluster, TENANT, alerts).await,
            Desk::set_up(&cluster, TENANT, all_stages(8, 11, 10, 12)).await,
            Desk::set_up(&cluster, TENANT, all_stages(1, 2, 3, 4)).await,
        ];
        let traffic = Traffic::start(&desks[2], WRITERS);
        for (desk, count) in desks.iter().zip([ALERTED, CLOSED]) {
            let seeds = put_tickets(&databases.ticketing, desk, count, WITHIN_MS).await;
            start_clocks(&databases.ticketing, desk, &seeds).await;
        }
        Self {
            cluster,
            databases,
            desks,
            traffic,
        }
    }

    /// Ends the load, waits until everything has settled, and judges the run. No stage may be later than `outage` and
    /// what a recovery takes. Returns what the traffic got done, too.
    async fn check(self, outage: Duration) -> (Cluster, Account, Done) {
        let Self {
            cluster,
            databases,
            desks,
            traffic,
        } = self;
        let done = traffic.stop().await;
        let desks: Vec<&Desk> = desks.iter().collect();
        let lateness_max = outage + LEASE + SLACK;
        let mut account = Ledger::settle_and_judge(&databases, &desks, lateness_max).await;
        account.judge_acknowledged(&done, ALERTED + CLOSED);
        account.assert_clean();
        // Those of the tickets that nobody answers; the traffic's own come on top. A close that is soon after may pass
        // over a red alert.
        assert!(account.count(Stage::SecondAlert) >= ALERTED);
        assert!(account.count(Stage::Warning) >= CLOSED);
        assert!(account.inactivity_closes >= CLOSED);
        let repaired = cluster.metrics(Service::Timer).await;
        let repaired = repaired.sum("plazo_timer_repaired_total", "cause=\"sweep\"");
        assert!(repaired < 0.5, "the sweep found {repaired} lost deadlines");
        println!(
            "{} stages fired, p50 {:.0} ms, p99 {:.0} ms, max {:.0} ms late; {} messages written, {} calls repeated",
            account.fired.len(),
            account.lateness_ms(0.5),
            account.lateness_ms(0.99),
            account.lateness_ms(1.0),
            done.messages.len(),
            done.failures.len()
        );
        (cluster, account, done)
    }
}

/// From the death of the timer until all tickets are due for the red alert.
const OUTAGE: Duration = Duration::from_secs(12);

/// For starting processes and working through what has gathered, on a small and busy machine.
const SLACK: Duration = Duration::from_secs(20);

/// FAULTS 1 and 2.
#[tokio::test(flavor = "multi_thread")]
async fn a_timer_that_dies_after_a_claim_or_before_an_ack_loses_nothing() {
    let mut load = Load::start(Durability::Fast).await;
    // The first deaths come early, the others in the middle of the load.
    for (failpoint, after) in [
        ("FAULT__ABORT_AFTER_CLAIM", "1"),
        ("FAULT__ABORT_BEFORE_ACK", "1"),
        ("FAULT__ABORT_AFTER_CLAIM", "10"),
        ("FAULT__ABORT_BEFORE_ACK", "10"),
    ] {
        if after == "1" && failpoint.ends_with("CLAIM") {
            load.cluster.kill(Service::Timer).await;
        }
        load.cluster.spawn(Service::Timer, &[(failpoint, after)]);
        load.cluster
            .aborted(Service::Timer, Duration::from_secs(30))
            .await;
    }
    load.cluster.start_services(&[Service::Timer]).await;
    assert_leases_ended(&load.cluster).await;

    let (cluster, ..) = load.check(Duration::ZERO).await;
    let metrics = cluster.metrics(Service::Timer).await;
    // What was dispatched before the death was answered a second time, with nothing to do.
    let fired = "plazo_timer_fired_total";
    let idle =
        metrics.sum(fired, "outcome=\"already\"") + metrics.sum(fired, "outcome=\"not_due\"");
    assert!(idle > 0.5, "nothing was asked about twice");
    cluster.stop().await;
}

/// FAULTS 1 and 2, and between the commit of ticketing and its answer, at moments that nobody chose.
#[tokio::test(flavor = "multi_thread")]
async fn services_that_are_killed_at_random_moments_lose_nothing() {
    let mut load = Load::start(Durability::Fast).await;
    for service in [
        Service::Timer,
        Service::Ticketing,
        Service::Timer,
        Service::Notification,
        Service::Ticketing,
        Service::Timer,
        Service::History,
        Service::Ticketing,
        Service::Notification,
        Service::Timer,
    ] {
        let pause_ms = rand::rng().random_range(100..1_200);
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        load.cluster.kill(service).await;
        load.cluster.start_services(&[service]).await;
    }
    // Ten starts of services, each with what had to wait for it.
    let (cluster, _, done) = load.check(Duration::from_secs(10)).await;
    assert!(!done.failures.is_empty(), "no call met a dead service");
    cluster.stop().await;
}

/// FAULTS 5.
#[tokio::test(flavor = "multi_thread")]
async fn after_an_outage_of_all_timers_the_highest_stage_that_is_due_acts() {
    let mut load = Load::start(Durability::Fast).await;
    load.cluster.kill(Service::Timer).await;
    // What the timer had asked for is answered, though nobody hears it.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let still = Ledger::read(&load.databases.ticketing, TENANT).await;
    tokio::time::sleep(OUTAGE).await;
    let meanwhile = Ledger::read(&load.databases.ticketing, TENANT).await;
    assert_eq!(
        meanwhile.fired_count(Stage::SecondAlert),
        still.fired_count(Stage::SecondAlert),
        "stages fired without a timer"
    );
    let yellow_before = still.fired_count(Stage::FirstAlert);
    load.cluster.start_services(&[Service::Timer]).await;

    let (cluster, account, done) = load.check(OUTAGE).await;
    let seeded = |stage| {
        let of_seeds = account
            .fired
            .iter()
            .filter(|fired| fired.stage == stage && !done.opened.contains(&fired.ticket_id));
        of_seeds.count()
    };
    // All were overdue for red by then, so that no yellow came after the outage, and each red once.
    assert!(seeded(Stage::FirstAlert) <= yellow_before);
    assert_eq!(seeded(Stage::SecondAlert), ALERTED + CLOSED);
    cluster.stop().await;
}

/// FAULTS 8.
#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_comes_back_empty_is_noticed_and_rebuilt() {
    let mut load = Load::start(Durability::PostgresOnly).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    load.cluster.flush_redis().await;
    assert_rebuilt(&load.cluster, 16.0).await;

    tokio::time::sleep(Duration::from_secs(2)).await;
    let redis = load.cluster.redis();
    redis.kill().await.expect("Redis can be killed");
    redis.restart().await.expect("Redis starts again");
    assert_rebuilt(&load.cluster, 32.0).await;

    let (cluster, ..) = load.check(Duration::from_secs(10)).await;
    let metrics = cluster.metrics(Service::Timer).await;
    let repaired = metrics.sum("plazo_timer_repaired_total", "cause=\"rebuild\"");
    assert!(repaired > 0.5, "nothing was missing after the wipes");
    println!("{repaired} entries were rebuilt");
    cluster.stop().await;
}

/// The claims of a dead timer came back to the next one.
async fn assert_leases_ended(cluster: &Cluster) {
    plazo_tests::eventually("a lease ended", LEASE + SLACK, async || {
        let metrics = cluster.metrics(Service::Timer).await;
        metrics.sum("plazo_timer_ended_leases_total", "") > 0.5
    })
    .await;
}

/// So many shards were rebuilt beyond those that every start of a timer rebuilds.
async fn assert_rebuilt(cluster: &Cluster, shards: f64) {
    let at_start = 16.0;
    plazo_tests::eventually(
        "all shards are rebuilt",
        Duration::from_secs(30),
        async || {
            let metrics = cluster.metrics(Service::Timer).await;
            metrics.sum("plazo_timer_rebuild_total", "") > at_start + shards - 0.5
        },
    )
    .await;
}
