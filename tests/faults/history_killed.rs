//! 28: history is killed and started again in a loop, stands still for a while, and has a second replica at times, while
//! bulk closes race replies. What it has in the end equals the truth, row by row.

use std::time::Duration;

use plazo_proto::common::v1::AuthorKind;
use plazo_proto::ticketing::v1::CloseTicketsRequest;
use plazo_tests::cluster::{Durability, Setup};
use plazo_tests::desk::{Desk, Stages};
use plazo_tests::process::Service;
use plazo_tests::report::FaultReport;
use plazo_tests::traffic::{self, Done, Traffic};
use plazo_tests::verify::verify_history;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::Request;

use crate::bed::{Bed, Size, to_float};

/// The tenant of the race, which the ledger does not judge: history is compared for all tenants.
const TENANT: i64 = 28;
/// Tickets of one bulk close.
const BULK: usize = 8;
/// How long a replica works before it is killed.
const WORKS: Duration = Duration::from_millis(700);
/// How long history may take to catch up in the end.
const PATIENCE: Duration = Duration::from_mins(2);
/// How long nobody works in every second round.
const BEHIND: Duration = Duration::from_millis(600);

pub(crate) async fn run(size: Size) -> FaultReport {
    let mut bed = Bed::start(size, Setup::new(Durability::Fast)).await;
    let desk = Desk::set_up(&bed.cluster, TENANT, short_stages()).await;
    let stop = CancellationToken::new();
    let mut races = JoinSet::new();
    for _ in 0..size.writers.div_ceil(BULK) {
        races.spawn(race(desk.clone(), stop.clone()));
    }
    let talk = Traffic::start(&desk, size.writers / 2);
    bed.until(0.1).await;

    let (began, mut kills) = (Instant::now(), 0_usize);
    // Longer than other faults: each death is at another place.
    while began.elapsed() < size.fault * 2 {
        let replica = kills % 3 == 0;
        if replica {
            bed.cluster.spawn_replica(Service::History);
        }
        tokio::time::sleep(WORKS).await;
        bed.cluster.kill(Service::History).await;
        kills += 1;
        if kills % 2 == 0 {
            tokio::time::sleep(BEHIND).await;
        }
        if replica {
            bed.cluster.kill_replicas().await;
        }
        bed.cluster.spawn(Service::History, &[]);
    }
    bed.cluster.wait_until_serving(Service::History).await;
    let ended = bed.fault_is_over().await;
    stop.cancel();
    talk.stop().await;
    let mut closed = 0;
    let mut reopened = 0;
    for outcome in races.join_all().await {
        closed += outcome.0;
        reopened += outcome.1;
    }
    let mut judged = bed.finish(Duration::ZERO, ended, Done::default()).await;

    let verified = verify_history(&judged.cluster, PATIENCE).await;
    let report = &mut judged.report;
    report.saw("kills", to_float(kills));
    report.saw("closed_in_bulk", to_float(closed));
    report.saw("replies_to_closed", to_float(reopened));
    report.require(kills > 3, || "history was hardly killed".to_owned());
    report.require(closed > 0, || "nothing was closed in bulk".to_owned());
    report.require(verified.is_equal, || {
        format!("history differs:\n{}", verified.told)
    });
    judged.conclude().await
}

/// Closes tickets in bulk while their customers reply. Returns how many were closed so, and how many replies were sent.
async fn race(desk: Desk, stop: CancellationToken) -> (usize, usize) {
    let (mut closed, mut replies) = (0, 0);
    let mut round = 0;
    while !stop.is_cancelled() {
        round += 1;
        let mut done = Done::default();
        let mut ticket_ids = Vec::with_capacity(BULK);
        for _ in 0..BULK {
            ticket_ids.push(traffic::open(&desk, &mut done).await);
        }
        let mut replying = JoinSet::new();
        for ticket_id in ticket_ids.clone() {
            let desk = desk.clone();
            replying.spawn(async move {
                let mut done = Done::default();
                for number in 0..2 {
                    let text = format!("{ticket_id}/{round}/{number}");
                    let author = AuthorKind::Customer;
                    traffic::record(&desk, ticket_id, author, &text, &mut done).await;
                }
                done.messages.len()
            });
        }
        closed += close_all(&desk, ticket_ids).await;
        replies += replying.join_all().await.into_iter().sum::<usize>();
    }
    (closed, replies)
}

/// How many of these tickets were closed by one call.
async fn close_all(desk: &Desk, ticket_ids: Vec<i64>) -> usize {
    let request = CloseTicketsRequest {
        ticket_ids,
        request_id: uuid::Uuid::new_v4().to_string(),
        ..CloseTicketsRequest::default()
    };
    let answer = desk
        .tickets
        .clone()
        .close_tickets(Request::new(request))
        .await;
    // A close that found no place is none: this fault is about history.
    answer.map_or(0, |answer| answer.into_inner().results.len())
}

/// Tickets that are left alone are warned and closed within the run.
fn short_stages() -> Stages {
    Stages {
        first_alert_s: 1,
        second_alert_s: 2,
        warning_and_close_s: Some((3, 4)),
    }
}
