//! A customer's reply races the close: the order of commits decides.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use plazo_proto::common::v1::AuthorKind;
use plazo_proto::ticketing::v1::TicketState;
use plazo_proto::timer::v1::HandleOutcome;
use plazo_ticketing::feed;
use rand::Rng as _;
use tokio::task::JoinSet;

use crate::desk::{Desk, tell, unwarned};

const ROUNDS: i64 = 3_200;
/// Rounds that run at the same time.
const LANES: usize = 16;
/// How much the start of a call may differ from the other's, beyond the bias.
const SPREAD_US: i64 = 2_500;
/// How much one outcome moves the bias toward the other.
const STEP_US: i64 = 60;

/// What both callers of a round were told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Told {
    handler: HandleOutcome,
    state_after_reply: TicketState,
}

async fn after(micros: i64) {
    if let Ok(micros @ 1..) = u64::try_from(micros) {
        tokio::time::sleep(Duration::from_micros(micros)).await;
    }
}

/// As the timer does it: again while the ticket is being changed.
async fn look(desk: &Desk, ticket_id: i64) -> HandleOutcome {
    loop {
        match desk.outcomes(&[(ticket_id, 2)]).await[..] {
            [HandleOutcome::Busy] => {}
            [outcome] => return outcome,
            _ => panic!("one answer for one ticket"),
        }
    }
}

async fn round(desk: &Desk, ticket_id: i64, bias_us: &AtomicI64) -> Told {
    let lead = bias_us.load(Ordering::Relaxed) + rand::rng().random_range(-SPREAD_US..=SPREAD_US);
    let reply = async {
        after(lead).await;
        desk.writes(ticket_id, AuthorKind::Customer).await
    };
    let close = async {
        after(-lead).await;
        look(desk, ticket_id).await
    };
    let (ticket, handler) = tokio::join!(reply, close);
    assert_eq!(
        ticket.ticket_id, ticket_id,
        "within the window it is the same ticket"
    );
    let step = if handler == HandleOutcome::Fired {
        -STEP_US
    } else {
        STEP_US
    };
    bias_us.fetch_add(step, Ordering::Relaxed);
    Told {
        handler,
        state_after_reply: ticket.state(),
    }
}

/// Counts looks at which somebody waited for a lock in this database.
async fn watch_locks(desk: &Desk, ended: &AtomicBool, seen: &AtomicU64) {
    while !ended.load(Ordering::Relaxed) {
        let waiting: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_stat_activity
             WHERE datname = current_database() AND wait_event_type = 'Lock'",
        )
        .fetch_one(&desk.fixture.pool)
        .await
        .expect("activity");
        if waiting > 0 {
            seen.fetch_add(1, Ordering::Relaxed);
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Plays all rounds, and tells what the callers of each were told.
#[expect(clippy::disallowed_methods, reason = "joined before the test ends")]
async fn play(desk: &Arc<Desk>, tickets: Vec<i64>, waits: &Arc<AtomicU64>) -> HashMap<i64, Told> {
    let bias_us = Arc::new(AtomicI64::new(0));
    let ended = Arc::new(AtomicBool::new(false));
    let watcher = {
        let (desk, ended, waits) = (Arc::clone(desk), Arc::clone(&ended), Arc::clone(waits));
        tokio::spawn(async move { watch_locks(&desk, &ended, &waits).await })
    };
    let mut lanes = JoinSet::new();
    for lane in 0..LANES {
        let mine: Vec<i64> = tickets.iter().copied().skip(lane).step_by(LANES).collect();
        let (desk, bias_us) = (Arc::clone(desk), Arc::clone(&bias_us));
        lanes.spawn(async move {
            let mut told = Vec::with_capacity(mine.len());
            for ticket_id in mine {
                told.push((ticket_id, round(&desk, ticket_id, &bias_us).await));
            }
            told
        });
    }
    let told = lanes.join_all().await.into_iter().flatten().collect();
    ended.store(true, Ordering::Relaxed);
    watcher.await.expect("the watcher ends");
    told
}

/// What happened to each ticket, in words.
async fn stories(desk: &Desk) -> HashMap<i64, Vec<String>> {
    let pool = &desk.fixture.pool;
    let mut position = feed::beginning(pool).await.expect("a position");
    let mut stories: HashMap<i64, Vec<String>> = HashMap::new();
    let mut missing: i64 = sqlx::query_scalar("SELECT count(*) FROM ticket_events")
        .fetch_one(pool)
        .await
        .expect("counted");
    while missing > 0 {
        let batch = feed::read(pool, position).await.expect("a batch");
        position = batch.position;
        for event in &batch.events {
            let story = stories.entry(event.ticket_id).or_default();
            story.push(tell(event));
            assert_eq!(usize::try_from(event.ticket_seq), Ok(story.len()));
        }
        missing -= i64::try_from(batch.events.len()).expect("at most 1,000");
    }
    stories
}

#[tokio::test(flavor = "multi_thread")]
async fn the_order_of_commits_decides_between_reply_and_close() {
    let desk = Arc::new(Desk::start().await);
    desk.set_policy(unwarned()).await;
    let tickets = desk.bulk(ROUNDS, 31.0).await;
    let waits = Arc::new(AtomicU64::new(0));
    let told = play(&desk, tickets.clone(), &waits).await;
    let stories = stories(&desk).await;

    let (mut replies_first, mut closes_first) = (0, 0);
    for ticket_id in tickets {
        let story = &stories[&ticket_id];
        let expected = if story[0] == "Customer wrote" {
            assert_eq!(story[..], ["Customer wrote"], "ticket {ticket_id}");
            replies_first += 1;
            Told {
                handler: HandleOutcome::Already,
                state_after_reply: TicketState::Open,
            }
        } else {
            let closed_then_reopened = [
                "fired Close",
                "closed by CustomerInactivity",
                "asked for ClosingText",
                "reopened Waiting",
                "automation paused",
                "Customer wrote",
            ];
            assert_eq!(story[..], closed_then_reopened, "ticket {ticket_id}");
            closes_first += 1;
            Told {
                handler: HandleOutcome::Fired,
                state_after_reply: TicketState::Waiting,
            }
        };
        assert_eq!(told[&ticket_id], expected, "ticket {ticket_id}");
    }
    let waits = waits.load(Ordering::Relaxed);
    println!(
        "{replies_first} replies first, {closes_first} closes first, {waits} looks saw a wait"
    );
    assert_eq!(replies_first + closes_first, ROUNDS);
    assert!(replies_first * 10 >= ROUNDS && closes_first * 10 >= ROUNDS);
    assert!(waits > 0, "nobody waited for a row's lock");
}
