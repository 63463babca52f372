//! 20: a write transaction stays open. The event feed can't go past it, shows that it waits, and skips nothing.

use std::collections::HashMap;
use std::time::Duration;

use plazo_proto::ticketing::v1::feed_service_client::FeedServiceClient;
use plazo_proto::ticketing::v1::{StreamEventsRequest, StreamEventsResponse};
use plazo_tests::cluster::{Cluster, Durability, Setup};
use plazo_tests::process::Service;
use plazo_tests::report::FaultReport;
use plazo_tests::traffic::Done;
use plazo_tests::truth::{now_us, us_of};
use sqlx::{Connection as _, PgConnection};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tonic::Request;
use tonic::metadata::MetadataValue;

use crate::bed::{Bed, Size, rounded, to_float};

/// Transactions that began before the long one may still commit when it has begun.
const SETTLED_US: i64 = 1_000_000;
const CAUGHT_UP_WITHIN: Duration = Duration::from_mins(4);
const PERIOD: Duration = Duration::from_millis(100);

/// What a consumer of the feed was given.
#[derive(Debug, Clone, Default)]
struct Given {
    /// The last event of each ticket.
    seqs: HashMap<i64, i64>,
    events: usize,
    /// Events that did not follow the one before them in their ticket.
    gaps: usize,
    /// When the newest event happened.
    newest_us: i64,
}

impl Given {
    fn take(&mut self, batch: &StreamEventsResponse) {
        for event in &batch.events {
            let before = self.seqs.insert(event.ticket_id, event.ticket_seq);
            self.gaps += usize::from(event.ticket_seq != before.unwrap_or(0) + 1);
            self.newest_us = self.newest_us.max(us_of(event.event_time.as_ref()));
        }
        self.events += batch.events.len();
    }
}

pub(crate) async fn run(size: Size) -> FaultReport {
    let mut bed = Bed::start(size, Setup::new(Durability::Fast)).await;
    let ticketing = bed.databases.ticketing.clone();
    let (consumer, given) = consume(&bed.cluster);
    bed.until(0.2).await;
    let url = bed.cluster.database_url(Service::Ticketing);
    let mut holder = PgConnection::connect(&url)
        .await
        .expect("the database can be reached");
    let mut long = holder.begin().await.expect("a transaction");
    // Takes a transaction id, and touches nothing that anybody waits for.
    sqlx::query(
        "INSERT INTO answered_requests (tenant_id, request_id, method, fingerprint)
         VALUES (1, gen_random_uuid(), 'long', '')",
    )
    .execute(&mut *long)
    .await
    .expect("a row can be put in");
    let began_us = now_us(&ticketing).await;

    let mut lag_max_s: f64 = 0.0;
    let until = Instant::now() + size.fault;
    while Instant::now() < until {
        tokio::time::sleep(PERIOD).await;
        lag_max_s = lag_max_s.max(lag_s(&bed.cluster).await);
    }
    let newest_us = given.borrow().newest_us;
    let behind = events_after(&ticketing, newest_us).await;
    long.rollback().await.expect("the transaction ends");
    let ended = bed.fault_is_over().await;
    let ended_us = now_us(&ticketing).await;
    let ended_at = Instant::now();
    plazo_tests::eventually("the feed goes on", CAUGHT_UP_WITHIN, async || {
        given.borrow().newest_us >= ended_us
    })
    .await;
    let went_on_s = ended_at.elapsed().as_secs_f64();
    plazo_tests::eventually("the feed is up to date", CAUGHT_UP_WITHIN, async || {
        lag_s(&bed.cluster).await < 1.0
    })
    .await;

    let mut judged = bed.finish(Duration::ZERO, ended, Done::default()).await;
    let there = count_events(&ticketing).await;
    plazo_tests::eventually("the consumer has all", CAUGHT_UP_WITHIN, async || {
        given.borrow().events >= there
    })
    .await;
    let given = given.borrow().clone();
    drop(consumer);

    let report = &mut judged.report;
    let waited_s = to_float(ended_us - began_us) / 1e6;
    report.saw("transaction_stood_s", rounded(waited_s));
    report.saw("feed_lag_max_s", rounded(lag_max_s));
    report.saw("events_that_waited", to_float(behind));
    report.saw("events_consumed", to_float(given.events));
    report.saw("went_on_after_s", rounded(went_on_s));
    report.require(newest_us < began_us + SETTLED_US, || {
        "the feed went past a running transaction".to_owned()
    });
    report.require(behind > 0, || "no event had to wait".to_owned());
    report.require(lag_max_s >= waited_s - 2.5, || {
        format!("the lag showed {lag_max_s} s after {waited_s} s")
    });
    report.require(given.gaps == 0, || {
        format!("{} events were skipped or came again", given.gaps)
    });
    report.require(given.events == there, || {
        format!("{} events of {there} came", given.events)
    });
    judged.conclude().await
}

/// Reads the feed from its beginning, as a service would: a stream that breaks is opened again at the position reached.
fn consume(cluster: &Cluster) -> (JoinSet<()>, watch::Receiver<Given>) {
    let mut client = FeedServiceClient::new(cluster.channel(Service::Ticketing))
        .max_decoding_message_size(64 << 20);
    let (sender, receiver) = watch::channel(Given::default());
    let mut task = JoinSet::new();
    task.spawn(async move {
        let mut position = String::new();
        loop {
            if let Ok(answer) = client.stream_events(request(&position)).await {
                let mut stream = answer.into_inner();
                while let Ok(Some(batch)) = stream.message().await {
                    sender.send_modify(|given| given.take(&batch));
                    position = batch.position;
                }
            }
            tokio::time::sleep(PERIOD).await;
        }
    });
    (task, receiver)
}

fn request(position: &str) -> Request<StreamEventsRequest> {
    let mut request = Request::new(StreamEventsRequest {
        position: position.to_owned(),
    });
    for (key, value) in [
        ("plazo-tenant", "0"),
        ("plazo-actor", "service/watcher"),
        ("plazo-permissions", "service"),
        ("plazo-bots", "*"),
    ] {
        let metadata = request.metadata_mut();
        metadata.insert(key, MetadataValue::from_static(value));
    }
    request
}

async fn lag_s(cluster: &Cluster) -> f64 {
    let metrics = cluster.metrics(Service::Ticketing).await;
    metrics.sum("plazo_ticketing_feed_lag_seconds", "")
}

async fn events_after(ticketing: &sqlx::PgPool, newest_us: i64) -> i64 {
    sqlx::query_scalar(
        "SELECT count(*) FROM ticket_events
         WHERE recorded_at > 'epoch'::timestamptz + $1 * interval '1 microsecond'",
    )
    .bind(newest_us)
    .fetch_one(ticketing)
    .await
    .expect("events can be counted")
}

async fn count_events(ticketing: &sqlx::PgPool) -> usize {
    let count: i64 = sqlx::query_scalar("SELECT count(*) FROM ticket_events")
        .fetch_one(ticketing)
        .await
        .expect("events can be counted");
    usize::try_from(count).expect("not negative")
}
