//! What came of a load.

mod files;
mod json;
mod table;

use super::generator::Kept;
use super::lateness::LatenessUs;
use super::ledger::{Counts, Ledger, Missed};
use super::options::LoadOptions;
use super::timeline::Timeline;
use super::timer::{ClockAhead, TimerFacts};

/// What is measured beside the ledger.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) start_us: i64,
    pub(super) is_cut_short: bool,
    pub(super) kept: Kept,
    pub(super) retries: u64,
    pub(super) missed: Missed,
    pub(super) facts: Option<TimerFacts>,
    pub(super) clock: Option<ClockAhead>,
    pub(super) classes: Vec<&'static str>,
    pub(super) notes: Vec<String>,
    pub(super) is_private: bool,
}

/// Looks that brought nothing.
#[derive(Debug, Clone, Copy)]
struct LookCounts {
    again: u64,
    early: u64,
    postponed: u64,
    ended: u64,
    stale: u64,
    foreign: u64,
    rebuild_pages: u64,
}

/// What came of a load.
#[derive(Debug)]
pub struct Report {
    options: LoadOptions,
    measured: Measured,
    counts: Counts,
    looks: LookCounts,
    doubled: u64,
    early: u64,
    lateness: LatenessUs,
    lateness_of: Vec<LatenessUs>,
    timeline: Timeline,
    interval_ms: u32,
    armed_series: Vec<u32>,
    due_series: Vec<i32>,
    first_failure: Option<String>,
    /// From the first handling to the last, in seconds.
    handled_s: f64,
}

impl Report {
    pub(super) fn new(
        options: &LoadOptions,
        ledger: &mut Ledger,
        timeline: Timeline,
        measured: Measured,
    ) -> Self {
        let clock_ahead_us = measured.clock.map_or(0, |clock| clock.most_us.max(0));
        let lease_us = i64::try_from(options.lease.as_micros()).unwrap_or(i64::MAX);
        let (early_looks, other_early_looks) = ledger.looks.judge_early(clock_ahead_us);
        let (mut doubled, mut again) = ledger.looks.judge_again(&ledger.faults, lease_us);
        if options.under_faults {
            again += std::mem::take(&mut doubled);
        }
        let counts = ledger.counts;
        let handled_us = ledger.handled_us.map_or(0, |(first, last)| last - first);
        Self {
            options: options.clone(),
            looks: LookCounts {
                again,
                early: other_early_looks,
                postponed: ledger.looks.postponed,
                ended: ledger.looks.ended,
                stale: ledger.looks.stale,
                foreign: ledger.looks.foreign,
                rebuild_pages: ledger.faults.rebuild_pages,
            },
            doubled: doubled + counts.fired_twice,
            early: early_looks + counts.fired_early,
            counts,
            lateness: ledger.lateness.clone(),
            lateness_of: ledger.lateness_of.clone(),
            interval_ms: ledger.series.interval_ms(),
            armed_series: ledger.series.armed_counts().to_vec(),
            due_series: ledger.series.due_counts().to_vec(),
            timeline,
            first_failure: ledger.faults.first_failure.clone(),
            handled_s: std::time::Duration::from_micros(u64::try_from(handled_us).unwrap_or(0))
                .as_secs_f64(),
            measured,
        }
    }

    /// Whether nothing was lost, doubled, early or left unarmed.
    pub fn passed(&self) -> bool {
        self.problems().is_empty()
    }

    /// What must not be, in words.
    fn problems(&self) -> Vec<String> {
        let missed = &self.measured.missed;
        let mut problems = Vec::new();
        for (count, what) in [
            (missed.lost, "lost: armed and due, and never asked for"),
            (self.doubled, "doubled: asked for again without a reason"),
            (self.early, "early: asked for before their instant"),
            (missed.unarmed, "not armed: the timer did not confirm them"),
        ] {
            if count > 0 {
                problems.push(format!("{count} {what}"));
            }
        }
        if self.counts.fired == 0 && missed.lost > 0 && !self.options.target.is_ticketing() {
            problems.push(
                "the timer asked for nothing: its handler.endpoint must be the address of --serve-handler"
                    .to_owned(),
            );
        }
        problems
    }

    /// What the generator could not do in time, in words.
    fn shortfalls(&self) -> Vec<String> {
        let kept = &self.measured.kept;
        let mut shortfalls = Vec::new();
        if kept.late > 0 {
            shortfalls.push(format!(
                "the generator fell behind by up to {} ms: {} of {} steps were late by more than 10 ms; more --in-flight \
                 or --batch, or another machine, may help",
                kept.worst_ms, kept.late, kept.done
            ));
        }
        if self.counts.armed_after_due > 0 {
            shortfalls.push(format!(
                "armed after they were due: {}; their lateness counts from when they were due, and a longer --ahead \
                 avoids it",
                self.counts.armed_after_due
            ));
        }
        if self.measured.retries > 0 {
            shortfalls.push(format!(
                "calls repeated because the answer was an error: {}; the first {}",
                self.measured.retries,
                self.first_failure
                    .as_deref()
                    .unwrap_or("of an unknown kind")
            ));
        }
        if self.counts.superseded_overdue > 0 {
            shortfalls.push(format!(
                "overdue when their customer answered: {}; their lateness is not in the figures",
                self.counts.superseded_overdue
            ));
        }
        shortfalls
    }

    /// How many were handled a second, from the first to the last.
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
    fn handled_per_s(&self) -> Option<f64> {
        (self.handled_s > 0.0).then(|| self.counts.fired as f64 / self.handled_s)
    }
}
