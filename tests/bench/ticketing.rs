//! Ticketing: messages, new tickets, due tickets, and what all calls cost among millions of tickets.

pub(crate) mod bed;
pub(crate) mod clocks;
mod firing;
mod messages;
mod opening;
pub(crate) mod raw;
mod scale;
mod watchers;

use std::time::Duration;

use plazo_tests::desk::Stages;

use crate::Options;
use crate::rates::{Measured, Rates};
use crate::report::Report;
use crate::ticketing::bed::Bed;

/// How long and how often everything is measured.
#[derive(Debug, Clone, Copy)]
struct Effort {
    rounds: usize,
    /// Of each figure in each round.
    duration: Duration,
    /// That messages go to.
    tickets: usize,
    /// That are due at once, in each round.
    due_tickets: usize,
}

impl Effort {
    fn of(options: &Options) -> Self {
        if options.quick {
            Self {
                rounds: 3,
                duration: Duration::from_millis(700),
                tickets: 2_048,
                due_tickets: 10_240,
            }
        } else {
            Self {
                rounds: 3,
                duration: Duration::from_secs(3),
                tickets: 4_096,
                due_tickets: 51_200,
            }
        }
    }
}

/// Stages so far away that none is due while messages are measured.
const FAR_STAGES: Stages = Stages {
    first_alert_s: 6 * 3_600,
    second_alert_s: 12 * 3_600,
    warning_and_close_s: None,
};

/// The small database, where rates are measured.
const DATABASE: &str = "rates";

/// Measures everything.
pub(crate) async fn run(options: &Options, report: &mut Report) {
    let effort = Effort::of(options);
    let bed = Bed::start().await;
    bed.describe(report, effort.rounds).await;
    rates(&bed, effort, report).await;
    watchers::run(&bed, effort, report).await;
    scale::run(options, &bed, report).await;
    bed.stop().await;
}

/// How much ticketing does in a second, beside what the bare server does.
async fn rates(bed: &Bed, effort: Effort, report: &mut Report) {
    let service = bed.ticketing(DATABASE, &[]).await;
    let mut rates = Rates::default();
    let mut messages = messages::Messages::set_up(bed, &service, effort).await;
    let mut opening = opening::Opening::set_up(bed, &service, effort).await;
    let mut firing = firing::Firing::set_up(bed, &service, effort).await;
    // Plans are made for tables as they will be.
    sqlx::raw_sql("ANALYZE")
        .execute(&mut bed.connection(DATABASE).await)
        .await
        .expect("tables can be analysed");
    for round in 1..=effort.rounds {
        println!("  round {round} of {}", effort.rounds);
        messages.round(&mut rates).await;
        opening.round(&mut rates).await;
        firing.round(&mut rates).await;
    }
    rates.tell("through ticketing", report);
    service.stop().await;
}
