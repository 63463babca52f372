//! Notification: messages accepted and sent by signed webhook, how late they are sent, what endpoints that hang do to
//! others, and what messages that wait for later cost.

mod accepting;
mod bed;
mod effort;
mod endpoints;
mod raw;
mod sending;
mod steady;
mod ticketing;
mod waiting;

use tokio::time::Instant;

use crate::Options;
use crate::notification::bed::Bed;
use crate::notification::effort::Effort;
use crate::rates::Rates;
use crate::report::{Report, Table, rounded, shown};
use crate::timer::rounds::Rounds;

pub(crate) use endpoints::serve as serve_endpoints;

/// Makes this program the endpoints that notification calls.
pub(crate) const ENDPOINTS_ARGUMENT: &str = "--endpoints";

/// Where the service's messages are, and where the bare program's.
const DATABASE: &str = "rates";
const BARE: &str = "bare";

/// Measures everything.
pub(crate) async fn run(options: &Options, report: &mut Report) {
    let effort = Effort::of(options);
    let began = Instant::now();
    let mut bed = Bed::start().await;
    bed.database.describe(report, effort.rounds).await;
    println!(
        "  settings: webhooks without TLS to the loopback; else the defaults, that is 256 messages in flight,\n  \
         8 of an account, 15 s for an answer; this channel has no rate of its own"
    );
    // The schema alone.
    let bare = bed.notification(BARE).await;
    let bare_pool = bare.pool.clone();
    bare.service.stop().await;
    let mut rates = Rates::default();
    let mut rounds = Rounds::default();
    for round in 0..effort.rounds {
        let said = began.elapsed().as_secs();
        println!("  round {} of {}, after {said} s", round + 1, effort.rounds);
        let notification = bed.notification(DATABASE).await;
        accepting::round(&bed, &notification, &bare_pool, effort, &mut rates).await;
        sending::round(&mut bed, &notification, &bare_pool, effort, &mut rates).await;
        notification.service.stop().await;
        steady::round(&mut bed, DATABASE, effort, &mut rounds).await;
    }
    rates.tell("through notification", report);
    tell_lateness(&rounds, report);
    println!("\n  done after {} s", began.elapsed().as_secs());
    bed.stop().await;
}

/// Measures sending beside messages that wait for later.
pub(crate) async fn run_waiting(options: &Options, report: &mut Report) {
    let effort = Effort::of(options);
    let mut bed = Bed::start().await;
    bed.database.describe(report, effort.rounds).await;
    waiting::run(&mut bed, effort, report).await;
    bed.stop().await;
}

/// How late messages were sent at the steady rate.
fn tell_lateness(rounds: &Rounds, report: &mut Report) {
    report.set("steady_messages_per_s", steady::RATE);
    let mut table = Table::new(&[
        "from accepted to arrived",
        "p50 ms",
        "p99 ms",
        "max ms",
        "p99 against all well",
    ]);
    let mut row = |title: &str, key: &str, name: &str, beside: Option<&str>| {
        let Some(late) = rounds.lateness(name) else {
            return;
        };
        for (what, ms) in [("p50", late.p50), ("p99", late.p99), ("max", late.max)] {
            report.set(&format!("{key}.{what}"), rounded(ms));
        }
        let ratio = beside.and_then(|beside| rounds.p99_ratio(name, beside));
        if let Some(ratio) = ratio {
            report.set(&format!("{key}.p99_ratio"), rounded(ratio));
        }
        table.row(vec![
            title.to_owned(),
            shown(late.p50),
            shown(late.p99),
            shown(late.max),
            ratio.map_or_else(|| "–".to_owned(), |ratio| format!("{ratio:.2}")),
        ]);
    };
    row("all messages", "lateness_ms", steady::ALL, None);
    row(
        "the calls themselves",
        "accept_call_ms",
        steady::CALLS,
        None,
    );
    let well = steady::OTHERS;
    row(
        "of other tenants, all endpoints well",
        "others_lateness_ms",
        well,
        None,
    );
    row(
        "the same, 1 endpoint hangs",
        "others_lateness_one_hangs_ms",
        steady::ONE_HANGS,
        Some(well),
    );
    row(
        &format!("the same, {} endpoints hang", steady::MANY),
        "others_lateness_many_hang_ms",
        steady::MANY_HANG,
        Some(well),
    );
    table.print("1,000 messages a second, a fifth of them to the endpoints that may hang; max of all rounds");
}
