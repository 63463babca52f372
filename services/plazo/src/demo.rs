//! The demo: plays conversations against a running cluster through gRPC, and judges what came of them.

mod desk;
mod elsewhere;
pub mod json;
mod play;
pub mod scenarios;
pub mod seen;
pub mod timeline;
pub mod verdict;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::try_join_all;
use jiff::Timestamp;
use tonic::Status;

use desk::Desk;
pub use desk::TENANT_ID;
use play::Conversation;
pub use play::Played;
use scenarios::{CLOSE_S, FIRST_ALERT_S, SCENARIOS, SECOND_ALERT_S, Scenario, WARNING_S};
use seen::Seen;
use verdict::{Problem, Rules};

/// What a demo may take beyond the length of its conversations.
const MARGIN: Duration = Duration::from_secs(30);

/// Where the services of a cluster are, as in `http://127.0.0.1:5001`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoints {
    /// Ticketing.
    pub ticketing: String,
    /// Notification.
    pub notification: String,
    /// History.
    pub history: String,
}

/// How to play.
#[derive(Debug, Clone)]
pub struct DemoOptions {
    /// Against which cluster.
    pub endpoints: Endpoints,
    /// How fast, and how strict.
    pub rules: Rules,
    /// Only the conversation with this name.
    pub only: Option<String>,
    /// Whether notification and history must be there; otherwise they are left out when they are not.
    pub needs_all_services: bool,
}

impl DemoOptions {
    /// All conversations at five times the speed of the examples, at most 250 ms late.
    pub fn new(endpoints: Endpoints) -> Self {
        Self {
            endpoints,
            rules: Rules {
                speed: 5,
                tolerance_ms: 250,
            },
            only: None,
            needs_all_services: false,
        }
    }
}

/// Why the demo could not be played to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DemoError {
    /// The conversation's name is unknown.
    #[error("there is no conversation {name:?}: choose one of {}", names())]
    UnknownName {
        /// The name.
        name: String,
    },
    /// The stages would not fall on whole seconds.
    #[error(
        "--speed {0} makes no whole seconds of alerts at 10 s and 20 s, warning at 25 s and close at 30 s: use 1 or 5"
    )]
    Speed(u32),
    /// Not an address.
    #[error("{0:?} is no address like http://127.0.0.1:5001")]
    Endpoint(String),
    /// Nobody is there.
    #[error(
        "no cluster answers at {endpoint} ({reason}): start one with `plazo up`, or say with --port or --endpoint \
         where it is"
    )]
    NoCluster {
        /// Where it was looked for.
        endpoint: String,
        /// What was seen instead.
        reason: String,
    },
    /// A call failed.
    #[error("{call} failed: {}: {}", .status.code(), .status.message())]
    Call {
        /// The method.
        call: &'static str,
        /// What it answered.
        status: Box<Status>,
    },
    /// The demo took longer than it may.
    #[error("the demo did not end within {0} s")]
    TooLong(u64),
}

impl DemoError {
    pub(crate) fn call(call: &'static str, status: Status) -> Self {
        Self::Call {
            call,
            status: Box::new(status),
        }
    }
}

/// Shows what happens while it happens.
pub trait Observer: Send {
    /// The demo is about to begin.
    fn begins(&mut self, options: &DemoOptions, scenarios: &[Scenario]);
    /// Something happened in a conversation.
    fn happened(&mut self, happened: &Happened<'_>);
    /// The demo has ended.
    fn ended(&mut self, report: &Report);
}

/// Something that happened in a conversation.
#[derive(Debug, Clone, Copy)]
pub struct Happened<'a> {
    /// In which conversation.
    pub scenario: &'a Scenario,
    /// Its place in the demo, from 0.
    pub index: usize,
    /// The ticket.
    pub ticket_id: i64,
    /// The instant that times count from: the commit of the first message, right after the opening.
    pub zero_at: Timestamp,
    /// What.
    pub seen: &'a Seen,
}

/// What came of a demo.
#[derive(Debug, Clone)]
pub struct Report {
    /// How fast it was, and how strict.
    pub rules: Rules,
    /// The conversations.
    pub played: Vec<Played>,
    /// How late the stages were, in microseconds. None when none was seen.
    pub lateness: Option<Lateness>,
    /// Services that were not reached, with their addresses.
    pub unchecked: Vec<String>,
}

/// How late the stages of a demo were, in microseconds after the instants that follow from the examples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lateness {
    /// How many stages.
    pub stages: usize,
    /// The least.
    pub min_us: i64,
    /// The middle one.
    pub median_us: i64,
    /// The most.
    pub max_us: i64,
}

impl Report {
    /// Whether everything was as it must be.
    pub fn passed(&self) -> bool {
        !self.played.is_empty() && self.played.iter().all(|p| p.verdict.problems.is_empty())
    }
}

impl Lateness {
    fn of(played: &[Played]) -> Option<Self> {
        let rows = played.iter().flat_map(|played| &played.verdict.rows);
        let stages = rows.filter(|row| row.expected.effect != scenarios::Effect::Cleared);
        let mut late_us: Vec<i64> = stages.filter_map(|row| row.late_us).collect();
        late_us.sort_unstable();
        Some(Self {
            stages: late_us.len(),
            min_us: *late_us.first()?,
            median_us: *late_us.get(late_us.len() / 2)?,
            max_us: *late_us.last()?,
        })
    }
}

/// Plays the conversations, all at the same time, and judges them.
pub async fn run(options: &DemoOptions, observer: &mut dyn Observer) -> Result<Report, DemoError> {
    let scenarios = choose(options.only.as_deref())?;
    check_speed(options.rules.speed)?;
    let longest = scenarios
        .iter()
        .map(|s| play::length(s, options.rules.speed))
        .max();
    let bound = longest.unwrap_or_default() + MARGIN;
    let report = tokio::time::timeout(bound, play_all(options, &scenarios, &mut *observer))
        .await
        .map_err(|_| DemoError::TooLong(bound.as_secs()))??;
    observer.ended(&report);
    Ok(report)
}

async fn play_all(
    options: &DemoOptions,
    scenarios: &[Scenario],
    observer: &mut dyn Observer,
) -> Result<Report, DemoError> {
    let rules = options.rules;
    let desk = Desk::connect(&options.endpoints.ticketing).await?;
    let stages = try_join_all(scenarios.iter().map(|s| desk.set_up(s, rules.speed))).await?;
    observer.begins(options, scenarios);

    let observer = Mutex::new(observer);
    let conversations: Vec<Conversation<'_, '_>> = scenarios
        .iter()
        .zip(stages)
        .enumerate()
        .map(|(index, (scenario, stage))| Conversation {
            desk: &desk,
            scenario: *scenario,
            index,
            stage,
            rules,
            observer: &observer,
        })
        .collect();
    let mut played = try_join_all(conversations.iter().map(Conversation::play)).await?;

    let unchecked = check_elsewhere(options, &mut played).await?;
    let lateness = Lateness::of(&played);
    Ok(Report {
        rules,
        played,
        lateness,
        unchecked,
    })
}

/// Looks at the other services too; returns those that are not there.
async fn check_elsewhere(
    options: &DemoOptions,
    played: &mut [Played],
) -> Result<Vec<String>, DemoError> {
    let Endpoints {
        notification,
        history,
        ..
    } = &options.endpoints;
    let checks = [
        (
            "history",
            history,
            elsewhere::check_history(history, played).await?,
        ),
        (
            "notification",
            notification,
            elsewhere::check_notification(notification, played).await?,
        ),
    ];
    let away: Vec<String> = checks
        .into_iter()
        .filter(|(_, _, is_there)| !is_there)
        .map(|(name, endpoint, _)| format!("{name} at {endpoint}"))
        .collect();
    if options.needs_all_services
        && let Some(first) = played.first_mut()
    {
        let missing = away
            .iter()
            .map(|name| Problem::Elsewhere(format!("{name} does not answer")));
        first.verdict.problems.extend(missing);
    }
    Ok(away)
}

fn choose(only: Option<&str>) -> Result<Vec<Scenario>, DemoError> {
    let Some(name) = only else {
        return Ok(SCENARIOS.to_vec());
    };
    let chosen: Vec<_> = SCENARIOS.into_iter().filter(|s| s.name == name).collect();
    if chosen.is_empty() {
        return Err(DemoError::UnknownName {
            name: name.to_owned(),
        });
    }
    Ok(chosen)
}

fn check_speed(speed: u32) -> Result<(), DemoError> {
    let is_whole = |seconds: u32| speed > 0 && seconds.is_multiple_of(speed);
    if [FIRST_ALERT_S, SECOND_ALERT_S, WARNING_S, CLOSE_S]
        .into_iter()
        .all(is_whole)
    {
        Ok(())
    } else {
        Err(DemoError::Speed(speed))
    }
}

/// The names of all conversations, in a list for people.
pub fn names() -> String {
    SCENARIOS.map(|scenario| scenario.name).join(", ")
}

/// A panic of an observer leaves nothing half-changed that matters.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
