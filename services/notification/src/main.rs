//! The notification service as a process of its own.

use std::process::ExitCode;

use plazo_notification::{App, Config};
use plazo_service::{Listeners, run_main};

fn main() -> ExitCode {
    run_main(|config: Config, shutdown| async move {
        let listeners = Listeners::bind(&config.server).await?;
        let app = App::build(config, listeners).await?;
        app.run(shutdown).await?;
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
    })
}
