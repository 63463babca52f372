//! 15: a Redis Cluster of three masters is resharded under load. The slots of all shards, and that of the list of replicas,
//! go from master to master with the commands that `redis-cli --cluster reshard` uses.

use std::time::Duration;

use plazo_tests::redis_shape::RedisShape;
use plazo_tests::report::FaultReport;
use plazo_tests::resp::RedisConnection;
use plazo_tests::shards::{REPLICAS_KEY, SHARDS, tag_of};
use plazo_tests::timers::TimerSetup;
use tokio::time::Instant;

use super::bed::{Load, Run};
use super::masters::slot_of;
use crate::bed::{Size, to_float};

/// Slots move one by one; no shard is in doubt for longer.
const MOVE: Duration = Duration::from_secs(2);

pub(crate) async fn run(size: Size) -> FaultReport {
    let setup = TimerSetup {
        redis: RedisShape::Cluster,
        ..TimerSetup::default()
    };
    let mut run = Run::start(Load::of(size).lasting(size.fault), setup).await;
    run.until(0.2).await;
    let before = redirections(&mut run).await;
    let moved = inject(&mut run, size.fault).await;
    let redirected = redirections(&mut run).await - before;
    let ended = run.fault_is_over();
    let mut judged = run.finish(MOVE, size.slack, ended).await;
    judged.report.saw("slots_moved", to_float(moved));
    judged.report.saw("redirections", to_float(redirected));
    judged.report.require(moved > usize::from(SHARDS), || {
        format!("only {moved} slots have moved")
    });
    judged
        .report
        .require(redirected > 0, || "no command was redirected".to_owned());
    let losses = "plazo_timer_suspected_loss_total";
    judged
        .must_have_seen("shards_found_moved", losses, "replaced")
        .await;
    judged.conclude().await
}

/// Moves slots for so long, and each at least once. Returns how many have another master than before.
async fn inject(run: &mut Run, length: Duration) -> usize {
    let until = Instant::now() + length;
    let cluster = run.timers.redis_cluster();
    let keys = (0..SHARDS).map(|shard| format!("{}:due", tag_of(shard)));
    let mut slots = Vec::new();
    for key in keys.chain([REPLICAS_KEY.to_owned()]) {
        slots.push(slot_of(cluster, &key).await);
    }
    let mut moved = 0;
    for (turn, slot) in slots.iter().cycle().enumerate() {
        if turn >= slots.len() && Instant::now() >= until {
            break;
        }
        let from = cluster.node_of_slot(*slot).await.expect("it is served");
        let to = (from + 1) % cluster.nodes().len();
        cluster.move_slot(*slot, to).await.expect("it moves");
        let now = cluster.node_of_slot(*slot).await.expect("it is served");
        moved += usize::from(now == to);
    }
    moved
}

/// How often all masters have sent a command elsewhere.
async fn redirections(run: &mut Run) -> u64 {
    let mut count = 0;
    for node in run.timers.redis_cluster().nodes() {
        let mut redis = RedisConnection::open(&node.socket_path());
        for kind in ["MOVED", "ASK"] {
            let told = redis.info(&format!("errorstat_{kind}")).await;
            let of_kind = told
                .strip_prefix("count=")
                .and_then(|text| text.parse().ok());
            count += of_kind.unwrap_or(0);
        }
    }
    count
}
