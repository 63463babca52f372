//! 4: a timer is frozen for three leases in the middle of its work, and goes on with what it held. Others have done that
//! meanwhile; its late answers and acks change nothing.

use std::collections::BTreeSet;
use std::time::Duration;

use nix::sys::signal::Signal;
use plazo_tests::cluster::LEASE;
use plazo_tests::report::FaultReport;
use plazo_tests::resp::{RedisConnection, Reply};
use plazo_tests::shards::{SHARDS, tag_of};
use plazo_tests::timers::TimerSetup;

use super::bed::{Load, Run};
use crate::bed::{Size, to_float};

/// How often it may be found idle.
const TRIES: usize = 200;
const OTHERS_LEASE: Duration = Duration::from_millis(100);
const BETWEEN_TRIES: Duration = Duration::from_millis(7);

pub(crate) async fn run(size: Size) -> FaultReport {
    let frozen = 3 * LEASE;
    let mut run = Run::start(Load::of(size).lasting(frozen), TimerSetup::default()).await;
    run.until(0.1).await;
    inject(&run, frozen).await;
    let ended = run.fault_is_over();
    // Calls to a frozen timer have to fail first.
    let mut judged = run.finish(LEASE, size.slack, ended).await;
    judged.report.saw("frozen_s", frozen.as_secs_f64());
    let already = judged.counts.already;
    judged.report.saw("answered_already", to_float(already));
    judged
        .must_have_seen("ended_leases", "plazo_timer_ended_leases_total", "")
        .await;
    judged.conclude().await
}

/// Freezes a timer for so long, in the middle of its work: while it holds a lease.
pub(super) async fn inject(run: &Run, length: Duration) {
    let mut redis = run.timers.redis_connection();
    for _ in 0..TRIES {
        run.timers.signal(1, Signal::SIGSTOP);
        let before = leases(&mut redis).await;
        // The other timer's leases are acknowledged meanwhile.
        tokio::time::sleep(OTHERS_LEASE).await;
        if !before.is_disjoint(&leases(&mut redis).await) {
            tokio::time::sleep(length).await;
            run.timers.signal(1, Signal::SIGCONT);
            return;
        }
        run.timers.signal(1, Signal::SIGCONT);
        tokio::time::sleep(BETWEEN_TRIES).await;
    }
    panic!("the timer never held a lease when it was frozen");
}

/// All leases there are.
async fn leases(redis: &mut RedisConnection) -> BTreeSet<Vec<u8>> {
    let mut found = BTreeSet::new();
    for shard in 0..SHARDS {
        let key = format!("{}:leases", tag_of(shard));
        let Ok(Reply::List(ids)) = redis.ask(&["ZRANGE", &key, "0", "-1"]).await else {
            panic!("a shard has a list of leases");
        };
        let ids = ids.into_iter().filter_map(|id| match id {
            Reply::Bytes(id) => Some(id),
            _ => None,
        });
        found.extend(ids);
    }
    found
}
