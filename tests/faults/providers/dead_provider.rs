//! 22: the provider of a channel answers nothing, and the endpoint of one tenant neither. All others are sent to as before.

use std::time::Duration;

use plazo_proto::common::v1::Channel;
use plazo_proto::notification::v1::ActiveMessageState as State;
use plazo_tests::eventually;
use plazo_tests::mailing::{self, Account, Mailing};
use plazo_tests::proxy::{Passing, Proxy};
use plazo_tests::report::FaultReport;
use plazo_tests::traffic::Done;
use plazo_tests::truth::now_us;
use tokio::time::Instant;

use super::bed::{Desks, judge, metric};
use crate::bed::{Size, rounded, to_float};

const TENANTS: u8 = 4;
/// How long the load runs before the fault, to compare with.
const BEFORE: Duration = Duration::from_secs(3);
/// Others' messages may take so many times as long as before in the meantime, or this long on a busy machine.
const SLOWER_MAX: f64 = 3.0;
const UNHARMED_MS: f64 = 500.0;
const RECOVERED_WITHIN: Duration = Duration::from_secs(30);

pub(crate) async fn run(size: Size) -> FaultReport {
    let mut desks = Desks::start(size, TENANTS).await;
    let own = desks.outside.address();
    let hanging = Proxy::start(own).await;
    let cluster = &desks.bed.cluster;
    let mut well = Vec::new();
    for number in &desks.accounts {
        let url = format!("http://{own}/hook/{}", number.tenant_id);
        well.push(mailing::create_endpoint(cluster, number.tenant_id, &url).await);
    }
    let url = format!("http://{}/hook", hanging.address());
    let tenant = desks.accounts[0].tenant_id;
    let ill = mailing::create_endpoint(cluster, tenant, &url).await;
    let everybody: Vec<Account> = [desks.accounts.as_slice(), &well, &[ill]].concat();
    let mailing = Mailing::start(cluster, everybody, size.messages_per_s);
    let pool = desks.bed.databases.notification.clone();
    let began_us = now_us(&pool).await;
    tokio::time::sleep(BEFORE).await;

    let fault_us = now_us(&pool).await;
    desks.numbers.set(Passing::Stalled);
    hanging.set(Passing::Stalled);
    let mut resting: f64 = 0.0;
    let until = Instant::now() + size.fault;
    while Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let now = metric(
            &desks.bed.cluster,
            "plazo_notification_accounts_resting",
            "",
        );
        resting = resting.max(now.await);
    }
    let over_us = now_us(&pool).await;
    desks.numbers.set(Passing::Freely);
    hanging.set(Passing::Freely);
    let over = Instant::now();
    let ended = desks.bed.fault_is_over().await;
    let recovered = wait_for_numbers(&desks, over_us).await.duration_since(over);

    let well: Vec<i64> = well.iter().map(|account| account.account_id).collect();
    let mailed = mailing.stop().await;
    desks.until_none_waits().await;
    let (before_ms, before) = mailing::delivery_p99_ms(&pool, &well, (began_us, fault_us)).await;
    let (during_ms, during) = mailing::delivery_p99_ms(&pool, &well, (fault_us, over_us)).await;
    let uncertain = desks.in_state(State::Uncertain).await;
    // What the provider got late, after nobody waited for its answer any more, it tells of.
    desks.tell_sent().await;
    let left = desks.in_state(State::Uncertain).await;
    desks.send_again(&mailed, &left).await;
    desks.until_none_waits().await;
    let states = mailing::states(&pool).await;
    let taken = desks.outside.taken();

    let Desks { bed, numbers, .. } = desks;
    let mut judged = bed.finish(size.fault, ended, Done::default()).await;
    let report = &mut judged.report;
    judge(
        report,
        &mailed,
        &states,
        &taken,
        &[State::Sent, State::Delivered],
    );
    report.saw("accounts_resting", resting);
    report.saw(
        "held_back",
        to_float(numbers.affected() + hanging.affected()),
    );
    report.saw("uncertain_meanwhile", to_float(uncertain.len()));
    report.saw("others_p99_ms_before", rounded(before_ms));
    report.saw("others_p99_ms_meanwhile", rounded(during_ms));
    report.saw("others_meanwhile", to_float(during));
    report.recovered_s = report.recovered_s.max(rounded(recovered.as_secs_f64()));
    report.require(before > 0 && during > 0, || "nothing was sent".to_owned());
    report.require(!uncertain.is_empty(), || "nothing was held up".to_owned());
    report.require(resting > 0.5, || "no account rested".to_owned());
    let bound_ms = (before_ms * SLOWER_MAX).max(UNHARMED_MS);
    report.require(during_ms <= bound_ms, || {
        format!("others' messages took {during_ms:.0} ms, and {before_ms:.0} ms before")
    });
    judged.conclude().await
}

/// Waits until each number has sent a message that was accepted after this time; when that was.
async fn wait_for_numbers(desks: &Desks, since_us: i64) -> Instant {
    let pool = &desks.bed.databases.notification;
    eventually("all numbers send again", RECOVERED_WITHIN, async || {
        let numbers: i64 = sqlx::query_scalar(
            "SELECT count(DISTINCT channel_account_id) FROM active_messages
             WHERE channel = $1 AND state = $2 AND state_at > 'epoch'::timestamptz + $3 * interval '1 microsecond'",
        )
        .bind(i32::from(Channel::Whatsapp))
        .bind(i32::from(State::Sent))
        .bind(since_us)
        .fetch_one(pool)
        .await
        .expect("messages can be read");
        numbers == i64::from(TENANTS)
    })
    .await;
    Instant::now()
}
