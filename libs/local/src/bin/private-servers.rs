//! Runs a private PostgreSQL and a private Redis server for whoever needs them for a while: `cargo sqlx prepare`, a
//! look with psql, tests of this crate.
//!
//! `private-servers [FOLDER]` prints the servers' URLs and process ids, and runs until Ctrl-C or SIGTERM. Without a
//! folder the data are temporary.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use plazo_local::{
    DataFolder, LocalError, PostgresOptions, PostgresServer, RedisOptions, RedisServer,
};
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main]
async fn main() -> ExitCode {
    let folder = std::env::args_os().nth(1);
    let part = |name: &str| match &folder {
        Some(folder) => DataFolder::Persistent(Path::new(folder).join(name)),
        None => DataFolder::Temporary,
    };
    match run(part("postgres"), part("redis")).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            if let Some(source) = std::error::Error::source(&error) {
                eprintln!("{source}");
            }
            ExitCode::FAILURE
        }
    }
}

async fn run(postgres: DataFolder, redis: DataFolder) -> Result<(), LocalError> {
    let io_error = |source| LocalError::Spawn {
        program: "private-servers".into(),
        source,
    };
    let mut interrupt = signal(SignalKind::interrupt()).map_err(io_error)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(io_error)?;
    let mut postgres = PostgresServer::start(PostgresOptions::new(postgres)).await?;
    let mut redis = RedisServer::start(RedisOptions::new(redis)).await?;

    let mut out = std::io::stdout();
    writeln!(out, "DATABASE_URL={}", postgres.database_url("postgres"))
        .and_then(|()| writeln!(out, "REDIS_URL={}", redis.url()))
        .and_then(|()| writeln!(out, "POSTGRES_PID={}", postgres.pid().unwrap_or_default()))
        .and_then(|()| writeln!(out, "REDIS_PID={}", redis.pid().unwrap_or_default()))
        .and_then(|()| out.flush())
        .map_err(io_error)?;

    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        () = postgres.ended() => eprintln!("PostgreSQL has ended; see {}", postgres.log_path().display()),
        () = redis.ended() => eprintln!("Redis has ended; see {}", redis.log_path().display()),
    }
    redis.stop().await?;
    postgres.stop().await
}
