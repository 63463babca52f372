//! What a seeding is asked to be.

use std::path::PathBuf;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::world::WorldOptions;

/// The tenant when none is named: one that nobody has made.
pub const DEFAULT_TENANT: i64 = 1_000;
/// Most tickets of one seeding.
pub const TICKETS_MAX: u64 = 100_000_000;
/// Most agents and bots.
pub const AGENTS_MAX: u64 = 100_000;
/// Most bots.
pub const BOTS_MAX: u64 = 1_000;
/// Most months.
pub const MONTHS_MAX: u32 = 120;
/// Most connections.
pub const CONNECTIONS_MAX: u32 = 64;

/// Where history's tables are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A PostgreSQL server with the database `history`.
    Server(String),
    /// The data folder of `plazo up`, whether it runs or not.
    Folder(PathBuf),
}

/// What a seeding is asked to be.
#[derive(Debug, Clone)]
pub struct SeedOptions {
    /// Where the tables are.
    pub target: Target,
    /// Whose tickets these are.
    pub tenant_id: i64,
    /// How many tickets, 1 to [`TICKETS_MAX`].
    pub tickets: u64,
    /// How many contacts; none for a tenth of the tickets.
    pub contacts: Option<u64>,
    /// How many agents; none for one for each ten thousand tickets, at least twenty.
    pub agents: Option<u64>,
    /// How many bots, 1 to [`BOTS_MAX`].
    pub bots: u64,
    /// When the first ticket may be opened; none for `months` before `until`.
    pub from: Option<Timestamp>,
    /// Over how many months they are spread, 1 to [`MONTHS_MAX`].
    pub months: u32,
    /// When all are closed; none for now.
    pub until: Option<Timestamp>,
    /// What all random choices are made from.
    pub seed: u64,
    /// Whether the tenant may have tickets already.
    pub add: bool,
    /// The first ticket's id; none for the next partition that leaves a million ids free.
    pub first_ticket_id: Option<i64>,
    /// Connections that write side by side.
    pub connections: u32,
    /// The port of history, for the calls that are shown at the end.
    pub history_port: u16,
    /// Whether progress is left out.
    pub quiet: bool,
}

/// What can't be asked for.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{option} {problem}")]
pub struct OptionError {
    option: &'static str,
    problem: String,
}

/// What the options come to, but for the ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Amounts {
    /// Contacts.
    pub contacts: u64,
    /// Agents.
    pub agents: u64,
    /// The first instant, in microseconds since 1970.
    pub from_us: i64,
    /// The last one.
    pub until_us: i64,
}

impl SeedOptions {
    /// Fills in what was left out, and refuses what can't be done, with the name of the option. `now` is the instant of
    /// the database.
    pub fn amounts(&self, now: Timestamp) -> Result<Amounts, OptionError> {
        check(
            (1..=TICKETS_MAX).contains(&self.tickets),
            "--tickets",
            format!("must be 1 to {TICKETS_MAX}"),
        )?;
        let contacts = self.contacts.unwrap_or((self.tickets / 10).max(1));
        check(
            (1..=self.tickets).contains(&contacts),
            "--contacts",
            "must be 1 to the number of tickets, since each contact has one",
        )?;
        check(
            (1..=BOTS_MAX).contains(&self.bots),
            "--bots",
            format!("must be 1 to {BOTS_MAX}"),
        )?;
        let agents = self
            .agents
            .unwrap_or((self.tickets / 10_000).clamp(20, 2_000).max(self.bots));
        check(
            (self.bots..=AGENTS_MAX).contains(&agents),
            "--agents",
            format!("must be at least one for each bot and at most {AGENTS_MAX}"),
        )?;
        check(self.tenant_id > 0, "--tenant", "must be above zero")?;
        check(
            (1..=MONTHS_MAX).contains(&self.months),
            "--months",
            format!("must be 1 to {MONTHS_MAX}"),
        )?;
        check(
            (1..=CONNECTIONS_MAX).contains(&self.connections),
            "--connections",
            format!("must be 1 to {CONNECTIONS_MAX}"),
        )?;
        let is_id = self
            .first_ticket_id
            .is_none_or(|id| (1..=i64::MAX / 1_000).contains(&id));
        check(
            is_id,
            "--first-ticket",
            "must be above zero and not that high",
        )?;
        let (from_us, until_us) = self.span(now)?;
        Ok(Amounts {
            contacts,
            agents,
            from_us,
            until_us,
        })
    }

    /// From when until when, in whole minutes.
    fn span(&self, now: Timestamp) -> Result<(i64, i64), OptionError> {
        let until = self.until.unwrap_or(now);
        check(until <= now, "--until", "must not lie in the future")?;
        let from = if let Some(from) = self.from {
            from
        } else {
            let months = jiff::Span::new().months(i64::from(self.months));
            let before = until.to_zoned(TimeZone::UTC).checked_sub(months);
            before
                .map_err(|_| OptionError::new("--months", "leads to before the year 1"))?
                .timestamp()
        };
        let minutes = |at: Timestamp| at.as_second().div_euclid(60) * 60 * 1_000_000;
        let (from_us, until_us) = (minutes(from), minutes(until));
        check(
            until_us - from_us >= 24 * 3_600 * 1_000_000,
            "--from",
            "must be at least a day before the end",
        )?;
        Ok((from_us, until_us))
    }

    /// The world that these make, with these first ids.
    pub fn world(
        &self,
        amounts: Amounts,
        first_ticket_id: i64,
        first_contact_id: i64,
    ) -> WorldOptions {
        WorldOptions {
            seed: self.seed,
            tickets: self.tickets,
            contacts: amounts.contacts,
            agents: amounts.agents,
            bots: self.bots,
            first_ticket_id,
            first_contact_id,
            from_us: amounts.from_us,
            until_us: amounts.until_us,
        }
    }
}

impl OptionError {
    fn new(option: &'static str, problem: impl Into<String>) -> Self {
        Self {
            option,
            problem: problem.into(),
        }
    }
}

fn check(
    is_valid: bool,
    option: &'static str,
    problem: impl Into<String>,
) -> Result<(), OptionError> {
    if is_valid {
        return Ok(());
    }
    Err(OptionError::new(option, problem))
}
