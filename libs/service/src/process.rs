//! The `main` of a service's own binary.

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::config::{self, ConfigError, ConfigSources, ServiceConfig};
use crate::status::chain;
use crate::telemetry;

/// Exit code for a configuration that can't be used (`EX_USAGE`).
const EXIT_CONFIG: u8 = 64;
const FLUSH_BOUND: Duration = Duration::from_secs(3);

/// Runs a service as a process of its own: reads the arguments, loads the configuration, starts logs and
/// traces, and calls `run` with the configuration and a token that SIGTERM or SIGINT cancels.
///
/// Bad configuration, also if `run` returns a [`ConfigError`] or an error caused by one, is one line on
/// standard error and exit code 64; any other error is one line and exit code 1.
///
/// Arguments: `--config FILE`, `--check-config`, `--print-default-config`.
pub fn run_main<C, E, Fut>(run: impl FnOnce(C, CancellationToken) -> Fut) -> ExitCode
where
    C: ServiceConfig,
    E: Into<Box<dyn Error + Send + Sync>>,
    Fut: Future<Output = Result<(), E>>,
{
    let name = format!("plazo-{}", C::NAME);
    run_command(&name, command(&name), |_, config, shutdown| {
        run(config, shutdown)
    })
}

/// [`run_main`] of a service with a database, and one more argument: `--migrate` calls `migrate`, which brings the schema up
/// to date, and ends.
pub fn run_main_with_schema<C, E, Fut, F, MigrateFut>(
    run: impl FnOnce(C, CancellationToken) -> Fut,
    migrate: impl FnOnce(C) -> MigrateFut,
) -> ExitCode
where
    C: ServiceConfig,
    E: Into<Box<dyn Error + Send + Sync>>,
    F: Into<Box<dyn Error + Send + Sync>>,
    Fut: Future<Output = Result<(), E>>,
    MigrateFut: Future<Output = Result<(), F>>,
{
    let name = format!("plazo-{}", C::NAME);
    let command = command(&name).arg(flag(
        "migrate",
        "Bring the schema of the database up to date, and end",
    ));
    run_command(&name, command, |arguments, config, shutdown| {
        let only_migrates = arguments.get_flag("migrate");
        async move {
            if only_migrates {
                migrate(config).await.map_err(Into::into)
            } else {
                run(config, shutdown).await.map_err(Into::into)
            }
        }
    })
}

fn run_command<C, E, Fut>(
    name: &str,
    command: Command,
    run: impl FnOnce(&ArgMatches, C, CancellationToken) -> Fut,
) -> ExitCode
where
    C: ServiceConfig,
    E: Into<Box<dyn Error + Send + Sync>>,
    Fut: Future<Output = Result<(), E>>,
{
    let arguments = match command.try_get_matches() {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() {
                EXIT_CONFIG.into()
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    let run = |config, shutdown| run(&arguments, config, shutdown);
    match run_process(name, &arguments, run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let about_config = is_about_config(&*error);
            let what = if about_config {
                "bad configuration: "
            } else {
                ""
            };
            eprintln!("{name}: {what}{}", chain(&*error));
            if about_config {
                EXIT_CONFIG.into()
            } else {
                ExitCode::FAILURE
            }
        }
    }
}

fn flag(id: &'static str, help: &'static str) -> Arg {
    Arg::new(id).long(id).action(ArgAction::SetTrue).help(help)
}

fn command(name: &str) -> Command {
    Command::new("plazo")
        .bin_name(name.to_owned())
        .display_name(name.to_owned())
        .version(env!("CARGO_PKG_VERSION"))
        .arg(
            Arg::new("config")
                .long("config")
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .help("TOML file whose keys replace the defaults"),
        )
        .arg(flag(
            "check-config",
            "Load the configuration, say what is wrong with it, and end",
        ))
        .arg(flag(
            "print-default-config",
            "Print the commented default configuration, and end",
        ))
}

fn run_process<C, E, Fut>(
    name: &str,
    arguments: &ArgMatches,
    run: impl FnOnce(C, CancellationToken) -> Fut,
) -> Result<(), Box<dyn Error + Send + Sync>>
where
    C: ServiceConfig,
    E: Into<Box<dyn Error + Send + Sync>>,
    Fut: Future<Output = Result<(), E>>,
{
    if arguments.get_flag("print-default-config") {
        print!("{}", C::DEFAULTS);
        return Ok(());
    }
    let file = arguments.get_one::<PathBuf>("config").cloned();
    let config: C = config::load(&ConfigSources::of_process(file))?;
    if arguments.get_flag("check-config") {
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let outcome = runtime.block_on(async {
        let telemetry = telemetry::init(name, config.telemetry())?;
        let shutdown = CancellationToken::new();
        let outcome = tokio::select! {
            outcome = run(config, shutdown.clone()) => outcome.map_err(Into::into),
            error = cancel_on_signal(&shutdown) => Err(error.into()),
        };
        telemetry.shutdown(FLUSH_BOUND).await;
        outcome
    });
    // What still blocks a thread must not hold the process.
    runtime.shutdown_background();
    outcome
}

/// Cancels the token at the first SIGTERM or SIGINT. Returns only if signals can't be received.
async fn cancel_on_signal(shutdown: &CancellationToken) -> std::io::Error {
    let (mut terminate, mut interrupt) = match (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) {
        (Ok(terminate), Ok(interrupt)) => (terminate, interrupt),
        (Err(error), _) | (_, Err(error)) => return error,
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("shutting down");
    shutdown.cancel();
    std::future::pending().await
}

fn is_about_config(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.is::<ConfigError>() {
            return true;
        }
        next = error.source();
    }
    false
}
