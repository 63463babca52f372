//! A timer, or a whole cluster, that lives in a process of its own as long as the load.

use std::fmt;
use std::io::Read as _;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use plazo_local::{RedisOptions, RedisServer};
use plazo_service::{Listeners, TelemetryConfig, config, telemetry};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

use super::LoadError;
use super::answering::say;
use super::timer::TimerSettings;
use crate::cluster::{Cluster, ClusterOptions, Service};

type Source = Box<dyn std::error::Error + Send + Sync>;

/// The servers of a private cluster are started, and databases made, within this.
const START_BOUND: Duration = Duration::from_mins(2);
const END_BOUND: Duration = Duration::from_secs(20);

/// A process that serves as long as this value lives.
#[derive(Debug)]
pub(super) struct Private {
    child: Child,
    /// Ends after the timer.
    redis: Option<RedisServer>,
    /// What it said when it was ready.
    ready: Value,
}

/// Starts a Redis server, and a timer that asks a handler at this address.
pub(super) async fn start_timer(handler: &str) -> Result<Private, LoadError> {
    let redis = RedisServer::start(RedisOptions::temporary()).await?;
    let environment = [
        ("PLAZO_TIMER__SERVER__LISTEN", "127.0.0.1:0"),
        ("PLAZO_TIMER__SERVER__METRICS_LISTEN", "127.0.0.1:0"),
        ("PLAZO_TIMER__REDIS__URL", &redis.url()),
        ("PLAZO_TIMER__HANDLER__ENDPOINT", handler),
        // The load sends no messages.
        ("PLAZO_TIMER__NOTIFICATION__ENDPOINT", handler),
        ("PLAZO_TIMER__TELEMETRY__LOG_FORMAT", "text"),
        ("PLAZO_TIMER__TELEMETRY__LOG_FILTER", "error"),
    ];
    Private::start("timer", &environment, Some(redis)).await
}

/// The settings that a private timer takes from the environment and its defaults.
pub(super) fn timer_settings() -> Option<TimerSettings> {
    let config: plazo_timer::Config =
        config::load(&config::ConfigSources::of_process(None)).ok()?;
    Some(TimerSettings {
        batch_limit: config.timer.batch_limit,
        dispatch_slots: config.timer.dispatch_slots,
        linger_ms: config.timer.linger_ms,
        linger_max_ms: config.timer.linger_max_ms,
    })
}

/// Starts servers and all four services.
pub(super) async fn start_cluster() -> Result<Private, LoadError> {
    Private::start("cluster", &[], None).await
}

impl Private {
    async fn start(
        command: &str,
        environment: &[(&str, &str)],
        redis: Option<RedisServer>,
    ) -> Result<Self, LoadError> {
        let failed = |source: std::io::Error| LoadError::PrivateStart(source.into());
        let program = std::env::current_exe().map_err(failed)?;
        let mut child = Command::new(program)
            .args(["load", command])
            .envs(environment.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Ctrl-C is for the load, which ends this process when it has all its results.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            let mut stdout = BufReader::new(stdout);
            let reading = stdout.read_line(&mut line);
            let read = tokio::time::timeout(START_BOUND, reading).await;
            read.unwrap_or_else(|late| Err(late.into()))
                .map_err(failed)?;
        }
        let ready = serde_json::from_str(&line)
            .map_err(|_| LoadError::PrivateStart("it ended at its start".into()))?;
        Ok(Self {
            child,
            redis,
            ready,
        })
    }

    /// Where one of its services is, as in `http://127.0.0.1:40123`.
    pub(super) fn endpoint(&self, service: &str) -> String {
        let endpoint = self.ready.get(service).and_then(Value::as_str);
        endpoint.unwrap_or_default().to_owned()
    }

    /// How it has ended by itself, if it has.
    pub(super) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Ends it.
    pub(super) async fn stop(mut self) {
        // It reads until nobody writes any more.
        drop(self.child.stdin.take());
        if tokio::time::timeout(END_BOUND, self.child.wait())
            .await
            .is_err()
        {
            let _ = self.child.kill().await;
        }
        if let Some(mut redis) = self.redis {
            let _ = redis.stop().await;
        }
    }
}

/// What runs where, for those who want to look at it or to disturb it.
impl fmt::Display for Private {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pid = self.child.id().unwrap_or(0);
        write!(
            f,
            "process {pid} serves the timer at {}",
            self.endpoint("timer")
        )?;
        match &self.redis {
            Some(redis) => write!(f, ", its Redis is {}", redis.url()),
            None => write!(f, " and ticketing at {}", self.endpoint("ticketing")),
        }
    }
}

/// Serves a timer, configured by the environment, until standard input ends.
pub async fn serve_timer() -> Result<(), Source> {
    let config: plazo_timer::Config = config::load(&config::ConfigSources::of_process(None))?;
    let telemetry = telemetry::init("plazo-timer", &config.telemetry)?;
    let listeners = Listeners::bind(&config.server).await?;
    let app = plazo_timer::App::build(config, listeners).await?;
    let endpoint = format!("http://{}", app.grpc_address()?);
    say(&json!({ "type": "listening", "timer": endpoint }));
    let shutdown = CancellationToken::new();
    let running = app.run(shutdown.clone());
    tokio::pin!(running);
    let ended = tokio::select! {
        ended = &mut running => ended,
        () = input_ends() => {
            shutdown.cancel();
            running.await
        }
    };
    telemetry.shutdown(Duration::from_secs(1)).await;
    Ok(ended?)
}

/// Serves a cluster until standard input ends.
pub async fn serve_cluster() -> Result<(), Source> {
    let telemetry = TelemetryConfig {
        log_format: config::LogFormat::Text,
        log_filter: "error".to_owned(),
        ..TelemetryConfig::default()
    };
    let telemetry = telemetry::init("plazo", &telemetry)?;
    let options = ClusterOptions {
        durable: true,
        environment: std::env::vars().collect(),
        ..ClusterOptions::temporary()
    };
    let mut cluster = Cluster::start(options).await?;
    say(&json!({
        "type": "listening",
        "ticketing": cluster.endpoint(Service::Ticketing),
        "timer": cluster.endpoint(Service::Timer),
    }));
    let ended = tokio::select! {
        error = cluster.ended() => Err(error),
        () = input_ends() => Ok(()),
    };
    let stopped = cluster.stop().await;
    telemetry.shutdown(Duration::from_secs(1)).await;
    Ok(ended.and(stopped)?)
}

/// Whoever started this process holds the other end, and lets go of it however it ends.
async fn input_ends() {
    let reading = tokio::task::spawn_blocking(|| {
        let mut input = std::io::stdin().lock();
        let mut buffer = [0; 64];
        while let Ok(1..) = input.read(&mut buffer) {}
    });
    let _ = reading.await;
}
