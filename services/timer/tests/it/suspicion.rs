//! What makes the timer doubt that Redis still has everything, and what the owner's search for lost deadlines does.

use plazo_local::RedisServer;
use plazo_proto::timer::v1 as proto;
use redis::aio::MultiplexedConnection;

use crate::bed::{Bed, RunningTimer, arm, member, own_redis, wait_for, wait_for_firings};
use crate::desk::{now_ms, timestamp};

const HOUR_MS: i64 = 3_600_000;

fn epoch_key(bed: &Bed, shard: u16) -> String {
    format!("plazo:{{{}:s{shard:03}}}:epoch", bed.namespace)
}

async fn get(redis: &mut MultiplexedConnection, key: &str) -> String {
    let value = redis::cmd("GET").arg(key).query_async(redis).await;
    value.expect("the key is there")
}

async fn set(redis: &mut MultiplexedConnection, key: &str, value: &str) {
    let () = redis::cmd("SET")
        .arg(key)
        .arg(value)
        .query_async(redis)
        .await
        .expect("it is set");
}

/// A timer whose first rebuild is over, and a ticket that only its owner knows.
async fn with_unknown_ticket(bed: &mut Bed) -> RunningTimer {
    let mut timer = bed.start().await;
    timer.rebuilt().await;
    wait_for("the guard", async || {
        timer.metric("owned_shards").await > 15.0
    })
    .await;
    for ticket in 1..=100 {
        bed.desk.set((1 + ticket % 9, ticket), 1, &[now_ms()]);
    }
    timer
}

/// The loss is suspected for this cause, and what was missing is added.
async fn assert_rebuilt(bed: &Bed, timer: &mut RunningTimer, cause: &str) {
    wait_for_firings(&bed.desk, 100).await;
    timer.rebuilt().await;
    bed.desk.assert_all_fired_once_and_not_early();
    let suspected = format!("suspected_loss_total{{cause=\"{cause}\"}}");
    assert!(timer.metric(&suspected).await > 15.5, "{cause}");
    let repaired = timer.metric("repaired_total{cause=\"rebuild\"}").await;
    assert!((repaired - 100.0).abs() < 0.5, "{repaired}");
    assert!(timer.metric("repaired_total{cause=\"sweep\"}").await < 0.5);
    // The first is that of the start.
    assert!(timer.metric("rebuild_total").await > 31.5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_epoch_means_a_rebuild() {
    let mut bed = Bed::new().await;
    let mut timer = with_unknown_ticket(&mut bed).await;
    let keys: Vec<_> = (0..16).map(|shard| epoch_key(&bed, shard)).collect();
    let () = redis::cmd("DEL")
        .arg(keys)
        .query_async(&mut bed.redis().await)
        .await
        .expect("they go");
    assert_rebuilt(&bed, &mut timer, "epoch_missing").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_counter_that_runs_backwards_means_a_rebuild() {
    let mut bed = Bed::new().await;
    let mut timer = with_unknown_ticket(&mut bed).await;
    let mut redis = bed.redis().await;
    for shard in 0..16 {
        let key = epoch_key(&bed, shard);
        // The guard has seen the first counters.
        wait_for("the counter", async || {
            let epoch = get(&mut redis, &key).await;
            let counter = epoch.split(' ').nth(2).map(str::parse::<u64>);
            counter.is_some_and(|counter| counter.expect("a counter") > 6)
        })
        .await;
        // As of a moment ago: the same server, the same history, a lower counter.
        let epoch = get(&mut redis, &key).await;
        let mut parts: Vec<_> = epoch.split(' ').collect();
        let earlier = parts[2].parse::<u64>().expect("a counter") - 1;
        let earlier = earlier.to_string();
        parts[2] = &earlier;
        parts[3] = "complete";
        set(&mut redis, &key, &parts.join(" ")).await;
    }
    assert_rebuilt(&bed, &mut timer, "went_back").await;
}

async fn redis_that_can_change_its_history() -> RedisServer {
    own_redis(&["enable-debug-command yes"]).await
}

/// As a fail-over does.
async fn change_history(redis: &mut MultiplexedConnection) {
    let () = redis::cmd("DEBUG")
        .arg("CHANGE-REPL-ID")
        .query_async(redis)
        .await
        .expect("it changes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_history_means_a_rebuild() {
    let redis = redis_that_can_change_its_history().await;
    let mut bed = Bed::on(redis.url()).await;
    let mut timer = with_unknown_ticket(&mut bed).await;
    change_history(&mut bed.redis().await).await;
    assert_rebuilt(&bed, &mut timer, "replaced").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_asks_again_after_its_own_switch() {
    let redis = redis_that_can_change_its_history().await;
    let mut bed = Bed::on(redis.url())
        .await
        .set("guard.interval_ms", &2_000)
        .set("guard.replica_alive_ms", &5_000);
    let mut timer = with_unknown_ticket(&mut bed).await;
    let mut redis = bed.redis().await;
    // Just after the guard has looked.
    let key = epoch_key(&bed, 15);
    let before = get(&mut redis, &key).await;
    wait_for("the guard", async || get(&mut redis, &key).await != before).await;
    // Another replica has switched earlier, and has rebuilt already: the epochs name the new server. What was armed through
    // this one went to the old.
    change_history(&mut redis).await;
    let info: String = redis::cmd("INFO")
        .arg("replication")
        .query_async(&mut redis)
        .await
        .expect("it tells");
    let history = info
        .lines()
        .find_map(|line| line.strip_prefix("master_replid:"))
        .expect("it has one")
        .trim();
    for shard in 0..16 {
        let key = epoch_key(&bed, shard);
        let epoch = get(&mut redis, &key).await;
        let (server, rest) = epoch.split_once('/').expect("both parts");
        let (_, rest) = rest.split_once(' ').expect("and the counter");
        set(&mut redis, &key, &format!("{server}/{history} {rest}")).await;
    }
    assert_rebuilt(&bed, &mut timer, "switched").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebuild_that_redis_has_forgotten_starts_over() {
    let mut bed = Bed::new().await.set("guard.rebuild_page_size", &10);
    let mut timer = with_unknown_ticket(&mut bed).await;
    let mut redis = bed.redis().await;
    let forget = |mut redis: MultiplexedConnection| {
        let keys: Vec<_> = (0..16)
            .flat_map(|shard| {
                let key = epoch_key(&bed, shard);
                [key.replace(":epoch", ":due"), key]
            })
            .collect();
        async move {
            let () = redis::cmd("DEL")
                .arg(keys)
                .query_async(&mut redis)
                .await
                .expect("they go");
        }
    };
    for n in 1..=100 {
        bed.desk.set((1 + n % 9, n), 1, &[now_ms() + 3_000]);
    }
    forget(redis.clone()).await;
    // Half of the pages were added when everything is forgotten again, the mark too.
    let listed = bed.desk.state().listing_count;
    wait_for("half of the pages", async || {
        bed.desk.state().listing_count >= listed + 5
    })
    .await;
    bed.desk.trouble(|trouble| trouble.holds_listing = true);
    let listed = bed.desk.state().listing_count;
    forget(redis.clone()).await;
    wait_for("the new mark", async || {
        let epoch: Option<String> = redis::cmd("GET")
            .arg(epoch_key(&bed, 0))
            .query_async(&mut redis)
            .await
            .expect("it is read");
        epoch.is_some_and(|epoch| epoch.contains("rebuilding"))
    })
    .await;
    bed.desk.trouble(|trouble| trouble.holds_listing = false);
    wait_for_firings(&bed.desk, 100).await;
    timer.rebuilt().await;
    bed.desk.assert_all_fired_once_and_not_early();
    assert!(timer.metric("overtaken_rebuild_total").await > 15.5);
    assert!(
        bed.desk.state().listing_count >= listed + 10,
        "from the first page"
    );
}

async fn repair(timer: &mut RunningTimer, tickets: &[((i64, i64), i64)]) -> (i64, i64) {
    let tickets = tickets.iter().map(|(ticket, due_ms)| proto::PendingTicket {
        ticket: Some(member(*ticket, 1)),
        due_time: Some(timestamp(*due_ms)),
    });
    let request = proto::RepairTicketsRequest {
        tickets: tickets.collect(),
    };
    let response = timer.client.repair_tickets(request).await;
    let response = response.expect("it works").into_inner();
    (response.repaired_count, response.skipped_count)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_search_adds_only_what_is_nowhere_and_that_raises_an_alert() {
    const LEASED: (i64, i64) = (1, 1);
    const WAITING: (i64, i64) = (2, 2);
    const QUARANTINED: (i64, i64) = (3, 3);
    const LOST: (i64, i64) = (4, 4);
    let mut bed = Bed::new().await;
    let mut timer = bed.start().await;
    timer.rebuilt().await;
    let due = now_ms();
    bed.desk.trouble(|trouble| {
        trouble.erring.insert(QUARANTINED);
    });
    timer.arm(QUARANTINED, 1, due).await;
    wait_for("the quarantine", async || {
        timer.quarantined().await.len() == 1
    })
    .await;
    bed.desk
        .trouble(|trouble| trouble.wait = std::time::Duration::from_secs(2));
    bed.desk.set(LEASED, 1, &[due]);
    timer.arm(LEASED, 1, due).await;
    timer.arm(WAITING, 1, due + HOUR_MS).await;
    wait_for("the lease", async || bed.desk.state().in_flight.0 == 1).await;
    bed.desk.set(LOST, 1, &[due]);

    let sweep = "repaired_total{cause=\"sweep\"}";
    let known = [(LEASED, due), (WAITING, due), (QUARANTINED, due)];
    assert_eq!(repair(&mut timer, &known).await, (0, 0));
    assert!(timer.metric(sweep).await < 0.5);
    assert_eq!(
        repair(&mut timer, &[(LEASED, due), (LOST, due)]).await,
        (1, 0)
    );
    assert!((timer.metric(sweep).await - 1.0).abs() < 0.1);
    wait_for_firings(&bed.desk, 2).await;
    bed.desk.assert_all_fired_once_and_not_early();
    assert_eq!(
        timer.entries(WAITING).await[0].due_time,
        Some(timestamp(due + HOUR_MS))
    );
    assert_eq!(timer.quarantined().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_search_rests_for_a_shard_with_a_backlog() {
    const BEHIND: (i64, i64) = (1, 1);
    let mut bed = Bed::new()
        .await
        .set("timer.dispatch_slots", &1)
        .set("timer.batch_limit", &1);
    let mut timer = bed.start().await;
    timer.rebuilt().await;
    // One call without an answer keeps the rest waiting.
    bed.desk
        .trouble(|trouble| trouble.wait = std::time::Duration::from_mins(1));
    timer.arm((2, 1_000), 1, now_ms()).await;
    wait_for("the call", async || bed.desk.state().in_flight.0 == 1).await;
    let long_ago = now_ms() - 60_000;
    timer.arm(BEHIND, 1, long_ago).await;
    let shard = timer.entries(BEHIND).await[0].shard;
    // Of the same tenant, in the same shard and in others.
    let mut behind = Vec::new();
    let mut elsewhere = Vec::new();
    for ticket in 2..=40 {
        let arms = vec![arm((1, ticket), 2, Some(now_ms() + HOUR_MS), 0)];
        timer.arm_all(arms).await;
        let same = timer.entries((1, ticket)).await[0].shard == shard;
        let list = if same { &mut behind } else { &mut elsewhere };
        list.push(((1, ticket), now_ms() + HOUR_MS));
    }
    assert!(!behind.is_empty() && !elsewhere.is_empty());
    let skipped = i64::try_from(behind.len()).expect("they are few");
    let missing = i64::try_from(elsewhere.len()).expect("they are few");
    assert_eq!(repair(&mut timer, &behind).await, (0, skipped));
    assert_eq!(repair(&mut timer, &elsewhere).await, (missing, 0));
}
