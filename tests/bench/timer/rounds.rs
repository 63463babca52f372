//! What was measured in each round.

use std::collections::BTreeMap;

use crate::report::median;
use crate::timer::recorder::Lateness;

/// Whose time of the cores is told.
pub(super) const CPU_OF: [&str; 4] = ["timer", "handler", "redis", "callers"];

/// The name of such a figure.
pub(super) fn cpu_name(name: &str, whose: &str) -> String {
    format!("{name} cpu {whose}")
}

/// Figures by name, one for each round in which they were measured.
#[derive(Debug, Default)]
pub(crate) struct Rounds {
    figures: BTreeMap<String, Vec<f64>>,
    lateness: BTreeMap<String, Vec<Lateness>>,
}

impl Rounds {
    /// Adds what this round gave.
    pub(crate) fn add(&mut self, name: &str, figure: f64) {
        self.figures
            .entry(name.to_owned())
            .or_default()
            .push(figure);
    }

    /// Adds what each of so many things took of the cores, in microseconds: of timer, handler, Redis and callers.
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    pub(super) fn add_cpu(&mut self, name: &str, count: usize, before: [f64; 4], after: [f64; 4]) {
        for ((whose, before), after) in CPU_OF.iter().zip(before).zip(after) {
            let each_us = 1e6 * (after - before) / count as f64;
            self.add(&cpu_name(name, whose), each_us);
        }
    }

    /// Adds how late jobs were in this round.
    pub(crate) fn add_lateness(&mut self, name: &str, lateness: Lateness) {
        self.lateness
            .entry(name.to_owned())
            .or_default()
            .push(lateness);
    }

    /// The median of all rounds; none when it wasn't measured.
    pub(crate) fn median(&self, name: &str) -> Option<f64> {
        self.figures.get(name).map(|figures| median(figures))
    }

    /// The median of the ratios of each round: in it both had the same minute of the machine.
    pub(crate) fn ratio(&self, name: &str, to: &str) -> Option<f64> {
        let ratios: Vec<f64> = self
            .figures
            .get(name)?
            .iter()
            .zip(self.figures.get(to)?)
            .map(|(one, other)| one / other)
            .collect();
        Some(median(&ratios))
    }

    /// Medians of the rounds; the least and the most of all.
    pub(crate) fn lateness(&self, name: &str) -> Option<Lateness> {
        let rounds = self.lateness.get(name)?;
        let of = |figure: fn(&Lateness) -> f64| rounds.iter().map(figure).collect::<Vec<_>>();
        Some(Lateness {
            min: of(|one| one.min).into_iter().fold(f64::INFINITY, f64::min),
            p50: median(&of(|one| one.p50)),
            p99: median(&of(|one| one.p99)),
            p999: median(&of(|one| one.p999)),
            max: of(|one| one.max)
                .into_iter()
                .fold(f64::NEG_INFINITY, f64::max),
        })
    }

    /// The median of the ratios of the 99th percentiles of each round.
    pub(crate) fn p99_ratio(&self, name: &str, to: &str) -> Option<f64> {
        let (one, other) = (self.lateness.get(name)?, self.lateness.get(to)?);
        let ratios = one
            .iter()
            .zip(other)
            .map(|(one, other)| one.p99 / other.p99);
        Some(median(&ratios.collect::<Vec<_>>()))
    }
}
