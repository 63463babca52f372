//! Cheap looks at all shards at once.

use tokio::time::Instant;

use super::{Answer, Command, Store, StoreError, integer_in, score_of_first, time_in};
use crate::shard::Shard;

/// What the claim loop wants to know of some shards.
#[derive(Debug)]
pub(crate) struct Look {
    /// The time of Redis, in Unix microseconds; none when no server answered. Where there are several, that of one of
    /// them; all instants here are by the same clock.
    pub(crate) redis_us: Option<i64>,
    /// For each shard that was looked at what was seen.
    pub(crate) shards: Vec<Result<ShardLook, StoreError>>,
}

/// What the claim loop wants to know of a shard.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ShardLook {
    /// The first entry, in Unix milliseconds.
    pub(crate) first_due_ms: Option<i64>,
    /// The end of the first lease, in Unix milliseconds, if asked for.
    pub(crate) first_lease_end_ms: Option<i64>,
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
    /// The first entry of each of the shards, and the end of its first lease if asked for.
    pub(crate) async fn look(&self, shards: &[Shard], with_leases: bool) -> Look {
        let sent_at = Instant::now();
        let mut commands: Vec<_> = shards
            .iter()
            .map(|shard| self.first_due_command(*shard))
            .collect();
        if with_leases {
            commands.extend(shards.iter().map(|shard| {
                let keys = self.keys().of(*shard);
                let mut cmd = redis::cmd("ZRANGE");
                cmd.arg(&keys.leases).arg(0).arg(0).arg("WITHSCORES");
                Command::plain(keys.route, cmd)
            }));
        }
        let attested = self
            .connection()
            .run_attested(&redis::cmd("TIME"), &commands)
            .await;
        let took = sent_at.elapsed();
        let times: Vec<_> = attested
            .servers
            .iter()
            .map(|time| time_in(time).ok())
            .collect();
        let redis_us = times.iter().copied().flatten().next();
        let mut answers = attested.answers.into_iter();
        let due: Vec<_> = answers.by_ref().take(shards.len()).collect();
        let mut leases = answers.fuse();
        let seen = shards.iter().zip(due).map(|(shard, due)| {
            let lease = leases.next();
            let (server, due) = due?;
            let time_us = times[server].ok_or(StoreError::Answer("TIME is no time"))?;
            let seen_us = redis_us.map_or(0, |redis_us| time_us - redis_us);
            let ahead_ms = self.clocks.note(*shard, seen_us, took) / 1_000;
            let first_lease_end_ms = match lease {
                None => None,
                Some(lease) => score_of_first(&lease?.1)?,
            };
            Ok(ShardLook {
                first_due_ms: score_of_first(&due)?.map(|due_ms| due_ms - ahead_ms),
                first_lease_end_ms: first_lease_end_ms.map(|end_ms| end_ms - ahead_ms),
            })
        });
        Look {
            shards: seen.collect(),
            redis_us,
        }
    }

    /// What is due and what has failed, shard by shard.
    pub(crate) async fn health(&self, now_ms: i64) -> Vec<Result<ShardHealth, StoreError>> {
        let mut commands = Vec::new();
        for shard in self.layout().shards() {
            let keys = self.keys().of(shard);
            let mut due = redis::cmd("ZCOUNT");
            due.arg(&keys.due).arg("-inf").arg(now_ms);
            let mut quarantined = redis::cmd("ZCARD");
            quarantined.arg(&keys.quarantine);
            let mut failed = redis::cmd("HLEN");
            failed.arg(&keys.attempts);
            commands.extend([due, quarantined, failed].map(|cmd| Command::plain(keys.route, cmd)));
        }
        let mut answers = self.connection().run(&commands).await.into_iter();
        let mut next = || match answers.next() {
            Some(answer) => integer_in(&answer?),
            None => Err(StoreError::Answer("too few answers")),
        };
        let health = self.layout().shards().map(|_| {
            let counts = [next(), next(), next()];
            let [due, quarantined, failed] = counts;
            let (due_count, quarantined_count, failed_count) = (due?, quarantined?, failed?);
            Ok(ShardHealth {
                due_count,
                quarantined_count,
                has_failures: quarantined_count > 0 || failed_count > 0,
            })
        });
        health.collect()
    }

    /// Makes quarantined members of each shard due again whose time to be tried again has come, at most `limit` of a
    /// shard. They keep so many failed attempts, so that one more sends them back. Returns how many. Shards that give no
    /// answer are passed over.
    pub(crate) async fn retry_quarantined(&self, failed_attempts: u32, limit: usize) -> i64 {
        let commands: Vec<_> = self
            .layout()
            .shards()
            .map(|shard| {
                let mut command = self.release_command(shard);
                command.arg(failed_attempts).arg(limit);
                command
            })
            .collect();
        let answers = self.connection().run(&commands).await;
        let count = |answer: Answer| integer_in(&answer.ok()?).ok();
        answers.into_iter().filter_map(count).sum()
    }

    pub(super) fn release_command(&self, shard: Shard) -> Command<'_> {
        let keys = self.keys().of(shard);
        Command::script(
            keys.route,
            &self.scripts.release,
            &[
                &keys.due,
                &keys.quarantine,
                &keys.quarantined,
                &keys.attempts,
            ],
        )
    }
}
