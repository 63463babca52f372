//! `plazo up`: a cluster on one machine, until somebody ends it.

mod greeting;

use std::io::Write as _;
use std::time::Duration;

use plazo_local::DataFolder;
use plazo_service::TelemetryConfig;
use plazo_service::telemetry;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::cluster::{Cluster, ClusterError, ClusterOptions};
use crate::demo::timeline::Timeline;
use crate::demo::{self, DemoOptions};
use greeting::Greeting;

const FLUSH_BOUND: Duration = Duration::from_secs(3);

/// What to run.
#[derive(Debug, Clone)]
pub struct UpOptions {
    /// The cluster.
    pub cluster: ClusterOptions,
    /// Whether to play the demo before serving.
    pub plays_demo: bool,
    /// How the services log, to standard error, and whether they send traces.
    pub telemetry: TelemetryConfig,
}

/// Why `plazo up` ended with an error.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UpError {
    /// The cluster could not be started, a part of it ended, or it could not be ended.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// A setting of the logs or traces is wrong.
    #[error(transparent)]
    Telemetry(#[from] plazo_service::ConfigError),
    /// Ctrl-C can't be received.
    #[error("can't receive signals")]
    Signals(#[source] std::io::Error),
}

impl UpError {
    /// Whether it is about what the caller asked for, and not about what happened.
    pub fn is_usage(&self) -> bool {
        match self {
            Self::Cluster(error) => error.is_usage(),
            Self::Telemetry(_) => true,
            Self::Signals(_) => false,
        }
    }
}

/// Starts the cluster, plays the demo if wanted, and serves until SIGINT or SIGTERM. A second signal hurries the end.
pub async fn run(options: UpOptions) -> Result<(), UpError> {
    let telemetry = telemetry::init("plazo", &options.telemetry)?;
    let ended = Box::pin(start_and_serve(options)).await;
    telemetry.shutdown(FLUSH_BOUND).await;
    ended
}

async fn start_and_serve(options: UpOptions) -> Result<(), UpError> {
    let mut signals = Signals::install().map_err(UpError::Signals)?;
    say(&starting(&options.cluster));
    let cancelled = CancellationToken::new();
    let start = Cluster::start_unless(options.cluster.clone(), &cancelled);
    tokio::pin!(start);
    let started = tokio::select! {
        started = &mut start => started,
        () = signals.next() => {
            say("stopping");
            cancelled.cancel();
            start.await
        }
    };
    let mut cluster = match started {
        Err(ClusterError::Cancelled) => return Ok(()),
        started => started?,
    };
    let served = serve(&mut cluster, &options, &mut signals).await;
    if let Err(error) = &served {
        // It is told again at the end; but ending the rest may take a while.
        say(&format!("{error}; stopping the rest"));
    }
    let stopped = tokio::select! {
        stopped = cluster.stop() => stopped,
        () = signals.next() => cluster.kill().await,
    };
    served.and(stopped).map_err(UpError::Cluster)
}

/// Until a signal, or until a part of the cluster ends by itself.
async fn serve(
    cluster: &mut Cluster,
    options: &UpOptions,
    signals: &mut Signals,
) -> Result<(), ClusterError> {
    let greeting = Greeting::new(cluster, &options.cluster).to_string();
    let demo_options = DemoOptions {
        needs_all_services: true,
        ..DemoOptions::new(cluster.endpoints())
    };
    let working = async {
        if options.plays_demo {
            say("");
            play(&demo_options).await;
        }
        say(&greeting);
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = working => Ok(()),
        error = cluster.ended() => Err(error),
        () = signals.next() => {
            say("\nstopping (once more to hurry)");
            Ok(())
        }
    }
}

/// Whatever comes of the demo, the cluster goes on serving.
async fn play(options: &DemoOptions) {
    let mut timeline = Timeline::of_stdout();
    if let Err(error) = demo::run(options, &mut timeline).await {
        say(&format!("the demo could not be played: {error}"));
    }
}

fn starting(options: &ClusterOptions) -> String {
    let private: Vec<&str> = [
        ("PostgreSQL", &options.database_url),
        ("Redis", &options.redis_url),
    ]
    .into_iter()
    .filter(|(_, given)| given.is_none())
    .map(|(name, _)| name)
    .collect();
    match (&options.data, private.join(" and ")) {
        (_, names) if names.is_empty() => "starting the services".to_owned(),
        (DataFolder::Persistent(folder), names) => {
            format!("starting {names} in {}, and the services", folder.display())
        }
        (DataFolder::Temporary, names) => format!("starting {names}, and the services"),
    }
}

/// For the person at the terminal. Whoever closed the pipe doesn't want to see more.
fn say(text: &str) {
    let mut out = std::io::stdout();
    let _ = writeln!(out, "{text}");
    let _ = out.flush();
}

/// SIGINT and SIGTERM.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// From now on these signals no longer end the process by themselves.
    fn install() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
