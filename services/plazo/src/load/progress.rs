//! What a load shows while it runs, on standard error.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

use super::lateness::{LatenessUs, millis};
use super::ledger::SharedLedger;
use super::timeline::Timeline;

/// The line is written anew so often on a terminal.
const TICK: Duration = Duration::from_secs(1);
/// Elsewhere each line stays, so there are fewer.
const SPARSE: Duration = Duration::from_secs(10);

/// Where progress is shown.
#[derive(Debug)]
pub struct Progress {
    is_quiet: bool,
    is_terminal: bool,
    last_line: Option<Instant>,
    has_open_line: bool,
}

impl Progress {
    /// One line that is written anew when standard error is a terminal, few lines otherwise; none when it is quiet.
    pub fn of_stderr(is_quiet: bool) -> Self {
        Self {
            is_quiet,
            is_terminal: std::io::stderr().is_terminal(),
            last_line: None,
            has_open_line: false,
        }
    }

    /// Says something that stays.
    pub fn say(&mut self, text: &str) {
        self.end_line();
        if !self.is_quiet {
            eprintln!("{text}");
        }
    }

    /// Ends the line that is written anew.
    pub fn end_line(&mut self) {
        if std::mem::take(&mut self.has_open_line) {
            eprintln!();
        }
    }

    /// Follows the ledger for ever, and collects what it measures over time.
    pub(super) async fn follow(&mut self, ledger: &SharedLedger, timeline: &mut Timeline) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            ticks.tick().await;
            let (line, last_second) = {
                let mut ledger = ledger.lock();
                let now_ms = ledger.now_ms();
                ledger.series.advance(now_ms);
                let finished = ledger.series.take_finished();
                let line = Line {
                    elapsed_s: now_ms / 1_000,
                    armed: ledger.counts.armed,
                    fired: ledger.counts.fired,
                    due: ledger.due_until(now_ms),
                };
                (line, finished)
            };
            let last_second = timeline.absorb(last_second);
            self.show(&line.to_string(&last_second));
        }
    }

    fn show(&mut self, line: &str) {
        let is_soon = self.last_line.is_some_and(|at| at.elapsed() < SPARSE);
        if self.is_quiet || !self.is_terminal && is_soon {
            return;
        }
        self.last_line = Some(Instant::now());
        if self.is_terminal {
            // Back to the beginning of the line, and away with what stood there.
            eprint!("\r\x1b[K{line}");
            let _ = std::io::stderr().flush();
            self.has_open_line = true;
        } else {
            eprintln!("{line}");
        }
    }
}

struct Line {
    elapsed_s: u32,
    armed: u64,
    fired: u64,
    due: u64,
}

impl Line {
    fn to_string(&self, last_second: &LatenessUs) -> String {
        let p99 = if last_second.is_empty() {
            "-".to_owned()
        } else {
            format!("{:.1} ms", millis(last_second.value_at_quantile(0.99)))
        };
        format!(
            "{:>4} s  armed {}  due {}  fired {}  backlog {}  p99 {p99}",
            self.elapsed_s,
            grouped(self.armed),
            grouped(self.due),
            grouped(self.fired),
            grouped(self.due.saturating_sub(self.fired)),
        )
    }
}

/// A number with its thousands apart.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_apart() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(grouped(number), text);
        }
    }
}
