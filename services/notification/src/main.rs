//! The notification service as a process of its own.

use std::process::ExitCode;

use plazo_notification::{App, Config};
use plazo_service::{Listeners, run_main_with_schema};

fn main() -> ExitCode {
    let run = |config: Config, shutdown| async move {
        let listeners = Listeners::bind(&config.server).await?;
        let app = App::build(config, listeners).await?;
        Box::pin(app.run(shutdown)).await?;
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
    };
    run_main_with_schema(run, App::migrate)
}
