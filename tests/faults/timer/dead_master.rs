//! 16: one Redis master of three is gone, and has no replica. The shards of the other two go on as if nothing had happened;
//! its own wait until it comes back: once with its append-only file, and another one with nothing.

use std::fs;
use std::time::Duration;

use plazo_tests::owner::Acted;
use plazo_tests::redis_shape::RedisShape;
use plazo_tests::report::FaultReport;
use plazo_tests::resp::RedisConnection;
use plazo_tests::shards::{REPLICAS_KEY, SHARDS, shard_of, tag_of};
use plazo_tests::timers::TimerSetup;

use super::bed::{Judged, Load, Run};
use super::masters::{master_of, masters};
use crate::bed::{Size, rounded, to_float};

/// A master that has come back serves nothing for two seconds.
const COMING_BACK: Duration = Duration::from_secs(3);
const HALF_A_DAY_MS: i64 = 43_200_000;
/// A rebuild under the full load by debug builds, roughly.
const REBUILD: Duration = Duration::from_secs(10);
const CALM_BOUND: Duration = Duration::from_secs(30);
/// What is due for longer than this still waits for a master.
const OVERDUE_MS: i64 = 1_000;
/// How late the shards of the other masters may be at the 99th percentile of each, in milliseconds: with optimised timers on
/// a machine that does nothing else; with others; and beside other tests, where it only shows that nobody waits for the dead.
const GOAL_MS: f64 = 25.0;
const GOAL_DEBUG_MS: f64 = 100.0;
const GOAL_QUICK_MS: f64 = 500.0;
/// Half of what waited for the dead master did so for longer, in milliseconds.
const WAITED_MS: f64 = 500.0;
const OPEN_SHARDS: &str = "plazo_timer_open_shards";
const REBUILT: &str = "plazo_timer_rebuild_total";
const REPAIRED: &str = "plazo_timer_repaired_total";

/// What a master comes back with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Back {
    WithFile,
    Empty,
}

/// A master was gone.
struct Outage {
    master: usize,
    /// From its death to its return, in the owner's microseconds.
    from_us: i64,
    to_us: i64,
    /// Shards that the timers left alone meanwhile, over all timers.
    open_shards: f64,
    /// Rows that waited to be armed.
    unarmed: usize,
    /// Entries that the master kept before, and that fall due after the run.
    entries: u64,
}

pub(crate) async fn run(size: Size) -> FaultReport {
    let setup = TimerSetup {
        redis: RedisShape::Cluster,
        append_only: true,
        ..TimerSetup::default()
    };
    // Twice, so each is shorter.
    let away = if size.is_full {
        size.fault
    } else {
        size.fault / 2
    };
    // A rebuild of all that is armed lies between them.
    let between = if size.is_full {
        REBUILD
    } else {
        Duration::ZERO
    };
    let load = Load::of(size).lasting(2 * (away + COMING_BACK) + between);
    let mut run = Run::start(load, setup).await;
    let places = masters(run.timers.redis_cluster()).await;
    // The harder case first: the one that keeps the list of replicas.
    let first = master_of(run.timers.redis_cluster(), REPLICAS_KEY).await;
    let second = (first + 1) % run.timers.redis_cluster().nodes().len();
    run.until(0.1).await;
    let rebuilt = run.timers.sum(REBUILT, "").await;
    let mut outages = vec![inject(&mut run, first, away, Back::WithFile).await];
    let kept = places.iter().filter(|place| **place == first).count();
    settled(&run, rebuilt + to_float(kept)).await;
    let repaired = run.timers.sum(REPAIRED, "rebuild").await;
    outages.push(inject(&mut run, second, away, Back::Empty).await);
    let ended = run.fault_is_over();
    let mut judged = run.finish(away + COMING_BACK, size.slack, ended).await;

    let calm_ms = judged
        .account
        .lateness_ms(0.99, |acted| acted.due_us < outages[0].from_us);
    judged.report.saw("before_p99_ms", rounded(calm_ms));
    for (outage, name) in outages.iter().zip(["first", "second"]) {
        judge(&mut judged, size, outage, &places, name);
    }
    for (what, cause) in [
        ("shards_found_replaced", "replaced"),
        ("shards_found_empty", "epoch_missing"),
    ] {
        let losses = "plazo_timer_suspected_loss_total";
        judged.must_have_seen(what, losses, cause).await;
    }
    let back = judged.sum(REPAIRED, "rebuild").await - repaired;
    judged.report.saw("entries_brought_back", back);
    let entries = outages[1].entries;
    judged.report.require(back >= to_float(entries), || {
        format!("{back} entries were brought back to the empty master, which had {entries}")
    });
    let open = judged.sum(OPEN_SHARDS, "").await;
    judged
        .report
        .require(open < 0.5, || format!("{open} shards are still left alone"));
    judged.conclude().await
}

/// Kills a master for so long.
async fn inject(run: &mut Run, master: usize, length: Duration, back: Back) -> Outage {
    let entries = far_entries(run, master).await;
    let node = &mut run.timers.redis_cluster().nodes_mut()[master];
    node.kill().await.expect("it is killed");
    let from_us = run.owner.now_us();
    tokio::time::sleep(length).await;
    let open_shards = run.timers.sum(OPEN_SHARDS, "").await;
    let unarmed = run.owner.unarmed_count();
    let to_us = run.owner.now_us();
    let node = &mut run.timers.redis_cluster().nodes_mut()[master];
    if back == Back::Empty {
        // It stays the same node with the same slots.
        let files = node.data_folder().join("appendonlydir");
        fs::remove_dir_all(&files).expect("it had an append-only file");
    }
    node.restart().await.expect("it starts again");
    Outage {
        master,
        from_us,
        to_us,
        open_shards,
        unarmed,
        entries,
    }
}

/// The entries of a master that fall due after the run.
async fn far_entries(run: &mut Run, master: usize) -> u64 {
    let soonest_ms = (run.owner.now_ms() + HALF_A_DAY_MS).to_string();
    let cluster = run.timers.redis_cluster();
    let places = masters(cluster).await;
    let mut redis = RedisConnection::open(&cluster.nodes()[master].socket_path());
    let mut count = 0;
    for shard in (0..SHARDS).filter(|shard| places[usize::from(*shard)] == master) {
        let due = format!("{}:due", tag_of(shard));
        let counted = redis.run(&["ZCOUNT", &due, &soonest_ms, "+inf"]).await;
        let counted: u64 = counted.expect("it counts").parse().expect("a number");
        count += counted;
    }
    count
}

/// Waits until all shards are served again, so many were rebuilt, and all that waited was looked at.
async fn settled(run: &Run, rebuilt: f64) {
    plazo_tests::eventually("all shards are as before", CALM_BOUND, async || {
        run.timers.sum(OPEN_SHARDS, "").await < 0.5
            && run.timers.sum(REBUILT, "").await >= rebuilt
            && run.owner.pending_count(-OVERDUE_MS) == 0
    })
    .await;
}

/// The shards of the other masters were hardly later than ever, and those of the dead one were left alone and have waited.
fn judge(judged: &mut Judged, size: Size, outage: &Outage, places: &[usize], name: &str) {
    let goal_ms = match (size.is_full, cfg!(debug_assertions)) {
        (true, false) => GOAL_MS,
        (true, true) => GOAL_DEBUG_MS,
        (false, _) => GOAL_QUICK_MS,
    };
    let owner = judged.timers.owner.clone();
    let shard_of = |acted: &Acted| {
        let ticket_id = i64::try_from(acted.ticket).expect("a small number") + 1;
        usize::from(shard_of(owner.tenant_of(acted.ticket), ticket_id))
    };
    let is_due = |acted: &Acted| (outage.from_us..outage.to_us).contains(&acted.due_us);
    let waited = |acted: &Acted| is_due(acted) && places[shard_of(acted)] == outage.master;
    let account = &judged.account;
    let due = account.acted.iter().filter(|acted| is_due(acted)).count();
    let own = account.acted.iter().filter(|acted| waited(acted)).count();
    let waited_ms = account.lateness_ms(0.5, waited);
    let mut worst_ms: f64 = 0.0;
    for (shard, _) in places
        .iter()
        .enumerate()
        .filter(|(_, place)| **place != outage.master)
    {
        let of_shard = |acted: &Acted| is_due(acted) && shard_of(acted) == shard;
        worst_ms = worst_ms.max(account.lateness_ms(0.99, of_shard));
    }

    let report = &mut judged.report;
    let mut saw = |what: &str, value| report.saw(&format!("{name}_{what}"), value);
    saw("shards_left_alone", outage.open_shards);
    saw("waited", to_float(own));
    saw("waited_p50_ms", rounded(waited_ms));
    saw("others", to_float(due - own));
    saw("others_p99_ms", rounded(worst_ms));
    let kept = places.iter().filter(|place| **place == outage.master);
    let expected = to_float(kept.count() * TimerSetup::default().replicas);
    let open = outage.open_shards;
    report.require((open - expected).abs() < 0.5, || {
        format!("{open} shards were left alone, not {expected}")
    });
    report.require(outage.unarmed > 0, || {
        "nothing waited to be armed".to_owned()
    });
    report.require(due > own && worst_ms <= goal_ms, || {
        format!(
            "a shard of another master was {worst_ms} ms late at the 99th percentile, not {goal_ms}"
        )
    });
    report.require(own > 0 && waited_ms > WAITED_MS, || {
        format!("the {own} entries of the dead master waited for no more than {waited_ms} ms")
    });
}
