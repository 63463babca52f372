//! Other queues of delayed jobs, measured in the same rounds: BullMQ on a Redis, and graphile-worker on a PostgreSQL,
//! of the same settings as ours. They are there when Node and npm are and the packages can be installed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use plazo_local::{RedisOptions, RedisServer};
use plazo_tests::resp::Resp;
use tokio::process::Command;

use crate::Options;
use crate::machine::cpu_seconds_of;
use crate::ticketing::bed::Bed as DatabaseBed;
use crate::timer::bed::{lead_ms, now_ms};
use crate::timer::recorder::{Recorder, Seen};

/// How long installing may take.
const INSTALL_BOUND: Duration = Duration::from_mins(2);
/// What is added comes within this.
const BOUND: Duration = Duration::from_mins(3);
/// Jobs a second that can surely be added, before it is known how many can.
const ADDS_PER_S_AT_FIRST: f64 = 3_000.0;
/// Jobs that each has handled before it is measured: its code is compiled by then.
const WARM_UP: usize = 3_000;

/// The folder with the scripts.
const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/bench/peers");

/// A peer: what adds jobs, and what works on them.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) producer: Recorder,
    pub(super) worker: Recorder,
    adds_per_s: f64,
}

/// What came of some jobs.
pub(super) struct Fired {
    /// When the first was due, in milliseconds since 1970.
    pub(super) first_ms: i64,
    /// Jobs added in a second.
    pub(super) adds_per_s: f64,
    /// What the worker saw.
    pub(super) seen: Vec<Seen>,
    /// Time that the worker took of the cores.
    pub(super) worker_cpu_s: f64,
}

/// The peers that are there.
pub(super) struct Peers {
    pub(super) bullmq: Option<Peer>,
    pub(super) graphile: Option<Peer>,
    redis: Option<RedisServer>,
}

impl Peers {
    /// Installs and starts them, or says in a line why they are left out.
    pub(super) async fn start(options: &Options, database: &DatabaseBed) -> Self {
        let mut peers = Self {
            bullmq: None,
            graphile: None,
            redis: None,
        };
        if let Err(problem) = peers.try_start(options, database).await {
            println!("  without BullMQ and graphile-worker: {problem}");
        }
        peers
    }

    async fn try_start(&mut self, options: &Options, database: &DatabaseBed) -> Result<(), String> {
        let (node, folder) = install(&options.folder.join("peers")).await?;
        let redis = RedisServer::start(RedisOptions::temporary())
            .await
            .map_err(|error| error.to_string())?;
        let socket = redis.socket_path().display().to_string();
        self.bullmq = Some(Peer::start(&node, &folder, "bullmq.mjs", &socket).await?);
        self.redis = Some(redis);
        database.create_database("graphile").await;
        let url = database.database_url("graphile");
        self.graphile = Some(Peer::start(&node, &folder, "graphile.mjs", &url).await?);
        Ok(())
    }

    /// A bare connection to BullMQ's Redis.
    pub(super) fn resp(&self) -> Option<Resp> {
        let redis = self.redis.as_ref()?;
        Some(Resp::connect(&redis.socket_path()))
    }

    /// Ends them.
    pub(super) async fn stop(self) {
        drop((self.bullmq, self.graphile));
        if let Some(mut redis) = self.redis {
            redis.stop().await.expect("Redis ends");
        }
    }
}

impl Peer {
    async fn start(node: &Path, folder: &Path, script: &str, server: &str) -> Result<Self, String> {
        // The producer first: it makes the tables.
        let producer = Recorder::start(node, &[script, "producer", server], folder).await?;
        let worker = Recorder::start(node, &[script, "worker", server], folder).await?;
        let mut peer = Self {
            producer,
            worker,
            adds_per_s: ADDS_PER_S_AT_FIRST,
        };
        peer.fire(WARM_UP, 0).await;
        Ok(peer)
    }

    /// Adds so many jobs, due evenly over a span that begins after the adding, and waits until all have been handled.
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    pub(super) async fn fire(&mut self, count: usize, span_ms: i64) -> Fired {
        loop {
            let cpu_before = cpu_seconds_of(self.worker.pid());
            let first_ms = now_ms() + lead_ms(count, self.adds_per_s);
            let seconds = self
                .producer
                .ask(&format!("add {count} {first_ms} {span_ms}"))
                .await;
            let is_in_time = now_ms() + 100 < first_ms;
            self.adds_per_s = count as f64 / seconds;
            let seen = self.worker.seen(count, BOUND).await;
            // Added too slowly, it was something else that was measured.
            if is_in_time {
                return Fired {
                    first_ms,
                    adds_per_s: self.adds_per_s,
                    seen,
                    worker_cpu_s: cpu_seconds_of(self.worker.pid()) - cpu_before,
                };
            }
        }
    }
}

/// Puts the scripts and their packages into the folder; returns where Node is, and the folder.
async fn install(folder: &Path) -> Result<(PathBuf, PathBuf), String> {
    let node = PathBuf::from("node");
    let mut version = Command::new(&node);
    version.arg("--version");
    run(version, "Node is not there").await?;
    std::fs::create_dir_all(folder).map_err(|error| error.to_string())?;
    // Only whole installations have it.
    let stamp = folder.join("node_modules/.complete");
    let mut is_same = stamp.is_file();
    let scripts = std::fs::read_dir(SCRIPTS).map_err(|error| error.to_string())?;
    for script in scripts.flatten() {
        let copy = folder.join(script.file_name());
        let text = std::fs::read(script.path()).map_err(|error| error.to_string())?;
        let is_list = script.file_name() == "package-lock.json";
        is_same &= !is_list || std::fs::read(&copy).is_ok_and(|before| before == text);
        std::fs::write(copy, text).map_err(|error| error.to_string())?;
    }
    if !is_same {
        let mut npm = Command::new("npm");
        npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
            .current_dir(folder);
        run(npm, "npm can't install them").await?;
        std::fs::write(stamp, "").map_err(|error| error.to_string())?;
    }
    Ok((node, folder.to_owned()))
}

async fn run(mut command: Command, problem: &str) -> Result<(), String> {
    let output = command.kill_on_drop(true).output();
    match tokio::time::timeout(INSTALL_BOUND, output).await {
        Ok(Ok(output)) if output.status.success() => Ok(()),
        Ok(Ok(output)) => {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            let line = said.lines().find(|line| line.contains("error"));
            Err(format!("{problem}: {}", line.unwrap_or("no reason given")))
        }
        Ok(Err(error)) => Err(format!("{problem}: {error}")),
        Err(_) => Err(format!("{problem} within {INSTALL_BOUND:?}")),
    }
}
