//! The epoch of a shard: what tells whether Redis still has what it was given.

use redis::Value;

use super::{Command, Store, StoreError, integer_in, list_in};
use crate::shard::Shard;

/// Which Redis server answers, and which history its data belong to: `run_id` and `master_replid`. A restart, a
/// fail-over and a swapped data set change it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Identity(String);

impl Identity {
    /// The identity in the answer of INFO.
    fn of_info(info: &str) -> Option<Self> {
        let field = |name: &str| {
            info.lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
                .map(str::trim)
                .filter(|value| !value.is_empty() && !value.contains(' '))
        };
        Some(Self(format!(
            "{}/{}",
            field("run_id")?,
            field("master_replid")?
        )))
    }
}

/// Whether the entries of a shard are complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum EpochState {
    /// A rebuild has ended, or nothing was ever lost.
    Complete,
    /// A rebuild is under way: this nonce, which begins with the id of the replica that makes it.
    Rebuilding(String),
}

/// The value of a shard's epoch key, as in `1 RUN/REPLICATION 17 complete`. It is written by compare-and-set only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Epoch {
    /// The server as of the last rebuild.
    pub(crate) identity: Identity,
    /// Raised about once a second: if it falls, Redis has gone back to an older copy.
    pub(crate) counter: u64,
    /// Whether the entries are complete.
    pub(crate) state: EpochState,
}

impl Epoch {
    const VERSION: &str = "1";

    /// The value as Redis stores it.
    pub(crate) fn encode(&self) -> String {
        let state = match &self.state {
            EpochState::Complete => "complete".to_owned(),
            EpochState::Rebuilding(nonce) => format!("rebuilding:{nonce}"),
        };
        format!(
            "{} {} {} {state}",
            Self::VERSION,
            self.identity.0,
            self.counter
        )
    }

    fn decode(text: &str) -> Option<Self> {
        let mut parts = text.split(' ');
        if parts.next()? != Self::VERSION {
            return None;
        }
        let identity = Identity(parts.next()?.to_owned());
        let counter = parts.next()?.parse().ok()?;
        let state = match parts.next()? {
            "complete" => EpochState::Complete,
            state => EpochState::Rebuilding(state.strip_prefix("rebuilding:")?.to_owned()),
        };
        parts.next().is_none().then_some(Self {
            identity,
            counter,
            state,
        })
    }
}

/// An epoch key as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FoundEpoch {
    /// The text of the key, empty when it is missing: what compare-and-set compares with.
    pub(crate) text: String,
    /// What it says; none when it is missing or ill-formed.
    pub(crate) epoch: Option<Epoch>,
}

impl FoundEpoch {
    fn of(value: &Value) -> Self {
        let text = match value {
            Value::BulkString(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            _ => String::new(),
        };
        let epoch = Epoch::decode(&text);
        Self { text, epoch }
    }
}

/// A change of a shard's epoch, which takes place if the key still has the expected text.
#[derive(Debug, Clone)]
pub(crate) struct EpochChange {
    pub(crate) shard: Shard,
    pub(crate) expected: String,
    pub(crate) epoch: Epoch,
}

impl Store {
    /// For each shard the identity of the server that serves it, and its epoch, both from the same answer. An error where
    /// that can't be told now: it says nothing about the shard.
    pub(crate) async fn epochs(&self) -> Vec<Result<(Identity, FoundEpoch), StoreError>> {
        let mut info = redis::cmd("INFO");
        info.arg("server").arg("replication");
        let commands: Vec<_> = self
            .layout()
            .shards()
            .map(|shard| {
                let keys = self.keys().of(shard);
                let mut cmd = redis::cmd("GET");
                cmd.arg(&keys.epoch);
                Command::plain(keys.route, cmd)
            })
            .collect();
        let attested = self.connection().run_attested(&info, &commands).await;
        let identities: Vec<_> = attested
            .servers
            .iter()
            .map(|info| {
                let info: String = redis::from_redis_value_ref(info).ok()?;
                Identity::of_info(&info)
            })
            .collect();
        attested
            .answers
            .into_iter()
            .map(|answer| {
                let (server, epoch) = answer?;
                let identity = identities[server].clone();
                let identity = identity.ok_or(StoreError::Answer("INFO without run_id"))?;
                Ok((identity, FoundEpoch::of(&epoch)))
            })
            .collect()
    }

    /// Makes the changes, and says of each whether it took place, and what the key says now.
    pub(crate) async fn change_epochs(
        &self,
        changes: &[EpochChange],
    ) -> Vec<Result<(bool, FoundEpoch), StoreError>> {
        let commands: Vec<_> = changes
            .iter()
            .map(|change| {
                let keys = self.keys().of(change.shard);
                let mut command = Command::script(keys.route, &self.scripts.epoch, &[&keys.epoch]);
                command.arg(&change.expected).arg(change.epoch.encode());
                command
            })
            .collect();
        let answers = self.connection().run(&commands).await;
        answers
            .into_iter()
            .map(|answer| match list_in(answer?)?.as_slice() {
                [done, now] => Ok((integer_in(done)? == 1, FoundEpoch::of(now))),
                // Lua ends a list at the first nil: the key is missing.
                [done] => Ok((integer_in(done)? == 1, FoundEpoch::of(&Value::Nil))),
                _ => Err(StoreError::Answer("an epoch's answer of the wrong length")),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_are_read_back() {
        let info = "# Server\r\nrun_id:abc\r\nx:1\r\n# Replication\r\nmaster_replid:def\r\n";
        let identity = Identity::of_info(info).expect("both are there");
        for state in [
            EpochState::Complete,
            EpochState::Rebuilding("r1.7".to_owned()),
        ] {
            let epoch = Epoch {
                identity: identity.clone(),
                counter: 17,
                state,
            };
            assert_eq!(Epoch::decode(&epoch.encode()), Some(epoch));
        }
        for nonsense in [
            "",
            "1",
            "2 a 1 complete",
            "1 a x complete",
            "1 a 1 done",
            "1 a 1 complete x",
        ] {
            assert_eq!(Epoch::decode(nonsense), None, "{nonsense}");
        }
        assert_eq!(Identity::of_info("run_id:abc"), None);
    }
}
