//! The result for programs.

use serde_json::{Value, json};

use super::Report;
use crate::load::lateness::{millis, summary_json};
use crate::load::options::{Shape, Target};

impl Report {
    /// The result as one JSON object.
    pub fn to_json(&self) -> Value {
        json!({
            "type": "load",
            "version": env!("CARGO_PKG_VERSION"),
            "passed": self.passed(),
            "cut_short": self.measured.is_cut_short,
            "problems": self.problems(),
            "notes": self.measured.notes,
            "settings": self.settings_json(),
            "timer": self.timer_json(),
            "tickets": self.counts.opened,
            "armed": self.counts.armed,
            "rearmed": self.counts.rearmed,
            "postponed": self.counts.postponed,
            "superseded": self.counts.superseded,
            "superseded_overdue": self.counts.superseded_overdue,
            "fired": self.counts.fired,
            "pending": self.counts.pending,
            "lost": self.measured.missed.lost,
            "doubled": self.doubled,
            "early": self.early,
            "unarmed": self.measured.missed.unarmed,
            "looks": {
                "again": self.looks.again,
                "early": self.looks.early,
                "postponed": self.looks.postponed,
                "ended": self.looks.ended,
                "stale": self.looks.stale,
                "foreign": self.looks.foreign,
                "rebuild_pages": self.looks.rebuild_pages,
            },
            "lateness_ms": summary_json(&self.lateness),
            "lateness_ms_by_class": self.classes_json(),
            "handled_per_s": self.handled_per_s(),
            "handled_s": self.handled_s,
            "generator": {
                "steps": self.measured.kept.done,
                "late_steps": self.measured.kept.late,
                "worst_late_ms": self.measured.kept.worst_ms,
                "armed_after_due": self.counts.armed_after_due,
                "retries": self.measured.retries,
                "shortfalls": self.shortfalls(),
            },
            "start_unix_ms": self.measured.start_us / 1_000,
            "interval_ms": self.interval_ms,
            "intervals": self.intervals_json(),
        })
    }

    fn settings_json(&self) -> Value {
        let options = &self.options;
        json!({
            "shape": options.shape.name(),
            "handler": if options.target.is_ticketing() { "ticketing" } else { "own" },
            "target": match &options.target {
                Target::Private | Target::PrivateTicketing => "private",
                Target::Timer { endpoint, .. } | Target::Ticketing { endpoint } => endpoint,
            },
            "rate": options.rate,
            "rate_to": (options.shape == Shape::Ramp).then_some(options.rate_to),
            "tickets": options.tickets,
            "length_s": options.length_s(),
            "ahead_ms": options.ahead.as_millis(),
            "tenants": options.tenants,
            "seed": options.seed,
            "batch": options.batch,
            "in_flight": options.in_flight,
            "grace_ms": options.grace.as_millis(),
            "lease_ms": options.lease.as_millis(),
            "delay_ms": options.delay.as_secs_f64() * 1_000.0,
            "under_faults": options.under_faults,
        })
    }

    fn timer_json(&self) -> Value {
        let facts = self.measured.facts.as_ref();
        let settings = facts.and_then(|facts| facts.settings.as_ref());
        let clock = self.measured.clock.as_ref();
        let persistence = self
            .measured
            .is_private
            .then_some("append-only file, synced every second");
        json!({
            "shards": facts.map(|facts| facts.shards),
            "lanes": facts.map(|facts| facts.lanes),
            "replicas": facts.map(|facts| facts.replicas),
            "batch_limit": settings.map(|settings| settings.batch_limit),
            "dispatch_slots": settings.map(|settings| settings.dispatch_slots),
            "linger_ms": settings.map(|settings| settings.linger_ms),
            "linger_max_ms": settings.map(|settings| settings.linger_max_ms),
            "waiting_before": facts.map(|facts| facts.waiting),
            "quarantined_before": facts.map(|facts| facts.quarantined),
            "redis_persistence": persistence,
            "redis_clock_ahead_ms": clock.map(|clock| {
                [clock.least_us, clock.most_us].map(|us| std::time::Duration::from_micros(us.unsigned_abs()).as_secs_f64()
                    * if us < 0 { -1_000.0 } else { 1_000.0 })
            }),
        })
    }

    fn classes_json(&self) -> Value {
        let classes = self.measured.classes.iter().zip(&self.lateness_of);
        classes
            .map(|(name, histogram)| ((*name).to_owned(), summary_json(histogram)))
            .collect::<serde_json::Map<_, _>>()
            .into()
    }

    /// Those in which something was handled.
    fn intervals_json(&self) -> Value {
        let start_s = |index: usize| {
            let index = u32::try_from(index).unwrap_or(u32::MAX);
            f64::from(index) * f64::from(self.interval_ms) / 1_000.0
        };
        let points = self.timeline.points.iter();
        points
            .map(|point| {
                json!({
                    "start_s": start_s(point.index),
                    "armed": self.armed_series.get(point.index).copied().unwrap_or(0),
                    "due": self.due_series.get(point.index).copied().unwrap_or(0),
                    "fired": point.fired,
                    "p50_ms": millis(point.p50_us),
                    "p99_ms": millis(point.p99_us),
                    "max_ms": millis(point.max_us),
                })
            })
            .collect()
    }
}
