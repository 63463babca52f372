//! What a load is asked to be.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::caller::Credentials;

/// Most tickets of one load: their numbers share 32 bits with two others.
pub const TICKETS_MAX: u32 = (1 << 30) - 1;
/// Most tenants of one load.
pub const TENANTS_MAX: u16 = 10_000;
/// Most tickets in one call of the timer.
pub const BATCH_MAX: usize = 1_000;
/// The longest load, which is also the longest time that tickets are armed ahead.
pub const LENGTH_MAX: Duration = Duration::from_hours(24 * 20);

/// How due instants are spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// The same rate all the time.
    Steady,
    /// All at one instant.
    Burst,
    /// A rate that rises or falls evenly.
    Ramp,
    /// A steady rate; customers answer, and agents write again, before the tickets are due.
    Churn,
    /// One tenant holds nine tenths, all due at one instant; the others have a steady rate.
    Skewed,
}

impl Shape {
    /// As in `steady`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Steady => "steady",
            Self::Burst => "burst",
            Self::Ramp => "ramp",
            Self::Churn => "churn",
            Self::Skewed => "skewed",
        }
    }
}

/// Which timer bears the load, and who handles what is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A timer and a Redis server of its own, started and ended with the load. The load is the handler.
    Private,
    /// A given timer, whose handler must be configured to be the load.
    Timer {
        /// As in `http://timer:5002`.
        endpoint: String,
        /// Where the load serves the handler.
        serve_handler: SocketAddr,
    },
    /// A whole cluster of its own, started and ended with the load; ticketing is the handler.
    PrivateTicketing,
    /// A given cluster; ticketing is the handler.
    Ticketing {
        /// As in `http://ticketing:5001`.
        endpoint: String,
    },
}

impl Target {
    /// Whether tickets are real ones.
    pub const fn is_ticketing(&self) -> bool {
        matches!(self, Self::PrivateTicketing | Self::Ticketing { .. })
    }

    /// The option that gives its address, and the address; none for a private one.
    fn given(&self) -> Option<(&'static str, &str)> {
        match self {
            Self::Private | Self::PrivateTicketing => None,
            Self::Timer { endpoint, .. } => Some(("--timer", endpoint)),
            Self::Ticketing { endpoint } => Some(("--ticketing", endpoint)),
        }
    }
}

/// What a load is asked to be.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    /// Which timer bears it.
    pub target: Target,
    /// What lets the load in there.
    pub credentials: Credentials,
    /// How due instants are spread.
    pub shape: Shape,
    /// Tickets due a second; for a burst, tickets armed a second. Above zero.
    pub rate: f64,
    /// For a ramp, the rate at its end. Above zero.
    pub rate_to: f64,
    /// How many tickets, 1 to [`TICKETS_MAX`].
    pub tickets: u32,
    /// How long before it is due a ticket is armed.
    pub ahead: Duration,
    /// How many tenants, 1 to [`TENANTS_MAX`].
    pub tenants: u16,
    /// What all random choices are made from.
    pub seed: u64,
    /// Most tickets in one call, 1 to [`BATCH_MAX`].
    pub batch: usize,
    /// Most calls that wait for an answer at the same time.
    pub in_flight: usize,
    /// A ticket is lost when it was due for so long and nothing came in the meantime.
    pub grace: Duration,
    /// The lease of the timer: what is looked at again after it needs no other reason.
    pub lease: Duration,
    /// How long the handler takes for each answer.
    pub delay: Duration,
    /// Whether somebody injects faults meanwhile: what is looked at again then is told, but is no failure.
    pub under_faults: bool,
    /// A folder for the results, if they are kept.
    pub output: Option<PathBuf>,
    /// Whether the result is printed as JSON instead of a table.
    pub json: bool,
    /// Whether progress is left out.
    pub quiet: bool,
}

/// What can't be asked for.
#[derive(Debug, thiserror::Error)]
#[error("{option} {problem}")]
pub struct OptionError {
    option: &'static str,
    problem: String,
}

impl OptionError {
    pub(super) fn new(option: &'static str, problem: impl Into<String>) -> Self {
        Self {
            option,
            problem: problem.into(),
        }
    }
}

impl LoadOptions {
    /// Refuses what can't be done, with the name of the option.
    pub fn validate(&self) -> Result<(), OptionError> {
        let is_rate = |rate: f64| rate.is_finite() && (0.001..=10_000_000.0).contains(&rate);
        check(is_rate(self.rate), "--rate", "must be 0.001 to 10,000,000")?;
        check(
            is_rate(self.rate_to),
            "--rate-to",
            "must be 0.001 to 10,000,000",
        )?;
        let is_count = (1..=TICKETS_MAX).contains(&self.tickets);
        check(
            is_count,
            "--tickets",
            &format!("must be 1 to {TICKETS_MAX}"),
        )?;
        let is_tenants = (1..=TENANTS_MAX).contains(&self.tenants);
        check(is_tenants, "--tenants", "must be 1 to 10,000")?;
        let is_batch = (1..=BATCH_MAX).contains(&self.batch);
        check(is_batch, "--batch", "must be 1 to 1,000")?;
        let is_in_flight = (1..=10_000).contains(&self.in_flight);
        check(is_in_flight, "--in-flight", "must be 1 to 10,000")?;
        check(!self.grace.is_zero(), "--grace", "must be above zero")?;
        let is_skewed = self.shape == Shape::Skewed;
        check(
            !is_skewed || self.tenants > 1,
            "--tenants",
            "must be at least 2 when one of them holds most",
        )?;
        let length = Duration::from_secs_f64(self.length_s());
        let is_length = length <= LENGTH_MAX && self.ahead <= LENGTH_MAX;
        check(
            is_length,
            "--tickets",
            "at this rate, or --ahead, take longer than 20 days",
        )?;
        self.validate_credentials()?;
        if self.target.is_ticketing() {
            let is_whole = self.ahead.subsec_nanos() == 0 && self.ahead.as_secs() > 0;
            check(
                is_whole,
                "--ahead",
                "must be whole seconds with real ticketing, as its deadlines are",
            )?;
        }
        Ok(())
    }

    fn validate_credentials(&self) -> Result<(), OptionError> {
        let Credentials {
            tls,
            server_identity,
            token_file,
        } = &self.credentials;
        let Some((option, endpoint)) = self.target.given() else {
            let is_none = self.credentials == Credentials::default();
            let problem = "is for a given cluster: say with --timer or --ticketing where it is";
            let option = match token_file {
                Some(_) => "--token-file",
                None => "--certificate-file",
            };
            return check(is_none, option, problem);
        };
        let is_https = endpoint.starts_with("https:");
        check(
            tls.is_some() || !is_https,
            option,
            "begins with https, for which --certificate-file, --key-file and --roots-file are needed",
        )?;
        check(
            tls.is_none() || is_https,
            "--certificate-file",
            "is of no use with an address that does not begin with https",
        )?;
        if matches!(self.target, Target::Timer { .. }) {
            check(
                tls.is_none() || server_identity.is_some(),
                "--server-identity",
                "must be given: the timer with this identity alone may call the handler",
            )?;
            check(
                token_file.is_none(),
                "--token-file",
                "is of no use with a timer, which services alone may call",
            )?;
        }
        Ok(())
    }

    /// From the first arm to the last, in seconds.
    pub fn length_s(&self) -> f64 {
        let rate = match self.shape {
            Shape::Ramp => f64::midpoint(self.rate, self.rate_to),
            _ => self.rate,
        };
        f64::from(self.tickets) / rate
    }
}

fn check(is_valid: bool, option: &'static str, problem: &str) -> Result<(), OptionError> {
    if is_valid {
        return Ok(());
    }
    Err(OptionError::new(option, problem))
}
