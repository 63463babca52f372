//! History among millions of closed tickets, as a process: searches, views, lists and reports through gRPC, and how fast it
//! takes events from the feed.
//!
//! The tickets are made by `plazo seed`: ten millions, or 200,000 in a quick run; `PLAZO_BENCH_TICKETS` takes another
//! number. `PLAZO_BENCH_DATA` names a folder that keeps them for further runs, which then need not make them again; it
//! takes about 2 GB for each million.

mod bed;
mod calls;
mod events;
mod feed;
mod goals;
mod projecting;
mod reporting;
mod seeding;
mod world;

use std::path::PathBuf;

use crate::Options;
use crate::history::bed::Bed;
use crate::history::calls::Effort;
use crate::history::goals::Goals;
use crate::history::world::World;
use crate::plans;
use crate::report::{Report, rounded};

/// The tenant whose tickets these are.
const TENANT: i64 = 1_000;

/// So often every call is made for its plans: each connection sees each query more often than the five times after
/// which the server may choose one plan for all values.
const CALLS_FOR_PLANS: usize = 16;

/// How much is there, and where it is kept.
#[derive(Debug, Clone)]
struct Size {
    tickets: u64,
    events: usize,
    calls: usize,
    folder: Option<PathBuf>,
}

impl Size {
    fn of(options: &Options) -> Self {
        let wanted = std::env::var("PLAZO_BENCH_TICKETS").ok();
        let wanted = wanted.map(|text| text.parse().expect("PLAZO_BENCH_TICKETS is a number"));
        let (tickets, events, calls) = if options.quick {
            (200_000, 40_000, 40)
        } else {
            (10_000_000, 400_000, 300)
        };
        Self {
            tickets: wanted.unwrap_or(tickets),
            events,
            calls,
            folder: std::env::var_os("PLAZO_BENCH_DATA").map(PathBuf::from),
        }
    }
}

/// Measures everything.
pub(crate) async fn run(options: &Options, report: &mut Report) {
    let size = Size::of(options);
    let mut bed = Bed::start(size.folder.clone()).await;
    bed.describe(report).await;
    // Makes the schema.
    bed.history(&[]).await.stop().await;
    seeding::run(&bed, &size, report).await;

    let mut goals = Goals::default();
    let service = bed.history(&[]).await;
    let world = World::sample(&bed, &service, size.calls).await;
    world.describe(report);
    calls::run(&world, Effort::measured(size.calls), &mut goals).await;
    reporting::run(&bed, &world, &service, options.quick, &mut goals, report).await;
    service.stop().await;
    look_at_plans(&bed, &size, report).await;
    projecting::run(&mut bed, &size, &mut goals, report).await;
    goals.tell(report);
    bed.stop().await;
}

/// Makes every call with a server that logs its plans, and complains about those that read a big table from end to end.
async fn look_at_plans(bed: &Bed, size: &Size, report: &mut Report) {
    plans::log_plans(&mut bed.connection().await, bed::DATABASE).await;
    let logged_before = bed.log().len();
    let few = [("DATABASE__READ_CONNECTIONS", "2".to_owned())];
    let service = bed.history(&few).await;
    let world = World::sample(bed, &service, size.calls.min(CALLS_FOR_PLANS)).await;
    calls::run(
        &world,
        Effort::for_plans(CALLS_FOR_PLANS),
        &mut Goals::default(),
    )
    .await;
    reporting::ask_once(&world).await;
    service.stop().await;
    plans::stop_logging(&mut bed.connection().await, bed::DATABASE).await;
    let log = bed.log();
    let plans = plans::read(&log[logged_before..], "plazo-history");
    plans::judge(&mut bed.connection().await, &plans, "", report).await;
}

/// A figure that is kept under its name and shown.
fn tell(report: &mut Report, name: &str, figure: f64) {
    report.set(name, rounded(figure));
}
