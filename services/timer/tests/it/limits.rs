//! How much the handler is asked for at a time.

use std::time::Duration;

use crate::bed::{Bed, RunningTimer, arm, wait_for, wait_for_firings};
use crate::desk::now_ms;

/// Tickets of one tenant, all due now.
async fn crowd(bed: &Bed, timer: &mut RunningTimer, tenant_id: i64, count: i64) {
    crowd_at(bed, timer, tenant_id, count, now_ms()).await;
}

/// Tickets of one tenant, all due at this instant.
async fn crowd_at(bed: &Bed, timer: &mut RunningTimer, tenant_id: i64, count: i64, due: i64) {
    for first in (1..=count).step_by(1_000) {
        let arms = (first..(first + 1_000).min(count + 1)).map(|ticket| {
            bed.desk.set((tenant_id, ticket), 1, &[due]);
            arm((tenant_id, ticket), 1, Some(due), 0)
        });
        timer.arm_all(arms.collect()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_handler_is_asked_for_less_and_for_more_again() {
    const COUNT: i64 = 6_000;
    let bed = Bed::new().await.set("timer.target_call_ms", &100);
    let mut bed = bed.set("timer.batch_limit", &256);
    let mut timer = bed.start().await;
    timer.rebuilt().await;
    let at_first = timer.metric("dispatch_window").await;
    // A thousand a second: a full window takes two.
    bed.desk
        .trouble(|trouble| trouble.work = Duration::from_millis(1));
    crowd(&bed, &mut timer, 1, COUNT).await;
    wait_for("a smaller window", async || {
        timer.metric("dispatch_window").await < at_first / 3.0
    })
    .await;
    let small = timer.metric("dispatch_window").await;
    bed.desk.trouble(|trouble| trouble.work = Duration::ZERO);
    let count = usize::try_from(COUNT).expect("it is small");
    wait_for_firings(&bed.desk, count).await;
    crowd(&bed, &mut timer, 2, COUNT).await;
    wait_for_firings(&bed.desk, 2 * count).await;
    assert!(timer.metric("dispatch_window").await > small);
    bed.desk.assert_all_fired_once_and_not_early();
    assert_eq!(bed.desk.state().looks.len(), 2 * count, "no lease ended");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_handler_has_no_more_than_the_window_and_no_lease_ends() {
    const COUNT: i64 = 5_000;
    let mut bed = Bed::new().await.with_short_leases();
    let mut timer = bed.start().await;
    timer.rebuilt().await;
    let window = timer.metric("dispatch_window").await;
    // Just within the deadline, and the lease is three times as long.
    bed.desk
        .trouble(|trouble| trouble.wait = Duration::from_millis(250));
    crowd(&bed, &mut timer, 1, COUNT).await;
    wait_for_firings(&bed.desk, 2_000).await;
    bed.desk.trouble(|trouble| trouble.wait = Duration::ZERO);
    wait_for_firings(&bed.desk, usize::try_from(COUNT).expect("it is small")).await;
    bed.desk.assert_all_fired_once_and_not_early();
    let most = bed.desk.state().in_flight.1;
    assert!((256..=4_096).contains(&most), "{most}");
    assert!(window > 2_000.0);
    assert!(timer.metric("ended_leases_total").await < 0.5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenants_backlog_delays_nobody_in_other_lanes() {
    const CROWD: i64 = 100_000;
    // By the hash of the ids: lanes 1 and 3 of 4.
    const CROWDED: i64 = 1;
    let mut bed = Bed::new().await;
    let mut one = bed.start().await;
    one.rebuilt().await;
    let two = bed.start().await;
    one.divided(&[&two], 2).await;
    // The handler bears a limited number, so that there is a queue.
    bed.desk
        .trouble(|trouble| trouble.work = Duration::from_micros(50));
    let lane = lane_of(&mut one, CROWDED).await;
    let mut other = CROWDED;
    while lane_of(&mut one, other).await == lane {
        other += 1;
    }
    // Most of it is there by then, and none of it has begun before.
    let due = now_ms() + 3_000;
    crowd_at(&bed, &mut one, CROWDED, CROWD, due).await;
    wait_for("the crowd", async || now_ms() >= due).await;

    let mut trickle = 0;
    let total = usize::try_from(CROWD).expect("it is small");
    while bed.desk.firing_count() < total / 2 {
        trickle += 1;
        let due = now_ms() + 20;
        bed.desk.set((other, 1_000_000 + trickle), 1, &[due]);
        one.arm((other, 1_000_000 + trickle), 1, due).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let total = total + usize::try_from(trickle).expect("it is small");
    wait_for_firings(&bed.desk, total).await;
    bed.desk.assert_all_fired_once_and_not_early();

    let late_ms = |is_other: bool| {
        let state = bed.desk.state();
        let mut delays: Vec<_> = state
            .firings
            .iter()
            .filter(|firing| (firing.ticket.0 == other) == is_other)
            .map(|firing| firing.fired_us / 1_000 - firing.due_ms)
            .collect();
        delays.sort_unstable();
        (delays[delays.len() / 2], delays[delays.len() * 99 / 100])
    };
    let (crowd, trickle) = (late_ms(false), late_ms(true));
    eprintln!("median and p99 of the crowd: {crowd:?} ms, of the trickle: {trickle:?} ms");
    assert!(trickle.1 * 4 < crowd.1, "{trickle:?} of {crowd:?}");
    assert_eq!(bed.desk.state().looks.len(), total, "no lease ended");
}

/// The lane of a tenant, from an entry that stays.
async fn lane_of(timer: &mut RunningTimer, tenant_id: i64) -> i32 {
    let ticket = (tenant_id, 9_000_000);
    timer.arm(ticket, 1, now_ms() + 3_600_000).await;
    let shard = timer.entries(ticket).await[0].shard;
    let shards = timer.stats().await.shards;
    shards[usize::try_from(shard).expect("it is small")].lane
}
