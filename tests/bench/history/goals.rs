//! What the figures must be, and whether they are.

use serde_json::{Map, Value, json};

use crate::report::{Report, Table, quantile, rounded, shown};

/// A figure and its goal.
struct Judged {
    name: String,
    figure: f64,
    goal: f64,
    is_met: bool,
}

/// Times of one kind of call.
struct Times {
    name: String,
    count: usize,
    p50_ms: f64,
    p99_ms: f64,
    goal_ms: f64,
}

/// All figures so far.
#[derive(Default)]
pub(super) struct Goals {
    times: Vec<Times>,
    judged: Vec<Judged>,
}

impl Goals {
    /// Times of calls, whose p99 is to be at most so much.
    pub(super) fn add_times(&mut self, name: &str, mut times_ms: Vec<f64>, goal_ms: f64) {
        times_ms.sort_by(f64::total_cmp);
        let p99_ms = quantile(&times_ms, 0.99);
        self.at_most(&format!("{name}, p99 ms"), p99_ms, goal_ms);
        self.times.push(Times {
            name: name.to_owned(),
            count: times_ms.len(),
            p50_ms: quantile(&times_ms, 0.5),
            p99_ms,
            goal_ms,
        });
    }

    /// A figure that is to be at most so much.
    pub(super) fn at_most(&mut self, name: &str, figure: f64, goal: f64) {
        self.add(name, figure, goal, figure <= goal);
    }

    /// A figure that is to be at least so much.
    pub(super) fn at_least(&mut self, name: &str, figure: f64, goal: f64) {
        self.add(name, figure, goal, figure >= goal);
    }

    fn add(&mut self, name: &str, figure: f64, goal: f64, is_met: bool) {
        self.judged.push(Judged {
            name: name.to_owned(),
            figure,
            goal,
            is_met,
        });
    }

    /// Puts all into the report, and shows it.
    pub(super) fn tell(&self, report: &mut Report) {
        let mut table = Table::new(&["call", "calls", "p50 ms", "p99 ms", "goal", ""]);
        let mut told = Map::new();
        for times in &self.times {
            let is_met = times.p99_ms <= times.goal_ms;
            told.insert(
                times.name.clone(),
                json!({
                    "calls": times.count,
                    "p50_ms": rounded(times.p50_ms),
                    "p99_ms": rounded(times.p99_ms),
                    "goal_p99_ms": times.goal_ms,
                    "pass": is_met,
                }),
            );
            table.row(vec![
                times.name.clone(),
                times.count.to_string(),
                shown(times.p50_ms),
                shown(times.p99_ms),
                format!("≤ {}", times.goal_ms),
                mark(is_met).to_owned(),
            ]);
        }
        report.set("calls", Value::Object(told));
        table.print("one caller, one call after the other, through gRPC");

        let others: Vec<&Judged> = self
            .judged
            .iter()
            .filter(|judged| !judged.name.ends_with(", p99 ms"))
            .collect();
        let mut table = Table::new(&["figure", "measured", "goal", ""]);
        let mut told = Map::new();
        for judged in others {
            told.insert(
                judged.name.clone(),
                json!({"measured": rounded(judged.figure), "goal": judged.goal, "pass": judged.is_met}),
            );
            table.row(vec![
                judged.name.clone(),
                shown(judged.figure),
                shown(judged.goal),
                mark(judged.is_met).to_owned(),
            ]);
        }
        report.set("goals", Value::Object(told));
        table.print("other goals");
        let missed = self.judged.iter().filter(|judged| !judged.is_met);
        let missed: Vec<String> = missed.map(|judged| judged.name.clone()).collect();
        report.set("goals_missed", missed);
    }
}

fn mark(is_met: bool) -> &'static str {
    if is_met { "✓" } else { "✗" }
}
