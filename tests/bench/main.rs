//! Measures the services as processes against the bare servers beneath them. Ratios are of one run, whose parts take
//! turns; every part writes its figures to `target/bench/NAME.json`, with units in the names.
//!
//! `make bench` runs all parts; arguments after `--`: `--quick`, and names of parts; `PLAZO_BENCH_TICKETS` and
//! `PLAZO_BENCH_DATA` are told at [`history`].

mod history;
mod machine;
mod measure;
mod notification;
mod plans;
mod rates;
mod report;
mod ticketing;
mod timer;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::report::Report;

/// How a run is to be.
#[derive(Debug, Clone)]
struct Options {
    /// Small and short: to see that it works.
    quick: bool,
    /// Where the figures go.
    folder: PathBuf,
}

/// The parts in their order.
const PARTS: [&str; 5] = [
    "timer",
    "ticketing",
    "notification",
    "notification-waiting",
    "history",
];

fn main() -> ExitCode {
    let mut quick = false;
    let mut wanted = Vec::new();
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            // This program is also the handler that the timer calls, and the endpoints that notification calls: processes
            // of their own.
            timer::HANDLER_ARGUMENT => return timer::serve_handler(),
            notification::ENDPOINTS_ARGUMENT => return notification::serve_endpoints(),
            "--quick" => quick = true,
            // What cargo gives to every benchmark.
            "--bench" => {}
            name if PARTS.contains(&name) => wanted.push(name.to_owned()),
            other => {
                eprintln!("unknown argument {other}: --quick, or one of {PARTS:?}");
                return ExitCode::from(64);
            }
        }
    }
    let options = Options {
        quick,
        folder: output_folder(),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime starts");
    let mut good = true;
    for part in PARTS {
        if wanted.is_empty() || wanted.iter().any(|name| name == part) {
            good &= runtime.block_on(run(part, &options));
        }
    }
    if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Runs one part, writes what it found, and says whether it found what must be.
async fn run(part: &str, options: &Options) -> bool {
    let mut report = Report::new(part, &options.folder);
    report.set("quick", options.quick);
    report.set("cores", machine::cores());
    match part {
        "timer" => timer::run(options, &mut report).await,
        "ticketing" => ticketing::run(options, &mut report).await,
        "notification" => notification::run(options, &mut report).await,
        "notification-waiting" => notification::run_waiting(options, &mut report).await,
        "history" => history::run(options, &mut report).await,
        other => panic!("no part {other}"),
    }
    report.finish()
}

/// `bench` in the build folder: this program lies two folders below it.
fn output_folder() -> PathBuf {
    let program = std::env::current_exe().expect("this program has a path");
    let build = program.ancestors().nth(3);
    build
        .map(|folder: &Path| folder.join("bench"))
        .expect("benchmarks lie in a folder of the build folder")
}
