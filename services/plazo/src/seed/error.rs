//! Why tables could not be seeded.

use std::path::PathBuf;

use plazo_local::LocalError;

use super::options::OptionError;
use crate::sight::{BlindLogin, SightError};

/// Why tables could not be seeded. Batches that were committed before stay.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SeedError {
    /// Something is asked for that can't be done.
    #[error(transparent)]
    Option(#[from] OptionError),
    /// Not the URL of a PostgreSQL server.
    #[error("--database-url is no URL like postgres://user:password@host:5432")]
    DatabaseUrl(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// There is no cluster in the folder.
    #[error("there is no cluster in {}: start one with `plazo up`, or say with --data or --database-url where it is", .0.display())]
    NoCluster(PathBuf),
    /// The cluster's server could not be started.
    #[error(transparent)]
    Local(#[from] LocalError),
    /// The server has no tables of history.
    #[error(
        "the database `history` has no tables of history: start the cluster once, so that it makes them"
    )]
    NoTables,
    /// What the login does not see may be there, and can't be written.
    #[error(transparent)]
    Blind(#[from] BlindLogin),
    /// Somebody's data are there.
    #[error(
        "tenant {0} has tickets or contacts already: take another one with --tenant, or add to it with --add, unless its data are of worth"
    )]
    TenantHasData(i64),
    /// Ticket ids are taken.
    #[error(
        "there are tickets with ids from {0} on already: leave --first-ticket out, or take a higher id"
    )]
    TicketsExist(i64),
    /// The database failed.
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
    /// A batch could not be made.
    #[error("a batch could not be made")]
    Batch(#[from] tokio::task::JoinError),
    /// Signals can't be received.
    #[error("can't receive signals")]
    Signals(#[source] std::io::Error),
    /// Somebody did not want to wait for the end of the batches.
    #[error("interrupted; the contacts of the tickets that were written are missing")]
    Interrupted,
}

impl From<SightError> for SeedError {
    fn from(error: SightError) -> Self {
        match error {
            SightError::Blind(blind) => Self::Blind(blind),
            SightError::Database(error) => Self::Database(error),
        }
    }
}

impl SeedError {
    /// Whether it is about what the caller asked for, and not about what happened.
    pub fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::Option(_) | Self::DatabaseUrl(_) | Self::Blind(_)
        )
    }
}
