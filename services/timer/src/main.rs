//! The timer as a process of its own.

use std::process::ExitCode;

use plazo_service::{Listeners, run_main};
use plazo_timer::{App, Config, TimerError};
use tokio_util::sync::CancellationToken;

fn main() -> ExitCode {
    run_main(|config: Config, shutdown: CancellationToken| async move {
        let listeners = Listeners::bind(&config.server).await?;
        let app = App::build(config, listeners).await?;
        Box::pin(app.run(shutdown)).await?;
        Ok::<_, TimerError>(())
    })
}
