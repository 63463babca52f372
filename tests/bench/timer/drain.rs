//! Draining what is due at once: ours, the bare scripts, and the peers.

use crate::timer::Side;
use crate::timer::bed::{Bed, Ticket, now_ms};
use crate::timer::effort::Effort;
use crate::timer::peers::{Peer, Peers};
use crate::timer::raw;
use crate::timer::recorder::Seen;
use crate::timer::rounds::Rounds;

/// Batches and connections among which the bare scripts are at their best.
const RAW_BATCHES: [usize; 3] = [128, 256, 512];
const RAW_CONNECTIONS: [usize; 2] = [1, 2];
const RAW_NAMESPACE: &str = "raw";

/// One round of the sides, in this order.
pub(super) async fn round(
    bed: &mut Bed,
    peers: &mut Peers,
    effort: Effort,
    order: &[Side],
    rounds: &mut Rounds,
) {
    for side in order {
        match side {
            Side::Timer => timer(bed, effort.due_at_once, rounds).await,
            Side::Raw => raw(bed, effort.due_at_once, rounds).await,
            Side::BullMq => {
                if let Some(bullmq) = &mut peers.bullmq {
                    let (drained, _) = peer(bullmq, effort.bullmq_jobs).await;
                    rounds.add("bullmq_drain_per_s", drained);
                }
            }
            Side::Graphile => {
                if let Some(graphile) = &mut peers.graphile {
                    let (drained, added) = peer(graphile, effort.graphile_jobs).await;
                    rounds.add("graphile_drain_per_s", drained);
                    rounds.add("graphile_add_jobs_per_s", added);
                }
            }
        }
    }
}

async fn timer(bed: &mut Bed, count: usize, rounds: &mut Rounds) {
    let (due_ms, armed, seen) = bed.fire(count, |_| 0).await;
    rounds.add_cpu("drain", count, bed.cpu_before_due, bed.fine_cpu_seconds());
    rounds.add("arm_at_one_instant_per_s", armed.per_s());
    rounds.add("drain_per_s", drained_per_s(due_ms, &seen));
}

/// From the instant at which all are due to the last one that was handled.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
pub(super) fn drained_per_s(due_ms: i64, seen: &[Seen]) -> f64 {
    let last_ms = seen.iter().map(|seen| seen.at_ms).fold(0.0, f64::max);
    1e3 * seen.len() as f64 / (last_ms - due_ms as f64)
}

async fn peer(peer: &mut Peer, count: usize) -> (f64, f64) {
    let fired = peer.fire(count, 0).await;
    (drained_per_s(fired.first_ms, &fired.seen), fired.adds_per_s)
}

/// Adds and drains once for each way of draining, and keeps all of them: the best is that with the highest median.
async fn raw(bed: &mut Bed, count: usize, rounds: &mut Rounds) {
    let due_ms = now_ms() - 1_000;
    for batch in RAW_BATCHES {
        for connections in RAW_CONNECTIONS {
            let tickets = bed.tickets(count, |_| due_ms);
            let drained = raw_once(bed, tickets, batch, connections).await;
            rounds.add(&drain_name(batch, connections), drained);
        }
    }
}

async fn raw_once(bed: &Bed, tickets: Vec<Ticket>, batch: usize, connections: usize) -> f64 {
    let socket = bed.redis.socket_path();
    let work = move || {
        raw::add(&socket, RAW_NAMESPACE, &tickets, 0);
        raw::drain(&socket, RAW_NAMESPACE, tickets.len(), batch, connections)
    };
    tokio::task::spawn_blocking(work)
        .await
        .expect("the bare scripts run")
}

/// The name of the figure of the way of draining bare that was the best, and how it went about it.
pub(super) fn best_raw(rounds: &Rounds) -> (String, usize, usize) {
    ways()
        .map(|(batch, connections)| (drain_name(batch, connections), batch, connections))
        .max_by(|one, other| {
            let median = |name: &str| rounds.median(name).unwrap_or(0.0);
            median(&one.0).total_cmp(&median(&other.0))
        })
        .expect("there are several")
}

fn ways() -> impl Iterator<Item = (usize, usize)> {
    RAW_BATCHES.into_iter().flat_map(|batch| {
        RAW_CONNECTIONS
            .into_iter()
            .map(move |connections| (batch, connections))
    })
}

fn drain_name(batch: usize, connections: usize) -> String {
    format!("raw_claim_ack_{batch}_by_{connections}_per_s")
}
