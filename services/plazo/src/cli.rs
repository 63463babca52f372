//! The arguments of the command.

mod load;
mod seed;
mod token;
mod verify;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use plazo::cluster::{ClusterOptions, DEFAULT_PORT};
use plazo::demo::verdict::Rules;
use plazo::demo::{DemoError, DemoOptions, Endpoints};
use plazo::up::UpOptions;
use plazo_service::TelemetryConfig;
use plazo_service::config::LogFormat;
use url::Url;

pub(crate) use load::{LoadArguments, LoadCommand, LoadUsageError, RunArguments};
pub(crate) use seed::SeedArguments;
pub(crate) use token::TokenArguments;
pub(crate) use verify::{HistoryArguments, VerifyArguments, VerifyCommand};

/// The clockwork of a customer-service desk.
#[derive(Debug, Parser)]
#[command(version, about, propagate_version = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start a cluster on this machine and serve until Ctrl-C
    #[command(long_about = UP_ABOUT)]
    Up(UpArguments),
    /// Play conversations against a running cluster, and check what comes of them
    #[command(long_about = DEMO_ABOUT, after_long_help = DEMO_JSON)]
    Demo(DemoArguments),
    /// Put load on a timer, and count what is late, lost, doubled or early
    #[command(long_about = load::LOAD_ABOUT, after_long_help = load::LOAD_MORE)]
    Load(Box<LoadArguments>),
    /// Compare what a service has derived with the truth
    #[command(long_about = verify::VERIFY_ABOUT)]
    Verify(VerifyArguments),
    /// Fill history with closed tickets of the past, to try reports and searches with
    #[command(long_about = seed::SEED_ABOUT, after_long_help = seed::SEED_MORE)]
    Seed(Box<SeedArguments>),
    /// Make a token for calls of a cluster on this machine
    #[command(long_about = token::TOKEN_ABOUT)]
    Token(TokenArguments),
}

const UP_ABOUT: &str = "\
Start a cluster on this machine and serve until Ctrl-C.

Starts PostgreSQL and Redis servers of its own, with their data in a folder that stays, and the four services in \
this process. Any setting of a service can be changed by its environment variable, as in \
PLAZO_TIMER__TIMER__LINGER_MS=5, but for addresses and servers.";

const DEMO_ABOUT: &str = "\
Play conversations against a running cluster, and check what comes of them.

Each conversation has a bot with alerts after 10 s and 20 s, a warning after 25 s and a close after 30 s, divided by \
--speed. Ends with exit code 0 only if everything that was expected happened in its time and once, and nothing else.";

const DEMO_JSON: &str = "\
With --json, each event is a line {\"type\":\"event\",\"conversation\":…,\"ticket_id\":…,\"time_s\":…,\"event\":…}, where \
event is opened, wrote (writer, text), fired (stage, cycle, alert, late_ms), cleared, closed, warning_requested (text), \
message_reported (state) or other (name). The last line is {\"type\":\"result\",\"passed\":…,\"speed\":…,\
\"tolerance_ms\":…,\"lateness_ms\":{\"stages\",\"min\",\"median\",\"max\"},\"unchecked\":[…],\"conversations\":[…]}, with \
problems (kind, text) and effects (effect, expected_s, seen_s, late_ms) for each conversation. Times in s count from \
the first message.";

#[derive(Debug, Args)]
pub(crate) struct UpArguments {
    /// Port of ticketing; timer, notification and history have the next three, metrics 4000 above; 0 takes free ones
    #[arg(long, value_name = "BASE", default_value_t = DEFAULT_PORT)]
    port: u16,
    /// Folder for the data of PostgreSQL and Redis [default: plazo in your data folder, /var/lib/plazo for root]
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
    /// Play the demo once before serving
    #[arg(long)]
    demo: bool,
    /// Use this PostgreSQL server instead of a private one, as in <postgres://user:password@host:5432>
    #[arg(long, value_name = "URL")]
    database_url: Option<String>,
    /// Use this Redis server instead of a private one, as in <redis://host:6379/0>
    #[arg(long, value_name = "URL")]
    redis_url: Option<String>,
    /// How the services log, to standard error
    #[arg(long, value_enum, default_value_t = Log::Text)]
    log: Log,
    /// Which lines they log, as in `info,plazo_ticketing=debug`
    #[arg(long, value_name = "FILTER", default_value = "warn")]
    log_filter: String,
    /// Where traces are sent by OTLP over gRPC, as in <http://localhost:4317>
    #[arg(long, value_name = "URL")]
    otlp_endpoint: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Log {
    Text,
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct DemoArguments {
    /// Address of ticketing; notification and history are looked for two and three ports above it
    #[arg(long, value_name = "URL", conflicts_with = "port")]
    endpoint: Option<String>,
    /// Port of ticketing on this machine
    #[arg(long, value_name = "BASE", default_value_t = DEFAULT_PORT, value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,
    /// Print one JSON object a line for each event, and one with the result
    #[arg(long)]
    pub(crate) json: bool,
    /// Divide all times by this, 1 or 5
    #[arg(long, value_name = "N", default_value_t = 5)]
    speed: u32,
    #[arg(long, value_name = "NAME", help = format!("Play only this conversation: {}", plazo::demo::names()))]
    only: Option<String>,
    /// How late a stage may be, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 250)]
    tolerance_ms: u32,
}

/// Arguments that can't be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UsageError {
    /// There is no home to put the data in.
    #[error("there is no home folder for the data: say with --data where they go")]
    NoDataFolder,
}

impl UpArguments {
    pub(crate) fn into_options(self) -> Result<UpOptions, UsageError> {
        let is_private = self.database_url.is_none() || self.redis_url.is_none();
        let data = match self.data.or_else(plazo_local::default_data_folder) {
            Some(folder) => folder,
            None if is_private => return Err(UsageError::NoDataFolder),
            None => PathBuf::new(),
        };
        Ok(UpOptions {
            cluster: ClusterOptions {
                port: self.port,
                database_url: self.database_url,
                redis_url: self.redis_url,
                environment: std::env::vars().collect(),
                ..ClusterOptions::persistent(data)
            },
            plays_demo: self.demo,
            telemetry: TelemetryConfig {
                log_format: match self.log {
                    Log::Text => LogFormat::Text,
                    Log::Json => LogFormat::Json,
                },
                log_filter: self.log_filter,
                otlp_endpoint: self.otlp_endpoint,
                ..TelemetryConfig::default()
            },
        })
    }
}

impl DemoArguments {
    pub(crate) fn to_options(&self) -> Result<DemoOptions, DemoError> {
        let endpoint = match &self.endpoint {
            Some(endpoint) => endpoint.clone(),
            None => format!("http://127.0.0.1:{}", self.port),
        };
        Ok(DemoOptions {
            rules: Rules {
                speed: self.speed,
                tolerance_ms: self.tolerance_ms,
            },
            only: self.only.clone(),
            ..DemoOptions::new(endpoints(&endpoint)?)
        })
    }
}

/// The addresses of a cluster whose ports follow each other.
fn endpoints(ticketing: &str) -> Result<Endpoints, DemoError> {
    let refused = || DemoError::Endpoint(ticketing.to_owned());
    let url = Url::parse(ticketing).map_err(|_| refused())?;
    let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
        return Err(refused());
    };
    let scheme = url.scheme();
    let above = |offset: u16| {
        let port = port.checked_add(offset).ok_or_else(refused)?;
        Ok(format!("{scheme}://{host}:{port}"))
    };
    Ok(Endpoints {
        ticketing: above(0)?,
        notification: above(2)?,
        history: above(3)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }

    #[test]
    fn the_other_services_are_above_ticketing() {
        let found = endpoints("http://[::1]:7001/").expect("an address");
        let expected = Endpoints {
            ticketing: "http://[::1]:7001".to_owned(),
            notification: "http://[::1]:7003".to_owned(),
            history: "http://[::1]:7004".to_owned(),
        };
        assert_eq!(found, expected);
        for wrong in [
            "",
            "127.0.0.1:5001",
            "http://",
            "http://h:65534",
            "mailto:a@b",
        ] {
            assert!(endpoints(wrong).is_err(), "{wrong}");
        }
    }
}
