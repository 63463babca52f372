//! Adding entries: arming what the owner of the tickets says, and repairing what is missing.

use std::collections::BTreeMap;

use redis::Value;

use super::{
    Answer, Command, Store, StoreError, integer_in, list_in, score_in, score_of_first, time_in,
};
use crate::entry::{Entry, Member};
use crate::shard::Shard;

/// Members in one command: enough to make its overhead small, and few enough to keep others waiting only briefly.
const CHUNK: usize = 500;

/// What to arm for one ticket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Arm {
    /// The ticket and generation.
    pub(crate) member: Member,
    /// When to look at it, in Unix milliseconds; none to add nothing.
    pub(crate) due_ms: Option<i64>,
    /// The first of the older generations to remove, which end before `member.generation`. None: remove none.
    pub(crate) first_superseded: Option<i64>,
}

/// What arming has changed in one shard.
#[derive(Debug)]
pub(crate) struct Armed {
    pub(crate) shard: Shard,
    /// Entries added and removed. After an error some of them may have been.
    pub(crate) outcome: Result<ArmCounts, StoreError>,
}

/// How many entries were added and removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ArmCounts {
    pub(crate) added: i64,
    pub(crate) removed: i64,
}

/// What a repair has added to a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Repaired {
    /// How many entries were missing.
    pub(crate) added: i64,
    /// The earliest of them, in Unix milliseconds.
    pub(crate) first_due_ms: Option<i64>,
}

#[derive(Default)]
struct ShardArms {
    add: Vec<(i64, Vec<u8>)>,
    remove: Vec<Vec<u8>>,
}

impl Store {
    /// Adds the entries and removes the older generations that are named: plain commands in one pipeline. Answers shard
    /// by shard: what one of them can't take now doesn't keep the others from theirs.
    ///
    /// Safe late, twice and out of order, because members are tagged with their generation and a removal never names
    /// the generation that is added. Within a generation the due instant never falls, so that whichever add comes
    /// last leaves the score at or below it.
    ///
    /// `has_failures` says whether a shard may hold failed or quarantined members; where it does, what is kept of the
    /// removed generations there goes too.
    pub(crate) async fn arm(
        &self,
        arms: &[Arm],
        has_failures: impl Fn(Shard) -> bool,
    ) -> Vec<Armed> {
        let shards = self.arms_by_shard(arms);
        let mut commands = Vec::new();
        // For each command its shard, and whether it adds or removes entries; none for those that only tidy up.
        let mut counted = Vec::new();
        for (shard, changes) in &shards {
            let keys = self.keys().of(*shard);
            for chunk in changes.add.chunks(CHUNK) {
                let mut cmd = redis::cmd("ZADD");
                cmd.arg(&keys.due);
                for (due_ms, member) in chunk {
                    cmd.arg(due_ms).arg(member);
                }
                commands.push(Command::plain(keys.route, cmd));
                counted.push((*shard, Some(true)));
            }
            for chunk in changes.remove.chunks(CHUNK) {
                let mut remove = |name: &str, key: &str, adds| {
                    let mut cmd = redis::cmd(name);
                    cmd.arg(key).arg(chunk);
                    commands.push(Command::plain(keys.route, cmd));
                    counted.push((*shard, adds));
                };
                remove("ZREM", &keys.due, Some(false));
                if has_failures(*shard) {
                    remove("ZREM", &keys.quarantine, None);
                    remove("HDEL", &keys.quarantined, None);
                    remove("HDEL", &keys.attempts, None);
                }
            }
        }
        let mut armed: Vec<_> = shards
            .into_keys()
            .map(|shard| Armed {
                shard,
                outcome: Ok(ArmCounts::default()),
            })
            .collect();
        let answers = self.connection().run(&commands).await;
        for (answer, (shard, adds)) in answers.into_iter().zip(counted) {
            let Ok(index) = armed.binary_search_by_key(&shard, |armed| armed.shard) else {
                continue;
            };
            let outcome = &mut armed[index].outcome;
            match (&mut *outcome, add_count(answer, adds)) {
                (Ok(counts), Ok(change)) => {
                    counts.added += change.added;
                    counts.removed += change.removed;
                }
                (Ok(_), Err(error)) => *outcome = Err(error),
                (Err(_), _) => {}
            }
        }
        armed
    }

    fn arms_by_shard(&self, arms: &[Arm]) -> BTreeMap<Shard, ShardArms> {
        let mut shards: BTreeMap<Shard, ShardArms> = BTreeMap::new();
        for arm in arms {
            let member = arm.member;
            let changes = shards
                .entry(self.layout().shard_of_member(&member))
                .or_default();
            if let Some(due_ms) = arm.due_ms {
                changes.add.push((due_ms, member.to_bytes().to_vec()));
            }
            let superseded = arm.first_superseded.unwrap_or(member.generation)..member.generation;
            changes.remove.extend(superseded.map(|generation| {
                Member {
                    generation,
                    ..member
                }
                .to_bytes()
                .to_vec()
            }));
        }
        shards
    }

    /// Adds the entries that are in none of `due`, a lease, and quarantine, and says what was missing in each shard.
    pub(crate) async fn repair(
        &self,
        entries: &[Entry],
    ) -> Vec<(Shard, Result<Repaired, StoreError>)> {
        let mut shards: BTreeMap<Shard, Vec<&Entry>> = BTreeMap::new();
        for entry in entries {
            shards
                .entry(self.layout().shard_of_member(&entry.member))
                .or_default()
                .push(entry);
        }
        let mut commands = Vec::new();
        let mut shard_of_command = Vec::new();
        for (shard, entries) in shards {
            let keys = self.keys().of(shard);
            for chunk in entries.chunks(CHUNK) {
                let mut command = Command::script(
                    keys.route,
                    &self.scripts.repair,
                    &[&keys.due, &keys.leased, &keys.quarantine],
                );
                for entry in chunk {
                    command.arg(entry.due_ms).arg(&entry.member.to_bytes());
                }
                commands.push(command);
                shard_of_command.push(shard);
            }
        }
        let answers = self.connection().run(&commands).await;
        let answers = shard_of_command.into_iter().zip(answers);
        answers
            .map(|(shard, answer)| (shard, answer.and_then(read_repaired)))
            .collect()
    }

    /// For each of the shards, whether the first entry has been due for longer than the grace: a backlog.
    pub(crate) async fn have_backlog(
        &self,
        shards: &[Shard],
        grace_ms: i64,
    ) -> Vec<Result<bool, StoreError>> {
        let commands: Vec<_> = shards
            .iter()
            .map(|shard| self.first_due_command(*shard))
            .collect();
        let attested = self
            .connection()
            .run_attested(&redis::cmd("TIME"), &commands)
            .await;
        let times = &attested.servers;
        attested
            .answers
            .into_iter()
            .map(|answer| {
                let (server, first) = answer?;
                let oldest_ms = time_in(&times[server])? / 1_000 - grace_ms;
                Ok(score_of_first(&first)?.is_some_and(|due_ms| due_ms < oldest_ms))
            })
            .collect()
    }

    pub(super) fn first_due_command(&self, shard: Shard) -> Command<'static> {
        let keys = self.keys().of(shard);
        let mut cmd = redis::cmd("ZRANGE");
        cmd.arg(&keys.due).arg(0).arg(0).arg("WITHSCORES");
        Command::plain(keys.route, cmd)
    }
}

fn add_count(answer: Answer, adds: Option<bool>) -> Result<ArmCounts, StoreError> {
    let value = answer?;
    let mut counts = ArmCounts::default();
    match adds {
        Some(true) => counts.added = integer_in(&value)?,
        Some(false) => counts.removed = integer_in(&value)?,
        None => {}
    }
    Ok(counts)
}

fn read_repaired(answer: Value) -> Result<Repaired, StoreError> {
    match list_in(answer)?.as_slice() {
        [added, first_due] => Ok(Repaired {
            added: integer_in(added)?,
            first_due_ms: score_in(first_due)?,
        }),
        _ => Err(StoreError::Answer("a repair's answer of the wrong length")),
    }
}
