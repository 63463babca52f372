//! The timer's entries in Redis.
//!
//! The invariant, which arming, claiming, acknowledging and repairing keep together: *for each ticket with a next due
//! instant whose generation is armed, Redis holds (ticket, generation) in `due` at a score at or below that instant,
//! or in a lease.* An entry that is too early, twice or stale costs one look-up; one that is missing or too late is a
//! lost deadline.

mod arm;
mod claim;
mod clocks;
mod connection;
mod epoch;
mod error;
mod inspect;
mod look;
mod replicas;
#[cfg(test)]
mod tests;

use connection::Answer;
use redis::Value;

pub(crate) use arm::{Arm, ArmCounts, Armed, Repaired};
pub(crate) use claim::{Ack, Claim, ClaimRules, Claimed, ClaimedEntry, LeaseId};
pub(crate) use connection::{Command, Connection, Lua, Route, Target, slot_of};
pub(crate) use epoch::{Epoch, EpochChange, EpochState, FoundEpoch, Identity};
pub(crate) use error::StoreError;
pub(crate) use inspect::{EntryList, EntryPosition, FoundCounts, StoredEntry, StoredState};
#[cfg(test)]
pub(crate) use look::ShardLook;
pub(crate) use look::{Look, ShardHealth};

use clocks::NodeClocks;

use crate::config::Config;
use crate::entry::parse_score;
use crate::keys::Keys;
use crate::metrics::TimerMetrics;
use crate::shard::{Layout, Shard};

/// The scripts, by the names of their files.
#[derive(Debug)]
struct Scripts {
    claim: Lua,
    ack: Lua,
    repair: Lua,
    release: Lua,
    give_back: Lua,
    epoch: Lua,
    heartbeat: Lua,
    leave: Lua,
}

impl Scripts {
    fn new() -> Self {
        Self {
            claim: Lua::new(include_str!("lua/claim.lua")),
            ack: Lua::new(include_str!("lua/ack.lua")),
            repair: Lua::new(include_str!("lua/repair.lua")),
            release: Lua::new(include_str!("lua/release.lua")),
            give_back: Lua::new(include_str!("lua/give_back.lua")),
            epoch: Lua::new(include_str!("lua/epoch.lua")),
            heartbeat: Lua::new(include_str!("lua/heartbeat.lua")),
            leave: Lua::new(include_str!("lua/leave.lua")),
        }
    }
}

/// The entries of one namespace.
#[derive(Debug)]
pub(crate) struct Store {
    connection: Connection,
    clocks: NodeClocks,
    keys: Keys,
    layout: Layout,
    scripts: Scripts,
}

impl Store {
    /// Connects to Redis.
    pub(crate) async fn open(config: &Config, metrics: TimerMetrics) -> Result<Self, StoreError> {
        let layout = config.timer.layout();
        let keys = Keys::new(&config.timer.namespace, layout.shard_count());
        let shards = layout.shards().map(|shard| {
            let keys = keys.of(shard);
            (keys.route, keys.epoch.clone())
        });
        Ok(Self {
            connection: Connection::open(&config.redis, shards.collect(), metrics).await?,
            clocks: NodeClocks::new(layout.shard_count()),
            keys,
            layout,
            scripts: Scripts::new(),
        })
    }

    /// Whether all shards are on one server, so that they can be served together or not at all.
    pub(crate) fn is_one_server(&self) -> bool {
        self.connection.is_one_server()
    }

    /// Puts together what belongs to shards of the same server.
    pub(crate) fn by_server<T>(
        &self,
        things: Vec<T>,
        shard_of: impl Fn(&T) -> Shard,
    ) -> Vec<Vec<T>> {
        self.connection
            .by_server(things, |thing| self.keys.of(shard_of(thing)).route.slot)
    }

    /// The number of shards and lanes.
    pub(crate) fn layout(&self) -> Layout {
        self.layout
    }

    pub(crate) fn keys(&self) -> &Keys {
        &self.keys
    }

    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }
}

/// A score in an answer; none for nil.
fn score_in(value: &Value) -> Result<Option<i64>, StoreError> {
    match value {
        Value::Nil => Ok(None),
        Value::BulkString(text) => parse_score(text)
            .map(Some)
            .ok_or(StoreError::Answer("a score that is no number")),
        _ => Err(StoreError::Answer("a score that is no string")),
    }
}

/// The score in the answer of a ZRANGE of one member WITHSCORES; none when there is no member.
fn score_of_first(value: &Value) -> Result<Option<i64>, StoreError> {
    match value {
        Value::Array(items) => items.get(1).map_or(Ok(None), score_in),
        _ => Err(StoreError::Answer("no list")),
    }
}

fn integer_in(value: &Value) -> Result<i64, StoreError> {
    match value {
        Value::Int(number) => Ok(*number),
        _ => Err(StoreError::Answer("no number")),
    }
}

fn list_in(value: Value) -> Result<Vec<Value>, StoreError> {
    match value {
        Value::Array(items) => Ok(items),
        _ => Err(StoreError::Answer("no list")),
    }
}

fn bytes_in(value: Value) -> Result<Vec<u8>, StoreError> {
    match value {
        Value::BulkString(bytes) => Ok(bytes),
        Value::SimpleString(text) => Ok(text.into_bytes()),
        _ => Err(StoreError::Answer("no string")),
    }
}

/// The answer of TIME, in Unix microseconds.
fn time_in(value: &Value) -> Result<i64, StoreError> {
    let (seconds, micros): (i64, i64) = redis::from_redis_value_ref(value)?;
    Ok(seconds * 1_000_000 + micros)
}

/// A count of things in memory as a count in metrics and protos.
pub(crate) fn count(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}
