//! How much is done in a second beside what the bare server does, and what each thing takes of the cores.

use crate::report::{Report, Table, median, rounded, shown};

/// What was measured in all rounds.
#[derive(Debug, Default)]
pub(crate) struct Rates {
    figures: Vec<Figure>,
}

/// One figure, beside the bare counterpart of the same round.
#[derive(Debug)]
struct Figure {
    /// As in `messages_per_s.64`.
    name: String,
    /// For people.
    title: String,
    /// Names of the counterpart and of the ratio to it.
    raw: Option<(String, String)>,
    per_s: Vec<f64>,
    raw_per_s: Vec<f64>,
    /// Microseconds of the cores for each thing: service, database, callers.
    cpu_us: Vec<[f64; 3]>,
    /// The same of the counterpart.
    raw_cpu_us: Vec<[f64; 3]>,
}

/// A figure of one round.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Measured {
    /// Things a second.
    pub(crate) per_s: f64,
    /// Microseconds of the cores for each: service, database, callers.
    pub(crate) cpu_us: [f64; 3],
}

impl Rates {
    /// Adds what one round gave. `names`: of the figure, of its counterpart, and of their ratio.
    pub(crate) fn add(
        &mut self,
        title: &str,
        name: &str,
        measured: Measured,
        raw: Option<(&str, &str, Measured)>,
    ) {
        let place = self.figures.iter().position(|figure| figure.name == name);
        let place = place.unwrap_or_else(|| {
            self.figures.push(Figure {
                name: name.to_owned(),
                title: title.to_owned(),
                raw: raw.map(|(name, ratio, _)| (name.to_owned(), ratio.to_owned())),
                per_s: Vec::new(),
                raw_per_s: Vec::new(),
                cpu_us: Vec::new(),
                raw_cpu_us: Vec::new(),
            });
            self.figures.len() - 1
        });
        let figure = &mut self.figures[place];
        figure.per_s.push(measured.per_s);
        figure.cpu_us.push(measured.cpu_us);
        if let Some((_, _, raw)) = raw {
            figure.raw_per_s.push(raw.per_s);
            figure.raw_cpu_us.push(raw.cpu_us);
        }
    }

    /// Medians into the report, and a table for people, whose first head says through which service.
    pub(crate) fn tell(&self, through: &'static str, report: &mut Report) {
        let mut table = Table::new(&[
            through,
            "per s",
            "bare per s",
            "ratio",
            "µs service",
            "µs database",
            "µs callers",
            "bare: µs database",
            "µs callers",
        ]);
        for figure in &self.figures {
            let per_s = median(&figure.per_s);
            report.set(&figure.name, rounded(per_s));
            let (mut raw_shown, mut ratio_shown) = ("–".to_owned(), "–".to_owned());
            if let Some((raw_name, ratio_name)) = &figure.raw {
                let raw_per_s = median(&figure.raw_per_s);
                // Within a round both sides had the same minute of the machine.
                let ratios: Vec<f64> = figure
                    .per_s
                    .iter()
                    .zip(&figure.raw_per_s)
                    .map(|(one, raw)| one / raw)
                    .collect();
                let ratio = median(&ratios);
                report.set(raw_name, rounded(raw_per_s));
                report.set(ratio_name, rounded(ratio));
                (raw_shown, ratio_shown) = (shown(raw_per_s), format!("{ratio:.2}"));
            }
            let [service, database, callers] = [0, 1, 2].map(|side| of_side(&figure.cpu_us, side));
            let [_, raw_database, raw_callers] =
                [0, 1, 2].map(|side| of_side(&figure.raw_cpu_us, side));
            for (whose, us) in [
                ("service", service),
                ("database", database),
                ("callers", callers),
            ] {
                let name = format!("{}_cpu_us_each_of_{whose}", figure.name.replace('.', "_"));
                report.set(&name, rounded(us));
            }
            table.row(vec![
                figure.title.clone(),
                shown(per_s),
                raw_shown,
                ratio_shown,
                shown(service),
                shown(database),
                shown(callers),
                shown(raw_database),
                shown(raw_callers),
            ]);
        }
        table.print("durable commits; medians of all rounds; µs: time of the cores for each one");
    }
}

/// The median of what one of service, database and callers took.
fn of_side(cpu_us: &[[f64; 3]], side: usize) -> f64 {
    let of_side: Vec<f64> = cpu_us.iter().map(|sides| sides[side]).collect();
    median(&of_side)
}
