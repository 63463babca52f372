//! A replica of Redis takes over: by its sentinels, or behind the back of some timers.

use std::net::SocketAddr;

use plazo_local::{RedisOptions, RedisSentinels, RedisSentinelsOptions, RedisServer};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::bed::{Bed, RunningTimer, arm, own_redis, wait_for, wait_for_firings};
use crate::desk::now_ms;

async fn sentinels(count: usize) -> RedisSentinels {
    let options = RedisSentinelsOptions::temporary(count);
    RedisSentinels::start(options).await.expect("they start")
}

async fn arm_range(
    bed: &Bed,
    timer: &mut RunningTimer,
    ids: std::ops::RangeInclusive<i64>,
    first_ms: i64,
) {
    let mut arms = Vec::new();
    for id in ids {
        let due = first_ms + 2 * (id % 1_000);
        bed.desk.set((1 + id % 7, id), 1, &[due]);
        arms.push(arm((1 + id % 7, id), 1, Some(due), 0));
    }
    wait_for("the arms", async || {
        let request = plazo_proto::timer::v1::ArmTicketsRequest { arms: arms.clone() };
        timer.client.arm_tickets(request).await.is_ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sentinels_promote_a_replica_under_load() {
    let redis = sentinels(3).await;
    let mut bed = Bed::on(redis.url()).await.with_short_leases();
    let mut timer = bed.start().await;
    timer.rebuilt().await;
    arm_range(&bed, &mut timer, 1..=900, now_ms() + 100).await;
    redis.fail_over().await.expect("a replica is promoted");
    arm_range(&bed, &mut timer, 1_001..=1_200, now_ms() + 100).await;
    wait_for_firings(&bed.desk, 1_100).await;
    bed.desk.assert_all_fired_once_and_not_early();
    timer.rebuilt().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sentinels_replace_a_dead_master() {
    let mut redis = sentinels(1).await;
    let mut bed = Bed::on(redis.url()).await.with_short_leases();
    let mut timer = bed.start().await;
    timer.rebuilt().await;
    arm_range(&bed, &mut timer, 1..=900, now_ms() + 100).await;
    wait_for_firings(&bed.desk, 100).await;
    redis.nodes_mut()[0].kill().await.expect("it can be killed");
    arm_range(&bed, &mut timer, 1_001..=1_200, now_ms() + 100).await;
    assert_eq!(redis.master().await.ok(), Some(1));
    wait_for_firings(&bed.desk, 1_100).await;
    bed.desk.assert_all_fired_once_and_not_early();
    timer.rebuilt().await;
}

/// A way to a Redis that can be led to another one, as by a name that points elsewhere.
struct Way {
    address: SocketAddr,
    target: watch::Sender<u16>,
    _tasks: JoinSet<()>,
}

impl Way {
    async fn to(server: &RedisServer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let (target, targets) = watch::channel(server.tcp_port().expect("it has one"));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut ways = JoinSet::new();
            while let Ok((mut from, _)) = listener.accept().await {
                let mut targets = targets.clone();
                ways.spawn(async move {
                    let port = *targets.borrow_and_update();
                    let Ok(mut to) = TcpStream::connect(("127.0.0.1", port)).await else {
                        return;
                    };
                    tokio::select! {
                        _ = copy_bidirectional(&mut from, &mut to) => {}
                        _ = targets.changed() => {}
                    }
                });
            }
        });
        Self {
            address,
            target,
            _tasks: tasks,
        }
    }

    fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    fn lead_to(&self, server: &RedisServer) {
        self.target
            .send_replace(server.tcp_port().expect("it has one"));
    }
}

async fn ask(server: &RedisServer, words: &[&str]) -> String {
    let client = redis::Client::open(server.url()).expect("the URL is valid");
    let mut connection = client
        .get_multiplexed_async_connection()
        .await
        .expect("it is there");
    let mut cmd = redis::cmd(words[0]);
    cmd.arg(&words[1..]);
    cmd.query_async(&mut connection).await.expect("it answers")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_switches_last_rebuilds_once_more() {
    let options = || RedisOptions::temporary().append_only(false).tcp(true);
    let old = RedisServer::start(options()).await.expect("redis starts");
    let port = old.tcp_port().expect("it has one");
    let new = RedisServer::start(options().setting(format!("replicaof 127.0.0.1 {port}")))
        .await
        .expect("redis starts");
    let (first_way, last_way) = (Way::to(&old).await, Way::to(&old).await);
    let mut bed = Bed::on(first_way.url()).await;
    let mut first = bed.start().await;
    first.rebuilt().await;
    bed.redis_url = last_way.url();
    let mut last = bed.start().await;
    last.rebuilt().await;
    wait_for("the link", async || {
        ask(&new, &["INFO", "replication"])
            .await
            .contains("master_link_status:up")
    })
    .await;

    ask(&new, &["REPLICAOF", "NO", "ONE"]).await;
    first_way.lead_to(&new);
    wait_for("the first rebuild", async || {
        // The first timer is on the new server, and all is well there.
        let key = format!("plazo:{{{}:s000}}:epoch", bed.namespace);
        let epoch = ask(&new, &["GET", &key]).await;
        let run_id = ask(&new, &["INFO", "server"]).await;
        let run_id = run_id.lines().find_map(|line| line.strip_prefix("run_id:"));
        epoch.contains(run_id.expect("it has one").trim()) && epoch.ends_with("complete")
    })
    .await;
    first.rebuilt().await;

    // The old server still answers, and the last timer still arms there. Nobody will see these on the new one.
    for id in 1..=100 {
        bed.desk.set((1, id), 1, &[now_ms() + 3_600_000]);
        last.arm((1, id), 1, now_ms() + 3_600_000).await;
    }
    assert_eq!(
        first.entries((1, 7)).await.len(),
        0,
        "the fault took effect"
    );
    last_way.lead_to(&new);
    for id in [7, 50, 100] {
        wait_for("the second rebuild", async || {
            first.entries((1, id)).await.len() == 1
        })
        .await;
    }
    first.stop().await;
    last.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_that_turns_bad_is_noticed() {
    let redis = own_redis(&[]).await;
    let mut bed = Bed::on(redis.url())
        .await
        .set("guard.settings_interval_ms", &50);
    let timer = bed.start().await;
    ask(
        &redis,
        &["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"],
    )
    .await;
    wait_for("the alert", async || {
        timer.metric("redis_unsafe").await > 0.5
    })
    .await;
    ask(&redis, &["CONFIG", "SET", "maxmemory-policy", "noeviction"]).await;
    wait_for("the end of the alert", async || {
        timer.metric("redis_unsafe").await < 0.5
    })
    .await;
    timer.stop().await;
}
