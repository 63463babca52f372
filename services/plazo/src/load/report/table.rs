//! The result for people.

use std::fmt;

use super::Report;
use crate::load::lateness::{LatenessUs, millis};
use crate::load::options::{Shape, Target};
use crate::load::progress::grouped;

impl Report {
    fn write_settings(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let options = &self.options;
        let rate = match options.shape {
            Shape::Ramp => format!("{}/s to {}/s", options.rate, options.rate_to),
            Shape::Burst => format!("armed at {}/s, due at once", options.rate),
            _ => format!("{}/s", options.rate),
        };
        let target = match &options.target {
            Target::Private => "a private timer",
            Target::PrivateTicketing => "a private cluster",
            Target::Timer { endpoint, .. } | Target::Ticketing { endpoint } => endpoint,
        };
        writeln!(
            f,
            "\n{} {} tickets on {target}: {rate}, armed {:?} ahead, {} tenants, seed {}",
            grouped(options.tickets.into()),
            options.shape.name(),
            options.ahead,
            grouped(options.tenants.into()),
            options.seed
        )?;
        let handler = if options.target.is_ticketing() {
            "ticketing; lateness is commit minus due, by PostgreSQL's clock".to_owned()
        } else if options.delay.is_zero() {
            "the load itself, answering at once".to_owned()
        } else {
            format!("the load itself, answering after {:?}", options.delay)
        };
        writeln!(f, "handler: {handler}")?;
        if let Some(facts) = &self.measured.facts {
            let redis = if self.measured.is_private {
                "Redis with an append-only file, synced every second"
            } else {
                "Redis' persistence is not known from here"
            };
            writeln!(
                f,
                "timer: {} shards in {} lanes, {} replica(s), {} other entries; {redis}",
                facts.shards,
                facts.lanes,
                facts.replicas,
                grouped(u64::try_from(facts.waiting).unwrap_or(0))
            )?;
            if let Some(settings) = &facts.settings {
                writeln!(
                    f,
                    "its settings: batches of {}, {} at a time, lingering {} to {} ms",
                    settings.batch_limit,
                    settings.dispatch_slots,
                    settings.linger_ms,
                    settings.linger_max_ms
                )?;
            }
        }
        Ok(())
    }

    fn write_counts(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = &self.counts;
        let missed = &self.measured.missed;
        let mut rows = vec![
            ("opened", counts.opened),
            ("armed", counts.armed),
            ("fired", counts.fired),
            ("lost", missed.lost),
            ("doubled", self.doubled),
            ("early", self.early),
            ("not armed", missed.unarmed),
        ];
        // What is zero in most loads is shown only when it isn't.
        let more = [
            ("armed anew", counts.rearmed),
            ("postponed", counts.postponed),
            ("answered first", counts.superseded),
            (
                "still pending",
                counts.pending.saturating_sub(missed.lost + missed.unarmed),
            ),
            ("looked at again", self.looks.again),
            (
                "looked at early, within the clocks' difference",
                self.looks.early,
            ),
            ("looked at early, since postponed", self.looks.postponed),
            ("looked at, answered meanwhile", self.looks.ended),
            ("looked at, of an old generation", self.looks.stale),
            ("looked at, not of this load", self.looks.foreign),
            ("pages read by rebuilds", self.looks.rebuild_pages),
        ];
        rows.extend(more.into_iter().filter(|(_, count)| *count > 0));
        let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        for (name, count) in rows {
            writeln!(f, "  {name:<width$}  {:>13}", grouped(count))?;
        }
        Ok(())
    }

    fn write_lateness(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rows = vec![("all", &self.lateness)];
        rows.extend(self.measured.classes.iter().copied().zip(&self.lateness_of));
        let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        writeln!(
            f,
            "\n  {:<width$}  {:>10} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}",
            "lateness in ms",
            "fired",
            "min",
            "p50",
            "p90",
            "p99",
            "p99.9",
            "max",
            width = width.max(14)
        )?;
        for (name, histogram) in rows {
            write_row(f, name, width.max(14), histogram)?;
        }
        if let Some(rate) = self.handled_per_s() {
            writeln!(
                f,
                "\n  {rate:.0} fired a second, over the {:.3} s from the first to the last",
                self.handled_s
            )?;
        }
        Ok(())
    }
}

fn write_row(
    f: &mut fmt::Formatter<'_>,
    name: &str,
    width: usize,
    histogram: &LatenessUs,
) -> fmt::Result {
    write!(f, "  {name:<width$}  {:>10}", grouped(histogram.len()))?;
    if histogram.is_empty() {
        return writeln!(f);
    }
    write!(f, " {:>9.2}", millis(histogram.min()))?;
    for quantile in [0.5, 0.9, 0.99, 0.999] {
        write!(f, " {:>9.2}", millis(histogram.value_at_quantile(quantile)))?;
    }
    writeln!(f, " {:>9.2}", millis(histogram.max()))
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_settings(f)?;
        writeln!(f)?;
        self.write_counts(f)?;
        self.write_lateness(f)?;
        let lines = self.measured.notes.iter().cloned().chain(self.shortfalls());
        for line in lines {
            writeln!(f, "  {line}")?;
        }
        if self.measured.is_cut_short {
            writeln!(f, "\n  cut short: this is what was seen until then")?;
        }
        let problems = self.problems();
        if problems.is_empty() {
            return writeln!(
                f,
                "\n  passed: nothing lost, nothing doubled, nothing early"
            );
        }
        writeln!(f, "\n  failed")?;
        for problem in problems {
            writeln!(f, "  ✗ {problem}")?;
        }
        Ok(())
    }
}
