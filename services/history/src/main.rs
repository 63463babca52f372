//! The history service as a process of its own.

use std::process::ExitCode;

use plazo_history::{App, Config};
use plazo_service::{Listeners, run_main_with_schema};
use tokio_util::sync::CancellationToken;

fn main() -> ExitCode {
    run_main_with_schema(run, App::migrate)
}

async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let listeners = Listeners::bind(&config.server).await?;
    let app = App::build(config, listeners).await?;
    Box::pin(app.run(shutdown)).await?;
    Ok(())
}
