//! 30: the provider tells each status twice, in any order and before its own answer, and the service dies meanwhile.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt as _;
use plazo_proto::notification::v1::ActiveMessageState as State;
use plazo_tests::mailing::{self, Mailing};
use plazo_tests::outside::{Callbacks, Outside, Status, StatusKind};
use plazo_tests::process::Service;
use plazo_tests::report::FaultReport;
use plazo_tests::traffic::Done;
use rand::seq::SliceRandom as _;
use sqlx::PgPool;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::bed::{Desks, LEASES_END_WITHIN, judge, metric};
use crate::bed::{Size, to_float};

const TENANTS: u8 = 4;
/// Callbacks at the same time.
const CALLERS: usize = 4;
/// Statuses of so many messages are shuffled at a time; each callback tells a few of them.
const SHUFFLED: usize = 24;
const TOLD_AT_ONCE: usize = 10;
const ITEMS: &str = "plazo_notification_callback_items_total";
/// How often states are looked at.
const PERIOD: Duration = Duration::from_millis(100);

pub(crate) async fn run(size: Size) -> FaultReport {
    let mut desks = Desks::start(size, TENANTS).await;
    let accounts = desks.accounts.clone();
    let mailing = Mailing::start(&desks.bed.cluster, accounts, size.messages_per_s);
    let watch = Watch::start(desks.bed.databases.notification.clone());
    let callbacks = desks.callbacks();
    let mut told = 0;
    let until = Instant::now() + size.fault;
    while Instant::now() < until {
        told += shuffle_and_tell(&desks.outside, &callbacks, told).await;
        tokio::time::sleep(PERIOD).await;
    }
    let mut known = metric(&desks.bed.cluster, ITEMS, "outcome=\"known\"").await;

    // What is told while the service is away is told again until it is taken.
    desks.bed.cluster.kill(Service::Notification).await;
    let back = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let again = &[Service::Notification];
        desks.bed.cluster.start_services(again).await;
        desks.bed.fault_is_over().await
    };
    let rest = shuffle_and_tell(&desks.outside, &callbacks, told);
    let (ended, rest) = tokio::join!(back, rest);
    told += rest;
    tokio::time::sleep(LEASES_END_WITHIN).await;
    let mailed = mailing.stop().await;
    loop {
        desks.until_none_waits().await;
        told += shuffle_and_tell(&desks.outside, &callbacks, told).await;
        // Those that the dead process had claimed and not sent.
        let left = desks.in_state(State::Uncertain).await;
        if left.is_empty() {
            break;
        }
        desks.send_again(&mailed, &left).await;
    }
    known += metric(&desks.bed.cluster, ITEMS, "outcome=\"known\"").await;
    let seen = watch.stop().await;
    let states = mailing::states(&desks.bed.databases.notification).await;
    let taken = desks.outside.taken();

    let mut judged = desks.bed.finish(size.fault, ended, Done::default()).await;
    let report = &mut judged.report;
    judge(
        report,
        &mailed,
        &states,
        &taken,
        &[State::Read, State::Failed],
    );
    let is_wrong = |(id, state): &(&i64, &State)| **state != last_state(**id);
    let wrong = states.iter().filter(is_wrong).count();
    report.wrong += wrong + seen.backwards;
    report.saw("statuses_known_already", known);
    report.saw("callbacks_repeated", to_float(callbacks.repeated()));
    report.saw("steps_of_messages_seen", to_float(seen.steps));
    report.saw("steps_backwards", to_float(seen.backwards));
    report.require(wrong == 0, || {
        format!("{wrong} messages have a wrong state")
    });
    report.require(known > 0.5, || "no status came twice".to_owned());
    report.require(seen.steps > 0, || "no message moved".to_owned());
    report.require(callbacks.repeated() > 0, || {
        "no callback met the dead service".to_owned()
    });
    judged.conclude().await
}

/// Tells all statuses of the messages that were taken from this place on, each twice and in any order; how many messages
/// these are.
async fn shuffle_and_tell(outside: &Outside, callbacks: &Callbacks, from: usize) -> usize {
    let taken = outside.taken_by_number(from);
    for some in taken.chunks(SHUFFLED) {
        let of = |(number, message_id): &(String, i64)| {
            let (number, message_id) = (number.clone(), *message_id);
            course(message_id).iter().map(move |kind| Status {
                number: number.clone(),
                message_id,
                kind: *kind,
            })
        };
        let mut statuses: Vec<Status> = some.iter().chain(some).flat_map(of).collect();
        statuses.shuffle(&mut rand::rng());
        let calls = statuses
            .chunks(TOLD_AT_ONCE)
            .map(|told| callbacks.tell(told));
        futures::stream::iter(calls)
            .buffer_unordered(CALLERS)
            .collect::<()>()
            .await;
    }
    taken.len()
}

/// What happens to a message, in order.
fn course(message_id: i64) -> &'static [StatusKind] {
    match message_id % 5 {
        0 => &[StatusKind::Sent, StatusKind::Failed],
        1 => &[
            StatusKind::Sent,
            StatusKind::Failed,
            StatusKind::Delivered,
            StatusKind::Read,
        ],
        _ => &[StatusKind::Sent, StatusKind::Delivered, StatusKind::Read],
    }
}

/// How the message ends.
fn last_state(message_id: i64) -> State {
    match course(message_id).last() {
        Some(StatusKind::Read) => State::Read,
        _ => State::Failed,
    }
}

/// Looks at the states of all messages again and again.
struct Watch {
    stop: CancellationToken,
    task: JoinHandle<Seen>,
}

/// What was seen.
#[derive(Default)]
struct Seen {
    steps: usize,
    backwards: usize,
}

impl Watch {
    #[expect(
        clippy::disallowed_methods,
        reason = "tests own these tasks, and end them"
    )]
    fn start(pool: PgPool) -> Self {
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let mut seen = Seen::default();
            let mut before: BTreeMap<i64, State> = BTreeMap::new();
            while !stopped.is_cancelled() {
                let states = mailing::states(&pool).await;
                for (id, state) in &states {
                    let old = before.get(id).copied().unwrap_or(State::Accepted);
                    seen.steps += usize::from(place(*state) > place(old));
                    seen.backwards += usize::from(place(*state) < place(old));
                }
                before = states;
                tokio::time::sleep(PERIOD).await;
            }
            seen
        });
        Self { stop, task }
    }

    async fn stop(self) -> Seen {
        self.stop.cancel();
        self.task.await.expect("watching does not panic")
    }
}

/// The order of states.
fn place(state: State) -> u8 {
    match state {
        State::Unspecified | State::Accepted | State::Uncertain => 0,
        State::Sent => 1,
        State::Failed | State::Cancelled => 2,
        State::Delivered => 3,
        State::Read => 4,
    }
}
