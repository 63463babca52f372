//! What a cluster is made of.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use plazo_local::DataFolder;

/// The port of ticketing when none is given; the other services follow it.
pub const DEFAULT_PORT: u16 = 5001;
/// A service's metrics are served at its port plus this.
pub const METRICS_PORT_OFFSET: u16 = 4000;

/// One of the four services. They take consecutive ports in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Service {
    /// Owns the tickets.
    Ticketing,
    /// Reminds of deadlines.
    Timer,
    /// Sends active messages.
    Notification,
    /// Keeps what happened.
    History,
}

impl Service {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Ticketing,
        Self::Timer,
        Self::Notification,
        Self::History,
    ];

    /// As in `ticketing`: the name of its configuration and of its database.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ticketing => "ticketing",
            Self::Timer => "timer",
            Self::Notification => "notification",
            Self::History => "history",
        }
    }

    /// Its place in [`Self::ALL`].
    pub(super) const fn index(self) -> usize {
        self as usize
    }

    /// How far its ports are above the first ones.
    pub(super) const fn offset(self) -> u16 {
        self as u16
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// How to run a cluster.
#[derive(Debug, Clone)]
pub struct ClusterOptions {
    /// Where the private servers keep their data, in the sub-folders `postgres` and `redis`.
    pub data: DataFolder,
    /// The port of ticketing on 127.0.0.1; the other services have the next three, and the metrics those
    /// [`METRICS_PORT_OFFSET`] above. 0 takes free ports.
    pub port: u16,
    /// Whether commits survive a crash of the private PostgreSQL. False is faster, for tests.
    pub durable: bool,
    /// A PostgreSQL server to use instead of a private one, as in `postgres://user:password@host:5432`. Its user must
    /// be allowed to make the databases `ticketing`, `notification` and `history`, unless they are there.
    pub database_url: Option<String>,
    /// A Redis server to use instead of a private one, as in `redis://host:6379/0`.
    pub redis_url: Option<String>,
    /// More settings of the services, as environment variables: `PLAZO_TIMER__TIMER__LINGER_MS`. What the cluster
    /// itself decides (addresses, servers, migration) wins over them.
    pub environment: BTreeMap<String, String>,
}

impl ClusterOptions {
    /// Durable private servers with their data in a folder that stays; the default ports.
    pub fn persistent(folder: impl Into<PathBuf>) -> Self {
        Self {
            data: DataFolder::Persistent(folder.into()),
            port: DEFAULT_PORT,
            durable: true,
            database_url: None,
            redis_url: None,
            environment: BTreeMap::new(),
        }
    }

    /// For tests: private servers that leave nothing behind, and free ports. Not durable.
    pub fn temporary() -> Self {
        Self {
            data: DataFolder::Temporary,
            port: 0,
            durable: false,
            ..Self::persistent(PathBuf::new())
        }
    }

    /// The same with one more of [`environment`](Self::environment).
    #[must_use]
    pub fn setting(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.environment.insert(key.into(), value.into());
        self
    }
}
