//! What Redis holds of a shard, read as it is, and moved in time.

use std::collections::BTreeMap;

use redis::Value;

use super::super::{Command, Store, bytes_in, list_in, score_in, time_in};
use crate::entry::{Entry, GivenUp, Member, decode_claimed};
use crate::keys::ShardKeys;
use crate::shard::Shard;

/// Everything that Redis holds of a shard, but for its epoch. Instants are Unix milliseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ShardState {
    pub(super) due: BTreeMap<Member, i64>,
    /// Name of a lease, and its end.
    pub(super) leases: BTreeMap<String, i64>,
    /// Name of a lease, and its members.
    pub(super) leased: BTreeMap<String, Vec<Entry>>,
    pub(super) attempts: BTreeMap<Member, u32>,
    /// When a member is tried again.
    pub(super) quarantine: BTreeMap<Member, i64>,
    pub(super) quarantined: BTreeMap<Member, GivenUp>,
}

impl ShardState {
    /// Whether a lease holds the member.
    pub(super) fn is_leased(&self, member: &Member) -> bool {
        self.leased
            .values()
            .flatten()
            .any(|entry| entry.member == *member)
    }

    /// The same state, as if everything in it had been said so much earlier.
    pub(super) fn shift(&mut self, by_ms: i64) {
        let instants = self
            .due
            .values_mut()
            .chain(self.leases.values_mut())
            .chain(self.quarantine.values_mut());
        for instant in instants {
            *instant -= by_ms;
        }
        for entry in self.leased.values_mut().flatten() {
            entry.due_ms -= by_ms;
        }
        for given_up in self.quarantined.values_mut() {
            given_up.due_ms -= by_ms;
        }
    }
}

/// The same for what Redis holds: time passes without anybody waiting.
///
/// KEYS of one shard: 1 due, 2 leases, 3 leased, 4 attempts, 5 quarantine, 6 quarantined. ARGV 1 milliseconds.
const SHIFT: &str = "
local by = tonumber(ARGV[1])
local function earlier(score)
  return string.format('%.0f', tonumber(score) - by)
end
for _, key in ipairs({ KEYS[1], KEYS[2], KEYS[5] }) do
  local scored = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
  for i = 1, #scored, 2 do
    redis.call('ZADD', key, earlier(scored[i + 1]), scored[i])
  end
end
local leased = redis.call('HGETALL', KEYS[3])
for i = 1, #leased, 2 do
  local members = cmsgpack.unpack(leased[i + 1])
  for n = 2, #members, 2 do
    members[n] = earlier(members[n])
  end
  redis.call('HSET', KEYS[3], leased[i], cmsgpack.pack(members))
end
local quarantined = redis.call('HGETALL', KEYS[6])
for i = 1, #quarantined, 2 do
  local due, rest = string.match(quarantined[i + 1], '^(%-?%d+)( .*)$')
  redis.call('HSET', KEYS[6], quarantined[i], earlier(due) .. rest)
end
return 0
";

fn keys_of(keys: &ShardKeys) -> [&str; 6] {
    [
        &keys.due,
        &keys.leases,
        &keys.leased,
        &keys.attempts,
        &keys.quarantine,
        &keys.quarantined,
    ]
}

fn copy_of(key: &str) -> String {
    format!("{key}:copy")
}

impl Store {
    /// There is one server: any route leads to it.
    fn command(&self, cmd: redis::Cmd) -> Command<'static> {
        Command::plain(self.keys().route, cmd)
    }

    fn for_each_shard<'a>(
        &'a self,
        commands_of: impl Fn([&'a str; 6]) -> Vec<Command<'static>>,
    ) -> Vec<Command<'static>> {
        let shards = self.layout().shards();
        shards
            .flat_map(|shard| commands_of(keys_of(self.keys().of(shard))))
            .collect()
    }

    async fn run_for_test(&self, commands: Vec<Command<'static>>) {
        self.connection().run_all(&commands).await.expect("it runs");
    }

    /// The time of Redis in Unix microseconds, and the state of each shard afterwards.
    pub(super) async fn read_all(&self) -> (i64, Vec<ShardState>) {
        let read = |key: &str, is_scored: bool| {
            if !is_scored {
                let mut cmd = redis::cmd("HGETALL");
                cmd.arg(key);
                return self.command(cmd);
            }
            let mut cmd = redis::cmd("ZRANGE");
            cmd.arg(key).arg(0).arg(-1).arg("WITHSCORES");
            self.command(cmd)
        };
        let mut commands = vec![self.command(redis::cmd("TIME"))];
        commands.extend(self.for_each_shard(|keys| {
            keys.into_iter()
                .zip([true, true, false, false, true, false])
                .map(|(key, is_scored)| read(key, is_scored))
                .collect()
        }));
        let mut answers = self.connection().run_all(&commands).await.expect("it runs");
        let time_us = time_in(&answers.remove(0)).expect("a time");
        let states = answers.chunks_exact(6).map(state_in).collect();
        (time_us, states)
    }

    /// Removes everything.
    pub(super) async fn wipe(&self) {
        self.run_for_test(self.for_each_shard(|keys| {
            let mut cmd = redis::cmd("UNLINK");
            cmd.arg(&keys);
            vec![self.command(cmd)]
        }))
        .await;
    }

    /// Keeps a copy of everything, or goes back to it.
    pub(super) async fn copy(&self, back: bool) {
        self.run_for_test(self.for_each_shard(|keys| {
            keys.into_iter()
                .flat_map(|key| {
                    let (from, to) = if back {
                        (copy_of(key), key.to_owned())
                    } else {
                        (key.to_owned(), copy_of(key))
                    };
                    let mut remove = redis::cmd("UNLINK");
                    remove.arg(&to);
                    let mut copy = redis::cmd("COPY");
                    copy.arg(&from).arg(&to).arg("REPLACE");
                    [self.command(remove), self.command(copy)]
                })
                .collect()
        }))
        .await;
    }

    /// Lets time pass, for the copy too.
    pub(super) async fn pass(&self, by_ms: i64) {
        self.run_for_test(self.for_each_shard(|keys| {
            [keys.map(str::to_owned), keys.map(copy_of)]
                .into_iter()
                .map(|keys| {
                    let mut cmd = redis::cmd("EVAL");
                    cmd.arg(SHIFT).arg(keys.len()).arg(&keys).arg(by_ms);
                    self.command(cmd)
                })
                .collect()
        }))
        .await;
    }

    /// The shard that a member belongs to, as a place in lists.
    pub(super) fn place_of(&self, member: &Member) -> usize {
        self.layout().shard_of_member(member).index()
    }

    /// The shards, as places in lists.
    pub(super) fn shard_at(&self, place: usize) -> Shard {
        let count = usize::from(self.layout().shard_count());
        Shard::new(u16::try_from(place % count).expect("few shards"))
    }
}

fn state_in(answers: &[Value]) -> ShardState {
    let pairs = |index: usize| {
        let mut items = list_in(answers[index].clone()).expect("a list").into_iter();
        let mut pairs = Vec::new();
        while let (Some(key), Some(value)) = (items.next(), items.next()) {
            pairs.push((bytes_in(key).expect("a key"), value));
        }
        pairs
    };
    let member = |bytes: Vec<u8>| Member::from_bytes(&bytes).expect("a member");
    let name = |bytes: Vec<u8>| String::from_utf8(bytes).expect("a name");
    let instant = |value: Value| score_in(&value).expect("a score").expect("it is there");
    let text = |value: Value| bytes_in(value).expect("a text");
    ShardState {
        due: pairs(0)
            .into_iter()
            .map(|(key, value)| (member(key), instant(value)))
            .collect(),
        leases: pairs(1)
            .into_iter()
            .map(|(key, value)| (name(key), instant(value)))
            .collect(),
        leased: pairs(2)
            .into_iter()
            .map(|(key, value)| (name(key), decode_claimed(&text(value)).expect("a batch")))
            .collect(),
        attempts: pairs(3)
            .into_iter()
            .map(|(key, value)| (member(key), name(text(value)).parse().expect("a count")))
            .collect(),
        quarantine: pairs(4)
            .into_iter()
            .map(|(key, value)| (member(key), instant(value)))
            .collect(),
        quarantined: pairs(5)
            .into_iter()
            .map(|(key, value)| {
                let given_up = GivenUp::decode(&text(value)).expect("a record");
                (member(key), given_up)
            })
            .collect(),
    }
}
