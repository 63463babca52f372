//! How far a seeding is, on standard error.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use tokio::time::Instant;

use crate::load::progress::grouped;

/// On a terminal the line is written anew so often.
const TICK: Duration = Duration::from_millis(500);
/// Elsewhere each line stays, so there are fewer.
const SPARSE: Duration = Duration::from_secs(10);
const BAR_CHARS: u64 = 30;

/// A bar with rate and time left, or plain lines.
#[derive(Debug)]
pub struct Progress {
    is_quiet: bool,
    is_terminal: bool,
    has_open_line: bool,
    began: Instant,
    shown: Option<Instant>,
}

impl Progress {
    /// One that shows itself on standard error.
    pub fn of_stderr(is_quiet: bool) -> Self {
        Self {
            is_quiet,
            is_terminal: std::io::stderr().is_terminal(),
            has_open_line: false,
            began: Instant::now(),
            shown: None,
        }
    }

    /// Something new begins.
    pub(super) fn begin(&mut self, what: &str) {
        self.end_line();
        if !self.is_quiet {
            eprintln!("{what}");
        }
        self.began = Instant::now();
        self.shown = Some(self.began);
    }

    /// How often [`show`](Self::show) is worth calling.
    pub(super) fn tick() -> Duration {
        TICK
    }

    /// So many of so many are done.
    pub(super) fn show(&mut self, what: &str, done: u64, all: u64) {
        let is_early = self.shown.is_some_and(|at| at.elapsed() < SPARSE);
        if self.is_quiet || !self.is_terminal && is_early && done < all {
            return;
        }
        self.shown = Some(Instant::now());
        let line = line(what, done, all, self.began.elapsed());
        if self.is_terminal {
            // Back to the beginning of the line, and away with what stood there.
            eprint!("\r\x1b[K{} {line}", bar(done, all));
            let _ = std::io::stderr().flush();
            self.has_open_line = true;
        } else {
            eprintln!("{line}");
        }
    }

    /// Ends the line that is written anew.
    pub fn end_line(&mut self) {
        if std::mem::take(&mut self.has_open_line) {
            eprintln!();
        }
    }
}

fn bar(done: u64, all: u64) -> String {
    let filled = done * BAR_CHARS / all.max(1);
    let mut bar = String::from("[");
    for place in 0..BAR_CHARS {
        bar.push(if place < filled { '█' } else { '·' });
    }
    bar.push(']');
    bar
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts are far below 2^53"
)]
fn line(what: &str, done: u64, all: u64, elapsed: Duration) -> String {
    let percent = done * 100 / all.max(1);
    let rate = done as f64 / elapsed.as_secs_f64().max(0.001);
    let left = if done == 0 {
        "-".to_owned()
    } else {
        shown_time(((all - done.min(all)) as f64 / rate) as u64)
    };
    format!(
        "{percent:>3} %  {} of {} {what}  {}/s  {left} left",
        grouped(done),
        grouped(all),
        grouped(rate as u64),
    )
}

/// As in `2 min 5 s`.
pub(super) fn shown_time(seconds: u64) -> String {
    match (seconds / 3_600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_rate_and_time_left() {
        let text = line("tickets", 250_000, 1_000_000, Duration::from_secs(10));
        assert_eq!(
            text,
            " 25 %  250,000 of 1,000,000 tickets  25,000/s  30 s left"
        );
        let text = line("tickets", 0, 10, Duration::ZERO);
        assert!(text.ends_with("- left"), "{text}");
        assert_eq!(bar(0, 0).chars().count(), 32);
        assert_eq!(bar(5, 10).matches('█').count(), 15);
        for (seconds, text) in [(59, "59 s"), (61, "1 min 1 s"), (7_260, "2 h 1 min")] {
            assert_eq!(shown_time(seconds), text);
        }
    }
}
