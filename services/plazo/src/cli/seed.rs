//! The arguments of `plazo seed`.

use std::path::PathBuf;

use clap::Args;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use plazo::cluster::DEFAULT_PORT;
use plazo::seed::options::{DEFAULT_TENANT, SeedOptions, Target};

use super::UsageError;

/// History's port is so far above ticketing's.
const HISTORY_OFFSET: u16 = 3;

pub(crate) const SEED_ABOUT: &str = "\
Fill history with closed tickets of the past, to try reports and searches with.

Writes straight into the tables of a cluster's history, by COPY: tickets with their conversations, stages, agents and \
contacts, and what is needed to look at them at once: the history is enabled for the bots and granted to nine of ten \
agents. Ticketing and the other services know nothing of these tickets. So this is for a cluster to try things with: when \
the history is built anew from ticketing, they are gone.";

pub(crate) const SEED_MORE: &str = "\
The cluster may run or not; it must have been started once. Without --database-url, the tables are those of `plazo up` in \
its data folder.

Ticket ids begin at a multiple of a million that leaves at least a million ids to the tickets that ticketing opens. \
--first-ticket leaves it more; the history makes a partition for each million below.

The same options with the same --seed, --until and --tenant give the same data. Bots have the ids 1 to --bots, agents 1 to \
--agents, so the tenant had better be one that ticketing does not have.

Ctrl-C ends it after the batches under way, with their contacts; a second one at once.

Examples:
  plazo seed
  plazo seed --tickets 10000000 --contacts 1000000 --months 36
  plazo seed --tenant 2000 --tickets 50000 --from 2026-01-01 --until 2026-04-01 --seed 7
  plazo seed --add --tickets 100000 --months 1 --seed 2
  plazo seed --database-url postgres://plazo:secret@db:5432";

#[derive(Debug, Args)]
pub(crate) struct SeedArguments {
    /// How many tickets
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    tickets: u64,
    /// How many contacts; each has a ticket, some have many [default: a tenth of the tickets]
    #[arg(long, value_name = "N")]
    contacts: Option<u64>,
    /// How many agents [default: one for ten thousand tickets, at least 20, at most 2,000]
    #[arg(long, value_name = "N")]
    agents: Option<u64>,
    /// How many bots, each with three queues
    #[arg(long, value_name = "N", default_value_t = 8)]
    bots: u64,
    /// Whose tickets they are
    #[arg(long, value_name = "ID", default_value_t = DEFAULT_TENANT)]
    tenant: i64,
    /// When the first one is opened, as in 2026-01-31 (UTC) [default: --months before --until]
    #[arg(long, value_name = "DATE", value_parser = parse_date, conflicts_with = "months")]
    from: Option<Timestamp>,
    /// Over how many months they are spread
    #[arg(long, value_name = "N", default_value_t = 24)]
    months: u32,
    /// When all of them are closed, as in 2026-01-31 or 2026-01-31T12:00Z [default: now]
    #[arg(long, value_name = "DATE", value_parser = parse_date)]
    until: Option<Timestamp>,
    /// What all random choices are made from: the same seed, the same data
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Add to what the tenant has
    #[arg(long)]
    add: bool,
    /// Give the tickets this id and those after it
    #[arg(long, value_name = "ID")]
    first_ticket: Option<i64>,
    /// The data folder of the cluster [default: plazo in your data folder, /var/lib/plazo for root]
    #[arg(long, value_name = "FOLDER", conflicts_with = "database_url")]
    data: Option<PathBuf>,
    /// The PostgreSQL server of the cluster, as in <postgres://user:password@host:5432>
    #[arg(long, value_name = "URL")]
    database_url: Option<String>,
    /// Connections that write side by side
    #[arg(long, value_name = "N", default_value_t = 3)]
    connections: u32,
    /// Port of ticketing, as given to `plazo up`, for the calls that are shown at the end
    #[arg(long, value_name = "BASE", default_value_t = DEFAULT_PORT, value_parser = clap::value_parser!(u16).range(1..65_000))]
    port: u16,
    /// Show no progress
    #[arg(long)]
    pub(crate) quiet: bool,
}

impl SeedArguments {
    pub(crate) fn into_options(self) -> Result<SeedOptions, UsageError> {
        let target = if let Some(url) = self.database_url {
            Target::Server(url)
        } else {
            let folder = self.data.or_else(plazo_local::default_data_folder);
            Target::Folder(folder.ok_or(UsageError::NoDataFolder)?)
        };
        Ok(SeedOptions {
            target,
            tenant_id: self.tenant,
            tickets: self.tickets,
            contacts: self.contacts,
            agents: self.agents,
            bots: self.bots,
            from: self.from,
            months: self.months,
            until: self.until,
            seed: self.seed,
            add: self.add,
            first_ticket_id: self.first_ticket,
            connections: self.connections,
            history_port: self.port + HISTORY_OFFSET,
            quiet: self.quiet,
        })
    }
}

/// A date, which begins at midnight UTC, or an instant.
fn parse_date(text: &str) -> Result<Timestamp, String> {
    if let Ok(instant) = text.parse::<Timestamp>() {
        return Ok(instant);
    }
    let date = text.parse::<Date>().ok();
    let begin = date.and_then(|date| date.to_zoned(TimeZone::UTC).ok());
    begin
        .map(|begin| begin.timestamp())
        .ok_or_else(|| "is no date, as in 2026-01-31".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_instants_are_read() {
        for (text, expected) in [
            ("2026-01-31", "2026-01-31T00:00:00Z"),
            ("2026-01-31T12:30Z", "2026-01-31T12:30:00Z"),
        ] {
            let expected: Timestamp = expected.parse().expect("an instant");
            assert_eq!(parse_date(text), Ok(expected));
        }
        for wrong in ["", "yesterday", "2026-02-30"] {
            assert!(parse_date(wrong).is_err(), "{wrong}");
        }
    }
}
