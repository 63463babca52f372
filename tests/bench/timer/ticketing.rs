//! Through the timer into real ticketing: state, event and durable commit.

use std::collections::HashMap;

use plazo_proto::timer::v1::{TicketArm, TicketGeneration};
use plazo_tests::desk::{Desk, Stages};
use plazo_tests::load::{Seed, put_tickets};
use plazo_tests::solo::Solo;
use sqlx::{PgPool, Row};

use crate::measure::until_done;
use crate::report::Report;
use crate::ticketing::bed::Bed as DatabaseBed;
use crate::ticketing::clocks::{self, GENERATION, NO_ALERT};
use crate::ticketing::raw::RawFiring;
use crate::timer::bed::{BATCH, BOUND, Bed, IN_FLIGHT, Timer, arm, lead_ms, now_ms};
use crate::timer::effort::Effort;
use crate::timer::handler::timestamp_us;
use crate::timer::recorder::Lateness;
use crate::timer::rounds::Rounds;

const DATABASE: &str = "drained";
const TENANT: i64 = 3;
/// When the stage that is measured is due after its anchor.
const FIRST_S: i32 = 3_600;
/// Tickets due in each second.
pub(super) const RATE: usize = 2_000;
/// Arms a second that can surely be done.
const ARMS_PER_S: f64 = 30_000.0;

/// Tickets whose first alerts are due over and over.
struct Drained {
    pool: PgPool,
    desk: Desk,
    seeds: Vec<Seed>,
    timer: Timer,
    fired_before: f64,
}

/// Measures drain and lateness.
pub(super) async fn run(
    bed: &Bed,
    database: &DatabaseBed,
    effort: Effort,
    rounds: &mut Rounds,
    report: &mut Report,
) {
    database.describe(report, effort.rounds).await;
    // The timer of ticketing's own is a stand-in that does nothing: what is armed here, and when, is the measurement's
    // matter.
    let service = database.ticketing(DATABASE, &[]).await;
    let mut drained = Drained::set_up(bed, database, &service, effort).await;
    let mut raw = Vec::with_capacity(IN_FLIGHT);
    for _ in 0..IN_FLIGHT {
        let connection = database.connection(DATABASE).await;
        raw.push(RawFiring::new(connection, &drained.desk).await);
    }
    for round in 0..effort.rounds {
        for raw_now in [round % 2 == 0, round % 2 == 1] {
            if raw_now {
                raw = drained.bare(raw, rounds).await;
            } else {
                drained.through_both(rounds).await;
            }
        }
    }
    for _ in 0..effort.rounds {
        drained.steady(effort, rounds).await;
    }
    drained.timer.solo.stop().await;
    service.stop().await;
}

impl Drained {
    async fn set_up(bed: &Bed, database: &DatabaseBed, service: &Solo, effort: Effort) -> Self {
        let stages = Stages {
            first_alert_s: FIRST_S,
            second_alert_s: 24 * FIRST_S,
            warning_and_close_s: None,
        };
        let pool = database.pool(DATABASE, 2).await;
        let channel = service.channel();
        let desk = Desk::set_up_at(channel.clone(), channel, TENANT, stages).await;
        let steady = steady_count(effort);
        let seeds = put_tickets(&pool, &desk, effort.ticketing_due.max(steady), 1_000).await;
        clocks::put(&pool, &desk, &seeds).await;
        sqlx::raw_sql("ANALYZE")
            .execute(&pool)
            .await
            .expect("tables can be analysed");
        let namespace = ("TIMER__NAMESPACE", "ticketing".to_owned());
        let timer = Timer::start(&bed.redis.url(), &service.endpoint(), &[namespace]).await;
        let mut drained = Self {
            pool,
            desk,
            seeds,
            timer,
            fired_before: 0.0,
        };
        // Both sides have prepared their statements.
        drained.through_both(&mut Rounds::default()).await;
        drained
    }

    /// All due at once, through timer and ticketing.
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    async fn through_both(&mut self, rounds: &mut Rounds) {
        let count = self.seeds.len();
        loop {
            clocks::make_due(&self.pool, &self.desk, FIRST_S, NO_ALERT).await;
            let due_ms = now_ms() + lead_ms(count, ARMS_PER_S);
            let dues = self.seeds.iter().map(|seed| (seed.ticket_id, due_ms));
            arm(&self.timer.client, arms(dues)).await;
            let is_in_time = now_ms() + 100 < due_ms;
            self.fired(count).await;
            let seconds = (self.last_commit_ms(due_ms).await - due_ms as f64) / 1e3;
            if is_in_time {
                rounds.add("drain_ticketing_per_s", count as f64 / seconds);
                return;
            }
        }
    }

    /// When the last event after an instant was committed, as PostgreSQL notes it.
    async fn last_commit_ms(&self, after_ms: i64) -> f64 {
        sqlx::query_scalar(
            "SELECT max(extract(epoch FROM pg_xact_commit_timestamp(transaction_id::xid)))::float8 * 1000
             FROM ticket_events
             WHERE tenant_id = $1 AND recorded_at >= 'epoch'::timestamptz + $2 * interval '1 millisecond'",
        )
        .bind(self.desk.tenant_id)
        .bind(after_ms)
        .fetch_one(&self.pool)
        .await
        .expect("commits can be read")
    }

    /// The same rows written bare.
    async fn bare(&self, mut raw: Vec<RawFiring>, rounds: &mut Rounds) -> Vec<RawFiring> {
        clocks::make_due(&self.pool, &self.desk, FIRST_S, NO_ALERT).await;
        let share = self.seeds.len().div_ceil(IN_FLIGHT);
        for (caller, share) in raw.iter_mut().zip(self.seeds.chunks(share)) {
            caller.give(share.chunks(BATCH).map(<[Seed]>::to_vec).collect());
        }
        let (done, callers) = until_done(raw).await;
        assert_eq!(done.count, self.seeds.len() as u64, "all rows were written");
        rounds.add("raw_fenced_update_per_s", done.per_s());
        callers
    }

    /// Waits until so many more have fired.
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    async fn fired(&mut self, count: usize) {
        let awaited = self.fired_before + count as f64;
        let until = tokio::time::Instant::now() + BOUND;
        loop {
            let metrics = self.timer.solo.metrics().await;
            let fired = metrics.sum("plazo_timer_fired_total", "outcome=\"fired\"");
            if fired >= awaited {
                break;
            }
            assert!(
                tokio::time::Instant::now() < until,
                "{fired} of {awaited} fired"
            );
            // Each look costs the timer something, and so they are few.
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
        self.fired_before = awaited;
    }

    /// Due one after the other: from the deadline to the commit of its effect, as PostgreSQL notes it.
    #[expect(clippy::cast_precision_loss, reason = "milliseconds of our days fit")]
    async fn steady(&mut self, effort: Effort, rounds: &mut Rounds) {
        let count = steady_count(effort);
        let first_ms = now_ms() + 3_000 + lead_ms(count, ARMS_PER_S);
        let due_of =
            |number: usize| first_ms + i64::try_from(number * 1_000 / RATE).expect("a short time");
        let dues: HashMap<i64, i64> = self.seeds[..count]
            .iter()
            .enumerate()
            .map(|(number, seed)| (seed.ticket_id, due_of(number)))
            .collect();
        self.make_due_at(&dues).await;
        let mut in_order: Vec<_> = dues.iter().map(|(id, due_ms)| (*id, *due_ms)).collect();
        in_order.sort_by_key(|(_, due_ms)| *due_ms);
        arm(&self.timer.client, arms(in_order.into_iter())).await;
        let is_in_time = now_ms() + 100 < first_ms;
        self.fired(count).await;
        if !is_in_time {
            println!("  armed too slowly: this round leaves out the lateness through ticketing");
            return;
        }
        let rows = sqlx::query(
            "SELECT ticket_id,
                 extract(epoch FROM pg_xact_commit_timestamp(transaction_id::xid))::float8 * 1000 AS committed_ms
             FROM ticket_events
             WHERE tenant_id = $1 AND recorded_at >= 'epoch'::timestamptz + $2 * interval '1 millisecond'",
        )
        .bind(self.desk.tenant_id)
        .bind(first_ms)
        .fetch_all(&self.pool)
        .await
        .expect("events can be read");
        assert_eq!(rows.len(), count, "each fired once");
        let late_ms = rows.iter().map(|row| {
            let committed_ms: f64 = row.get("committed_ms");
            committed_ms - dues[&row.get::<i64, _>("ticket_id")] as f64
        });
        rounds.add_lateness("ticketing", Lateness::of_ms(late_ms.collect()));
    }

    async fn make_due_at(&self, dues: &HashMap<i64, i64>) {
        clocks::make_due(&self.pool, &self.desk, FIRST_S, NO_ALERT).await;
        let (ids, due_ms): (Vec<i64>, Vec<i64>) = dues.iter().unzip();
        sqlx::query(
            "UPDATE ticket_clocks AS clocks
             SET anchor_at = due.at - make_interval(secs => $4), cycle_due_at = due.at, next_due_at = due.at
             FROM unnest($2::bigint[], $3::bigint[]) AS given (ticket_id, ms),
                 LATERAL (SELECT 'epoch'::timestamptz + given.ms * interval '1 millisecond' AS at) AS due
             WHERE clocks.tenant_id = $1 AND clocks.ticket_id = given.ticket_id",
        )
        .bind(self.desk.tenant_id)
        .bind(ids)
        .bind(due_ms)
        .bind(f64::from(FIRST_S))
        .execute(&self.pool)
        .await
        .expect("clocks can be set");
    }
}

fn steady_count(effort: Effort) -> usize {
    RATE * usize::try_from(effort.ticketing_steady_ms).expect("a short time") / 1_000
}

/// Arms of tickets with their due instants in milliseconds since 1970.
fn arms(dues: impl Iterator<Item = (i64, i64)>) -> Vec<TicketArm> {
    dues.map(|(ticket_id, due_ms)| TicketArm {
        ticket: Some(TicketGeneration {
            tenant_id: TENANT,
            ticket_id,
            generation: GENERATION,
        }),
        due_time: Some(timestamp_us(due_ms * 1_000)),
        first_superseded_generation: 0,
    })
    .collect()
}
