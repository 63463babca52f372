//! The arguments of `plazo verify`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use plazo::verify::VerifyOptions;
use plazo_local::POSTGRES_USER;
use url::Url;

/// The line of `postmaster.pid`, from 0, that names the folder of the socket.
const SOCKET_LINE: usize = 4;

pub(crate) const VERIFY_ABOUT: &str = "\
Compare what a service has derived with the truth, row by row.

Prints the rows of each table, and the first differences without names and texts. Ends with exit code 0 only if there is no \
difference. Reads the databases and changes nothing; a cluster may go on working meanwhile.";

#[derive(Debug, Args)]
pub(crate) struct VerifyArguments {
    #[command(subcommand)]
    pub(crate) what: VerifyCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum VerifyCommand {
    /// Compare history with ticketing
    History(HistoryArguments),
}

#[derive(Debug, Args)]
pub(crate) struct HistoryArguments {
    /// Folder of a cluster that `plazo up` runs on this machine [default: plazo in your data folder]
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["ticketing_database_url", "history_database_url"])]
    data: Option<PathBuf>,
    /// Database of ticketing, as in <postgres://user:password@host:5432/ticketing>
    #[arg(long, value_name = "URL", requires = "history_database_url")]
    ticketing_database_url: Option<String>,
    /// Database of history
    #[arg(long, value_name = "URL", requires = "ticketing_database_url")]
    history_database_url: Option<String>,
    /// How long history may take to catch up, in seconds
    #[arg(long, value_name = "S", default_value_t = 60)]
    patience_s: u64,
}

impl HistoryArguments {
    pub(crate) fn to_options(&self) -> anyhow::Result<VerifyOptions> {
        let patience = Duration::from_secs(self.patience_s);
        if let (Some(ticketing_url), Some(history_url)) =
            (&self.ticketing_database_url, &self.history_database_url)
        {
            return Ok(VerifyOptions {
                ticketing_url: ticketing_url.clone(),
                history_url: history_url.clone(),
                patience,
            });
        }
        let folder = self.data.clone().or_else(plazo_local::default_data_folder);
        let folder = folder.ok_or_else(|| {
            anyhow::anyhow!("there is no home folder for the data: say with --data where they are")
        })?;
        let socket = socket_folder(&folder)?;
        Ok(VerifyOptions {
            ticketing_url: private_url(&socket, "ticketing")?,
            history_url: private_url(&socket, "history")?,
            patience,
        })
    }
}

/// Where the private server of a running cluster listens, as it says itself.
fn socket_folder(data: &Path) -> anyhow::Result<String> {
    let file = data.join("postgres/data/postmaster.pid");
    let said = std::fs::read_to_string(&file).with_context(|| {
        let file = file.display();
        format!("no cluster runs in {}: can't read {file}", data.display())
    })?;
    let folder = said.lines().nth(SOCKET_LINE).unwrap_or_default().trim();
    anyhow::ensure!(!folder.is_empty(), "{} names no socket", file.display());
    Ok(folder.to_owned())
}

fn private_url(socket: &str, database: &str) -> anyhow::Result<String> {
    let mut url = Url::parse(&format!(
        "postgres://{POSTGRES_USER}@localhost:5432/{database}"
    ))?;
    url.query_pairs_mut()
        .append_pair("host", socket)
        .append_pair("sslmode", "disable");
    Ok(url.into())
}
