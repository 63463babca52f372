//! The arguments of `plazo load`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use plazo::load::answering::AnsweringOptions;
use plazo::load::caller::{Credentials, TokenFileError, count_tokens};
use plazo::load::options::{LoadOptions, Shape, Target};
use plazo_service::TlsConfig;

const DEFAULT_DURATION: Duration = Duration::from_secs(10);
const DEFAULT_TENANTS: u16 = 100;

pub(crate) const LOAD_ABOUT: &str = "\
Put load on a timer, and count what is late, lost, doubled or early.

Without --timer it starts a Redis server and a timer of its own. The load itself is the handler of the tickets, in a \
process of its own, unless --handler ticketing asks for real tickets. What is done when is fixed before it begins, and \
nothing waits for the answers before; lateness counts from the instant at which a ticket was to be due. Ends with exit \
code 0 only if nothing was lost, doubled or early, and everything could be armed.";

pub(crate) const LOAD_MORE: &str = "\
Shapes: steady, the same rate all the time; burst, all due at one instant, armed at --rate before; ramp, from --rate to \
--rate-to; churn, steady, with customers who answer and agents who write again before the tickets are due; skewed, one \
tenant has nine tenths of the tickets, all due at one instant, the others a steady rate.

With --timer, the timer must be configured with the load as its handler: PLAZO_TIMER__HANDLER__ENDPOINT is the address of \
--serve-handler as the timer sees it. Use a timer, or a namespace, that has no other tickets.

A cluster whose services have certificates is called with https, a certificate of the load, and the identity that the \
service must have. Ticketing must know the load's by [[access.peers]] for FeedService/StreamEvents, a timer for \
TimerService; all files are read again when they change. What people do in ticketing is done with tokens: \
--token-file has one of an administrator in each line, for as many tenants, with helpdesk:view, helpdesk:edit, \
builder:edit and tickets:attend.

--output DIR writes result.json, lateness.hlog (HdrHistogram, in microseconds, by intervals) and lateness.svg there.

What is looked at again after it was handled is doubled, unless there is a reason: its lease (--lease) may have ended, the \
timer has rebuilt its entries, or a call has failed at about that time. Whoever injects faults says so with \
--under-faults: then it is told and no failure.

Examples:
  plazo load --rate 5000 --duration 30s
  plazo load --shape burst --tickets 1000000 --rate 50000 --output out
  plazo load --handler ticketing --rate 500 --ahead 3s
  plazo load --timer http://127.0.0.1:5002 --serve-handler 127.0.0.1:5010 --rate 20000 --duration 10m --output -
  plazo load --handler ticketing --ticketing https://ticketing:5001 --server-identity spiffe://plazo/ns/plazo/sa/ticketing \
    --certificate-file tls.crt --key-file tls.key --roots-file ca.crt --token-file tokens --rate 200 --ahead 3s";

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct LoadArguments {
    #[command(subcommand)]
    pub(crate) command: Option<LoadCommand>,
    #[command(flatten)]
    pub(crate) run: RunArguments,
}

#[derive(Debug, Subcommand)]
pub(crate) enum LoadCommand {
    /// Serve a handler that answers FIRED to everything a timer asks, and count
    #[command(long_about = HANDLER_ABOUT)]
    Handler(HandlerArguments),
    /// Serve the private timer of a load
    #[command(hide = true)]
    Timer,
    /// Serve the private cluster of a load
    #[command(hide = true)]
    Cluster,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ShapeArgument {
    Steady,
    Burst,
    Ramp,
    Churn,
    Skewed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum HandlerKind {
    /// The load itself.
    Own,
    /// Real tickets.
    Ticketing,
}

#[derive(Debug, Args)]
pub(crate) struct RunArguments {
    /// A given timer, as in <http://timer:5002>; without it, a private one is started
    #[arg(
        long,
        value_name = "URL",
        env = "PLAZO_LOAD_TIMER",
        requires = "serve_handler"
    )]
    timer: Option<String>,
    /// Where the load serves the handler of the given timer
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "PLAZO_LOAD_SERVE_HANDLER",
        requires = "timer"
    )]
    serve_handler: Option<SocketAddr>,
    /// Who handles what is due
    #[arg(long, value_enum, default_value_t = HandlerKind::Own, env = "PLAZO_LOAD_HANDLER")]
    handler: HandlerKind,
    /// Ticketing of a given cluster, for real tickets; without it, a private one is started
    #[arg(
        long,
        value_name = "URL",
        env = "PLAZO_LOAD_TICKETING",
        conflicts_with = "timer"
    )]
    ticketing: Option<String>,
    #[command(flatten)]
    credentials: CredentialArguments,
    /// How due instants are spread
    #[arg(long, value_enum, default_value_t = ShapeArgument::Steady, env = "PLAZO_LOAD_SHAPE")]
    shape: ShapeArgument,
    /// Tickets due a second; for a burst, armed a second
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1_000.0,
        env = "PLAZO_LOAD_RATE"
    )]
    rate: f64,
    /// For a ramp, the rate at its end [default: ten times the first]
    #[arg(long, value_name = "N", env = "PLAZO_LOAD_RATE_TO")]
    rate_to: Option<f64>,
    /// How many tickets, instead of a duration
    #[arg(
        long,
        value_name = "N",
        env = "PLAZO_LOAD_TICKETS",
        conflicts_with = "duration"
    )]
    tickets: Option<u32>,
    /// From the first arm to the last, as in 30s or 10m [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = parse_time, env = "PLAZO_LOAD_DURATION")]
    duration: Option<Duration>,
    /// How long before it is due a ticket is armed; whole seconds for real tickets
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = parse_time, env = "PLAZO_LOAD_AHEAD")]
    ahead: Duration,
    /// How many tenants [default: 100; with tokens, as many as there are]
    #[arg(long, value_name = "N", env = "PLAZO_LOAD_TENANTS")]
    tenants: Option<u16>,
    /// What all random choices are made from: the same seed, the same load
    #[arg(long, value_name = "N", default_value_t = 1, env = "PLAZO_LOAD_SEED")]
    seed: u64,
    /// Most tickets in one call
    #[arg(
        long,
        value_name = "N",
        default_value_t = 256,
        env = "PLAZO_LOAD_BATCH"
    )]
    batch: usize,
    /// Most calls that wait for an answer; beyond, the load falls behind, and says so
    #[arg(
        long,
        value_name = "N",
        default_value_t = 64,
        env = "PLAZO_LOAD_IN_FLIGHT"
    )]
    in_flight: usize,
    /// A ticket is lost that was due for so long while nothing came any more; longer than the lease of the timer
    #[arg(long, value_name = "TIME", default_value = "40s", value_parser = parse_time, env = "PLAZO_LOAD_GRACE")]
    grace: Duration,
    /// The lease of the timer
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_time, env = "PLAZO_LOAD_LEASE")]
    lease: Duration,
    /// How long the load's own handler takes for each answer
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = parse_time, env = "PLAZO_LOAD_DELAY")]
    delay: Duration,
    /// Faults are injected meanwhile: what is looked at again is told, but is no failure
    #[arg(long, env = "PLAZO_LOAD_UNDER_FAULTS")]
    under_faults: bool,
    /// A folder for JSON, histogram and picture; - for JSON on standard output
    #[arg(long, value_name = "DIR", env = "PLAZO_LOAD_OUTPUT")]
    output: Option<PathBuf>,
    /// Print the result as JSON instead of a table
    #[arg(long, env = "PLAZO_LOAD_JSON")]
    json: bool,
    /// Show no progress
    #[arg(long, env = "PLAZO_LOAD_QUIET")]
    quiet: bool,
}

/// What lets the load into a given cluster.
#[derive(Debug, Args)]
struct CredentialArguments {
    /// The load's certificate, for a cluster that is called with https; PEM
    #[arg(long, value_name = "FILE", env = "PLAZO_LOAD_CERTIFICATE_FILE", requires_all = ["key_file", "roots_file"])]
    certificate_file: Option<PathBuf>,
    /// The key of the certificate; PEM
    #[arg(
        long,
        value_name = "FILE",
        env = "PLAZO_LOAD_KEY_FILE",
        requires = "certificate_file"
    )]
    key_file: Option<PathBuf>,
    /// Certificates by which the cluster's are verified; PEM
    #[arg(
        long,
        value_name = "FILE",
        env = "PLAZO_LOAD_ROOTS_FILE",
        requires = "certificate_file"
    )]
    roots_file: Option<PathBuf>,
    /// The URI in the certificate of the service that is called [default: the host of its address]
    #[arg(
        long,
        value_name = "URI",
        env = "PLAZO_LOAD_SERVER_IDENTITY",
        requires = "certificate_file"
    )]
    server_identity: Option<String>,
    /// A token of an administrator in each line, for as many tenants; for real tickets
    #[arg(
        long,
        value_name = "FILE",
        env = "PLAZO_LOAD_TOKEN_FILE",
        requires = "ticketing"
    )]
    token_file: Option<PathBuf>,
}

impl CredentialArguments {
    fn to_credentials(&self) -> Credentials {
        let tls = match (&self.certificate_file, &self.key_file, &self.roots_file) {
            (Some(certificate), Some(key), Some(roots)) => {
                Some(TlsConfig::new(certificate, key, roots))
            }
            _ => None,
        };
        Credentials {
            tls,
            server_identity: self.server_identity.clone(),
            token_file: self.token_file.clone(),
        }
    }
}

/// What is known only when all arguments are.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadUsageError {
    /// They don't fit together.
    #[error("{0}")]
    Arguments(&'static str),
    /// How many tenants there are can't be told.
    #[error(transparent)]
    Tokens(#[from] TokenFileError),
}

impl RunArguments {
    pub(crate) fn to_options(&self) -> Result<LoadOptions, LoadUsageError> {
        let target = match (self.handler, &self.timer, &self.ticketing) {
            (HandlerKind::Own, _, Some(_)) => {
                return Err(LoadUsageError::Arguments(
                    "--ticketing needs --handler ticketing",
                ));
            }
            (HandlerKind::Ticketing, Some(_), _) => {
                return Err(LoadUsageError::Arguments(
                    "--timer is for the load's own handler: say with --ticketing where the cluster is",
                ));
            }
            (HandlerKind::Ticketing, None, None) => Target::PrivateTicketing,
            (HandlerKind::Ticketing, None, Some(endpoint)) => Target::Ticketing {
                endpoint: endpoint.clone(),
            },
            (HandlerKind::Own, Some(endpoint), None) => Target::Timer {
                endpoint: endpoint.clone(),
                serve_handler: self
                    .serve_handler
                    .ok_or(LoadUsageError::Arguments("--timer needs --serve-handler"))?,
            },
            (HandlerKind::Own, None, None) => Target::Private,
        };
        let rate_to = match self.shape {
            ShapeArgument::Ramp => self.rate_to.unwrap_or(self.rate * 10.0),
            _ if self.rate_to.is_some() => {
                return Err(LoadUsageError::Arguments("--rate-to needs --shape ramp"));
            }
            _ => self.rate,
        };
        let is_stdout = |folder: &Path| folder == Path::new("-");
        Ok(LoadOptions {
            target,
            credentials: self.credentials.to_credentials(),
            shape: self.shape.into(),
            rate: self.rate,
            rate_to,
            tickets: self.tickets.unwrap_or_else(|| self.tickets_of(rate_to)),
            ahead: self.ahead,
            tenants: self.tenants()?,
            seed: self.seed,
            batch: self.batch,
            in_flight: self.in_flight,
            grace: self.grace,
            lease: self.lease,
            delay: self.delay,
            under_faults: self.under_faults,
            output: self.output.clone().filter(|folder| !is_stdout(folder)),
            json: self.json || self.output.as_deref().is_some_and(is_stdout),
            quiet: self.quiet,
        })
    }

    /// As many as were asked for, or as there are tokens.
    fn tenants(&self) -> Result<u16, TokenFileError> {
        match (self.tenants, &self.credentials.token_file) {
            (Some(tenants), _) => Ok(tenants),
            (None, Some(path)) => Ok(u16::try_from(count_tokens(path)?).unwrap_or(u16::MAX)),
            (None, None) => Ok(DEFAULT_TENANTS),
        }
    }

    /// As many as the rate brings within the duration.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it saturates, and too many or none are refused"
    )]
    fn tickets_of(&self, rate_to: f64) -> u32 {
        let duration = self.duration.unwrap_or(DEFAULT_DURATION).as_secs_f64();
        (f64::midpoint(self.rate, rate_to) * duration).round() as u32
    }
}

impl From<ShapeArgument> for Shape {
    fn from(shape: ShapeArgument) -> Self {
        match shape {
            ShapeArgument::Steady => Self::Steady,
            ShapeArgument::Burst => Self::Burst,
            ShapeArgument::Ramp => Self::Ramp,
            ShapeArgument::Churn => Self::Churn,
            ShapeArgument::Skewed => Self::Skewed,
        }
    }
}

const HANDLER_ABOUT: &str = "\
Serve a handler that answers FIRED to everything a timer asks, and count.

It knows no tickets, so it lists none as pending, and can't tell what is missing. Prints JSON lines: the first is \
{\"type\":\"listening\",\"address\":…}; the others are {\"type\":\"handled\",\"calls\":…,\"tickets\":…,\"first_us\":…,\
\"last_us\":…,\"lateness_ms\":…,\"early\":…}, every so often and at the end, with the instants of the first and the last \
call in Unix microseconds. SIGUSR1 prints such a line and begins to count anew.";

#[derive(Debug, Args)]
pub(crate) struct HandlerArguments {
    /// Where it listens; port 0 takes a free one
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "127.0.0.1:5010",
        env = "PLAZO_LOAD_LISTEN"
    )]
    listen: SocketAddr,
    /// How long each answer takes, as in 5ms
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = parse_time, env = "PLAZO_LOAD_DELAY")]
    delay: Duration,
    /// How often a line with the counts is printed; 0s for the end alone
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_time, env = "PLAZO_LOAD_EVERY")]
    every: Duration,
    /// Take the generation of each ticket for its due instant in Unix milliseconds, and measure lateness by it
    #[arg(long)]
    generation_is_due: bool,
}

impl HandlerArguments {
    pub(crate) fn to_options(&self) -> AnsweringOptions {
        AnsweringOptions {
            listen: self.listen,
            delay: self.delay,
            every: self.every,
            generation_is_due: self.generation_is_due,
        }
    }
}

/// A time as people write it: a whole or decimal number with ms, s, m or h.
pub(crate) fn parse_time(text: &str) -> Result<Duration, String> {
    let refused = || "write a number with ms, s, m or h, as in 500ms or 1.5m".to_owned();
    let units = [("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3_600.0)];
    let (number, seconds) = units
        .iter()
        .find_map(|(unit, seconds)| Some((text.strip_suffix(unit)?, seconds)))
        .ok_or_else(refused)?;
    let number: f64 = number.parse().map_err(|_| refused())?;
    let time = Duration::try_from_secs_f64(number * seconds).map_err(|_| refused())?;
    if time > Duration::from_hours(24 * 400) {
        return Err("longer than 400 days".to_owned());
    }
    Ok(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        for (text, millis) in [
            ("500ms", 500),
            ("2s", 2_000),
            ("1.5m", 90_000),
            ("1h", 3_600_000),
        ] {
            assert_eq!(
                parse_time(text),
                Ok(Duration::from_millis(millis)),
                "{text}"
            );
        }
        for wrong in ["", "5", "s", "-1s", "nans", "infs", "5 days", "99999h"] {
            assert!(parse_time(wrong).is_err(), "{wrong}");
        }
    }
}
