//! The command `plazo`: a cluster on one machine, and what is played against a cluster.

mod cli;

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;
use plazo::demo::json::JsonLines;
use plazo::demo::timeline::Timeline;
use plazo::demo::{self, DemoError};
use plazo::up::{self, UpError};

use cli::{Cli, Command, DemoArguments};

/// Exit code for arguments or a configuration that can't be used (`EX_USAGE`).
const EXIT_USAGE: u8 = 64;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() {
                EXIT_USAGE.into()
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    match run(cli.command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("plazo: {error:#}");
            if is_usage(&error) {
                EXIT_USAGE.into()
            } else {
                ExitCode::FAILURE
            }
        }
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("can't start the runtime")?;
    let outcome = runtime.block_on(async {
        match command {
            Command::Up(arguments) => {
                up::run(arguments.into_options()?).await?;
                Ok(ExitCode::SUCCESS)
            }
            Command::Demo(arguments) => play(&arguments).await,
        }
    });
    // What still blocks a thread must not hold the process.
    runtime.shutdown_background();
    outcome
}

async fn play(arguments: &DemoArguments) -> anyhow::Result<ExitCode> {
    let options = arguments.to_options()?;
    let report = if arguments.json {
        demo::run(&options, &mut JsonLines::new(std::io::stdout())).await?
    } else {
        demo::run(&options, &mut Timeline::of_stdout()).await?
    };
    Ok(if report.passed() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Whether the error is about what was asked for, and not about what happened.
fn is_usage(error: &anyhow::Error) -> bool {
    let is_of_demo = matches!(
        error.downcast_ref::<DemoError>(),
        Some(DemoError::UnknownName { .. } | DemoError::Speed(_) | DemoError::Endpoint(_))
    );
    let is_of_up = error
        .downcast_ref::<UpError>()
        .is_some_and(UpError::is_usage);
    is_of_demo || is_of_up || error.is::<cli::UsageError>()
}
