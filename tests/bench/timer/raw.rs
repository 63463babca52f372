//! The limits: the same commands and scripts as the timer's, sent to the same Redis as tightly as can be, without a
//! service, a handler or a client library.

use std::path::Path;
use std::time::Instant;

use plazo_tests::resp::{Reply, Resp, put_command};

use crate::timer::bed::{BATCH, IN_FLIGHT, Ticket};

/// The timer's own scripts.
const CLAIM: &str = include_str!("../../../services/timer/src/lua/claim.lua");
const ACK: &str = include_str!("../../../services/timer/src/lua/ack.lua");

/// Shards, as the timer has them by default.
const SHARDS: usize = 16;
const LEASE_MS: &[u8] = b"30000";
const ATTEMPTS_MAX: &[u8] = b"8";
const QUARANTINE_RETRY_MS: &[u8] = b"3600000";
/// The keys of both scripts, and the places of the time and of the members in the answer of a claim.
const SCRIPT_KEYS: [&str; 6] = [
    "due",
    "leases",
    "leased",
    "attempts",
    "quarantine",
    "quarantined",
];
const CLAIMED_AT: usize = 0;
const CLAIMED_MEMBERS: usize = 3;

/// The key of a shard in a namespace.
pub(super) fn key(namespace: &str, shard: usize, name: &str) -> Vec<u8> {
    format!("plazo:{{{namespace}:s{shard:03}}}:{name}").into_bytes()
}

/// Adds the tickets to `due` of a namespace, in the commands that the timer would send for batches of arms: a ZADD
/// for each shard of each batch, and a ZREM of the generation that is `superseded_ms` older unless that is 0. Returns the
/// tickets a second. The commands are made before the clock starts.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
pub(super) fn add(socket: &Path, namespace: &str, tickets: &[Ticket], superseded_ms: i64) -> f64 {
    let mut redis = Resp::connect(socket);
    let batches: Vec<(Vec<u8>, usize)> = in_turn(tickets)
        .into_iter()
        .map(|batch| add_commands(namespace, batch, superseded_ms))
        .collect();
    let began = Instant::now();
    let mut awaited = batches.iter().map(|(_, answers)| *answers);
    for (number, (commands, _)) in batches.iter().enumerate() {
        redis.send(commands);
        if number >= IN_FLIGHT {
            read_answers(&mut redis, awaited.next().unwrap_or(0));
        }
    }
    for answers in awaited {
        read_answers(&mut redis, answers);
    }
    tickets.len() as f64 / began.elapsed().as_secs_f64()
}

/// The batches in the order in which the timer's callers send theirs, each of whom has a part of the tickets: what lies
/// side by side in a sorted set lies just as far apart in memory then.
fn in_turn(tickets: &[Ticket]) -> Vec<&[Ticket]> {
    let share = tickets.len().div_ceil(IN_FLIGHT).max(1);
    let mut callers: Vec<_> = tickets.chunks(share).map(|own| own.chunks(BATCH)).collect();
    let mut batches = Vec::new();
    loop {
        let before = batches.len();
        batches.extend(callers.iter_mut().filter_map(Iterator::next));
        if batches.len() == before {
            return batches;
        }
    }
}

fn read_answers(redis: &mut Resp, count: usize) {
    for _ in 0..count {
        redis.read();
    }
}

fn add_commands(namespace: &str, batch: &[Ticket], superseded_ms: i64) -> (Vec<u8>, usize) {
    let mut bytes = Vec::new();
    let mut count = 0;
    for shard in 0..SHARDS {
        let of_shard = || batch.iter().filter(move |ticket| shard_of(ticket) == shard);
        if of_shard().next().is_none() {
            continue;
        }
        let due = key(namespace, shard, "due");
        let scored: Vec<_> = of_shard()
            .map(|ticket| (ticket.due_ms.to_string(), ticket.member()))
            .collect();
        let mut parts: Vec<&[u8]> = vec![b"ZADD", &due];
        for (score, member) in &scored {
            parts.push(score.as_bytes());
            parts.push(member);
        }
        put_command(&mut bytes, &parts);
        count += 1;
        if superseded_ms > 0 {
            let older: Vec<_> = of_shard()
                .map(|ticket| ticket.older(superseded_ms).member())
                .collect();
            let mut parts: Vec<&[u8]> = vec![b"ZREM", &due];
            parts.extend(older.iter().map(<[u8; 24]>::as_slice));
            put_command(&mut bytes, &parts);
            count += 1;
        }
    }
    (bytes, count)
}

/// Evenly, whatever the tenant.
#[expect(clippy::cast_possible_truncation, reason = "a small remainder")]
fn shard_of(ticket: &Ticket) -> usize {
    ticket.id.unsigned_abs() as usize % SHARDS
}

/// Claims and acks all that is due in a namespace, in batches of this size, over so many connections, and returns the
/// tickets a second. `count` must be due.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
pub(super) fn drain(
    socket: &Path,
    namespace: &str,
    count: usize,
    batch: usize,
    connections: usize,
) -> f64 {
    let mut drains: Vec<_> = (0..connections)
        .map(|connection| {
            let shards = (0..SHARDS).filter(|shard| shard % connections == connection);
            Drain::new(socket, namespace, shards.collect(), batch)
        })
        .collect();
    let began = Instant::now();
    std::thread::scope(|scope| {
        for drain in &mut drains {
            scope.spawn(|| drain.run());
        }
    });
    let per_s = count as f64 / began.elapsed().as_secs_f64();
    let mut redis = Resp::connect(socket);
    for shard in 0..SHARDS {
        for name in ["due", "leases"] {
            let left = redis.call(&[b"ZCARD", &key(namespace, shard, name)]);
            assert_eq!(left, Reply::Integer(0), "all are gone from {name}");
        }
    }
    per_s
}

/// One connection with some of the shards, in two groups: while the answers for one are read, Redis works on the other.
struct Drain {
    redis: Resp,
    groups: [Vec<Shard>; 2],
    claim_hash: Vec<u8>,
    ack_hash: Vec<u8>,
    batch: String,
    lease_number: usize,
}

struct Shard {
    keys: [Vec<u8>; 6],
    /// The id of the claim that is under way.
    claim: String,
    /// What was claimed and is to be acked next: the lease's name, and the time of Redis at its claim in microseconds.
    lease: Option<(String, String)>,
    /// Nothing was left at the last claim.
    is_empty: bool,
}

/// A command whose answer is awaited: an ack, or a claim for the shard at this place of its group.
#[derive(Clone, Copy)]
enum Sent {
    Ack,
    Claim(usize),
}

impl Drain {
    fn new(socket: &Path, namespace: &str, shards: Vec<usize>, batch: usize) -> Self {
        let mut redis = Resp::connect(socket);
        let [claim_hash, ack_hash] =
            [CLAIM, ACK].map(
                |script| match redis.call(&[b"SCRIPT", b"LOAD", script.as_bytes()]) {
                    Reply::Bytes(hash) => hash,
                    other => panic!("no hash: {other:?}"),
                },
            );
        let mut groups = [Vec::new(), Vec::new()];
        for (place, shard) in shards.into_iter().enumerate() {
            groups[place % 2].push(Shard {
                keys: SCRIPT_KEYS.map(|name| key(namespace, shard, name)),
                claim: String::new(),
                lease: None,
                is_empty: false,
            });
        }
        Self {
            redis,
            groups,
            claim_hash,
            ack_hash,
            batch: batch.to_string(),
            lease_number: 0,
        }
    }

    fn run(&mut self) {
        let mut awaited = [self.send(0), self.send(1)];
        while awaited.iter().any(|sent| !sent.is_empty()) {
            for group in [0, 1] {
                for sent in std::mem::take(&mut awaited[group]) {
                    let answer = self.redis.read();
                    if let Sent::Claim(place) = sent {
                        self.groups[group][place].claimed(&answer);
                    }
                }
                awaited[group] = self.send(group);
            }
        }
    }

    /// Acks what was claimed, and claims anew where there may be more.
    fn send(&mut self, group: usize) -> Vec<Sent> {
        let mut bytes = Vec::new();
        let mut sent = Vec::new();
        for (place, shard) in self.groups[group].iter_mut().enumerate() {
            if let Some((lease, claimed_us)) = shard.lease.take() {
                let lease = lease.as_bytes();
                // None of its members comes again: all counts are 0.
                let arguments: [&[u8]; 7] =
                    [lease, claimed_us.as_bytes(), b"0", b"0", b"0", b"0", b"0"];
                put_script(&mut bytes, &self.ack_hash, &shard.keys, &arguments);
                sent.push(Sent::Ack);
            }
            if !shard.is_empty {
                self.lease_number += 1;
                shard.claim = format!("0123456789abcdef:{}", self.lease_number);
                let arguments: [&[u8]; 5] = [
                    shard.claim.as_bytes(),
                    LEASE_MS,
                    self.batch.as_bytes(),
                    ATTEMPTS_MAX,
                    QUARANTINE_RETRY_MS,
                ];
                put_script(&mut bytes, &self.claim_hash, &shard.keys, &arguments);
                sent.push(Sent::Claim(place));
            }
        }
        self.redis.send(&bytes);
        sent
    }
}

impl Shard {
    /// Notes what a claim has brought. What the members are is nobody's concern here.
    fn claimed(&mut self, answer: &Reply) {
        let Reply::List(parts) = answer else {
            panic!("a claim's answer is a list: {answer:?}");
        };
        let Reply::Integer(claimed_us) = parts[CLAIMED_AT] else {
            panic!("a claim tells its time: {answer:?}");
        };
        if parts[CLAIMED_MEMBERS] == Reply::Nil {
            self.is_empty = true;
        } else {
            let claimed_us = claimed_us.to_string();
            self.lease = Some((format!("{}:{claimed_us}", self.claim), claimed_us));
        }
    }
}

fn put_script(bytes: &mut Vec<u8>, hash: &[u8], keys: &[Vec<u8>; 6], arguments: &[&[u8]]) {
    let mut parts: Vec<&[u8]> = vec![b"EVALSHA", hash, b"6"];
    parts.extend(keys.iter().map(Vec::as_slice));
    parts.extend(arguments);
    put_command(bytes, &parts);
}

/// The key of a ticket's shard here.
pub(super) fn key_of(namespace: &str, ticket: Ticket, name: &str) -> Vec<u8> {
    key(namespace, shard_of(&ticket), name)
}

/// Removes the waiting entries of a namespace.
pub(super) fn forget(socket: &Path, namespace: &str) {
    let mut redis = Resp::connect(socket);
    for shard in 0..SHARDS {
        redis.call(&[b"UNLINK", &key(namespace, shard, "due")]);
    }
}
