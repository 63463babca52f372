//! 10: a failover that loses writes, while the old primary still answers. The link to the replica is cut, the sentinels
//! promote it all the same, and one of the two timers doesn't hear of it: the sentinel that it knows is frozen. So it goes
//! on arming and claiming on the old primary, until the sentinel goes on.

use std::collections::BTreeSet;
use std::time::Duration;

use plazo_local::RedisServer;
use plazo_tests::redis_shape::RedisShape;
use plazo_tests::report::FaultReport;
use plazo_tests::resp::{RedisConnection, Reply};
use plazo_tests::shards::{SHARDS, tag_of};
use plazo_tests::timers::TimerSetup;

use super::bed::{Load, Run};
use crate::bed::{Size, to_float};

/// How long the link is down before the failover.
const LINK_DOWN: Duration = Duration::from_secs(2);
const FAILOVER_BOUND: Duration = Duration::from_secs(10);
/// Sentinels make an old primary that still answers a replica, eight seconds after the failover.
const ANSWERING: Duration = Duration::from_secs(5);
/// The timer that hears of the failover late.
const LATE_TIMER: usize = 1;

/// What was seen of the failover.
struct Seen {
    /// Entries that the old primary had and the new one had not, when it was promoted.
    lost: usize,
    /// What the old primary wrote after that.
    written_to_old: i64,
    /// Whether it still took itself for a primary.
    was_primary: bool,
}

pub(crate) async fn run(size: Size) -> FaultReport {
    let setup = TimerSetup {
        redis: RedisShape::Sentinels,
        ..TimerSetup::default()
    };
    let outage = size.fault + LINK_DOWN + FAILOVER_BOUND;
    let load = Load::of(size).lasting(size.fault + LINK_DOWN + Duration::from_secs(2));
    let mut run = Run::start(load, setup).await;
    run.until(0.1).await;
    let seen = inject(&run, size.fault).await;
    let ended = run.fault_is_over();
    let mut judged = run.finish(outage, size.slack, ended).await;

    let report = &mut judged.report;
    report.saw("entries_lost_by_failover", to_float(seen.lost));
    report.require(seen.lost > 0, || "the failover lost nothing".to_owned());
    report.require(seen.was_primary, || {
        "the old primary was none any more".to_owned()
    });
    #[expect(clippy::cast_precision_loss, reason = "bytes of one run")]
    report.saw("bytes_written_to_old_primary", seen.written_to_old as f64);
    report.require(seen.written_to_old > 0, || {
        "nobody wrote to the old primary any more".to_owned()
    });
    let losses = "plazo_timer_suspected_loss_total";
    judged
        .must_have_seen("shards_found_replaced", losses, "replaced")
        .await;
    // What the late timer finds first: another server than before, or a counter that is behind that of the old one.
    let switched = judged.sum(losses, "switched").await + judged.sum(losses, "went_back").await;
    judged.report.saw("shards_switched_late", switched);
    judged.report.require(switched >= 1.0, || {
        "the timer that heard of it late has not switched".to_owned()
    });
    let back = judged.sum("plazo_timer_repaired_total", "rebuild").await;
    judged.report.saw("entries_brought_back", back);
    judged
        .report
        .require(back >= 1.0, || "nothing was brought back".to_owned());
    judged.conclude().await
}

async fn inject(run: &Run, length: Duration) -> Seen {
    let sentinels = run.timers.redis_sentinels();
    let [old, new] = sentinels.nodes() else {
        panic!("there is one replica");
    };
    let (mut to_old, mut to_new) = (connect(old), connect(new));
    // The replica may not come back, whatever it tries; clients notice nothing.
    for command in [
        &["ACL", "SETUSER", "default", "-psync", "-sync"][..],
        &["CLIENT", "KILL", "TYPE", "replica"],
    ] {
        to_old.run(command).await.expect("the link is cut");
    }
    plazo_tests::eventually("the link is down", LINK_DOWN, async || {
        to_new.info("master_link_status").await == "down"
    })
    .await;
    tokio::time::sleep(LINK_DOWN).await;

    let late = &sentinels.sentinels()[LATE_TIMER];
    late.pause().expect("a sentinel is frozen");
    let (before, kept) = (members(&mut to_old).await, members(&mut to_new).await);
    let lost = before.difference(&kept).count();
    sentinels.fail_over().await.expect("a replica is promoted");
    // Sentinels end all connections to the server that they promote.
    assert_eq!(connect(new).info("role").await, "master");
    let promoted_at = written(&mut to_old).await;
    let answering = length.min(ANSWERING);
    tokio::time::sleep(answering).await;
    let seen = Seen {
        lost,
        written_to_old: written(&mut to_old).await - promoted_at,
        was_primary: to_old.info("role").await == "master",
    };
    tokio::time::sleep(length.saturating_sub(answering)).await;
    late.resume().expect("the sentinel goes on");
    seen
}

fn connect(server: &RedisServer) -> RedisConnection {
    RedisConnection::open(&server.socket_path())
}

/// The entries that wait.
async fn members(redis: &mut RedisConnection) -> BTreeSet<Vec<u8>> {
    let mut members = BTreeSet::new();
    for shard in 0..SHARDS {
        let due = format!("{}:due", tag_of(shard));
        let answer = redis.ask(&["ZRANGE", &due, "0", "-1"]).await;
        let Ok(Reply::List(found)) = answer else {
            panic!("no list of entries: {answer:?}");
        };
        members.extend(found.into_iter().filter_map(|member| match member {
            Reply::Bytes(member) => Some(member),
            _ => None,
        }));
    }
    members
}

/// How much a server has written for replicas, whether or not there are any, in bytes.
async fn written(redis: &mut RedisConnection) -> i64 {
    let offset = redis.info("master_repl_offset").await;
    offset.parse().expect("it is a number")
}
