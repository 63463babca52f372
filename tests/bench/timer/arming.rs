//! Arming new tickets, due at any instant of a day, and arming them again: then one entry comes and the one before goes.

use plazo_proto::timer::v1::TicketArm;

use crate::timer::Side;
use crate::timer::bed::{Bed, Ticket, arm, arm_one_by_one, now_ms};
use crate::timer::effort::Effort;
use crate::timer::peers::Peers;
use crate::timer::raw;
use crate::timer::rounds::Rounds;

/// Callers that arm one by one.
const CALLERS: usize = 64;
const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
/// How much later a ticket is due when it is armed again.
const LATER_MS: i64 = 1;
const RAW_NAMESPACE: &str = "rawrearm";

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
            Side::Timer => timer(bed, effort, rounds).await,
            Side::Raw => raw(bed, effort.rearmed, rounds).await,
            Side::BullMq => bullmq(peers, effort.bullmq_changed, rounds).await,
            Side::Graphile => {}
        }
    }
}

async fn timer(bed: &mut Bed, effort: Effort, rounds: &mut Rounds) {
    let now_ms = now_ms();
    let tickets = bed.tickets(effort.rearmed, |number| any_instant(now_ms, number));
    let before = bed.fine_cpu_seconds();
    let armed = bed.arm(&tickets).await;
    rounds.add("arm_per_s", armed.per_s());
    rounds.add_cpu("arm", tickets.len(), before, bed.fine_cpu_seconds());
    let later: Vec<Ticket> = tickets
        .iter()
        .map(|ticket| ticket.older(-LATER_MS))
        .collect();
    let arms = later.iter().map(|ticket| ticket.arm(LATER_MS)).collect();
    let before = bed.fine_cpu_seconds();
    let rearmed = arm(&bed.timer.client, arms).await;
    rounds.add("rearm_per_s", rearmed.per_s());
    rounds.add_cpu("rearm", later.len(), before, bed.fine_cpu_seconds());

    let singly: Vec<TicketArm> = later
        .iter()
        .take(effort.rearmed_singly)
        .map(|ticket| ticket.older(-LATER_MS).arm(LATER_MS))
        .collect();
    let (count, before) = (singly.len(), bed.fine_cpu_seconds());
    let rearmed = arm_one_by_one(&bed.timer.client, singly, CALLERS).await;
    rounds.add("rearm_one_by_one_per_s", rearmed.per_s());
    rounds.add_cpu("rearm one by one", count, before, bed.fine_cpu_seconds());
    // They don't wait in the way of what follows.
    let mut remove = Vec::with_capacity(later.len());
    for (number, ticket) in later.iter().enumerate() {
        let is_later = number < effort.rearmed_singly;
        let last = ticket.older(if is_later { -2 * LATER_MS } else { -LATER_MS });
        let mut arm = last.arm(LATER_MS);
        arm.due_time = None;
        remove.push(arm);
    }
    bed.remove(remove).await;
}

async fn raw(bed: &mut Bed, count: usize, rounds: &mut Rounds) {
    let now_ms = now_ms();
    let tickets = bed.tickets(count, |number| any_instant(now_ms, number));
    let socket = bed.redis.socket_path();
    let work = move || {
        let added = raw::add(&socket, RAW_NAMESPACE, &tickets, 0);
        let later: Vec<Ticket> = tickets
            .iter()
            .map(|ticket| ticket.older(-LATER_MS))
            .collect();
        let again = raw::add(&socket, RAW_NAMESPACE, &later, LATER_MS);
        raw::forget(&socket, RAW_NAMESPACE);
        (added, again)
    };
    let (added, again) = tokio::task::spawn_blocking(work)
        .await
        .expect("the bare commands run");
    rounds.add("raw_zadd_per_s", added);
    rounds.add("raw_zadd_zrem_per_s", again);
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
async fn bullmq(peers: &mut Peers, count: usize, rounds: &mut Rounds) {
    if let Some(bullmq) = &mut peers.bullmq {
        let seconds = bullmq.producer.ask(&format!("keep {count}")).await;
        rounds.add("bullmq_add_bulk_per_s", count as f64 / seconds);
        let seconds = bullmq.producer.ask("change").await;
        rounds.add("bullmq_change_delay_per_s", count as f64 / seconds);
        bullmq.producer.ask("forget").await;
    }
}

/// From an hour to a day ahead, spread as if by chance, and the same in each run. The step is a prime beside which the
/// numbers of tickets are small.
fn any_instant(now_ms: i64, number: usize) -> i64 {
    const STEP_MS: i64 = 32_452_843;
    let number = i64::try_from(number).expect("a small number");
    now_ms + HOUR_MS + number * STEP_MS % (DAY_MS - HOUR_MS)
}
