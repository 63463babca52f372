//! Made-up histories of tickets, told to the service over gRPC: what follows is what the naive model says, to the
//! millisecond.
//!
//! All stories go on in step, each with a bot of its own, on a database whose clock the test sets ([`clock`]). A tick
//! ends with what is due: the test keeps a reminder for each ticket as the timer does, from new generations and from the
//! answers, and asks about no ticket without one. So a story that fails shows what a desk would see.
//!
//! `SEED=7 STORIES=5000` plays the stories of the seeds 7 to 5006. A failure names its seed: with `STORIES=1` that story
//! is played alone.

mod clock;
mod lockstep;
mod player;
mod policies;
mod report;
mod story_desk;
mod words;

use std::time::Instant;

use plazo_model::START_MS;
use plazo_proto::ticketing::v1::OpenTicketRequest;

use lockstep::Lockstep;
use words::micros;

/// The default amount.
const STORIES: u64 = 300;
const FIRST_SEED: u64 = 1;
/// So many stories go on in step.
const IN_STEP: u64 = 300;
/// Each batch of stories begins a week after the one before: business time counts by the week.
const WEEK_MS: i64 = 7 * 24 * 3_600_000;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn made_up_histories_end_as_the_model_says() {
    let (first_seed, stories) = (number("SEED", FIRST_SEED), number("STORIES", STORIES));
    let began = Instant::now();
    let mut lockstep = Lockstep::start().await;
    let mut failures = Vec::new();
    let (mut played, mut origin_ms) = (0, START_MS);
    while played < stories {
        let until = stories.min(played + IN_STEP);
        let seeds = first_seed + played..first_seed + until;
        failures.extend(lockstep.play(seeds, origin_ms).await);
        played = until;
        origin_ms += WEEK_MS;
    }
    let counts = lockstep.counts;
    println!(
        "{stories} stories, {} inputs, {} looks, {} effects in {:.0?}",
        counts.inputs,
        counts.looks,
        counts.effects,
        began.elapsed()
    );
    assert!(failures.is_empty(), "{}", report::summary(&failures));
    // Stories of which nothing follows would show nothing.
    assert!(counts.effects > 10 * stories && counts.looks > stories);
}

#[tokio::test]
async fn the_service_goes_by_the_movable_clock() {
    let lockstep = Lockstep::start().await;
    let mut players = lockstep.prepare(1..2, START_MS).await;
    let desk = &mut players[0].desk;
    for seconds in [0, 7, 7_000_000] {
        let now_ms = START_MS + seconds * 1_000;
        lockstep.clock.set(now_ms).await;
        let request = OpenTicketRequest {
            bot_id: desk.bot_id,
            contact_id: desk.contact_id,
            ..Default::default()
        };
        let answer = desk.people.tickets.open_ticket(request).await;
        let ticket = answer.expect("opened").into_inner().ticket;
        let opened_at = ticket.and_then(|ticket| ticket.open_time).expect("a time");
        assert_eq!(micros(opened_at), now_ms * 1_000);
    }
}
