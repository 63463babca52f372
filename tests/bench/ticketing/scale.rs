//! Millions of tickets: what each call costs then, and by which plans its queries run.

mod calls;
mod copy;
mod load;
mod rows;
mod shape;

use std::sync::Arc;

use plazo_tests::solo::Solo;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use crate::Options;
use crate::plans;
use crate::report::{Report, Table, quantile, rounded, shown};
use crate::ticketing::bed::Bed;
use crate::ticketing::scale::calls::{Call, Supply, World};
use crate::ticketing::scale::shape::Shape;

const DATABASE: &str = "scale";
/// Rounds in which all calls take turns.
const ROUNDS: usize = 3;

/// So often every call is made for its plans: each connection sees each query more often than the five times after
/// which the server may choose one plan for all values.
const CALLS_FOR_PLANS: usize = 24;

/// All tickets, and those that calls use up.
type AllTickets<'a> = (&'a Shape, &'a Arc<Supply>);

/// Loads the tickets, measures the calls, and looks at the plans.
pub(super) async fn run(options: &Options, bed: &Bed, report: &mut Report) {
    let shape = Shape::new(options.quick);
    report.set("scale_open_tickets", shape.open_count());
    report.set("scale_closed_tickets", shape.closed_count());
    // Makes the schema.
    bed.ticketing(DATABASE, &[]).await.stop().await;
    let began = Instant::now();
    load::load(bed, &shape).await;
    let took_s = began.elapsed().as_secs_f64();
    report.set("scale_load_s", rounded(took_s));
    let bytes = database_bytes(bed).await;
    report.set("scale_database_bytes", bytes);
    println!(
        "\n  {} open and {} closed tickets, {} MB, loaded in {took_s:.0} s",
        shape.open_count(),
        shape.closed_count(),
        bytes >> 20
    );
    let supply = Arc::new(Supply::new(&shape));
    latencies(options, bed, (&shape, &supply), report).await;
    look_at_plans(bed, (&shape, &supply), report).await;
}

async fn database_bytes(bed: &Bed) -> i64 {
    sqlx::query_scalar("SELECT pg_database_size(current_database())")
        .fetch_one(&mut bed.connection(DATABASE).await)
        .await
        .expect("the size can be read")
}

/// One caller, one call after the other, all kinds in turn.
async fn latencies(options: &Options, bed: &Bed, tickets: AllTickets<'_>, report: &mut Report) {
    let service = bed.ticketing(DATABASE, &[large_watchers()]).await;
    let world = world(bed, &service, tickets).await;
    let calls = calls::all();
    let mut times_ms: Vec<Vec<f64>> = vec![Vec::new(); calls.len()];
    for round in 0..=ROUNDS {
        for (call, times_ms) in calls.iter().zip(&mut times_ms) {
            // The first round warms up.
            let count = match (round, options.quick) {
                (0, _) => 2,
                (_, true) => (call.count / 8).max(2),
                (_, false) => call.count,
            };
            for _ in 0..count {
                let took_ms = make(&world, call).await;
                if round > 0 {
                    times_ms.push(took_ms);
                }
            }
        }
    }
    let mut table = Table::new(&["call", "calls", "p50 ms", "p99 ms"]);
    let mut told = Map::new();
    for (call, times_ms) in calls.iter().zip(&mut times_ms) {
        times_ms.sort_by(f64::total_cmp);
        let (p50, p99) = (quantile(times_ms, 0.5), quantile(times_ms, 0.99));
        let count = times_ms.len();
        told.insert(
            call.name.to_owned(),
            json!({"calls": count, "p50_ms": rounded(p50), "p99_ms": rounded(p99)}),
        );
        table.row(vec![
            call.name.to_owned(),
            count.to_string(),
            shown(p50),
            shown(p99),
        ]);
    }
    report.set("scale_calls", Value::Object(told));
    table.print("one caller, one call after the other, through gRPC");
    service.stop().await;
}

/// Makes a call as prepared for it, and says how many milliseconds it took.
async fn make(world: &Arc<World>, call: &Call) -> f64 {
    let prepared = (call.prepare)(Arc::clone(world)).await;
    let began = Instant::now();
    (call.make)(Arc::clone(world), prepared).await;
    began.elapsed().as_secs_f64() * 1e3
}

async fn world(bed: &Bed, service: &Solo, (shape, supply): AllTickets<'_>) -> Arc<World> {
    let pool = bed.pool(DATABASE, 2).await;
    Arc::new(World::new(service, shape.clone(), Arc::clone(supply), pool))
}

/// Makes every call with a server that logs its plans, and complains about those that read a big table from end to end.
async fn look_at_plans(bed: &Bed, tickets: AllTickets<'_>, report: &mut Report) {
    plans::log_plans(&mut bed.connection(DATABASE).await, DATABASE).await;
    let logged_before = bed.log().len();
    let service = bed
        .ticketing(
            DATABASE,
            &[
                ("DATABASE__MAX_CONNECTIONS", "2".to_owned()),
                ("DATABASE__BACKGROUND_CONNECTIONS", "2".to_owned()),
                ("WATCH__MAX_READERS", "1".to_owned()),
                large_watchers(),
                // The sweep takes part.
                ("SWEEP__PERIOD_MS", "200".to_owned()),
            ],
        )
        .await;
    let world = world(bed, &service, tickets).await;
    for call in calls::all() {
        for _ in 0..CALLS_FOR_PLANS.min(call.count) {
            make(&world, &call).await;
        }
    }
    service.stop().await;
    let log = bed.log();
    let plans = plans::read(&log[logged_before..], "plazo-ticketing");
    plans::judge(
        &mut bed.connection(DATABASE).await,
        &plans,
        "scale_",
        report,
    )
    .await;
}

/// A queue of the full size has more tickets than a watcher may hold by default.
fn large_watchers() -> (&'static str, String) {
    ("WATCH__MAX_TICKETS_EACH", "500000".to_owned())
}
