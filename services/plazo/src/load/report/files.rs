//! The result in files.

use std::fs;
use std::path::Path;

use super::Report;
use crate::load::LoadError;
use crate::load::picture::{self, Axes, Line};
use crate::load::progress::grouped;

impl Report {
    /// Writes `result.json`, `lateness.hlog` and `lateness.svg` into a folder, which is made if need be.
    pub fn write_files(&self, folder: &Path) -> Result<(), LoadError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| LoadError::Write { path, source }
        };
        fs::create_dir_all(folder).map_err(failed(folder))?;
        let json = format!("{:#}\n", self.to_json());
        let title = self.title();
        let log = self
            .timeline
            .log(self.measured.start_us, &format!("plazo load: {title}"));
        for (name, content) in [
            ("result.json", json.as_bytes()),
            ("lateness.hlog", &log),
            ("lateness.svg", self.picture().as_bytes()),
        ] {
            let path = folder.join(name);
            fs::write(&path, content).map_err(failed(&path))?;
        }
        Ok(())
    }

    fn title(&self) -> String {
        format!(
            "{} tickets, {}, {}/s, seed {}",
            grouped(self.options.tickets.into()),
            self.options.shape.name(),
            self.options.rate,
            self.options.seed
        )
    }

    fn picture(&self) -> String {
        let interval_s = f64::from(self.interval_ms) / 1_000.0;
        let middle_s =
            |index: usize| (f64::from(u32::try_from(index).unwrap_or(0)) + 0.5) * interval_s;
        let per_s = |count: f64| count / interval_s;
        let points = &self.timeline.points;
        let lateness = |of: fn(&crate::load::timeline::Point) -> u64| {
            let values = points.iter();
            values
                .map(|point| {
                    (
                        middle_s(point.index),
                        crate::load::lateness::millis(of(point)).max(0.01),
                    )
                })
                .collect()
        };
        let armed = self.armed_series.iter().map(|count| f64::from(*count));
        let due = self
            .due_series
            .iter()
            .map(|count| f64::from((*count).max(0)));
        let mut fired = vec![0.0; points.last().map_or(0, |point| point.index + 1)];
        for point in points {
            fired[point.index] = f64::from(u32::try_from(point.fired).unwrap_or(u32::MAX));
        }
        let rates = |counts: Vec<f64>| {
            let rates = counts.into_iter().enumerate();
            rates
                .map(|(index, count)| (middle_s(index), per_s(count)))
                .collect()
        };
        let (armed, due) = (armed.collect::<Vec<_>>(), due.collect::<Vec<_>>());
        let count = armed.len().max(due.len()).max(fired.len());
        let lines = [
            Line::new("max", "#c0392b", lateness(|point| point.max_us)),
            Line::new("p99", "#d98200", lateness(|point| point.p99_us)),
            Line::new("p50", "#1f6fb2", lateness(|point| point.p50_us)),
        ];
        let counts = [
            Line::new("armed", "#9aa5b1", rates(armed)),
            Line::new("due", "#d98200", rates(due)),
            Line::new("fired", "#1f6fb2", rates(fired)),
        ];
        let verdict = if self.passed() {
            "nothing lost, doubled or early".to_owned()
        } else {
            self.problems().join("; ")
        };
        picture::draw(
            &format!("Lateness and throughput: {}", self.title()),
            &format!("{} fired; {verdict}", grouped(self.counts.fired)),
            &Axes {
                length_s: f64::from(u32::try_from(count).unwrap_or(1)) * interval_s,
                interval_s,
            },
            &lines,
            &counts,
        )
    }
}
