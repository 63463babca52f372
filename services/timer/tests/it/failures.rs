//! Tickets that fail, and handlers that do.

use plazo_proto::timer::v1::{EntryState, ReleaseQuarantinedEntriesRequest};

use crate::bed::{Bed, RunningTimer, arm, member, wait_for, wait_for_firings};
use crate::desk::now_ms;

const POISON: (i64, i64) = (1, 13);

/// Arms a hundred tickets of one tenant, due at once, and with them the poison.
async fn arm_hundred(bed: &Bed, timer: &mut RunningTimer) {
    let due = now_ms() + 100;
    let mut arms = Vec::new();
    for ticket in 1..=100 {
        bed.desk.set((1, ticket), 1, &[due]);
        arms.push(arm((1, ticket), 1, Some(due), 0));
    }
    timer.arm_all(arms).await;
}

async fn wait_for_quarantine(timer: &mut RunningTimer, reason: &str) {
    wait_for("the quarantine", async || {
        !timer.quarantined().await.is_empty()
    })
    .await;
    let quarantined = timer.quarantined().await;
    assert_eq!(quarantined.len(), 1, "{quarantined:?}");
    assert_eq!(quarantined[0].ticket, Some(member(POISON, 1)));
    assert_eq!(quarantined[0].state(), EntryState::Quarantined);
    assert_eq!(quarantined[0].quarantine_reason, reason);
    assert_eq!(quarantined[0].failed_attempts, 8);
    assert_eq!(timer.entries(POISON).await, quarantined);
    let stats = timer.stats().await;
    assert_eq!(
        stats
            .shards
            .iter()
            .map(|shard| shard.quarantined_count)
            .sum::<i64>(),
        1
    );
}

async fn release(timer: &mut RunningTimer) {
    let request = ReleaseQuarantinedEntriesRequest {
        tickets: vec![member(POISON, 1), member((1, 1), 1)],
    };
    let response = timer.client.release_quarantined_entries(request).await;
    assert_eq!(
        response
            .expect("releasing works")
            .into_inner()
            .released_count,
        1
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ticket_that_errs_goes_into_quarantine_alone_and_comes_back() {
    let mut bed = Bed::new().await;
    let mut timer = bed.start().await;
    bed.desk.trouble(|trouble| {
        trouble.erring.insert(POISON);
    });
    arm_hundred(&bed, &mut timer).await;
    wait_for_firings(&bed.desk, 99).await;
    wait_for_quarantine(&mut timer, "TICKET_BROKEN").await;
    assert_eq!(bed.desk.look_count(POISON), 8);

    bed.desk.trouble(|trouble| trouble.erring.clear());
    release(&mut timer).await;
    wait_for_firings(&bed.desk, 100).await;
    bed.desk.assert_all_fired_once_and_not_early();
    wait_for("the last ack", async || {
        timer.entries(POISON).await.is_empty()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ticket_that_fails_its_batch_ends_up_alone() {
    let mut bed = Bed::new().await;
    let mut timer = bed.start().await;
    bed.desk.trouble(|trouble| {
        trouble.poisoning.insert(POISON);
    });
    arm_hundred(&bed, &mut timer).await;
    wait_for_firings(&bed.desk, 99).await;
    wait_for_quarantine(&mut timer, "HANDLER_INTERNAL").await;
    assert_eq!(
        bed.desk.state().batches.last(),
        Some(&1),
        "it was alone at last"
    );

    bed.desk.trouble(|trouble| trouble.poisoning.clear());
    release(&mut timer).await;
    wait_for_firings(&bed.desk, 100).await;
    bed.desk.assert_all_fired_once_and_not_early();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_generation_takes_the_quarantined_one_away() {
    let mut bed = Bed::new().await;
    let mut timer = bed.start().await;
    bed.desk.trouble(|trouble| {
        trouble.erring.insert(POISON);
    });
    timer.arm(POISON, 1, now_ms()).await;
    wait_for_quarantine(&mut timer, "TICKET_BROKEN").await;
    timer
        .arm_all(vec![arm(POISON, 2, Some(now_ms() + 3_600_000), 1)])
        .await;
    assert!(timer.quarantined().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quarantined_tickets_are_tried_again_by_themselves() {
    let mut bed = Bed::new().await.set("timer.quarantine_retry_ms", &300);
    let mut timer = bed.start().await;
    bed.desk.set(POISON, 1, &[now_ms()]);
    bed.desk.trouble(|trouble| {
        trouble.erring.insert(POISON);
    });
    timer.arm(POISON, 1, now_ms()).await;
    // Eight attempts, and one more after each return.
    wait_for("two returns", async || bed.desk.look_count(POISON) >= 10).await;
    bed.desk.trouble(|trouble| trouble.erring.clear());
    wait_for_firings(&bed.desk, 1).await;
    bed.desk.assert_all_fired_once_and_not_early();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_that_is_down_loses_nothing_and_puts_nobody_into_quarantine() {
    let mut bed = Bed::new()
        .await
        .with_short_leases()
        .set("timer.failed_attempts_max", &2);
    let mut timer = bed.start().await;
    timer.rebuilt().await;
    bed.desk.trouble(|trouble| trouble.is_down = true);
    arm_hundred(&bed, &mut timer).await;
    // A batch is refused about twenty times before its entries are given back, and waits 25 ms at least in between: this
    // is long enough for more attempts than put a ticket into quarantine.
    wait_for("refusals", async || bed.desk.state().refused_count >= 150).await;
    let stats = timer.stats().await;
    assert!(
        stats
            .shards
            .iter()
            .any(|shard| shard.waiting_count + shard.lease_count > 0)
    );
    assert!(timer.quarantined().await.is_empty());
    bed.desk.trouble(|trouble| trouble.is_down = false);
    wait_for_firings(&bed.desk, 100).await;
    bed.desk.assert_all_fired_once_and_not_early();
    assert!(timer.quarantined().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_without_room_for_a_batch_puts_nobody_into_quarantine_while_others_find_room() {
    const OTHER_LANE: i64 = 1_000;
    // A deadline that a machine at work meets: a call that is late counts while others are answered.
    let mut bed = Bed::new()
        .await
        .with_short_leases()
        .set("handler.request_timeout_ms", &4_000)
        .set("timer.lease_ms", &4_500)
        .set("timer.repair_grace_ms", &5_500)
        .set("timer.failed_attempts_max", &2);
    let mut timer = bed.start().await;
    timer.rebuilt().await;
    bed.desk.trouble(|trouble| {
        trouble.exhausting.insert(POISON);
    });
    arm_hundred(&bed, &mut timer).await;
    // Others are answered all the time, until the refused batch has been given back more often than puts a failed one
    // into quarantine.
    let mut others = 0;
    while bed.desk.state().refused_count < 150 {
        others += 1;
        assert!(others < 20_000, "the refused ones came no more");
        let ticket = (POISON.0, OTHER_LANE + others);
        bed.desk.set(ticket, 1, &[now_ms()]);
        timer.arm(ticket, 1, now_ms()).await;
    }
    assert!(timer.quarantined().await.is_empty());
    bed.desk.trouble(|trouble| trouble.exhausting.clear());
    let all = 100 + usize::try_from(others).expect("some hundreds");
    wait_for_firings(&bed.desk, all).await;
    bed.desk.assert_all_fired_once_and_not_early();
    assert!(timer.quarantined().await.is_empty());
}
