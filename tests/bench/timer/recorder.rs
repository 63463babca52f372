//! A process that handles due jobs and notes when it saw which, whether ours or a peer's; or that makes a peer's jobs. It
//! takes a command a line, and answers with a number a line.

use std::io::Write;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::Instant;

use crate::report::quantile;

/// How long such a program may take to start.
const START_BOUND: Duration = Duration::from_mins(1);
/// How long a command may take: adding many jobs on a busy machine.
const ANSWER_BOUND: Duration = Duration::from_mins(3);

/// The process.
#[derive(Debug)]
pub(crate) struct Recorder {
    child: Child,
    input: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    folder: TempDir,
    /// What it said with its first word, `ready`.
    pub(crate) greeting: String,
}

/// A job that was handled, or a message that arrived.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen {
    /// When it was due, or accepted, in milliseconds since 1970.
    pub(crate) due_ms: f64,
    /// When its handler saw it.
    pub(crate) at_ms: f64,
}

/// How late jobs were, in milliseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lateness {
    pub(crate) min: f64,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) max: f64,
}

impl Lateness {
    /// Of these jobs.
    pub(crate) fn of(seen: &[Seen]) -> Self {
        Self::of_ms(seen.iter().map(|seen| seen.at_ms - seen.due_ms).collect())
    }

    /// Of so many milliseconds each.
    pub(crate) fn of_ms(mut late_ms: Vec<f64>) -> Self {
        late_ms.sort_by(f64::total_cmp);
        Self {
            min: quantile(&late_ms, 0.0),
            p50: quantile(&late_ms, 0.5),
            p99: quantile(&late_ms, 0.99),
            p999: quantile(&late_ms, 0.999),
            max: quantile(&late_ms, 1.0),
        }
    }
}

impl Recorder {
    /// Starts the program and waits until it is ready. An error says why it is not.
    pub(crate) async fn start(
        program: &Path,
        arguments: &[&str],
        folder: &Path,
    ) -> Result<Self, String> {
        let mut child = Command::new(program)
            .args(arguments)
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("{} does not start: {error}", program.display()))?;
        let input = child.stdin.take().expect("it is piped");
        let output = child.stdout.take().expect("it is piped");
        let mut lines = BufReader::new(output).lines();
        let first = tokio::time::timeout(START_BOUND, lines.next_line()).await;
        let greeting = match first {
            Ok(Ok(Some(line))) if line.starts_with("ready") => line,
            other => return Err(format!("{arguments:?} is not ready: {other:?}")),
        };
        Ok(Self {
            child,
            input,
            lines,
            folder: TempDir::new().expect("a folder for what was seen"),
            greeting: greeting.trim_start_matches("ready").trim().to_owned(),
        })
    }

    /// The process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// Gives a command and returns its answer.
    pub(crate) async fn ask(&mut self, command: &str) -> f64 {
        let line = format!("{command}\n");
        self.input
            .write_all(line.as_bytes())
            .await
            .expect("the process takes commands");
        let answer = tokio::time::timeout(ANSWER_BOUND, self.lines.next_line()).await;
        let line = answer
            .unwrap_or_else(|_| panic!("no answer to {command}"))
            .expect("the process answers")
            .unwrap_or_else(|| panic!("the process ended at {command}"));
        line.parse()
            .unwrap_or_else(|_| panic!("{line} is no answer to {command}"))
    }

    /// How many jobs it has seen since they were last taken.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a count"
    )]
    pub(crate) async fn count(&mut self) -> usize {
        self.ask("count").await as usize
    }

    /// Waits until it has seen so many jobs, and takes what it knows of them. Panics when they don't come.
    pub(crate) async fn seen(&mut self, count: usize, bound: Duration) -> Vec<Seen> {
        let until = Instant::now() + bound;
        loop {
            let now = self.count().await;
            if now >= count {
                break;
            }
            assert!(
                Instant::now() < until,
                "{now} of {count} were handled within {bound:?}"
            );
            // Seldom enough to cost nothing.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        self.take().await
    }

    /// Takes what it knows of the jobs that it has seen.
    pub(crate) async fn take(&mut self) -> Vec<Seen> {
        let path = self.folder.path().join("seen");
        self.ask(&format!("take {}", path.display())).await;
        let bytes = std::fs::read(&path).expect("what was seen can be read");
        let numbers: Vec<f64> = bytes
            .as_chunks::<8>()
            .0
            .iter()
            .map(|bytes| f64::from_le_bytes(*bytes))
            .collect();
        let pairs = numbers.as_chunks::<2>().0.iter();
        pairs
            .map(|[due_ms, at_ms]| Seen {
                due_ms: *due_ms,
                at_ms: *at_ms,
            })
            .collect()
    }
}

/// The other side, in the process: answers a command.
pub(crate) fn answer(line: &str) {
    let mut output = std::io::stdout().lock();
    // Whoever started this program is gone when it can't be written to; then the input ends too.
    let _ = writeln!(output, "{line}").and_then(|()| output.flush());
}

/// The other side of [`Recorder::take`]: of each job when it was due and when it was seen.
pub(crate) fn hand_over(path: &str, pairs_ms: &[f64]) {
    let bytes: Vec<u8> = pairs_ms.iter().flat_map(|ms| ms.to_le_bytes()).collect();
    std::fs::write(path, bytes).expect("what was seen can be written");
    answer(&(pairs_ms.len() / 2).to_string());
}
