//! What is checked of Redis: at the start, before anything is claimed, and now and then.

use redis::Value;

use crate::metrics::TimerMetrics;
use crate::shard::Layout;
use crate::store::{Command, Store, StoreError};

/// The oldest Redis whose scripts can say that they may exceed the memory limit.
const REDIS_MAJOR_MIN: u32 = 7;
/// The only policy that throws no entries away.
const POLICY: &str = "noeviction";

/// Why the timer refuses this Redis.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// It can't be asked.
    #[error("redis can't be checked: {0}")]
    Redis(String),
    /// It is too old.
    #[error("redis {version} at {address} is too old: {REDIS_MAJOR_MIN} or later is needed")]
    Version {
        /// Which server.
        address: String,
        /// What it says of itself.
        version: String,
    },
    /// It would throw entries away.
    #[error(
        "redis at {address} has maxmemory-policy {policy}, which throws entries away when memory runs out: set noeviction"
    )]
    Eviction {
        /// Which server.
        address: String,
        /// The policy that it has.
        policy: String,
    },
    /// The namespace was made with other numbers.
    #[error(
        "this namespace has {stored} shards/lanes, and the configuration says {configured}: \
         entries would not be found; restore the numbers, or use another timer.namespace"
    )]
    Layout {
        /// As stored in Redis.
        stored: String,
        /// As configured.
        configured: String,
    },
}

impl From<StoreError> for CheckError {
    fn from(error: StoreError) -> Self {
        Self::Redis(plazo_service::status::chain(&error))
    }
}

/// Refuses a Redis that would lose data, that is too old, or that holds the namespace in another layout; warns of one
/// that keeps nothing on disk. Every master is checked.
pub(crate) async fn check(store: &Store) -> Result<(), CheckError> {
    let sections = ["server", "memory", "persistence", "replication"];
    for (address, info) in infos(store, &sections).await {
        match info {
            Ok(info) => check_server(address, &info)?,
            // The others must not wait for it. It is checked when it is back, like any new master.
            Err(error) => {
                let error = plazo_service::status::chain(&error);
                tracing::warn!(address, error, "a redis can't be checked");
            }
        }
    }
    check_layout(store).await
}

fn check_server(address: String, info: &str) -> Result<(), CheckError> {
    let version = field(info, "redis_version").unwrap_or("unknown").to_owned();
    let major = version
        .split('.')
        .next()
        .and_then(|major| major.parse::<u32>().ok());
    if major.is_none_or(|major| major < REDIS_MAJOR_MIN) {
        return Err(CheckError::Version { address, version });
    }
    let policy = policy_of(info);
    if policy != POLICY {
        let policy = policy.to_owned();
        return Err(CheckError::Eviction { address, policy });
    }
    if field(info, "aof_enabled") != Some("1") {
        tracing::warn!(
            address,
            "redis keeps no append-only file: after each of its restarts all entries are rebuilt from their owner"
        );
    }
    let has_replicas = field(info, "connected_slaves").is_some_and(|count| count != "0");
    if has_replicas && field(info, "min_slaves_good_slaves").is_none() {
        tracing::warn!(
            address,
            "redis has replicas but no min-replicas-to-write: a fail-over may lose entries until they are rebuilt"
        );
    }
    Ok(())
}

/// Settings may change while the timer runs, and fail-overs bring masters that the start has not seen. Keeps the metric
/// that says so; returns what is wrong now, by server.
pub(crate) async fn watch(store: &Store, metrics: &TimerMetrics) -> Vec<(String, String)> {
    let mut wrong = Vec::new();
    for (address, info) in infos(store, &["memory"]).await {
        // One that can't be asked is noticed elsewhere.
        let Ok(info) = info else { continue };
        let policy = policy_of(&info);
        if policy != POLICY {
            wrong.push((address, policy.to_owned()));
        }
    }
    metrics.redis_unsafe.set(i64::from(!wrong.is_empty()));
    wrong
}

/// Stores the number of shards and lanes if nobody has, and compares.
async fn check_layout(store: &Store) -> Result<(), CheckError> {
    let layout: Layout = store.layout();
    let configured = format!("{}/{}", layout.shard_count(), layout.lane_count());
    let keys = store.keys();
    let mut set = redis::cmd("SET");
    set.arg(&keys.layout).arg(&configured).arg("NX");
    let mut get = redis::cmd("GET");
    get.arg(&keys.layout);
    let answers = store
        .connection()
        .run_all(&[set, get].map(|cmd| Command::plain(keys.route, cmd)))
        .await?;
    match answers.as_slice() {
        [_, Value::BulkString(stored)] if *stored == configured.as_bytes() => Ok(()),
        [_, Value::BulkString(stored)] => {
            let stored = String::from_utf8_lossy(stored).into_owned();
            Err(CheckError::Layout { stored, configured })
        }
        _ => Err(CheckError::Redis(
            "it did not keep the number of shards".to_owned(),
        )),
    }
}

/// What every master says of itself.
async fn infos(store: &Store, sections: &[&str]) -> Vec<(String, Result<String, StoreError>)> {
    let mut cmd = redis::cmd("INFO");
    cmd.arg(sections);
    let answers = store.connection().ask_masters(&cmd).await;
    answers
        .into_iter()
        .map(|(address, answer)| {
            let info = answer.and_then(|info| Ok(redis::from_redis_value(info)?));
            (address, info)
        })
        .collect()
}

fn policy_of(info: &str) -> &str {
    field(info, "maxmemory_policy").unwrap_or("unknown")
}

fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .map(str::trim)
}
