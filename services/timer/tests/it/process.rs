//! The timer as a process that dies: what it held comes again after its lease.

use std::process::Stdio;

use tokio::process::{Child, Command};

use crate::bed::{BOUND, Bed, wait_for, wait_for_firings};
use crate::desk::now_ms;

fn start(bed: &Bed, failpoint: &str) -> Child {
    Command::new(env!("CARGO_BIN_EXE_plazo-timer"))
        .env_clear()
        .envs(bed.environment())
        .env("PLAZO_TIMER__SERVER__METRICS_LISTEN", "127.0.0.1:0")
        .env(failpoint, "1")
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("the program starts")
}

/// A timer process claims what is due and dies at the failpoint; another timer takes over.
async fn die_at(failpoint: &str) -> Bed {
    let mut bed = Bed::new().await.with_short_leases();
    // The dying process finds the tickets itself: it rebuilds at its start, since nobody else is alive.
    let due = now_ms() + 200;
    for ticket in 1..=50 {
        bed.desk.set((1, ticket), 1, &[due, due + 1_500]);
    }
    let mut process = start(&bed, failpoint);
    let ended = tokio::time::timeout(BOUND, process.wait()).await;
    let status = ended.expect("it dies in time").expect("it ends");
    assert!(!status.success(), "it must have died");
    let mut timer = bed.start().await;
    let leases: i64 = timer
        .stats()
        .await
        .shards
        .iter()
        .map(|shard| shard.lease_count)
        .sum();
    assert!(leases > 0, "it died with a lease");
    wait_for_firings(&bed.desk, 100).await;
    bed.desk.assert_all_fired_once_and_not_early();
    wait_for("the last acks", async || {
        timer
            .stats()
            .await
            .shards
            .iter()
            .all(|s| s.waiting_count == 0 && s.lease_count == 0)
    })
    .await;
    assert!(timer.quarantined().await.is_empty());
    bed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dying_between_claim_and_dispatch_loses_nothing() {
    let bed = die_at("PLAZO_TIMER__FAULT__ABORT_AFTER_CLAIM").await;
    drop(bed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dying_between_dispatch_and_ack_fires_nothing_twice() {
    let bed = die_at("PLAZO_TIMER__FAULT__ABORT_BEFORE_ACK").await;
    let state = bed.desk.state();
    let looks = state.looks.len();
    assert!(looks > 100, "some were looked at again: {looks}");
}
