//! A private server with durable commits, and history on it, with a feed that the bench writes.

use std::path::PathBuf;

use plazo_local::{DataFolder, PostgresOptions, PostgresServer};
use plazo_tests::process::Service;
use plazo_tests::solo::Solo;
use sqlx::{Connection as _, PgConnection};

use crate::history::feed::Feed;
use crate::machine::{self, CpuSeconds};
use crate::report::Report;

/// The database, as `plazo seed` expects it.
pub(super) const DATABASE: &str = "history";

/// Settings that are not PostgreSQL's defaults. Commits are durable.
const SETTINGS: [(&str, &str); 6] = [
    ("max_wal_size", "2GB"),
    ("checkpoint_timeout", "30min"),
    ("log_checkpoints", "off"),
    // Tables are looked at once, after they were filled.
    ("autovacuum", "off"),
    // Tells in the log whose query a plan belongs to.
    ("log_line_prefix", "%m [%p] %a "),
    ("maintenance_work_mem", "512MB"),
];

/// The share of the machine's memory that is the server's own, which PostgreSQL's manual takes for reasonable.
const SHARED_BUFFERS_SHARE: u64 = 4;

/// What decides about durability and speed, for the report.
const TOLD_SETTINGS: [&str; 7] = [
    "server_version",
    "fsync",
    "synchronous_commit",
    "full_page_writes",
    "shared_buffers",
    "max_wal_size",
    "jit",
];

/// The server and the feed.
pub(super) struct Bed {
    postgres: PostgresServer,
    pub(super) feed: Feed,
}

impl Bed {
    /// Starts both; the server on a folder that stays, if there is one.
    pub(super) async fn start(folder: Option<PathBuf>) -> Self {
        let folder = folder.map_or(DataFolder::Temporary, DataFolder::Persistent);
        let mut options = PostgresOptions::new(folder);
        for (name, value) in SETTINGS {
            options = options.setting(name, value);
        }
        let shared_megabytes = (machine::memory_bytes() / SHARED_BUFFERS_SHARE) >> 20;
        options = options.setting("shared_buffers", format!("{shared_megabytes}MB"));
        let postgres = PostgresServer::start(options)
            .await
            .expect("PostgreSQL starts");
        postgres
            .create_database(DATABASE)
            .await
            .expect("a database can be made");
        Self {
            postgres,
            feed: Feed::start().await,
        }
    }

    /// Starts history.
    pub(super) async fn history(&self, more: &[(&str, String)]) -> Solo {
        let mut configuration = vec![
            ("DATABASE__URL", self.database_url()),
            ("DATABASE__MIGRATE", "true".to_owned()),
            (
                "TICKETING__ENDPOINT",
                format!("http://{}", self.feed.address),
            ),
        ];
        configuration.extend(more.iter().cloned());
        Solo::start(Service::History, &configuration).await
    }

    /// The URL of history's database.
    pub(super) fn database_url(&self) -> String {
        self.postgres.database_url(DATABASE)
    }

    /// A connection to it.
    pub(super) async fn connection(&self) -> PgConnection {
        PgConnection::connect(&self.database_url())
            .await
            .expect("the database can be reached")
    }

    /// What the server has logged.
    pub(super) fn log(&self) -> String {
        let bytes = std::fs::read(self.postgres.log_path()).expect("the server has a log");
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Reads what the server keeps, so that the system has it in memory, as far as that goes.
    pub(super) fn warm_up(&self) {
        let mut folders = vec![self.postgres.data_folder().join("base")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.is_dir() {
                    folders.push(path);
                } else if let Ok(mut file) = std::fs::File::open(&path) {
                    // A file that goes away meanwhile need not be warm.
                    let _ = std::io::copy(&mut file, &mut std::io::sink());
                }
            }
        }
    }

    /// Time of the cores that was taken by history, the server and this program.
    pub(super) fn cpu(&self, service: &Solo) -> CpuSeconds {
        let database = self.postgres.pid().expect("the server runs");
        CpuSeconds::read(
            service.pid(),
            u32::try_from(database).expect("ids of processes are above zero"),
        )
    }

    /// Settings into the report, and shown.
    pub(super) async fn describe(&self, report: &mut Report) {
        let mut connection = self.connection().await;
        let mut told = Vec::new();
        for name in TOLD_SETTINGS {
            let value: String = sqlx::query_scalar("SELECT current_setting($1)")
                .bind(name)
                .fetch_one(&mut connection)
                .await
                .expect("settings can be read");
            told.push(format!("{name} {value}"));
            report.set(&format!("postgres_{name}"), value);
        }
        println!("  PostgreSQL: {}", told.join(", "));
    }

    /// Ends the server.
    pub(super) async fn stop(mut self) {
        self.postgres.stop().await.expect("PostgreSQL ends");
    }
}
