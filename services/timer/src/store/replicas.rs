//! The list of replicas.
//!
//! A replica is on the list `replicas` while it watches over Redis and claims, and on the list `leaving` from the start of
//! its shutdown until its last ack. So three things can be told apart, and must be: *whoever starts while nobody is on
//! `replicas` can't know what happened to Redis, and rebuilds*; *whoever starts while nobody is on either list knows that no
//! lease will be acked any more, and ends them all*; and *shards are divided among those on `replicas` alone*, so that others
//! take over from a replica at the start of its shutdown and not at its end.

use super::{Command, Store, StoreError, integer_in, list_in};

/// Who is there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Presence {
    /// The ids of those that are alive, and not about to end.
    pub(crate) alive: Vec<String>,
    /// The number of those that are about to end.
    pub(crate) leaving: i64,
}

impl Store {
    /// Says that this replica is alive, unless the id is empty, and returns who is there.
    pub(crate) async fn heartbeat(
        &self,
        replica_id: &str,
        alive_ms: u64,
        kept_ms: u64,
    ) -> Result<Presence, StoreError> {
        let keys = [&*self.keys().replicas, &*self.keys().leaving];
        let mut command = Command::script(self.keys().route, &self.scripts.heartbeat, &keys);
        command.arg(replica_id).arg(alive_ms).arg(kept_ms);
        let answer = list_in(self.connection().run_one(command).await?)?;
        match answer.as_slice() {
            [alive, leaving] => Ok(Presence {
                alive: redis::from_redis_value_ref(alive)?,
                leaving: integer_in(leaving)?,
            }),
            _ => Err(StoreError::Answer(
                "a heartbeat's answer of the wrong length",
            )),
        }
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
            self.connection()
                .run_one(Command::plain(self.keys().route, cmd))
                .await?,
        )?)
    }

    /// This replica is about to end: it claims nothing more, but may ack what it holds for so long.
    pub(crate) async fn begin_leaving(
        &self,
        replica_id: &str,
        left_ms: u64,
    ) -> Result<(), StoreError> {
        self.leave_within(replica_id, left_ms.max(1)).await
    }

    /// This replica has ended.
    pub(crate) async fn leave(&self, replica_id: &str) -> Result<(), StoreError> {
        self.leave_within(replica_id, 0).await
    }

    async fn leave_within(&self, replica_id: &str, left_ms: u64) -> Result<(), StoreError> {
        let keys = [&*self.keys().replicas, &*self.keys().leaving];
        let mut command = Command::script(self.keys().route, &self.scripts.leave, &keys);
        command.arg(replica_id).arg(left_ms);
        self.connection().run_one(command).await?;
        Ok(())
    }
}
