//! The command `plazo`: a cluster on one machine, and what is played against a cluster.

mod cli;

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;
use plazo::demo::json::JsonLines;
use plazo::demo::timeline::Timeline;
use plazo::demo::{self, DemoError};
use plazo::load::progress::Progress;
use plazo::load::{self, LoadError, answering, private};
use plazo::seed::{self, SeedError};
use plazo::up::{self, UpError};
use plazo::verify::{self, VerifyError};

use cli::{
    Cli, Command, DemoArguments, HistoryArguments, LoadArguments, LoadCommand, RunArguments,
    SeedArguments, VerifyCommand,
};

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
    let mut builder = match &command {
        // Answers are made faster than they are handed from thread to thread.
        Command::Load(arguments) if matches!(arguments.command, Some(LoadCommand::Handler(_))) => {
            tokio::runtime::Builder::new_current_thread()
        }
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    let runtime = builder
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
            Command::Load(arguments) => Box::pin(put_load(&arguments)).await,
            Command::Verify(arguments) => match arguments.what {
                VerifyCommand::History(arguments) => verify_history(&arguments).await,
            },
            Command::Seed(arguments) => seed_history(*arguments).await,
            Command::Token(arguments) => {
                let token = arguments.make()?;
                writeln!(std::io::stdout(), "{token}")?;
                Ok(ExitCode::SUCCESS)
            }
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

async fn verify_history(arguments: &HistoryArguments) -> anyhow::Result<ExitCode> {
    let report = verify::run(&arguments.to_options()?).await?;
    // Whoever reads may have seen enough.
    let _ = write!(std::io::stdout().lock(), "{report}");
    Ok(if report.is_equal() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

async fn put_load(arguments: &LoadArguments) -> anyhow::Result<ExitCode> {
    match &arguments.command {
        Some(LoadCommand::Handler(arguments)) => {
            Box::pin(answering::run(&arguments.to_options())).await?;
        }
        Some(LoadCommand::Timer) => Box::pin(private::serve_timer())
            .await
            .map_err(anyhow::Error::from_boxed)?,
        Some(LoadCommand::Cluster) => private::serve_cluster()
            .await
            .map_err(anyhow::Error::from_boxed)?,
        None => return put_load_on(&arguments.run).await,
    }
    Ok(ExitCode::SUCCESS)
}

async fn put_load_on(arguments: &RunArguments) -> anyhow::Result<ExitCode> {
    let options = arguments.to_options()?;
    let mut progress = Progress::of_stderr(options.quiet);
    let report = load::run(&options, &mut progress).await;
    progress.end_line();
    let report = report?;
    // First what is seen, so that it is not lost when a file can't be written.
    let mut stdout = std::io::stdout().lock();
    let printed = if options.json {
        writeln!(stdout, "{}", report.to_json())
    } else {
        write!(stdout, "{report}")
    };
    // Whoever reads may have seen enough.
    let _ = printed.and_then(|()| stdout.flush());
    if let Some(folder) = &options.output {
        report.write_files(folder)?;
        progress.say(&format!("results are in {}", folder.display()));
    }
    Ok(if report.passed() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

async fn seed_history(arguments: SeedArguments) -> anyhow::Result<ExitCode> {
    let options = arguments.into_options()?;
    let mut progress = seed::progress::Progress::of_stderr(options.quiet);
    let seeded = seed::run(&options, &mut progress).await;
    progress.end_line();
    let report = seeded?;
    let mut stdout = std::io::stdout().lock();
    // Whoever reads may have seen enough.
    let _ = write!(stdout, "{report}").and_then(|()| stdout.flush());
    Ok(if report.is_interrupted {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
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
    let is_of_load = error
        .downcast_ref::<LoadError>()
        .is_some_and(LoadError::is_usage);
    let is_of_seed = error
        .downcast_ref::<SeedError>()
        .is_some_and(SeedError::is_usage);
    let is_of_verify = error
        .downcast_ref::<VerifyError>()
        .is_some_and(VerifyError::is_usage);
    is_of_demo
        || is_of_seed
        || is_of_verify
        || is_of_up
        || is_of_load
        || error.is::<cli::UsageError>()
        || error.is::<cli::LoadUsageError>()
}
