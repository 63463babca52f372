//! Many tickets that wait: what they take of Redis, what the timer costs meanwhile, and how soon they are back after
//! Redis was wiped.

use std::time::Duration;

use tokio::time::Instant;

use crate::machine::fine_cpu_seconds_of;
use crate::timer::bed::{Bed, now_ms};
use crate::timer::effort::Effort;
use crate::timer::peers::Peers;
use crate::timer::rounds::Rounds;

const DAY_MS: i64 = 86_400_000;
/// What the rebuild is reckoned for.
const MILLION: f64 = 1e6;
/// After a rebuild Redis has work left, as its append-only file.
const SETTLE: Duration = Duration::from_secs(3);

/// Measures all of it, on servers of its own.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
pub(super) async fn run(effort: Effort, rounds: &mut Rounds) {
    let mut bed = Bed::start(&[]).await;
    let mut redis = bed.resp();
    let empty_bytes = redis.used_memory();
    let due_ms = now_ms() + DAY_MS;
    bed.handler
        .ask(&format!("pending {} {due_ms}", effort.pending))
        .await;

    // Empty already: the first time of two.
    for _ in 0..2 {
        let began = Instant::now();
        redis.call(&[b"FLUSHALL"]);
        bed.timer.rebuilt(effort.pending).await;
        let seconds = began.elapsed().as_secs_f64();
        rounds.add("rebuild_s", seconds);
        rounds.add("rebuild_1m_s", seconds * MILLION / effort.pending as f64);
    }
    let bytes = redis.used_memory() - empty_bytes;
    rounds.add("bytes_per_ticket", bytes / effort.pending as f64);

    tokio::time::sleep(SETTLE).await;
    let pids = [
        ("timer", bed.timer.solo.pid()),
        ("redis", bed.redis_pid()),
        ("handler", bed.handler.pid()),
    ];
    let before = pids.map(|(_, pid)| fine_cpu_seconds_of(pid));
    let began = Instant::now();
    tokio::time::sleep(effort.idle).await;
    let seconds = began.elapsed().as_secs_f64();
    for ((whose, pid), before) in pids.into_iter().zip(before) {
        let taken = fine_cpu_seconds_of(pid) - before;
        rounds.add(
            &format!("idle_cpu_percent_{whose}"),
            100.0 * taken / seconds,
        );
    }
    bed.stop().await;
}

/// What jobs of BullMQ take of its Redis.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
pub(super) async fn bullmq(peers: &mut Peers, effort: Effort, rounds: &mut Rounds) {
    let Some(mut redis) = peers.resp() else {
        return;
    };
    let Some(bullmq) = &mut peers.bullmq else {
        return;
    };
    let before = redis.used_memory();
    let count = effort.bullmq_pending;
    bullmq.producer.ask(&format!("keep {count}")).await;
    let bytes = redis.used_memory() - before;
    rounds.add("bullmq_bytes_per_job", bytes / count as f64);
    bullmq.producer.ask("forget").await;
}
