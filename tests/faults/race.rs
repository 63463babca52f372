//! 27: customers, agents and those who close or put on hold race the firing, at the very deadlines. The order of commits
//! decides, and the ledger knows it from the order of each ticket's events.
//!
//! The calls are aimed at the moment at which both sides win alike: each round moves it. Where a ticket was put on hold, one
//! more call meets the end of the hold, which is a deadline like the others: it is aimed between the end and the timer's
//! notice of it. Two failpoints widen the race: some rows are locked from before their deadlines to after them, so that
//! all who come wait in line, and the timer dies between ticketing's commit and its own ack, so that it asks again.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use plazo_proto::common::v1::AuthorKind;
use plazo_proto::ticketing::v1::ticket_event::Payload;
use plazo_proto::ticketing::v1::{HoldEnd, Stage, TicketEvent};
use plazo_tests::cluster::{Cluster, Durability, Setup};
use plazo_tests::desk::Desk;
use plazo_tests::ledger::Account;
use plazo_tests::load::Seed;
use plazo_tests::process::Service;
use plazo_tests::report::FaultReport;
use plazo_tests::traffic::{self, Done};
use plazo_tests::truth::{MILLI_US, ceil_to_millis, now_us, us_of};
use prost::Message as _;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom as _, SliceRandom as _};
use rand::{Rng as _, SeedableRng as _};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::bed::{Bed, Size, to_float};

/// Which stages and calls meet, and when; not how the machine then schedules them.
const SEED: u64 = 27;
/// Calls begin at most so long before and after the moment that is aimed at.
const SPREAD_MS: i64 = 15;
/// How much the outcome of a round moves the aim toward the other one.
const STEP_US: i64 = 800;
/// The aim stays as close to the deadline as this.
const AIM_MAX_US: i64 = 500 * MILLI_US;
/// How long a hold lasts.
const HOLD_S: i32 = 3;
/// A call meets the end of a hold at most so long before and after the moment that is aimed at.
const HOLD_END_SPREAD_MS: i64 = 5;
/// A locked row is locked so long before the first call or the deadline, whichever is earlier.
const LOCK_LEAD_MS: i64 = 5;
/// One round in so many has its row locked.
const LOCKED_SHARE: u32 = 5;
/// So has one end of a hold in so many: what a call is to meet there lasts a few milliseconds, less than calls take.
const LOCKED_HOLD_END_SHARE: u32 = 2;
/// So many milliseconds past the deadline the row is released.
const LOCKED_MS: Range<i64> = 5..55;
/// Each side wins at least one race in so many.
const SHARE_MIN: usize = 20;
/// One round in so many puts its ticket on hold; and one sees the hold's end noticed by the timer, and one by a message.
const HOLDS_MIN: usize = 50;
const ABORT_BOUND: Duration = Duration::from_secs(20);

const STAGES: [Stage; 4] = [
    Stage::FirstAlert,
    Stage::SecondAlert,
    Stage::Warning,
    Stage::Close,
];

/// What races the firing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Call {
    Reply,
    AgentMessage,
    Close,
    /// For some seconds: then it ends by itself, and what counted before counts from zero.
    Hold,
}

const CALLS: [Call; 4] = [Call::Reply, Call::AgentMessage, Call::Close, Call::Hold];

/// One race.
#[derive(Debug, Clone)]
struct Round {
    ticket_id: i64,
    stage: Stage,
    due_us: i64,
    /// Each with its distance from the moment that is aimed at.
    calls: Vec<(Call, i64)>,
    /// What meets the end of the hold if the ticket is put on hold, with its distance from the moment that is aimed at.
    at_hold_end: (Call, i64),
    /// How long the row is locked past the deadline, if it is.
    locked_ms: Option<i64>,
    /// The same past the end of the hold.
    hold_end_locked_ms: Option<i64>,
}

/// A moment in microseconds after a deadline, as the rounds so far found it.
#[derive(Default)]
struct Aim(AtomicI64);

impl Aim {
    fn us(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }

    fn move_by(&self, step_us: i64) {
        let moved_us = self.us() + step_us;
        self.0
            .store(moved_us.clamp(-AIM_MAX_US, AIM_MAX_US), Ordering::Relaxed);
    }
}

/// How a call met the end of a hold.
enum HoldEndMet {
    /// The hold was not over yet.
    Before,
    /// The hold was over, and the call was the first to notice.
    Between,
    /// The timer had noticed it.
    Noticed,
}

/// What the rounds share.
struct Course {
    desk: Desk,
    pool: PgPool,
    /// Where the calls of each stage are aimed at.
    aims: [Aim; 4],
    /// Where the calls at the end of a hold are aimed at.
    hold_end_aim: Aim,
    /// The database's time at an instant.
    clock: (Instant, i64),
}

pub(crate) async fn run(size: Size) -> FaultReport {
    // The calls need more of a machine than the stages do: half as many stages, over twice the time.
    let size = Size {
        due_per_s: size.due_per_s / 4,
        seconds: size.seconds * 2,
        ..size
    };
    let setup = Setup::new(Durability::Fast);
    let mut bed = Bed::start_with_race(size, setup).await;
    let (desk, seeds) = bed.race.take().expect("there is a race");
    let rounds = draw(&desk, &seeds);
    let course = Arc::new(Course {
        desk,
        pool: PgPoolOptions::new()
            .max_connections(8)
            .connect(&bed.cluster.database_url(Service::Ticketing))
            .await
            .expect("the database can be reached"),
        aims: Default::default(),
        hold_end_aim: Aim::default(),
        clock: (Instant::now(), now_us(&bed.databases.ticketing).await),
    });
    let mut races = JoinSet::new();
    for round in rounds.clone() {
        let course = Arc::clone(&course);
        races.spawn(async move { course.play(&round).await });
    }
    bed.until(0.3).await;
    let mut deaths = 0;
    for after in if size.is_full {
        vec!["20", "40"]
    } else {
        vec!["3"]
    } {
        die(&mut bed.cluster, after).await;
        deaths += 1;
    }
    let ended = bed.fault_is_over().await;
    let mut others = Done::default();
    for done in races.join_all().await {
        others.add(done);
    }

    let outage = Duration::from_secs(10);
    let mut judged = bed.finish(outage, ended, others).await;
    let report = &mut judged.report;
    report.saw("rounds", to_float(rounds.len()));
    report.saw("deaths_of_the_timer", to_float(deaths));
    let locked = rounds.iter().filter(|round| round.locked_ms.is_some());
    report.saw("rounds_with_a_locked_row", to_float(locked.count()));
    let by_themselves = judged.account.expired_holds - judged.account.found_over_holds;
    for (name, count) in [
        ("holds", judged.account.hold_count()),
        ("hold_ends_seen_by_the_timer", by_themselves),
        (
            "hold_ends_found_by_a_message",
            judged.account.found_over_holds,
        ),
    ] {
        report.saw(name, to_float(count));
        report.require(count > rounds.len() / HOLDS_MIN, || {
            format!("holds were no race: {name} is {count}")
        });
    }
    for stage in STAGES {
        let (fired, called) = winners(&rounds, &judged.account, stage);
        let name = stage
            .as_str_name()
            .trim_start_matches("STAGE_")
            .to_lowercase();
        report.saw(&format!("{name}_came_first"), to_float(fired));
        report.saw(&format!("call_before_{name}"), to_float(called));
        let least = (fired + called) / SHARE_MIN;
        report.require(fired > least && called > least, || {
            format!("{name} was no race: it won {fired} times, and the calls {called} times")
        });
    }
    judged.conclude().await
}

/// The rounds in the order of their tickets: the same ones in each run.
fn draw(desk: &Desk, seeds: &[Seed]) -> Vec<Round> {
    let mut random = StdRng::seed_from_u64(SEED);
    let stages = desk.first_stages.expect("the first cycle has its own");
    let (warning_s, close_s) = stages.warning_and_close_s.expect("all stages");
    seeds
        .iter()
        .map(|seed| {
            let stage = *STAGES.choose(&mut random).expect("four stages");
            let after_s = match stage {
                Stage::FirstAlert => stages.first_alert_s,
                Stage::SecondAlert => stages.second_alert_s,
                Stage::Warning => warning_s,
                _ => close_s,
            };
            let mut calls = CALLS;
            calls.shuffle(&mut random);
            let count = random.random_range(1..=CALLS.len());
            let calls = calls[..count]
                .iter()
                .map(|call| (*call, random.random_range(-SPREAD_MS..=SPREAD_MS)));
            let calls = calls.collect();
            let at_end = *CALLS.choose(&mut random).expect("four calls");
            Round {
                ticket_id: seed.ticket_id,
                stage,
                due_us: ceil_to_millis(seed.anchor_us) + i64::from(after_s) * 1_000 * MILLI_US,
                calls,
                at_hold_end: (
                    at_end,
                    random.random_range(-HOLD_END_SPREAD_MS..=HOLD_END_SPREAD_MS),
                ),
                locked_ms: random
                    .random_ratio(1, LOCKED_SHARE)
                    .then(|| random.random_range(LOCKED_MS)),
                hold_end_locked_ms: random
                    .random_ratio(1, LOCKED_HOLD_END_SHARE)
                    .then(|| random.random_range(LOCKED_MS)),
            }
        })
        .collect()
}

impl Course {
    async fn play(&self, round: &Round) -> Done {
        // Aimed shortly before, by what other rounds came to.
        self.wait_until(round.due_us - AIM_MAX_US).await;
        let place = STAGES.iter().position(|stage| *stage == round.stage);
        let aim = &self.aims[place.expect("one of them")];
        self.wait_until(round.due_us + aim.us().min(0) - SPREAD_MS * MILLI_US)
            .await;
        let aimed_us = round.due_us + aim.us();
        let calls = round.calls.iter().map(async |(call, from_aim_ms)| {
            self.wait_until(aimed_us + from_aim_ms * MILLI_US).await;
            let text = format!("race/{}/{call:?}", round.ticket_id);
            self.call(round.ticket_id, *call, &text).await
        });
        let (answers, ()) = tokio::join!(
            futures::future::join_all(calls),
            self.lock(round.ticket_id, round.locked_ms, round.due_us, round.due_us)
        );
        let mut all = Done::default();
        let mut hold_end_us = None;
        for (done, end_us) in answers {
            all.add(done);
            hold_end_us = hold_end_us.max(end_us);
        }
        if round.locked_ms.is_none() {
            let has_fired = self.has_fired(round).await;
            aim.move_by(if has_fired { -STEP_US } else { STEP_US });
        }
        // Another call may have ended the hold.
        if let Some(end_us) = hold_end_us
            && self.hold_end(round.ticket_id, end_us).await.is_none()
        {
            all.add(self.meet_hold_end(round, end_us).await);
        }
        all
    }

    /// A call at the end of the round's hold, between the end and the timer's notice of it if the aim is right.
    async fn meet_hold_end(&self, round: &Round, end_us: i64) -> Done {
        let (call, from_aim_ms) = round.at_hold_end;
        // Aimed shortly before, by what other rounds came to.
        self.wait_until(end_us - AIM_MAX_US).await;
        let call_us = end_us + self.hold_end_aim.us() + from_aim_ms * MILLI_US;
        let text = format!("race/{}/{call:?} at the end of the hold", round.ticket_id);
        let call = async {
            self.wait_until(call_us).await;
            self.call(round.ticket_id, call, &text).await
        };
        let locked_ms = round.hold_end_locked_ms;
        let (from_us, past_us) = (end_us.min(call_us), end_us.max(call_us));
        let lock = self.lock(round.ticket_id, locked_ms, from_us, past_us);
        let ((done, _), ()) = tokio::join!(call, lock);
        if locked_ms.is_some() {
            return done;
        }
        match self.hold_end_met(round.ticket_id, end_us).await {
            HoldEndMet::Before => self.hold_end_aim.move_by(STEP_US),
            HoldEndMet::Between => {}
            HoldEndMet::Noticed => self.hold_end_aim.move_by(-STEP_US),
        }
        done
    }

    /// Whether the stage took effect. It can't any more once the calls are answered: each of them ends the cycle.
    async fn has_fired(&self, round: &Round) -> bool {
        let events = self.events(round.ticket_id).await;
        events.iter().any(|(_, payload)| {
            matches!(payload, Payload::StageFired(fired)
                if fired.stage() == round.stage && fired.cycle == 1)
        })
    }

    /// How the call that was answered last met the end of the hold: it noticed the end itself if both are of one moment.
    async fn hold_end_met(&self, ticket_id: i64, end_us: i64) -> HoldEndMet {
        match self.hold_end(ticket_id, end_us).await {
            Some((HoldEnd::Expired, true)) => HoldEndMet::Between,
            Some((HoldEnd::Expired, false)) => HoldEndMet::Noticed,
            _ => HoldEndMet::Before,
        }
    }

    /// What ended the hold that was to end at this microsecond since 1970, and whether more is of the same moment; none
    /// while it stands.
    async fn hold_end(&self, ticket_id: i64, end_us: i64) -> Option<(HoldEnd, bool)> {
        let events = self.events(ticket_id).await;
        let (place, cause) = events
            .iter()
            .enumerate()
            .find_map(|(place, (_, payload))| match payload {
                Payload::HoldEnded(ended) if us_of(ended.due_time.as_ref()) == end_us => {
                    Some((place, ended.cause()))
                }
                _ => None,
            })?;
        let (ended_us, _) = events[place];
        let next = events.get(place + 1);
        Some((cause, next.is_some_and(|(at_us, _)| *at_us == ended_us)))
    }

    /// All events of a ticket so far, oldest first, each with its microsecond since 1970.
    async fn events(&self, ticket_id: i64) -> Vec<(i64, Payload)> {
        let events: Vec<(i64, Vec<u8>)> = sqlx::query_as(
            "SELECT (extract(epoch FROM recorded_at) * 1000000)::bigint, payload FROM ticket_events
             WHERE tenant_id = $1 AND ticket_id = $2 ORDER BY ticket_seq",
        )
        .bind(self.desk.tenant_id)
        .bind(ticket_id)
        .fetch_all(&self.pool)
        .await
        .expect("events can be read");
        let decode = |(at_us, payload): (i64, Vec<u8>)| {
            let event = TicketEvent::decode(payload.as_slice()).expect("an event");
            (at_us, event.payload.expect("a payload"))
        };
        events.into_iter().map(decode).collect()
    }

    /// What it got done, and the end of the hold if it put the ticket on hold.
    async fn call(&self, ticket_id: i64, call: Call, text: &str) -> (Done, Option<i64>) {
        let mut done = Done::default();
        let mut hold_end_us = None;
        match call {
            Call::Hold => {
                hold_end_us = traffic::hold(&self.desk, ticket_id, HOLD_S, &mut done).await;
            }
            Call::Close => {
                traffic::close(&self.desk, ticket_id, &mut done).await;
            }
            Call::Reply => {
                let author = AuthorKind::Customer;
                traffic::record(&self.desk, ticket_id, author, text, &mut done).await;
            }
            Call::AgentMessage => {
                let author = AuthorKind::Agent;
                traffic::record(&self.desk, ticket_id, author, text, &mut done).await;
            }
        }
        (done, hold_end_us)
    }

    /// Locks the row of the ticket from shortly before a moment to so long past another, if at all.
    async fn lock(&self, ticket_id: i64, locked_ms: Option<i64>, from_us: i64, past_us: i64) {
        let Some(locked_ms) = locked_ms else {
            return;
        };
        self.wait_until(from_us - LOCK_LEAD_MS * MILLI_US).await;
        let mut lock = self.pool.begin().await.expect("a transaction");
        sqlx::query(
            "SELECT 1 FROM ticket_clocks WHERE tenant_id = $1 AND ticket_id = $2 FOR UPDATE",
        )
        .bind(self.desk.tenant_id)
        .bind(ticket_id)
        .execute(&mut *lock)
        .await
        .expect("a row can be locked");
        self.wait_until(past_us + locked_ms * MILLI_US).await;
        lock.rollback().await.expect("the row is released");
    }

    async fn wait_until(&self, us: i64) {
        let (at, at_us) = self.clock;
        let after = Duration::from_micros(u64::try_from(us - at_us).unwrap_or(0));
        tokio::time::sleep_until(at + after).await;
    }
}

/// The timer dies after so many batches that ticketing has answered, before it has acked.
async fn die(cluster: &mut Cluster, after: &str) {
    cluster.kill(Service::Timer).await;
    cluster.spawn(Service::Timer, &[("FAULT__ABORT_BEFORE_ACK", after)]);
    cluster.aborted(Service::Timer, ABORT_BOUND).await;
    cluster.start_services(&[Service::Timer]).await;
}

/// In how many rounds of a stage it came first, and a call did.
fn winners(rounds: &[Round], account: &Account, stage: Stage) -> (usize, usize) {
    let fired: std::collections::HashSet<i64> = account
        .fired
        .iter()
        .filter(|fired| fired.stage == stage && fired.cycle == 1)
        .map(|fired| fired.ticket_id)
        .collect();
    let of_stage = rounds.iter().filter(|round| round.stage == stage);
    let (won, lost): (Vec<&Round>, Vec<&Round>) =
        of_stage.partition(|round| fired.contains(&round.ticket_id));
    (won.len(), lost.len())
}
