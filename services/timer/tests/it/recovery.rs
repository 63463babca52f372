//! Redis loses what it was given, or refuses to work; replicas die with leases.

use plazo_local::{RedisOptions, RedisServer};
use plazo_timer::{CheckError, TimerError};

use crate::bed::{Bed, RunningTimer, arm, own_redis, wait_for, wait_for_firings};
use crate::desk::now_ms;

/// Gives three hundred tickets their truth, due from `first_ms` on, and arms those that `is_armed` picks.
async fn set_and_arm(
    bed: &Bed,
    timer: &mut RunningTimer,
    first_ms: i64,
    is_armed: impl Fn(i64) -> bool,
) {
    let mut arms = Vec::new();
    for ticket in 1..=300 {
        let due = first_ms + ticket;
        bed.desk.set((1 + ticket % 6, ticket), 1, &[due]);
        if is_armed(ticket) {
            arms.push(arm((1 + ticket % 6, ticket), 1, Some(due), 0));
        }
    }
    timer.arm_all(arms).await;
}

async fn waiting_count(timer: &mut RunningTimer) -> i64 {
    timer
        .stats()
        .await
        .shards
        .iter()
        .map(|shard| shard.waiting_count)
        .sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wiped_redis_is_rebuilt_from_the_owner() {
    let redis = own_redis(&[]).await;
    let mut bed = Bed::on(redis.url())
        .await
        .set("guard.rebuild_page_size", &70);
    let mut timer = bed.start().await;
    timer.rebuilt().await;
    set_and_arm(&bed, &mut timer, now_ms() + 1_500, |_| true).await;
    assert_eq!(waiting_count(&mut timer).await, 300);

    let () = redis::cmd("FLUSHALL")
        .query_async(&mut bed.redis().await)
        .await
        .expect("it wipes");
    assert_eq!(waiting_count(&mut timer).await, 0, "the fault took effect");
    wait_for_firings(&bed.desk, 300).await;
    bed.desk.assert_all_fired_once_and_not_early();
    timer.rebuilt().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_comes_back_empty_is_rebuilt_once_the_owner_answers() {
    let mut redis = own_redis(&[]).await;
    let mut bed = Bed::on(redis.url()).await;
    let mut timer = bed.start().await;
    timer.rebuilt().await;
    set_and_arm(&bed, &mut timer, now_ms() + 500, |_| true).await;
    bed.desk.trouble(|trouble| trouble.is_down = true);
    redis.kill().await.expect("it can be killed");
    redis.restart().await.expect("it starts again");
    wait_for("the mark", async || {
        let stats = timer
            .client
            .get_timer_stats(plazo_proto::timer::v1::GetTimerStatsRequest {});
        stats
            .await
            .is_ok_and(|stats| stats.into_inner().shards.iter().all(|s| s.rebuilding))
    })
    .await;
    assert_eq!(waiting_count(&mut timer).await, 0, "the fault took effect");
    bed.desk.trouble(|trouble| trouble.is_down = false);
    wait_for_firings(&bed.desk, 300).await;
    bed.desk.assert_all_fired_once_and_not_early();
    timer.rebuilt().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_redis_with_old_data_is_rebuilt() {
    let options = RedisOptions::temporary().append_only(true);
    let mut redis = RedisServer::start(options).await.expect("redis starts");
    let mut bed = Bed::on(redis.url()).await;
    let mut timer = bed.start().await;
    timer.rebuilt().await;
    // Some were never armed, as if Redis had lost the last writes.
    set_and_arm(&bed, &mut timer, now_ms() + 500, |ticket| ticket % 3 != 0).await;
    redis.stop().await.expect("it stops");
    redis.restart().await.expect("it starts again");
    wait_for_firings(&bed.desk, 300).await;
    bed.desk.assert_all_fired_once_and_not_early();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_starts_alone_finds_what_is_missing() {
    let mut bed = Bed::new().await;
    let mut timer = bed.start().await;
    timer.rebuilt().await;
    timer.stop().await;
    for ticket in 1..=50 {
        bed.desk.set((1, ticket), 1, &[now_ms()]);
    }
    let mut timer = bed.start().await;
    wait_for_firings(&bed.desk, 50).await;
    bed.desk.assert_all_fired_once_and_not_early();
    timer.rebuilt().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_entry_is_repaired_on_request_and_others_are_left_alone() {
    let mut bed = Bed::new().await;
    let mut timer = bed.start().await;
    timer.rebuilt().await;
    let due = now_ms() + 300;
    bed.desk.set((1, 1), 1, &[due]);
    timer.arm((1, 2), 1, due + 3_600_000).await;
    let pending = |ticket| plazo_proto::timer::v1::PendingTicket {
        ticket: Some(crate::bed::member((1, ticket), 1)),
        due_time: Some(crate::desk::timestamp(due)),
    };
    let request = plazo_proto::timer::v1::RepairTicketsRequest {
        tickets: vec![pending(1), pending(2)],
    };
    let response = timer
        .client
        .repair_tickets(request)
        .await
        .expect("it works")
        .into_inner();
    assert_eq!((response.repaired_count, response.skipped_count), (1, 0));
    wait_for_firings(&bed.desk, 1).await;
    bed.desk.assert_all_fired_once_and_not_early();
    assert_eq!(timer.entries((1, 2)).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flushed_scripts_are_loaded_again() {
    let mut bed = Bed::new().await;
    let mut timer = bed.start().await;
    timer.rebuilt().await;
    set_and_arm(&bed, &mut timer, now_ms() + 100, |_| true).await;
    let mut redis = bed.redis().await;
    while bed.desk.firing_count() < 300 {
        let () = redis::cmd("SCRIPT")
            .arg("FLUSH")
            .query_async(&mut redis)
            .await
            .expect("it flushes");
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    bed.desk.assert_all_fired_once_and_not_early();
    assert_eq!(bed.desk.state().looks.len(), 300, "no ack was lost");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_redis_fails_calls_and_loses_nothing() {
    let redis = own_redis(&[]).await;
    let mut bed = Bed::on(redis.url()).await;
    let mut timer = bed.start().await;
    timer.rebuilt().await;
    set_and_arm(&bed, &mut timer, now_ms() + 200, |_| true).await;
    wait_for_firings(&bed.desk, 20).await;
    redis.pause().expect("it can be paused");
    let request = plazo_proto::timer::v1::ArmTicketsRequest {
        arms: vec![arm((1, 1_000), 1, Some(now_ms()), 0)],
    };
    let error = timer
        .client
        .arm_tickets(request)
        .await
        .expect_err("redis does not answer");
    assert_eq!(error.code(), tonic::Code::Unavailable);
    redis.resume().expect("it goes on");
    // The leases of claims that were under way are longer than this waits: they are given back.
    wait_for_firings(&bed.desk, 300).await;
    bed.desk.assert_all_fired_once_and_not_early();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_redis_refuses_arms_and_goes_on_claiming() {
    let redis = own_redis(&[]).await;
    let mut bed = Bed::on(redis.url()).await;
    let mut timer = bed.start().await;
    timer.rebuilt().await;
    set_and_arm(&bed, &mut timer, now_ms() + 500, |_| true).await;
    let () = redis::cmd("CONFIG")
        .arg(&["SET", "maxmemory", "1"])
        .query_async(&mut bed.redis().await)
        .await
        .expect("it can be set");
    let request = plazo_proto::timer::v1::ArmTicketsRequest {
        arms: vec![arm((1, 1_000), 1, Some(now_ms()), 0)],
    };
    let error = timer
        .client
        .arm_tickets(request)
        .await
        .expect_err("redis is full");
    assert_eq!(error.code(), tonic::Code::ResourceExhausted);
    wait_for_firings(&bed.desk, 300).await;
    bed.desk.assert_all_fired_once_and_not_early();
    assert_eq!(bed.desk.state().looks.len(), 300, "acks went on too");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_evicts_is_refused() {
    let redis = own_redis(&["maxmemory-policy allkeys-lru"]).await;
    let mut bed = Bed::on(redis.url()).await;
    let Err(TimerError::Check(CheckError::Eviction { policy, .. })) = bed.try_start().await else {
        panic!("it must be refused");
    };
    assert_eq!(policy, "allkeys-lru");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_layout_is_refused() {
    let mut bed = Bed::new().await;
    bed.start().await.stop().await;
    let mut bed = bed.set("timer.shards", &8);
    let Err(TimerError::Check(CheckError::Layout { stored, configured })) = bed.try_start().await
    else {
        panic!("it must be refused");
    };
    assert_eq!((stored.as_str(), configured.as_str()), ("16/4", "8/4"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_redis_is_named() {
    let mut bed = Bed::on("redis://127.0.0.1:1".to_owned())
        .await
        .set("redis.start_timeout_ms", &1);
    let error = bed.try_start().await.err().expect("nobody listens there");
    assert!(matches!(error, TimerError::Redis(_)), "{error}");
}
