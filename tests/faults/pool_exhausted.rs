//! 19: the connection pool of ticketing is exhausted. It is small, and a lock on the clocks of all tickets, as a careless
//! change of the schema takes it, holds up whoever has a connection.

use std::time::Duration;

use plazo_tests::cluster::{Cluster, Durability, Setup};
use plazo_tests::process::Service;
use plazo_tests::report::FaultReport;
use plazo_tests::traffic::Done;
use sqlx::{Connection as _, PgConnection};
use tokio::time::Instant;
use tonic::Code;

use crate::bed::{Bed, Size, rounded, to_float};

const CONNECTIONS: &str = "8";
/// Callers are refused within this time: the time for which they wait for a connection, one second, and some for a busy
/// machine.
const REFUSED_WITHIN: Duration = Duration::from_millis(2_500);
/// Slots of the timer times tickets in a batch.
const IN_FLIGHT_MAX: f64 = 8.0 * 256.0;
/// For as long as this nothing was claimed at some time: all slots wait for answers.
const PAUSE_MIN_S: f64 = 1.0;
/// So few connections take their time for what has gathered.
const RECOVERED_WITHIN_S: f64 = 60.0;
const PERIOD: Duration = Duration::from_millis(100);

/// What the timer was seen to do meanwhile.
#[derive(Debug, Default)]
struct Seen {
    claims: f64,
    longest_pause_s: f64,
    in_flight_max: f64,
    ended_leases: f64,
    quarantined: f64,
}

pub(crate) async fn run(size: Size) -> FaultReport {
    let setup = Setup::new(Durability::Fast)
        .configure(Service::Ticketing, "DATABASE__MAX_CONNECTIONS", CONNECTIONS)
        .configure(
            Service::Ticketing,
            "DATABASE__BACKGROUND_CONNECTIONS",
            CONNECTIONS,
        );
    let mut bed = Bed::start(size, setup).await;
    bed.until(0.2).await;
    let url = bed.cluster.database_url(Service::Ticketing);
    let mut holder = PgConnection::connect(&url)
        .await
        .expect("the database can be reached");
    let mut lock = holder.begin().await.expect("a transaction");
    sqlx::query("LOCK TABLE ticket_clocks IN ACCESS EXCLUSIVE MODE")
        .execute(&mut *lock)
        .await
        .expect("the lock is granted");
    let memory_before = bed.memory_mib(Service::Ticketing);
    let seen = watch(&bed.cluster, size.fault).await;
    lock.rollback().await.expect("the lock is released");
    let ended = bed.fault_is_over().await;
    let memory_after = bed.memory_mib(Service::Ticketing);

    let mut judged = bed.finish(size.fault, ended, Done::default()).await;
    let refused = judged.failures(Code::ResourceExhausted);
    let refusals = judged
        .done
        .failures
        .iter()
        .filter(|failure| failure.code == Code::ResourceExhausted);
    let is_told = refusals.clone().all(|failure| {
        failure.has_retry_info && failure.reason.as_deref() == Some("DATABASE_BUSY")
    });
    let slowest = refusals.map(|failure| failure.took).max();
    let slowest = slowest.unwrap_or_default();

    let report = &mut judged.report;
    report.saw("refused", to_float(refused));
    report.saw("slowest_refusal_s", rounded(slowest.as_secs_f64()));
    report.saw("claims", seen.claims);
    report.saw("longest_pause_of_claims_s", rounded(seen.longest_pause_s));
    report.saw("in_flight_max", seen.in_flight_max);
    report.saw("ended_leases", seen.ended_leases);
    report.saw("memory_growth_mib", rounded(memory_after - memory_before));
    report.require(refused > 0, || "nobody was refused".to_owned());
    report.require(is_told, || {
        "a refusal lacks its reason or when to try again".to_owned()
    });
    report.require(slowest <= REFUSED_WITHIN, || {
        format!("a refusal took {slowest:?}")
    });
    report.require(seen.longest_pause_s >= PAUSE_MIN_S, || {
        "the timer went on claiming".to_owned()
    });
    report.require(seen.in_flight_max <= IN_FLIGHT_MAX, || {
        "the timer held more than its slots bear".to_owned()
    });
    report.require(seen.ended_leases < 0.5, || "leases ended".to_owned());
    report.require(seen.quarantined < 0.5, || {
        "tickets went into quarantine for what the database did".to_owned()
    });
    let recovered_s = report.recovered_s;
    report.require(recovered_s <= RECOVERED_WITHIN_S, || {
        format!("it took {recovered_s} s to recover")
    });
    judged.conclude().await
}

/// Looks at the timer's metrics for a while.
async fn watch(cluster: &Cluster, duration: Duration) -> Seen {
    let until = Instant::now() + duration;
    let first = cluster.metrics(Service::Timer).await;
    let claims_of = "plazo_timer_claims_total";
    let leases_of = "plazo_timer_ended_leases_total";
    let mut seen = Seen::default();
    let mut claims = first.sum(claims_of, "");
    let mut claimed_at = Instant::now();
    while Instant::now() < until {
        tokio::time::sleep(PERIOD).await;
        let now = cluster.metrics(Service::Timer).await;
        if now.sum(claims_of, "") > claims {
            claims = now.sum(claims_of, "");
            claimed_at = Instant::now();
        }
        let pause_s = claimed_at.elapsed().as_secs_f64();
        seen.longest_pause_s = seen.longest_pause_s.max(pause_s);
        let in_flight = now.sum("plazo_timer_in_flight", "");
        seen.in_flight_max = seen.in_flight_max.max(in_flight);
        seen.claims = now.sum(claims_of, "") - first.sum(claims_of, "");
        seen.ended_leases = now.sum(leases_of, "") - first.sum(leases_of, "");
        seen.quarantined = now.sum("plazo_timer_quarantined_tickets", "");
    }
    seen
}
