//! The timer: draining, arming, lateness, memory, idle cost, rebuild and take-over, each beside its bare limit and
//! beside peers in the same rounds.

mod arming;
mod bed;
mod drain;
mod effort;
mod goals;
mod growth;
mod handler;
mod lateness;
mod nodes;
mod peers;
mod raw;
pub(crate) mod recorder;
pub(crate) mod rounds;
mod standing;
mod takeover;
mod ticketing;

use tokio::time::Instant;

use crate::Options;
use crate::report::Report;
use crate::ticketing::bed::Bed as DatabaseBed;
use crate::timer::bed::Bed;
use crate::timer::effort::Effort;
use crate::timer::peers::Peers;
use crate::timer::rounds::Rounds;

pub(crate) use handler::{now_us, serve as serve_handler};

/// Makes this program the handler that the timer calls.
pub(crate) const HANDLER_ARGUMENT: &str = "--handler";

/// The timer's namespace, as by default.
const NAMESPACE: &str = "tickets";

/// Whose turn it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Timer,
    Raw,
    BullMq,
    Graphile,
}

const SIDES: [Side; 4] = [Side::Timer, Side::Raw, Side::BullMq, Side::Graphile];

/// Measures everything.
pub(crate) async fn run(options: &Options, report: &mut Report) {
    let effort = Effort::of(options);
    let began = Instant::now();
    // The same server for ticketing's tables and for graphile-worker's.
    let database = DatabaseBed::start_with(&[("track_commit_timestamp", "on")]).await;
    let mut bed = Bed::start(&[]).await;
    let mut peers = Peers::start(options, &database).await;
    let mut rounds = Rounds::default();
    for round in 0..effort.rounds {
        let said = began.elapsed().as_secs();
        println!("  round {} of {}, after {said} s", round + 1, effort.rounds);
        // Each side is the first one in turn.
        let order: Vec<Side> = (0..SIDES.len())
            .map(|place| SIDES[(place + round) % SIDES.len()])
            .collect();
        drain::round(&mut bed, &mut peers, effort, &order, &mut rounds).await;
        arming::round(&mut bed, &mut peers, effort, &order, &mut rounds).await;
        lateness::round(&mut bed, &mut peers, effort, &order, &mut rounds).await;
    }
    standing::bullmq(&mut peers, effort, &mut rounds).await;
    peers.stop().await;
    let step = |what: &str| println!("  {what}, after {} s", began.elapsed().as_secs());
    step("through ticketing");
    ticketing::run(&bed, &database, effort, &mut rounds, report).await;
    database.stop().await;
    step("many tickets that wait");
    standing::run(effort, &mut rounds).await;
    step("the death of a replica");
    takeover::run(effort, &mut rounds).await;
    step("growth");
    growth::run(&mut bed, effort, report).await;
    bed.stop().await;
    step("nodes");
    nodes::run(effort, report).await;
    goals::tell(&rounds, report);
    step("done");
}
