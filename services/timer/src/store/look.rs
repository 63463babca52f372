//! Cheap looks at all shards at once.

use redis::Value;

use super::{Command, Store, StoreError, integer_in, score_of_first, time_in};
use crate::shard::Shard;

/// What the claim loop wants to know of all shards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Look {
    /// The time of Redis, in Unix microseconds.
    pub(crate) redis_us: i64,
    /// For each shard the first entry, in Unix milliseconds.
    pub(crate) first_due_ms: Vec<Option<i64>>,
    /// For each shard the end of the first lease, in Unix milliseconds. Empty unless asked for.
    pub(crate) first_lease_end_ms: Vec<Option<i64>>,
}

/// What the guard wants to know of a shard.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ShardHealth {
    /// Entries that are due.
    pub(crate) due_count: i64,
    /// Entries in quarantine.
    pub(crate) quarantined_count: i64,
    /// Whether there are entries that failed, in quarantine or not.
    pub(crate) has_failures: bool,
}

impl Store {
    /// The first entry of each shard, and the end of its first lease if asked for.
    pub(crate) async fn look(&self, with_leases: bool) -> Result<Look, StoreError> {
        let mut commands = vec![Command::plain(redis::cmd("TIME"))];
        commands.extend(
            self.layout()
                .shards()
                .map(|shard| self.first_due_command(shard)),
        );
        if with_leases {
            commands.extend(self.layout().shards().map(|shard| {
                let mut cmd = redis::cmd("ZRANGE");
                cmd.arg(&self.keys().of(shard).leases)
                    .arg(0)
                    .arg(0)
                    .arg("WITHSCORES");
                Command::plain(cmd)
            }));
        }
        let answers = self.connection().run_all(&commands).await?;
        let (time, firsts) = answers
            .split_first()
            .ok_or(StoreError::Answer("no answers"))?;
        let shard_count = usize::from(self.layout().shard_count());
        let (due, leases) = firsts.split_at(shard_count.min(firsts.len()));
        let read = |answers: &[Value]| {
            answers
                .iter()
                .map(score_of_first)
                .collect::<Result<Vec<_>, StoreError>>()
        };
        Ok(Look {
            redis_us: time_in(time)?,
            first_due_ms: read(due)?,
            first_lease_end_ms: read(leases)?,
        })
    }

    /// What is due and what has failed, shard by shard.
    pub(crate) async fn health(&self, now_ms: i64) -> Result<Vec<ShardHealth>, StoreError> {
        let mut commands = Vec::new();
        for shard in self.layout().shards() {
            let keys = self.keys().of(shard);
            let mut due = redis::cmd("ZCOUNT");
            due.arg(&keys.due).arg("-inf").arg(now_ms);
            let mut quarantined = redis::cmd("ZCARD");
            quarantined.arg(&keys.quarantine);
            let mut failed = redis::cmd("HLEN");
            failed.arg(&keys.attempts);
            commands.extend([due, quarantined, failed].map(Command::plain));
        }
        let answers = self.connection().run_all(&commands).await?;
        answers
            .chunks_exact(3)
            .map(|answers| {
                let quarantined_count = integer_in(&answers[1])?;
                Ok(ShardHealth {
                    due_count: integer_in(&answers[0])?,
                    quarantined_count,
                    has_failures: quarantined_count > 0 || integer_in(&answers[2])? > 0,
                })
            })
            .collect()
    }

    /// Makes quarantined members of each shard due again whose time to be tried again has come, at most `limit` of a
    /// shard. They keep so many failed attempts, so that one more sends them back. Returns how many.
    pub(crate) async fn retry_quarantined(
        &self,
        failed_attempts: u32,
        limit: usize,
    ) -> Result<i64, StoreError> {
        let commands: Vec<_> = self
            .layout()
            .shards()
            .map(|shard| {
                let mut command = self.release_command(shard);
                command.arg(failed_attempts).arg(limit);
                command
            })
            .collect();
        let answers = self.connection().run_all(&commands).await?;
        answers.iter().map(integer_in).sum()
    }

    pub(super) fn release_command(&self, shard: Shard) -> Command<'_> {
        let keys = self.keys().of(shard);
        Command::script(
            &self.scripts.release,
            &[
                &keys.due,
                &keys.quarantine,
                &keys.quarantined,
                &keys.attempts,
            ],
        )
    }

    /// Says that this replica is alive, unless the id is empty, and returns the ids of all that are.
    pub(crate) async fn heartbeat(
        &self,
        replica_id: &str,
        alive_ms: u64,
        kept_ms: u64,
    ) -> Result<Vec<String>, StoreError> {
        let mut command = Command::script(&self.scripts.heartbeat, &[&self.keys().replicas]);
        command.arg(replica_id).arg(alive_ms).arg(kept_ms);
        Ok(redis::from_redis_value(
            self.connection().run_one(command).await?,
        )?)
    }

    /// The ids of the replicas that are alive.
    pub(crate) async fn replicas(&self, alive_ms: u64) -> Result<Vec<String>, StoreError> {
        let oldest_ms = self.time_ms().await? - i64::try_from(alive_ms).unwrap_or(i64::MAX);
        let mut cmd = redis::cmd("ZRANGE");
        cmd.arg(&self.keys().replicas)
            .arg(oldest_ms)
            .arg("+inf")
            .arg("BYSCORE");
        Ok(redis::from_redis_value(
            self.connection().run_one(Command::plain(cmd)).await?,
        )?)
    }

    /// Takes this replica off the list of those that are alive.
    pub(crate) async fn leave(&self, replica_id: &str) -> Result<(), StoreError> {
        let mut cmd = redis::cmd("ZREM");
        cmd.arg(&self.keys().replicas).arg(replica_id);
        self.connection().run_one(Command::plain(cmd)).await?;
        Ok(())
    }
}
