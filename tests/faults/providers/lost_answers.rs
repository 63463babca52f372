//! 29: the provider takes messages, and its answers are lost; then the sender is killed at each of its steps.

use std::collections::BTreeSet;
use std::time::Duration;

use plazo_proto::notification::v1::ActiveMessageState as State;
use plazo_tests::mailing::{self, Mailing};
use plazo_tests::process::Service;
use plazo_tests::proxy::Passing;
use plazo_tests::report::FaultReport;
use plazo_tests::traffic::Done;

use super::bed::{Desks, LEASES_END_WITHIN, judge};
use crate::bed::{Size, to_float};

const TENANTS: u8 = 8;
/// A failpoint is reached within this time under this load.
const ABORTED_WITHIN: Duration = Duration::from_secs(30);
/// Batches that pass before the process dies.
const NTH: &str = "20";

pub(crate) async fn run(size: Size) -> FaultReport {
    let mut desks = Desks::start(size, TENANTS).await;
    let accounts = desks.accounts.clone();
    let mailing = Mailing::start(&desks.bed.cluster, accounts, size.messages_per_s);
    tokio::time::sleep(Duration::from_secs(2)).await;

    desks.numbers.set(Passing::AnswersDropped);
    tokio::time::sleep(size.fault).await;
    desks.numbers.set(Passing::Freely);
    // By now every one of them has been given up or has ended with its lease, and none was sent again.
    tokio::time::sleep(LEASES_END_WITHIN).await;
    let parked: BTreeSet<i64> = desks.in_state(State::Uncertain).await.into_iter().collect();
    let taken = desks.outside.taken();
    let taken_and_parked = parked.iter().filter(|id| taken.contains_key(id)).count();

    let mut deaths = 0;
    let cluster = &mut desks.bed.cluster;
    cluster.kill(Service::Notification).await;
    for point in ["CLAIM", "SEND", "SETTLE"] {
        let key = format!("FAULT__ABORT_AFTER_{point}");
        cluster.spawn(Service::Notification, &[(&key, NTH)]);
        cluster.wait_until_serving(Service::Notification).await;
        cluster.aborted(Service::Notification, ABORTED_WITHIN).await;
        deaths += 1;
    }
    cluster.start_services(&[Service::Notification]).await;
    let ended = desks.bed.fault_is_over().await;
    tokio::time::sleep(LEASES_END_WITHIN).await;

    let mailed = mailing.stop().await;
    desks.until_none_waits().await;
    let uncertain = desks.in_state(State::Uncertain).await;
    // What the provider has, it tells of; what it does not tell of, it does not have.
    desks.tell_sent().await;
    let left = desks.in_state(State::Uncertain).await;
    let taken = desks.outside.taken();
    let known = left.iter().filter(|id| taken.contains_key(id)).count();
    desks.send_again(&mailed, &left).await;
    desks.until_none_waits().await;
    let states = mailing::states(&desks.bed.databases.notification).await;
    let taken = desks.outside.taken();

    let Desks { bed, numbers, .. } = desks;
    let mut judged = bed
        .finish(size.fault + LEASES_END_WITHIN * 4, ended, Done::default())
        .await;
    let report = &mut judged.report;
    judge(report, &mailed, &states, &taken, &[State::Sent]);
    report.saw("answers_lost", to_float(numbers.affected()));
    report.saw("parked_by_lost_answers", to_float(parked.len()));
    report.saw("parked_in_all", to_float(uncertain.len()));
    report.saw("sent_again_by_somebody", to_float(left.len()));
    report.saw("deaths_of_the_sender", to_float(deaths + 1));
    report.saw("calls_repeated", to_float(mailed.repeated));
    report.require(taken_and_parked > 0, || {
        "no answer was lost of a message that was taken".to_owned()
    });
    report.require(uncertain.len() > parked.len(), || {
        "nothing was parked after the sender's deaths".to_owned()
    });
    report.require(known == 0, || {
        format!("{known} messages are uncertain although the provider told of them")
    });
    judged.conclude().await
}
