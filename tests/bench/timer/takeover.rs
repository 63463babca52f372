//! A replica dies: how soon the other handles what was the dead one's.

use std::time::Duration;

use crate::timer::bed::{BOUND, Bed, Timer, now_ms, sleep_until_ms};
use crate::timer::effort::Effort;
use crate::timer::recorder::Seen;
use crate::timer::rounds::Rounds;

/// Just long enough for the timer's checks: one attempt at the handler, one at notification, and the margin.
const LEASE_MS: f64 = 4_500.0;
const CONFIGURATION: [(&str, &str); 6] = [
    ("HANDLER__REQUEST_TIMEOUT_MS", "3000"),
    ("HANDLER__MAX_ATTEMPTS", "1"),
    ("NOTIFICATION__REQUEST_TIMEOUT_MS", "500"),
    ("NOTIFICATION__MAX_ATTEMPTS", "1"),
    ("TIMER__LEASE_MARGIN_MS", "500"),
    ("TIMER__LEASE_MS", "4500"),
];

const RATE: usize = 1_000;
/// How long tickets are due before the death and after it.
const BEFORE_MS: i64 = 2_000;
const AFTER_MS: i64 = 6_000;
/// Before the death the handler gives no answer for a while: so the dead replica holds leases.
const HELD_MS: i64 = 300;

/// Kills a replica under load, again and again.
#[expect(clippy::cast_precision_loss, reason = "milliseconds of our days fit")]
pub(super) async fn run(effort: Effort, rounds: &mut Rounds) {
    let configuration: Vec<_> = CONFIGURATION
        .iter()
        .map(|(key, value)| (*key, (*value).to_owned()))
        .collect();
    let mut bed = Bed::start(&configuration).await;
    for _ in 0..effort.deaths {
        let redis_url = bed.redis.url();
        let dying = Timer::start(&redis_url, &bed.handler.greeting, &configuration).await;
        let span_ms = usize::try_from(BEFORE_MS + AFTER_MS).expect("a short time");
        let count = RATE * span_ms / 1_000;
        let first_ms = bed.instant_after_arming(count);
        let tickets = bed.tickets(count, |number| {
            first_ms + i64::try_from(number * 1_000 / RATE).expect("a short time")
        });
        bed.arm(&tickets).await;
        sleep_until_ms(first_ms + BEFORE_MS - HELD_MS / 2).await;
        bed.handler.ask(&format!("hold {HELD_MS}")).await;
        sleep_until_ms(first_ms + BEFORE_MS).await;
        let killed_ms = now_ms() as f64;
        dying.solo.kill().await;

        let seen = bed.handler.seen(count, BOUND).await;
        let (before, after): (Vec<&Seen>, Vec<&Seen>) =
            seen.iter().partition(|seen| seen.due_ms < killed_ms);
        let latest = |ms: &mut dyn Iterator<Item = f64>| ms.fold(0.0, f64::max);
        // Nobody had claimed these: they were late only as long as nobody looked after them.
        let late_ms = latest(&mut after.iter().map(|seen| seen.at_ms - seen.due_ms));
        rounds.add("takeover_s", late_ms / 1e3);
        // Some of these were under leases of the dead replica.
        let back_ms = latest(&mut before.iter().map(|seen| seen.at_ms - killed_ms));
        rounds.add("takeover_leases_s", back_ms / 1e3);
        rounds.add("takeover_beyond_lease_s", (back_ms - LEASE_MS) / 1e3);
        bed.handler.take().await;
        // Longer than a dead replica counts as alive: the next death meets a fresh pair.
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    bed.stop().await;
}
