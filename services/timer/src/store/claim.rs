//! Claiming batches under leases, and ending the leases.

use redis::Value;
use tokio::time::Instant;

use super::{Command, Store, StoreError, bytes_in, integer_in, list_in, score_in};
use crate::entry::{Entry, GivenUp, Member, decode_claimed};
use crate::shard::Shard;

/// Names a lease: the claim that made it, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LeaseId {
    /// The id of the claim, and the instant by the clock of Redis.
    pub(super) name: String,
    /// The instant of the claim by the clock of Redis, in Unix microseconds.
    pub(super) claimed_us: i64,
    /// When the answer was here. The instant of the claim was not later.
    pub(super) answered_at: Instant,
}

impl LeaseId {
    pub(crate) fn new(claim_id: &str, claimed_us: i64) -> Self {
        Self {
            name: format!("{claim_id}:{claimed_us}"),
            claimed_us,
            answered_at: Instant::now(),
        }
    }

    /// The time at an instant in Unix microseconds, by the clock of the Redis that holds the lease: at the latest.
    fn redis_us_at(&self, instant: Instant) -> i64 {
        let since = instant.saturating_duration_since(self.answered_at);
        self.claimed_us
            .saturating_add(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }
}

/// What all claims have in common.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ClaimRules {
    /// Length of a lease.
    pub(crate) lease_ms: u64,
    /// Failed attempts after which a member goes into quarantine.
    pub(crate) attempts_max: u32,
    /// Time until a member in quarantine is tried again.
    pub(crate) quarantine_retry_ms: u64,
}

/// A claim to make.
#[derive(Debug, Clone)]
pub(crate) struct Claim {
    pub(crate) shard: Shard,
    /// The replica that claims, and a number that it uses once.
    pub(crate) id: String,
    /// The most members to take.
    pub(crate) limit: usize,
}

/// A claimed entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ClaimedEntry {
    pub(crate) entry: Entry,
    /// How often it failed before.
    pub(crate) failed_attempts: u32,
}

/// What a claim brought.
#[derive(Debug)]
pub(crate) struct Claimed {
    pub(crate) shard: Shard,
    pub(crate) lease_id: LeaseId,
    /// The members under the lease; empty when nothing was due, and then there is no lease.
    pub(crate) entries: Vec<ClaimedEntry>,
    /// The instant of the claim by the clock of Redis, in Unix microseconds.
    pub(crate) redis_us: i64,
    /// By how much that clock is ahead of the one that the claim loop reckons by, in microseconds. The instants that
    /// follow are by the latter.
    pub(crate) ahead_us: i64,
    /// The first entry left, in Unix milliseconds.
    pub(crate) next_due_ms: Option<i64>,
    /// The end of the first lease that is out, in Unix milliseconds.
    pub(crate) next_lease_end_ms: Option<i64>,
    /// Leases that had ended and were taken back.
    pub(crate) ended_leases: i64,
    /// Members that went into quarantine, because their leases ended too often.
    pub(crate) quarantined: i64,
}

/// What came of giving a claim back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct GivenBack {
    /// Members that are due again.
    pub(crate) count: i64,
    /// The first entry of the shard, in Unix milliseconds.
    pub(crate) next_due_ms: Option<i64>,
}

/// What follows for the members of a lease. Members in none of the lists are done with.
#[derive(Debug, Clone)]
pub(crate) struct Ack {
    pub(crate) shard: Shard,
    pub(crate) lease_id: LeaseId,
    /// To be looked at again at the instant, as the handler said.
    pub(crate) again: Vec<(Member, Instant)>,
    /// Given back without a failed attempt.
    pub(crate) back: Vec<(Member, Instant)>,
    /// Failed: looked at again at the instant, with so many failed attempts.
    pub(crate) failed: Vec<(Member, Instant, u32)>,
    /// Failed too often: into quarantine, to be tried again at the instant.
    pub(crate) given_up: Vec<(Member, Instant, GivenUp)>,
    /// Handled at last: their failed attempts are forgotten.
    pub(crate) over: Vec<Member>,
}

impl Ack {
    /// Ends a lease all of whose members are done with.
    pub(crate) fn new(shard: Shard, lease_id: LeaseId) -> Self {
        Self {
            shard,
            lease_id,
            again: Vec::new(),
            back: Vec::new(),
            failed: Vec::new(),
            given_up: Vec::new(),
            over: Vec::new(),
        }
    }
}

/// How an ack ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Acked {
    pub(crate) shard: Shard,
    /// Whether the lease was still there.
    pub(crate) was_held: bool,
    /// The first entry of the shard, in Unix milliseconds.
    pub(crate) next_due_ms: Option<i64>,
}

impl Store {
    /// Makes the claims, and answers each by itself. A claim that timed out may have been made: it is to be given back, or
    /// its lease ends by itself, and its members come again.
    pub(crate) async fn claim(
        &self,
        claims: &[Claim],
        rules: ClaimRules,
    ) -> Vec<Result<Claimed, StoreError>> {
        let commands: Vec<_> = claims
            .iter()
            .map(|claim| self.claim_command(claim, rules))
            .collect();
        let answers = self.connection().run(&commands).await;
        claims
            .iter()
            .zip(answers)
            .map(|(claim, answer)| {
                let ahead_us = self.clocks.ahead_us(claim.shard);
                read_claimed(claim, answer?, ahead_us)
            })
            .collect()
    }

    /// Gives back what the claims took, for whoever never heard of it, and answers each by itself. Claims that took nothing,
    /// or were given back before, are none the worse for it.
    pub(crate) async fn give_back(&self, claims: &[&Claim]) -> Vec<Result<GivenBack, StoreError>> {
        let commands: Vec<_> = claims
            .iter()
            .map(|claim| {
                let keys = self.keys().of(claim.shard);
                let mut command = Command::script(
                    keys.route,
                    &self.scripts.give_back,
                    &[&keys.due, &keys.leases, &keys.leased],
                );
                command.arg(&claim.id);
                command
            })
            .collect();
        let answers = self.connection().run(&commands).await;
        let answers = claims.iter().zip(answers);
        answers
            .map(|(claim, answer)| read_given_back(answer?, self.clocks.ahead_us(claim.shard)))
            .collect()
    }

    /// Ends the leases, and answers each by itself. Repeating it, or doing it after the lease has ended, does no harm.
    pub(crate) async fn ack(&self, acks: &[Ack]) -> Vec<Result<Acked, StoreError>> {
        let now = Instant::now();
        let commands: Vec<_> = acks.iter().map(|ack| self.ack_command(ack, now)).collect();
        let answers = self.connection().run(&commands).await;
        acks.iter()
            .zip(answers)
            .map(|(ack, answer)| read_acked(ack.shard, answer?, self.clocks.ahead_us(ack.shard)))
            .collect()
    }

    /// Ends the leases that are out in all shards, when the replicas that held them are gone. Where that fails they end
    /// by themselves.
    pub(crate) async fn end_leases(&self) {
        let list: Vec<_> = self
            .layout()
            .shards()
            .map(|shard| {
                let keys = self.keys().of(shard);
                let mut cmd = redis::cmd("ZRANGE");
                cmd.arg(&keys.leases).arg(0).arg(-1);
                Command::plain(keys.route, cmd)
            })
            .collect();
        let answers = self.connection().run(&list).await;
        let mut end = Vec::new();
        for (shard, answer) in self.layout().shards().zip(answers) {
            let keys = self.keys().of(shard);
            let lease_ids = answer.and_then(list_in).unwrap_or_default();
            for lease_id in lease_ids.into_iter().filter_map(|id| bytes_in(id).ok()) {
                let mut cmd = redis::cmd("ZADD");
                cmd.arg(&keys.leases).arg("XX").arg(0).arg(lease_id);
                end.push(Command::plain(keys.route, cmd));
            }
        }
        self.connection().run(&end).await;
    }

    fn claim_command(&self, claim: &Claim, rules: ClaimRules) -> Command<'_> {
        let keys = self.keys().of(claim.shard);
        let mut command = Command::script(
            keys.route,
            &self.scripts.claim,
            &[
                &keys.due,
                &keys.leases,
                &keys.leased,
                &keys.attempts,
                &keys.quarantine,
                &keys.quarantined,
            ],
        );
        command
            .arg(&claim.id)
            .arg(rules.lease_ms)
            .arg(claim.limit)
            .arg(rules.attempts_max)
            .arg(rules.quarantine_retry_ms);
        command
    }

    /// An ack that is sent now. Reckoned at each sending: an ack that is sent again must not move its instants.
    fn ack_command(&self, ack: &Ack, now: Instant) -> Command<'_> {
        let keys = self.keys().of(ack.shard);
        let mut command = Command::script(
            keys.route,
            &self.scripts.ack,
            &[
                &keys.due,
                &keys.leases,
                &keys.leased,
                &keys.attempts,
                &keys.quarantine,
                &keys.quarantined,
            ],
        );
        command
            .arg(&ack.lease_id.name)
            .arg(ack.lease_id.redis_us_at(now));
        let counts = [
            ack.again.len(),
            ack.back.len(),
            ack.failed.len(),
            ack.given_up.len(),
            ack.over.len(),
        ];
        for count in counts {
            command.arg(count);
        }
        for (member, at) in ack.again.iter().chain(&ack.back) {
            command.arg(&member.to_bytes()).arg(micros_until(*at, now));
        }
        for (member, at, failed_attempts) in &ack.failed {
            command
                .arg(&member.to_bytes())
                .arg(micros_until(*at, now))
                .arg(failed_attempts);
        }
        for (member, at, given_up) in &ack.given_up {
            command
                .arg(&member.to_bytes())
                .arg(micros_until(*at, now))
                .arg(given_up.encode());
        }
        for member in &ack.over {
            command.arg(&member.to_bytes());
        }
        command
    }
}

/// At least a millisecond, so that nothing is looked at in a circle.
fn micros_until(at: Instant, now: Instant) -> u64 {
    let delay = at.saturating_duration_since(now).as_micros();
    u64::try_from(delay)
        .unwrap_or(u64::MAX)
        .clamp(1_000, MICROS_MAX)
}

/// About 280 years: sums with the present stay exact in Lua's numbers.
const MICROS_MAX: u64 = 1 << 53;

fn read_claimed(claim: &Claim, answer: Value, ahead_us: i64) -> Result<Claimed, StoreError> {
    let answer = list_in(answer)?;
    let [
        time,
        next_due,
        next_lease_end,
        blob,
        failed,
        ended,
        quarantined,
    ]: [Value; 7] = answer
        .try_into()
        .map_err(|_| StoreError::Answer("a claim's answer of the wrong length"))?;
    let entries = match blob {
        Value::Nil => Vec::new(),
        blob => decode_claimed(&bytes_in(blob)?).ok_or(StoreError::Answer("a claimed batch"))?,
    };
    let failed: Vec<u32> = redis::from_redis_value(failed)?;
    let redis_us = integer_in(&time)?;
    let entries = entries
        .into_iter()
        .enumerate()
        .map(|(index, entry)| ClaimedEntry {
            entry,
            failed_attempts: failed.get(index).copied().unwrap_or(0),
        })
        .collect();
    Ok(Claimed {
        shard: claim.shard,
        lease_id: LeaseId::new(&claim.id, redis_us),
        entries,
        redis_us,
        ahead_us,
        next_due_ms: score_in(&next_due)?.map(|due_ms| due_ms - ahead_us / 1_000),
        next_lease_end_ms: score_in(&next_lease_end)?.map(|end_ms| end_ms - ahead_us / 1_000),
        ended_leases: integer_in(&ended)?,
        quarantined: integer_in(&quarantined)?,
    })
}

fn read_given_back(answer: Value, ahead_us: i64) -> Result<GivenBack, StoreError> {
    match list_in(answer)?.as_slice() {
        [count, next_due] => Ok(GivenBack {
            count: integer_in(count)?,
            next_due_ms: score_in(next_due)?.map(|due_ms| due_ms - ahead_us / 1_000),
        }),
        _ => Err(StoreError::Answer(
            "the answer about a claim that was given back, of the wrong length",
        )),
    }
}

fn read_acked(shard: Shard, answer: Value, ahead_us: i64) -> Result<Acked, StoreError> {
    match list_in(answer)?.as_slice() {
        [held, next_due] => Ok(Acked {
            shard,
            was_held: integer_in(held)? == 1,
            next_due_ms: score_in(next_due)?.map(|due_ms| due_ms - ahead_us / 1_000),
        }),
        _ => Err(StoreError::Answer("an ack's answer of the wrong length")),
    }
}
