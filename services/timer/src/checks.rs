//! What is checked at the start, before anything is claimed.

use redis::Value;

use crate::shard::Layout;
use crate::store::{Command, Store, StoreError};

/// The oldest Redis whose scripts can say that they may exceed the memory limit.
const REDIS_MAJOR_MIN: u32 = 7;

/// Why the timer refuses this Redis.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// It can't be asked.
    #[error("redis can't be checked: {0}")]
    Redis(String),
    /// It is too old.
    #[error("redis {version} is too old: {REDIS_MAJOR_MIN} or later is needed")]
    Version {
        /// What it says of itself.
        version: String,
    },
    /// It would throw entries away.
    #[error(
        "redis has maxmemory-policy {policy}, which throws entries away when memory runs out: set noeviction"
    )]
    Eviction {
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
/// that keeps nothing on disk.
pub(crate) async fn check(store: &Store) -> Result<(), CheckError> {
    let info = info(store, &["server", "memory", "persistence", "replication"]).await?;
    let version = field(&info, "redis_version")
        .unwrap_or("unknown")
        .to_owned();
    let major = version
        .split('.')
        .next()
        .and_then(|major| major.parse::<u32>().ok());
    if major.is_none_or(|major| major < REDIS_MAJOR_MIN) {
        return Err(CheckError::Version { version });
    }
    let policy = field(&info, "maxmemory_policy").unwrap_or("unknown");
    if policy != "noeviction" {
        return Err(CheckError::Eviction {
            policy: policy.to_owned(),
        });
    }
    if field(&info, "aof_enabled") != Some("1") {
        tracing::warn!(
            "redis keeps no append-only file: after each of its restarts all entries are rebuilt from their owner"
        );
    }
    let has_replicas = field(&info, "connected_slaves").is_some_and(|count| count != "0");
    if has_replicas && field(&info, "min_slaves_good_slaves").is_none() {
        tracing::warn!(
            "redis has replicas but no min-replicas-to-write: a fail-over may lose entries until they are rebuilt"
        );
    }
    check_layout(store).await
}

/// Stores the number of shards and lanes if nobody has, and compares.
async fn check_layout(store: &Store) -> Result<(), CheckError> {
    let layout: Layout = store.layout();
    let configured = format!("{}/{}", layout.shard_count(), layout.lane_count());
    let mut set = redis::cmd("SET");
    set.arg(&store.keys().layout).arg(&configured).arg("NX");
    let mut get = redis::cmd("GET");
    get.arg(&store.keys().layout);
    let answers = store
        .connection()
        .run_all(&[Command::plain(set), Command::plain(get)])
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

async fn info(store: &Store, sections: &[&str]) -> Result<String, CheckError> {
    let mut cmd = redis::cmd("INFO");
    cmd.arg(sections);
    let answer = store.connection().run_one(Command::plain(cmd)).await?;
    redis::from_redis_value(answer).map_err(|error| StoreError::from(error).into())
}

fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .map(str::trim)
}
