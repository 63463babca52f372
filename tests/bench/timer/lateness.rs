//! How late tickets are handled at a steady rate, and what each costs then.

use std::time::Duration;

use plazo_tests::resp::{Resp, put_command};

use crate::timer::bed::{BOUND, Bed, Ticket, now_ms, sleep_until_ms};
use crate::timer::effort::Effort;
use crate::timer::peers::{Peer, Peers};
use crate::timer::raw;
use crate::timer::recorder::Lateness;
use crate::timer::rounds::Rounds;
use crate::timer::{NAMESPACE, Side};

/// Tickets due in each second.
pub(super) const RATES: [usize; 3] = [1_000, 5_000, 20_000];
/// BullMQ can't keep up with more.
const BULLMQ_RATES: [usize; 2] = [1_000, 5_000];
/// The rate at which costs are compared.
const COST_RATE: usize = 5_000;

/// Entries that are armed late, each so long before it is due.
const LATE_AHEAD_MS: i64 = 20;
/// They are armed at this rate, in steps.
const LATE_RATE: usize = 1_000;
const LATE_STEP: Duration = Duration::from_millis(10);

/// One round of the sides, in this order.
pub(super) async fn round(
    bed: &mut Bed,
    peers: &mut Peers,
    effort: Effort,
    order: &[Side],
    rounds: &mut Rounds,
) {
    for rate in RATES {
        for side in order {
            match side {
                Side::Timer => timer(bed, rate, effort.steady_ms, rounds).await,
                Side::BullMq if BULLMQ_RATES.contains(&rate) => {
                    if let Some(bullmq) = &mut peers.bullmq {
                        peer(bullmq, "bullmq", rate, effort.steady_ms, rounds).await;
                    }
                }
                Side::Graphile => {
                    if let Some(graphile) = &mut peers.graphile {
                        peer(graphile, "graphile", rate, effort.steady_ms, rounds).await;
                    }
                }
                Side::Raw | Side::BullMq => {}
            }
        }
    }
    armed_late(bed, effort.steady_ms, rounds).await;
}

/// The name of the figures of one side at a rate.
pub(super) fn name(of: &str, rate: usize) -> String {
    format!("{of} {rate}")
}

async fn timer(bed: &mut Bed, rate: usize, steady_ms: i64, rounds: &mut Rounds) {
    let (count, due_after_ms) = steady(rate, steady_ms);
    let first_ms = bed.instant_after_arming(count);
    let tickets = bed.tickets(count, |number| first_ms + due_after_ms(number));
    bed.arm(&tickets).await;
    if now_ms() + 100 >= first_ms {
        println!("  armed too slowly for {rate} a second: this round leaves it out");
        bed.handler.seen(count, BOUND).await;
        return;
    }
    sleep_until_ms(first_ms - 50).await;
    let before = bed.cpu_seconds();
    let seen = bed.handler.seen(count, BOUND).await;
    let after = bed.cpu_seconds();
    rounds.add_lateness(&name("timer", rate), Lateness::of(&seen));
    if rate == COST_RATE {
        for (whose, (after, before)) in ["timer", "handler", "redis"]
            .iter()
            .zip(after.iter().zip(before))
        {
            rounds.add(
                &format!("firing_cpu_us_{whose}"),
                each_us(after - before, count),
            );
        }
        let both = after[0] - before[0] + after[1] - before[1];
        rounds.add("firing_cpu_us", each_us(both, count));
    }
}

async fn peer(peer: &mut Peer, whose: &str, rate: usize, steady_ms: i64, rounds: &mut Rounds) {
    let (count, _) = steady(rate, steady_ms);
    let fired = peer.fire(count, steady_ms).await;
    rounds.add_lateness(&name(whose, rate), Lateness::of(&fired.seen));
    if rate == COST_RATE {
        let cpu_us = each_us(fired.worker_cpu_s, count);
        rounds.add(&format!("{whose}_worker_cpu_us"), cpu_us);
    }
}

/// How many are due, and how many milliseconds after the first one.
fn steady(rate: usize, steady_ms: i64) -> (usize, impl Fn(usize) -> i64) {
    let milliseconds = usize::try_from(steady_ms).expect("a short time");
    let after = move |number: usize| i64::try_from(number * 1_000 / rate).expect("a short time");
    (rate * milliseconds / 1_000, after)
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn each_us(seconds: f64, count: usize) -> f64 {
    1e6 * seconds / count as f64
}

/// Tickets that are armed when they are nearly due: through this replica, which hears of them, and straight in Redis, as
/// another replica would, so that this one finds them when it looks next.
async fn armed_late(bed: &mut Bed, steady_ms: i64, rounds: &mut Rounds) {
    let steps = u32::try_from(steady_ms).expect("a short time") / 10;
    let in_step = LATE_RATE / 100;
    for (name, elsewhere) in [("armed late", false), ("armed late elsewhere", true)] {
        let mut redis = bed.resp();
        let mut ticks = tokio::time::interval(LATE_STEP);
        let mut count = 0;
        for _ in 0..steps {
            ticks.tick().await;
            let due_ms = now_ms() + LATE_AHEAD_MS;
            let tickets = bed.tickets(in_step, |_| due_ms);
            count += tickets.len();
            if elsewhere {
                put_due(&mut redis, &tickets);
            } else {
                bed.arm(&tickets).await;
            }
        }
        let seen = bed.handler.seen(count, BOUND).await;
        rounds.add_lateness(name, Lateness::of(&seen));
    }
}

fn put_due(redis: &mut Resp, tickets: &[Ticket]) {
    let mut commands = Vec::new();
    for ticket in tickets {
        let key = raw::key_of(NAMESPACE, *ticket, "due");
        let score = ticket.due_ms.to_string();
        put_command(
            &mut commands,
            &[b"ZADD", &key, score.as_bytes(), &ticket.member()],
        );
    }
    redis.send(&commands);
    for _ in tickets {
        redis.read();
    }
}
