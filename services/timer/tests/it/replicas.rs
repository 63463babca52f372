//! Several replicas: they divide the shards, and hand them over when one joins, leaves, dies or freezes.

use std::time::Duration;

use crate::bed::{Bed, RunningTimer, arm, wait_for, wait_for_firings};
use crate::desk::now_ms;

const HOUR_MS: i64 = 3_600_000;

/// Gives so many tickets of all lanes their truth, due one after the other from an instant on, and arms them.
async fn set_and_arm(bed: &Bed, timer: &mut RunningTimer, count: i64, first_ms: i64, step_ms: i64) {
    let mut arms = Vec::new();
    for n in 0..count {
        let (ticket, due) = ((1 + n % 11, 1 + n), first_ms + n * step_ms);
        bed.desk.set(ticket, 1, &[due]);
        arms.push(arm(ticket, 1, Some(due), 0));
    }
    timer.arm_all(arms).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shards_are_handed_over_when_replicas_join_and_leave() {
    const COUNT: i64 = 900;
    let mut bed = Bed::new().await;
    let mut one = bed.start().await;
    one.rebuilt().await;
    one.divided(&[], 1).await;
    set_and_arm(&bed, &mut one, COUNT, now_ms() + 200, 4).await;

    let mut two = bed.start().await;
    one.divided(&[&two], 2).await;
    let three = bed.start().await;
    one.divided(&[&two, &three], 3).await;
    assert_eq!(one.owners().await, two.owners().await, "they agree");
    wait_for_firings(&bed.desk, 300).await;
    one.stop().await;
    two.divided(&[&three], 2).await;
    three.stop().await;
    two.divided(&[], 1).await;
    assert_eq!(two.owners().await.len(), 1);

    let count = usize::try_from(COUNT).expect("it is small");
    wait_for_firings(&bed.desk, count).await;
    bed.desk.assert_all_fired_once_and_not_early();
    assert_eq!(
        bed.desk.state().looks.len(),
        count,
        "no lease ended unacked"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_replica_arms_another_finds() {
    // Nothing is taken over.
    let mut bed = Bed::new().await.set("timer.take_over_ms", &60_000);
    let mut one = bed.start().await;
    one.rebuilt().await;
    let mut two = bed.start().await;
    one.divided(&[&two], 2).await;
    let mut longest_ms = 0;
    for ticket in 1..=16 {
        let (due, ticket_id) = (now_ms() + 30, (ticket, ticket));
        bed.desk.set(ticket_id, 1, &[due]);
        let through = if ticket % 2 == 0 { &mut one } else { &mut two };
        through.arm(ticket_id, 1, due).await;
        wait_for_firings(&bed.desk, usize::try_from(ticket).expect("it is small")).await;
        longest_ms = longest_ms.max(now_ms() - due);
    }
    bed.desk.assert_all_fired_once_and_not_early();
    // The look interval is 100 ms.
    assert!(longest_ms < 2_000, "{longest_ms} ms");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shards_whose_owner_does_not_claim_are_claimed_from_all_the_same() {
    let mut bed = Bed::new().await.set("timer.take_over_ms", &200);
    let mut timer = bed.start().await;
    timer.rebuilt().await;
    // One that is alive, to all appearance, and never does anything.
    let () = redis::cmd("ZADD")
        .arg(format!("plazo:{{{}}}:replicas", bed.namespace))
        .arg(now_ms() + HOUR_MS)
        .arg("idler")
        .query_async(&mut bed.redis().await)
        .await
        .expect("it is added");
    wait_for("the idler's share", async || {
        timer.metric("owned_shards").await < 16.0
    })
    .await;
    assert!(timer.owners().await.contains("idler"));
    set_and_arm(&bed, &mut timer, 200, now_ms(), 1).await;
    wait_for_firings(&bed.desk, 200).await;
    bed.desk.assert_all_fired_once_and_not_early();
    assert!(timer.metric("taken_over_total").await > 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leaving_replica_hands_over_at_once_and_still_acks() {
    // Nobody is missed only because its heartbeat is old.
    let mut bed = Bed::new().await.set("guard.replica_alive_ms", &60_000);
    let mut one = bed.start().await;
    one.rebuilt().await;
    let mut two = bed.start().await;
    one.divided(&[&two], 2).await;
    bed.desk
        .trouble(|trouble| trouble.wait = Duration::from_secs(3));
    set_and_arm(&bed, &mut one, 60, now_ms(), 0).await;
    wait_for("the calls", async || bed.desk.state().in_flight.0 == 60).await;

    one.begin_stop();
    two.divided(&[], 1).await;
    assert!(!one.has_ended(), "it waits for its calls");
    one.ended().await;
    wait_for("the acks", async || {
        let shards = two.stats().await.shards;
        shards.iter().all(|s| s.lease_count + s.waiting_count == 0)
    })
    .await;
    bed.desk.assert_all_fired_once_and_not_early();
    assert_eq!(bed.desk.state().looks.len(), 60, "all was acked");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_starts_while_another_leaves_rebuilds_and_leaves_its_leases_alone() {
    let mut bed = Bed::new().await;
    let mut one = bed.start().await;
    one.rebuilt().await;
    one.divided(&[], 1).await;
    bed.desk
        .trouble(|trouble| trouble.wait = Duration::from_secs(3));
    set_and_arm(&bed, &mut one, 60, now_ms(), 0).await;
    wait_for("the calls", async || bed.desk.state().in_flight.0 == 60).await;

    one.begin_stop();
    let mut redis = bed.redis().await;
    let leaving = format!("plazo:{{{}}}:leaving", bed.namespace);
    wait_for("the leave", async || {
        let count: i64 = redis::cmd("ZCARD")
            .arg(&leaving)
            .query_async(&mut redis)
            .await
            .expect("it counts");
        count == 1
    })
    .await;
    let mut two = bed.start().await;
    two.divided(&[], 1).await;
    assert!(!one.has_ended(), "it waits for its calls");
    let unwatched = "suspected_loss_total{cause=\"unwatched\"}";
    assert!(two.metric(unwatched).await > 15.0);
    one.ended().await;
    two.rebuilt().await;
    bed.desk.assert_all_fired_once_and_not_early();
    assert_eq!(bed.desk.state().looks.len(), 60, "no lease was ended early");
    assert!(two.metric("ended_leases_total").await < 0.5);
}
