//! What a run of faults comes to, for machines: an array of [`FaultReport`]s in JSON.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

/// How one fault was survived.
#[derive(Debug, Clone, Default, Serialize)]
pub struct FaultReport {
    /// Its number in the list of faults.
    pub number: u16,
    /// What it is.
    pub name: String,
    /// Deadlines, messages and acknowledged writes that are missing.
    pub lost: usize,
    /// Stages, messages and writes that are there more than once.
    pub twice: usize,
    /// Stages that acted before their deadline.
    pub early: usize,
    /// Stages that acted later than fault and recovery explain.
    pub late: usize,
    /// Everything else that does not follow from the rules.
    pub wrong: usize,
    /// Seconds from the end of the fault until no call failed any more and a deadline was acted upon.
    pub recovered_s: f64,
    /// Seconds from the end of the fault until no stage was more than a second late any more.
    pub caught_up_s: f64,
    /// Whether the fault was seen to act, and all that must hold held.
    pub pass: bool,
    /// Why it did not pass.
    pub problems: Vec<String>,
    /// What was seen of the fault, by name.
    pub effect: BTreeMap<String, f64>,
    /// Tickets that were armed when the fault began.
    pub armed: usize,
    /// Stages that fell due in each second of the load.
    pub due_per_s: f64,
    /// Stages that took effect, in all.
    pub fired: usize,
    /// How late they were, in milliseconds: the middle one,
    pub lateness_p50_ms: f64,
    /// the 99th percentile,
    pub lateness_p99_ms: f64,
    /// and the highest.
    pub lateness_max_ms: f64,
    /// Messages, openings, closes and holds that were acknowledged, each compared with what is there.
    pub acknowledged: usize,
    /// Calls that failed and were repeated until they were acknowledged.
    pub repeated: usize,
    /// The same by their code and reason.
    pub repeated_by: BTreeMap<String, usize>,
    /// The most memory that each service took, in MiB.
    pub memory_mib: BTreeMap<String, f64>,
    /// How long it all took, set-up included, in seconds.
    pub took_s: f64,
}

impl FaultReport {
    /// A report of a fault that ended in a panic.
    pub fn failed(number: u16, name: &str, problem: String) -> Self {
        Self {
            number,
            name: name.to_owned(),
            problems: vec![problem],
            ..Self::default()
        }
    }

    /// Notes a problem unless this holds.
    pub fn require(&mut self, holds: bool, problem: impl FnOnce() -> String) {
        if !holds {
            self.problems.push(problem());
        }
    }

    /// Notes something that was seen of the fault.
    pub fn saw(&mut self, what: &str, value: f64) {
        self.effect.insert(what.to_owned(), value);
    }

    /// Decides whether the fault was survived.
    #[must_use]
    pub fn concluded(mut self) -> Self {
        let violations = self.lost + self.twice + self.early + self.late + self.wrong;
        self.pass = violations == 0 && self.problems.is_empty() && !self.effect.is_empty();
        self
    }

    /// In one line, for people.
    pub fn line(&self) -> String {
        let verdict = if self.pass { "pass" } else { "FAIL" };
        let mut problems = String::new();
        for problem in &self.problems {
            problems.push_str("\n     ");
            problems.push_str(problem);
        }
        let effect: Vec<String> = self
            .effect
            .iter()
            .map(|(what, value)| format!("{what} {value}"))
            .collect();
        format!(
            "{verdict} {:>2} {}: lost {}, twice {}, early {}, late {}, wrong {}; recovered in {:.1} s, caught up in \
             {:.1} s; {} armed, {:.0} due/s, {} fired, p99 {:.0} ms, max {:.0} ms late; {} acknowledged, {} calls \
             repeated {:?}; {}{}",
            self.number,
            self.name,
            self.lost,
            self.twice,
            self.early,
            self.late,
            self.wrong,
            self.recovered_s,
            self.caught_up_s,
            self.armed,
            self.due_per_s,
            self.fired,
            self.lateness_p99_ms,
            self.lateness_max_ms,
            self.acknowledged,
            self.repeated,
            self.repeated_by,
            effect.join(", "),
            problems,
        )
    }
}

/// Writes reports where others look for them, as far as they have come.
pub fn write(path: &Path, reports: &[FaultReport]) -> std::io::Result<()> {
    let text = serde_json::to_string_pretty(reports)?;
    std::fs::write(path, text + "\n")
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn the_json_has_the_keys_that_readers_rely_on() {
        let mut report = FaultReport {
            number: 17,
            name: "connections killed".to_owned(),
            recovered_s: 0.25,
            ..FaultReport::default()
        };
        report.saw("terminated", 42.0);
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("faults.json");
        write(&path, &[report.concluded()]).expect("written");
        let text = std::fs::read_to_string(&path).expect("read");
        let written: Value = serde_json::from_str(&text).expect("JSON");
        let first = &written.as_array().expect("an array")[0];
        assert_eq!(first["number"], 17);
        assert_eq!(first["name"], "connections killed");
        for key in ["lost", "twice", "early"] {
            assert_eq!(first[key], 0, "{key}");
        }
        assert_eq!(first["recovered_s"], 0.25);
        assert_eq!(first["pass"], true);
        assert_eq!(first["effect"]["terminated"], 42.0);
    }

    #[test]
    fn a_fault_passes_only_when_it_was_seen_and_nothing_is_wrong() {
        let seen = || {
            let mut report = FaultReport::default();
            report.saw("terminated", 1.0);
            report
        };
        assert!(seen().concluded().pass);
        assert!(!FaultReport::default().concluded().pass);
        let one_lost = FaultReport { lost: 1, ..seen() };
        assert!(!one_lost.concluded().pass);
        let mut slow = seen();
        slow.require(false, || "it took 6 s".to_owned());
        assert!(!slow.concluded().pass);
        assert!(!FaultReport::failed(17, "x", "panic".to_owned()).pass);
    }
}
