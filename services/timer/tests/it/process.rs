//! The timer as a process that dies: what it held comes again after its lease.

use std::process::Stdio;

use tokio::process::{Child, Command};

use crate::bed::{BOUND, Bed, RunningTimer, arm, wait_for, wait_for_firings};
use crate::desk::now_ms;

fn program(bed: &Bed) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_plazo-timer"));
    command
        .env_clear()
        .envs(bed.environment())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    command
}

fn start(bed: &Bed, failpoint: &str) -> Child {
    let mut command = program(bed);
    command.env(failpoint, "1");
    command.spawn().expect("the program starts")
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

fn signal(process: &Child, name: &str) {
    let id = process.id().expect("it runs").to_string();
    let status = std::process::Command::new("kill")
        .args([name, &id])
        .status()
        .expect("there is kill");
    assert!(status.success());
}

/// A process and a timer of this process, that share the shards, with many tickets due over the next seconds.
async fn pair(bed: &mut Bed) -> (Child, RunningTimer) {
    let process = program(bed).spawn().expect("the program starts");
    let mut timer = bed.start().await;
    wait_for("both replicas", async || {
        let owned = timer.metric("owned_shards").await;
        timer.stats().await.replica_ids.len() == 2 && owned > 0.5 && owned < 15.5
    })
    .await;
    timer.rebuilt().await;
    let now = now_ms();
    let mut arms = Vec::new();
    for n in 0..1_000 {
        let (ticket, due) = ((1 + n % 9, 1 + n), now + 200 + n * 6);
        bed.desk.set(ticket, 1, &[due]);
        arms.push(arm(ticket, 1, Some(due), 0));
    }
    timer.arm_all(arms).await;
    wait_for_firings(&bed.desk, 100).await;
    (process, timer)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_shards_of_a_dead_replica_go_to_the_others() {
    let mut bed = Bed::new().await.with_short_leases();
    // The heartbeats as they are by default.
    bed.settings.remove("guard.interval_ms");
    bed.settings.remove("guard.replica_alive_ms");
    let (mut process, mut timer) = pair(&mut bed).await;
    process.kill().await.expect("it can be killed");
    let died_ms = now_ms();
    timer.divided(&[], 1).await;
    eprintln!("its shards were taken over after {} ms", now_ms() - died_ms);
    assert_eq!(timer.owners().await.len(), 1);
    wait_for_firings(&bed.desk, 1_000).await;
    bed.desk.assert_all_fired_once_and_not_early();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_replica_goes_on_without_harm() {
    let mut bed = Bed::new().await.with_short_leases();
    let (mut process, mut timer) = pair(&mut bed).await;
    signal(&process, "-STOP");
    timer.divided(&[], 1).await;
    // Three leases.
    let thaw_ms = now_ms() + 3_000;
    wait_for("three leases", async || now_ms() >= thaw_ms).await;
    signal(&process, "-CONT");
    wait_for("it to be back", async || {
        timer.stats().await.replica_ids.len() == 2
    })
    .await;
    wait_for_firings(&bed.desk, 1_000).await;
    bed.desk.assert_all_fired_once_and_not_early();
    signal(&process, "-TERM");
    let ended = tokio::time::timeout(BOUND, process.wait()).await;
    assert!(ended.expect("it ends in time").expect("it ends").success());
    timer.divided(&[], 1).await;
}
