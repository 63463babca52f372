//! Reading entries, for people and for other services.

use std::collections::BTreeMap;

use redis::Value;

use super::{
    Command, EpochState, FoundEpoch, Store, StoreError, bytes_in, integer_in, list_in, score_in,
    score_of_first, time_in,
};
use crate::entry::{Entry, GivenUp, Member, decode_claimed};
use crate::shard::Shard;

/// How much ZSCAN looks at in one call.
const SCAN_COUNT: usize = 5_000;

/// Entries of other tenants that are passed over for one page.
const EXAMINED_MAX: usize = 20_000;

/// Where an entry stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StoredState {
    /// Waits for its instant, or to be claimed.
    Waiting,
    /// Claimed, until this instant in Unix milliseconds.
    Leased {
        /// When the lease ends.
        ends_ms: i64,
    },
    /// Given up.
    Quarantined {
        /// Why: a stable reason in capitals.
        reason: String,
    },
}

/// An entry as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredEntry {
    pub(crate) shard: Shard,
    pub(crate) entry: Entry,
    pub(crate) state: StoredState,
    pub(crate) failed_attempts: u32,
}

/// A place in a list of entries, shard by shard: what a page ended with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EntryPosition {
    pub(crate) shard: Shard,
    /// Score of the last entry in the sorted set that the list comes from.
    pub(crate) score: i64,
    pub(crate) member: Member,
}

/// Counts of one shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ShardCounts {
    pub(crate) waiting: i64,
    pub(crate) due: i64,
    pub(crate) leases: i64,
    pub(crate) quarantined: i64,
    pub(crate) first_due_ms: Option<i64>,
    pub(crate) is_rebuilding: bool,
}

/// What is known of one shard; the reason where its Redis does not tell.
pub(crate) type FoundCounts = (Shard, Result<ShardCounts, StoreError>);

/// Which list of entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EntryList {
    /// What is due and waits, the longest due first.
    Due,
    /// What was given up, the next to be tried again first.
    Quarantined,
}

impl Store {
    /// The time of Redis, in Unix milliseconds.
    pub(crate) async fn time_ms(&self) -> Result<i64, StoreError> {
        let time = self
            .connection()
            .run_one(Command::plain(self.keys().route, redis::cmd("TIME")))
            .await?;
        Ok(time_in(&time)? / 1_000)
    }

    /// Everything that is stored of a ticket, the newest generation first. Looks through the whole shard, bit by bit.
    pub(crate) async fn entries_of(
        &self,
        tenant_id: i64,
        ticket_id: i64,
    ) -> Result<Vec<StoredEntry>, StoreError> {
        let shard = self.layout().shard_of(tenant_id, ticket_id);
        let keys = self.keys().of(shard);
        let is_of_ticket =
            |member: &Member| member.tenant_id == tenant_id && member.ticket_id == ticket_id;
        let pattern = prefix_pattern(tenant_id, ticket_id);

        // The order matters: an entry that moves from `due` into a lease meanwhile is seen at least once.
        let mut found = BTreeMap::new();
        for (member, score) in self.scan(shard, &keys.due, &pattern).await? {
            let entry = Entry {
                member,
                due_ms: score,
            };
            found.insert(
                member,
                StoredEntry {
                    shard,
                    entry,
                    state: StoredState::Waiting,
                    failed_attempts: 0,
                },
            );
        }
        for (entry, ends_ms) in self.leased(shard).await? {
            if is_of_ticket(&entry.member) {
                let state = StoredState::Leased { ends_ms };
                found.insert(
                    entry.member,
                    StoredEntry {
                        shard,
                        entry,
                        state,
                        failed_attempts: 0,
                    },
                );
            }
        }
        for (member, _) in self.scan(shard, &keys.quarantine, &pattern).await? {
            let entry = Entry { member, due_ms: 0 };
            let state = StoredState::Quarantined {
                reason: String::new(),
            };
            found.insert(
                member,
                StoredEntry {
                    shard,
                    entry,
                    state,
                    failed_attempts: 0,
                },
            );
        }
        let mut entries: Vec<_> = found
            .into_values()
            .filter(|found| is_of_ticket(&found.entry.member))
            .collect();
        entries.reverse();
        self.add_failures(&mut entries).await?;
        Ok(entries)
    }

    /// Up to `limit` entries of a list after a position, from the given shards and of one tenant if one is named.
    /// Returns also the position to go on from; none at the end. Looks at a bounded number of entries, so that a page
    /// may have fewer than there are.
    pub(crate) async fn list(
        &self,
        list: EntryList,
        tenant_id: Option<i64>,
        after: Option<EntryPosition>,
        limit: usize,
    ) -> Result<(Vec<StoredEntry>, Option<EntryPosition>), StoreError> {
        let now_ms = self.time_ms().await?;
        let mut entries = Vec::new();
        let mut examined = 0;
        let shards: Vec<Shard> = match tenant_id {
            Some(tenant_id) => self.layout().shards_of_tenant(tenant_id).collect(),
            None => self.layout().shards().collect(),
        };
        let first = after.map_or(Shard::new(0), |after| after.shard);
        for shard in shards.into_iter().filter(|shard| *shard >= first) {
            let mut rank = match after {
                Some(after) if after.shard == shard => self.rank_after(list, after).await?,
                _ => 0,
            };
            loop {
                let chunk = self.chunk(list, shard, rank, limit, now_ms).await?;
                rank += chunk.len();
                let is_last = chunk.len() < limit;
                for (member, score) in chunk {
                    examined += 1;
                    let position = EntryPosition {
                        shard,
                        score,
                        member,
                    };
                    if tenant_id.is_some_and(|tenant_id| member.tenant_id != tenant_id) {
                        if examined < EXAMINED_MAX {
                            continue;
                        }
                        self.add_failures(&mut entries).await?;
                        return Ok((entries, Some(position)));
                    }
                    let state = match list {
                        EntryList::Due => StoredState::Waiting,
                        EntryList::Quarantined => StoredState::Quarantined {
                            reason: String::new(),
                        },
                    };
                    let entry = Entry {
                        member,
                        due_ms: score,
                    };
                    entries.push(StoredEntry {
                        shard,
                        entry,
                        state,
                        failed_attempts: 0,
                    });
                    if entries.len() == limit {
                        self.add_failures(&mut entries).await?;
                        return Ok((entries, Some(position)));
                    }
                }
                if is_last {
                    break;
                }
            }
        }
        self.add_failures(&mut entries).await?;
        Ok((entries, None))
    }

    /// Makes these members due again if they are in quarantine; returns how many were.
    pub(crate) async fn release(&self, members: &[Member]) -> Result<i64, StoreError> {
        let mut shards: BTreeMap<Shard, Vec<Member>> = BTreeMap::new();
        for member in members {
            shards
                .entry(self.layout().shard_of_member(member))
                .or_default()
                .push(*member);
        }
        let commands: Vec<_> = shards
            .into_iter()
            .map(|(shard, members)| {
                let mut command = self.release_command(shard);
                command.arg(0).arg(0);
                for member in members {
                    command.arg(&member.to_bytes());
                }
                command
            })
            .collect();
        let answers = self.connection().run_all(&commands).await?;
        answers.iter().map(integer_in).sum()
    }

    /// Counts of every shard, of what is due at an instant in Unix milliseconds among others.
    pub(crate) async fn counts(&self, now_ms: i64) -> Vec<FoundCounts> {
        let epochs = self.epochs().await;
        let mut commands = Vec::new();
        for shard in self.layout().shards() {
            let keys = self.keys().of(shard);
            let plain = |name: &str, key: &str| {
                let mut cmd = redis::cmd(name);
                cmd.arg(key);
                cmd
            };
            let mut due = plain("ZCOUNT", &keys.due);
            due.arg("-inf").arg(now_ms);
            let counts = [
                plain("ZCARD", &keys.due),
                due,
                plain("HLEN", &keys.leased),
                plain("ZCARD", &keys.quarantine),
            ];
            commands.extend(counts.map(|cmd| Command::plain(keys.route, cmd)));
            commands.push(self.first_due_command(shard));
        }
        let mut answers = self.connection().run(&commands).await.into_iter();
        let shards = self.layout().shards().zip(epochs);
        shards
            .map(|(shard, epoch)| {
                // All five are taken, whatever is in them.
                let answers: Vec<_> = answers.by_ref().take(5).collect();
                let answers: Result<Vec<_>, _> = answers.into_iter().collect();
                let counts = epoch.and_then(|(_, epoch)| read_counts(&answers?, &epoch));
                (shard, counts)
            })
            .collect()
    }

    /// All entries of a shard that are in leases, with the end of each lease.
    async fn leased(&self, shard: Shard) -> Result<Vec<(Entry, i64)>, StoreError> {
        let keys = self.keys().of(shard);
        let mut blobs = redis::cmd("HGETALL");
        blobs.arg(&keys.leased);
        let mut ends = redis::cmd("ZRANGE");
        ends.arg(&keys.leases).arg(0).arg(-1).arg("WITHSCORES");
        let answers = self
            .connection()
            .run_all(&[
                Command::plain(keys.route, blobs),
                Command::plain(keys.route, ends),
            ])
            .await?;
        let [blobs, ends]: [Value; 2] = answers
            .try_into()
            .map_err(|_| StoreError::Answer("too few answers"))?;
        let ends: BTreeMap<Vec<u8>, i64> = pairs(ends)?
            .into_iter()
            .filter_map(|(id, score)| Some((id, score_in(&score).ok()??)))
            .collect();
        let mut entries = Vec::new();
        for (id, blob) in pairs(blobs)? {
            let claimed =
                decode_claimed(&bytes_in(blob)?).ok_or(StoreError::Answer("a claimed batch"))?;
            let ends_ms = ends.get(&id).copied().unwrap_or_default();
            entries.extend(claimed.into_iter().map(|entry| (entry, ends_ms)));
        }
        Ok(entries)
    }

    async fn scan(
        &self,
        shard: Shard,
        key: &str,
        pattern: &[u8],
    ) -> Result<Vec<(Member, i64)>, StoreError> {
        let route = self.keys().of(shard).route;
        let mut found = Vec::new();
        let mut cursor = b"0".to_vec();
        loop {
            let mut cmd = redis::cmd("ZSCAN");
            cmd.arg(key)
                .arg(&cursor)
                .arg("MATCH")
                .arg(pattern)
                .arg("COUNT")
                .arg(SCAN_COUNT);
            let answer = list_in(
                self.connection()
                    .run_one(Command::plain(route, cmd))
                    .await?,
            )?;
            let [next, items]: [Value; 2] = answer
                .try_into()
                .map_err(|_| StoreError::Answer("a scan's answer of the wrong length"))?;
            found.extend(scored_members(items)?);
            cursor = bytes_in(next)?;
            if cursor == b"0" {
                return Ok(found);
            }
        }
    }

    async fn chunk(
        &self,
        list: EntryList,
        shard: Shard,
        rank: usize,
        limit: usize,
        now_ms: i64,
    ) -> Result<Vec<(Member, i64)>, StoreError> {
        let mut cmd = redis::cmd("ZRANGE");
        cmd.arg(self.list_key(list, shard)).arg("-inf");
        match list {
            EntryList::Due => cmd.arg(now_ms),
            EntryList::Quarantined => cmd.arg("+inf"),
        };
        cmd.arg("BYSCORE")
            .arg("LIMIT")
            .arg(rank)
            .arg(limit)
            .arg("WITHSCORES");
        let route = self.keys().of(shard).route;
        scored_members(
            self.connection()
                .run_one(Command::plain(route, cmd))
                .await?,
        )
    }

    /// The rank of the first entry after a position. When the entry there is gone, those of the same instant may be
    /// seen again.
    async fn rank_after(&self, list: EntryList, after: EntryPosition) -> Result<usize, StoreError> {
        let key = self.list_key(list, after.shard);
        let route = self.keys().of(after.shard).route;
        let mut rank = redis::cmd("ZRANK");
        rank.arg(key).arg(&after.member.to_bytes());
        let mut before = redis::cmd("ZCOUNT");
        before.arg(key).arg("-inf").arg(format!("({}", after.score));
        let answers = self
            .connection()
            .run_all(&[Command::plain(route, rank), Command::plain(route, before)])
            .await?;
        let rank = match answers.as_slice() {
            [Value::Int(rank), _] => rank + 1,
            [_, before] => integer_in(before)?,
            _ => return Err(StoreError::Answer("too few answers")),
        };
        Ok(usize::try_from(rank).unwrap_or(0))
    }

    fn list_key(&self, list: EntryList, shard: Shard) -> &str {
        let keys = self.keys().of(shard);
        match list {
            EntryList::Due => &keys.due,
            EntryList::Quarantined => &keys.quarantine,
        }
    }

    /// Fills in how often entries failed, and why they are in quarantine.
    async fn add_failures(&self, entries: &mut [StoredEntry]) -> Result<(), StoreError> {
        let commands: Vec<_> = entries
            .iter()
            .map(|entry| {
                let keys = self.keys().of(entry.shard);
                let is_quarantined = matches!(entry.state, StoredState::Quarantined { .. });
                let mut cmd = redis::cmd("HGET");
                cmd.arg(if is_quarantined {
                    &keys.quarantined
                } else {
                    &keys.attempts
                });
                cmd.arg(&entry.entry.member.to_bytes());
                Command::plain(keys.route, cmd)
            })
            .collect();
        let answers = self.connection().run_all(&commands).await?;
        for (entry, answer) in entries.iter_mut().zip(answers) {
            let Value::BulkString(text) = answer else {
                continue;
            };
            if let StoredState::Quarantined { reason } = &mut entry.state {
                if let Some(given_up) = GivenUp::decode(&text) {
                    *reason = given_up.reason;
                    entry.failed_attempts = given_up.failed_attempts;
                    entry.entry.due_ms = given_up.due_ms;
                }
            } else {
                let text = String::from_utf8_lossy(&text);
                entry.failed_attempts = text.parse().unwrap_or_default();
            }
        }
        Ok(())
    }
}

fn read_counts(answers: &[Value], epoch: &FoundEpoch) -> Result<ShardCounts, StoreError> {
    let [waiting, due, leases, quarantined, first_due] = answers else {
        return Err(StoreError::Answer("too few answers"));
    };
    let state = epoch.epoch.as_ref().map(|epoch| &epoch.state);
    Ok(ShardCounts {
        waiting: integer_in(waiting)?,
        due: integer_in(due)?,
        leases: integer_in(leases)?,
        quarantined: integer_in(quarantined)?,
        first_due_ms: score_of_first(first_due)?,
        is_rebuilding: !matches!(state, Some(EpochState::Complete)),
    })
}

/// A glob that matches the members of a ticket, in all generations.
fn prefix_pattern(tenant_id: i64, ticket_id: i64) -> Vec<u8> {
    let mut pattern = Vec::with_capacity(40);
    let member = Member {
        tenant_id,
        ticket_id,
        generation: 1,
    }
    .to_bytes();
    for byte in &member[..16] {
        if matches!(byte, b'*' | b'?' | b'[' | b']' | b'\\') {
            pattern.push(b'\\');
        }
        pattern.push(*byte);
    }
    pattern.push(b'*');
    pattern
}

/// A flat list of keys and values, in twos.
fn pairs(value: Value) -> Result<Vec<(Vec<u8>, Value)>, StoreError> {
    let mut pairs = Vec::new();
    let mut items = list_in(value)?.into_iter();
    while let (Some(key), Some(value)) = (items.next(), items.next()) {
        pairs.push((bytes_in(key)?, value));
    }
    Ok(pairs)
}

/// Members with scores. What is none of ours is left out.
fn scored_members(value: Value) -> Result<Vec<(Member, i64)>, StoreError> {
    let mut members = Vec::new();
    for (member, score) in pairs(value)? {
        if let (Some(member), Some(score)) = (Member::from_bytes(&member), score_in(&score)?) {
            members.push((member, score));
        }
    }
    Ok(members)
}
