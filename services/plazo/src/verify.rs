//! `plazo verify history`: compares history, row by row, with what ticketing's own tables say.
//!
//! The truth is read in a second way that shares nothing with history's projection: columns and messages by SQL from
//! ticketing's tables, and what only events tell by [`naive`], which looks at a ticket's whole story at once instead of
//! event by event. Tickets are taken in their order, some at a time, so that memory does not grow with their number.
//! Where both sides differ, the ticket is looked at again until they agree or patience is over: history is a moment behind.

mod contacts;
mod naive;
mod report;
mod shown;
mod truth;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sqlx::postgres::{PgPool, PgPoolOptions};
use tokio::time::{Instant, sleep};

use crate::sight::{self, BlindLogin, SightError};

pub use report::{Difference, TableCount, VerifyReport};

/// Tickets that are compared at a time.
const CHUNK: i64 = 200;
/// Tickets that may differ at first. More are not waited for: something is wrong with all, or too much is going on.
const MAX_OPEN: usize = 100_000;
/// Wait between two looks at what differs.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// What to compare.
#[derive(Debug, Clone)]
pub struct VerifyOptions {
    /// `postgres://` URL of ticketing's database.
    pub ticketing_url: String,
    /// `postgres://` URL of history's database.
    pub history_url: String,
    /// How long history may be behind.
    pub patience: Duration,
}

/// Why nothing could be compared.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// A database can't be reached or read.
    #[error("the database of {service} can't be read")]
    Database {
        /// Whose it is.
        service: &'static str,
        /// What the driver says.
        #[source]
        source: sqlx::Error,
    },
    /// With a login that sees one tenant, or none, both sides would agree whatever they have.
    #[error(transparent)]
    Blind(#[from] BlindLogin),
    /// An event can't be read.
    #[error("event {ticket_seq} of ticket {ticket_id} can't be read")]
    Event {
        /// The ticket.
        ticket_id: i64,
        /// The event's number.
        ticket_seq: i64,
    },
    /// Too many tickets differ to look at them again.
    #[error("more than {MAX_OPEN} tickets differ: history is far behind, or not of this ticketing")]
    TooMany,
}

impl VerifyError {
    /// Whether it is about what the caller asked for, and not about what happened.
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::Blind(_))
    }
}

/// A ticket: tenant and id.
type Key = (i64, i64);

/// A row of one of history's tables: the table, its ticket, and what tells it from the ticket's other rows (the event's
/// number or the agent; 0 where there is one).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct RowKey {
    table: &'static str,
    ticket: Key,
    part: i64,
}

/// The values of rows, by column.
type Rows = BTreeMap<RowKey, BTreeMap<&'static str, String>>;

/// Compares everything.
pub async fn run(options: &VerifyOptions) -> Result<VerifyReport, VerifyError> {
    let ticketing = connect(&options.ticketing_url, "ticketing", "public").await?;
    let history = connect(&options.history_url, "history", "public,projection").await?;
    let verifier = Verifier { ticketing, history };
    let mut report = VerifyReport::default();
    let deadline = Instant::now() + options.patience;
    let mut open = verifier.compare_all(&mut report).await?;
    while !open.is_empty() {
        let is_last = Instant::now() >= deadline;
        open = verifier.compare_again(open, is_last, &mut report).await?;
        if !open.is_empty() {
            sleep(LOOK_AGAIN).await;
        }
    }
    contacts::compare(&verifier.history, deadline, &mut report).await?;
    Ok(report)
}

async fn connect(
    url: &str,
    service: &'static str,
    search_path: &str,
) -> Result<PgPool, VerifyError> {
    let failed = |source| VerifyError::Database { service, source };
    let options: sqlx::postgres::PgConnectOptions = url.parse().map_err(failed)?;
    let options = options.options([("search_path", search_path)]);
    let pool = PgPoolOptions::new().max_connections(2);
    let pool = pool.connect_with(options).await.map_err(failed)?;
    match sight::check(&pool, service).await {
        Ok(()) => Ok(pool),
        Err(SightError::Blind(blind)) => Err(blind.into()),
        Err(SightError::Database(source)) => Err(failed(source)),
    }
}

/// Both databases.
struct Verifier {
    ticketing: PgPool,
    history: PgPool,
}

impl Verifier {
    /// Compares all tickets of either side; tells which differ.
    async fn compare_all(&self, report: &mut VerifyReport) -> Result<BTreeSet<Key>, VerifyError> {
        let mut open = BTreeSet::new();
        let mut after = (0, 0);
        loop {
            let truth = truth::next_keys(&self.ticketing, after, CHUNK).await?;
            let shown = shown::next_keys(&self.history, after, CHUNK).await?;
            // Beyond the last one of a full list there may be more of that side.
            let limit = [&truth, &shown]
                .into_iter()
                .filter(|keys| keys.len() >= usize::try_from(CHUNK).unwrap_or(usize::MAX))
                .filter_map(|keys| keys.last().copied())
                .min();
            let keys: BTreeSet<Key> = truth.into_iter().chain(shown).collect();
            let keys: Vec<Key> = match limit {
                Some(limit) => keys.into_iter().filter(|key| *key <= limit).collect(),
                None => keys.into_iter().collect(),
            };
            let Some(last) = keys.last().copied() else {
                return Ok(open);
            };
            open.extend(self.compare(&keys, false, report).await?);
            if open.len() > MAX_OPEN {
                return Err(VerifyError::TooMany);
            }
            if limit.is_none() {
                return Ok(open);
            }
            after = last;
        }
    }

    /// Compares tickets once more; what still differs goes to the report if this was the last time.
    async fn compare_again(
        &self,
        keys: BTreeSet<Key>,
        is_last: bool,
        report: &mut VerifyReport,
    ) -> Result<BTreeSet<Key>, VerifyError> {
        let keys: Vec<Key> = keys.into_iter().collect();
        let mut open = BTreeSet::new();
        for chunk in keys.chunks(usize::try_from(CHUNK).unwrap_or(1)) {
            open.extend(self.compare(chunk, is_last, report).await?);
        }
        Ok(open)
    }

    /// Compares these tickets. Those that agree are counted; the others are told, or counted too when this is the last
    /// time.
    async fn compare(
        &self,
        keys: &[Key],
        is_last: bool,
        report: &mut VerifyReport,
    ) -> Result<BTreeSet<Key>, VerifyError> {
        let mut truth = truth::rows(&self.ticketing, keys).await?;
        let shown = shown::rows(&self.history, keys).await?;
        let known: BTreeSet<Key> = shown.keys().map(|key| key.ticket).collect();
        let unknown: Vec<Key> = keys
            .iter()
            .copied()
            .filter(|key| !known.contains(key))
            .collect();
        let forgotten = shown::forgotten(&self.history, &unknown).await?;
        report.forgotten += forgotten.len();
        truth.retain(|key, _| !forgotten.contains(&key.ticket));

        let mut open = BTreeSet::new();
        if !is_last {
            let all: BTreeSet<RowKey> = truth.keys().chain(shown.keys()).copied().collect();
            let differing = all
                .into_iter()
                .filter(|key| truth.get(key) != shown.get(key));
            open.extend(differing.map(|key| key.ticket));
        }
        let counted = |rows: Rows| -> Rows {
            let kept = rows.into_iter();
            kept.filter(|(key, _)| !open.contains(&key.ticket))
                .collect()
        };
        report.count(&counted(truth), &counted(shown));
        Ok(open)
    }
}
