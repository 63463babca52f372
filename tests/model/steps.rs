//! The world of one ticket: its row, the relay, the timers, the messages on their way, and Redis; and every step that
//! may come next.

mod recovery;

use std::collections::BTreeSet;

use crate::redis::{LeaseName, Redis, Verdict};

/// Stages of a generation: the deadlines that there are.
const STAGES: u8 = 2;

/// How much of everything there is, so that the states come to an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Budget {
    pub(crate) generations: u8,
    pub(crate) timers: usize,
    /// Claims that something still knows of, at the same time.
    pub(crate) claims: u8,
    /// Whether entries may be given up, into quarantine.
    pub(crate) gives_up: bool,
    /// At the same time: sent twice, or sent and still on their way.
    pub(crate) late_messages: usize,
    pub(crate) wipes: u8,
    pub(crate) fail_overs: u8,
    pub(crate) restarts: u8,
}

/// What the protocol relies on; each can be left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(clippy::struct_excessive_bools, reason = "each is a guard of its own")]
pub(crate) struct Guards {
    /// What lowers a deadline, or brings one back, raises the generation.
    pub(crate) raises_generation_to_lower: bool,
    /// An arm never removes the generation that it adds.
    pub(crate) leaves_added_generation: bool,
    /// A claim that reaches Redis twice makes two leases.
    pub(crate) names_leases_apart: bool,
    /// What ends a lease unanswered puts its members back first.
    pub(crate) gives_back_members: bool,
    /// A rebuild takes rows that are not armed yet, too.
    pub(crate) rebuilds_dirty_rows: bool,
    /// A rebuild is over only when its nonce is still in Redis.
    pub(crate) ends_rebuild_by_nonce: bool,
    /// Another server, or an older state of it, is noticed by its identity.
    pub(crate) notices_other_server: bool,
}

/// What the relay is doing: the row that it read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Relayed {
    generation: u8,
    due: u8,
    removes: u8,
    is_in_redis: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Timer {
    Idle,
    /// The answer of its claim was lost.
    Lost {
        claim: u8,
    },
    Claimed {
        lease: LeaseName,
        generation: u8,
        score: u8,
    },
    Answered {
        lease: LeaseName,
        generation: u8,
        verdict: Verdict,
    },
}

/// A message that may still reach Redis: a second copy, or the only one, whose sender has given up on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Message {
    Arm {
        generation: u8,
        due: u8,
        removes: u8,
    },
    Claim {
        claim: u8,
    },
    Ack {
        lease: LeaseName,
        generation: u8,
        verdict: Verdict,
    },
    GiveBack {
        claim: u8,
    },
    Repair {
        generation: u8,
        due: u8,
    },
}

/// The epoch key, as far as it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Epoch {
    Missing,
    /// Of the server that the timers know.
    Known,
    /// Of a server that they have not seen.
    Foreign,
    /// A rebuild has begun, under its nonce.
    Rebuilding,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Rebuild {
    None,
    Begun,
    Read { generation: u8, due: u8 },
    Added,
}

/// The state of everything.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct World {
    budget: Budget,
    guards: Guards,
    generation: u8,
    next_due: u8,
    armed: u8,
    relay: Option<Relayed>,
    redis: Redis,
    timers: Vec<Timer>,
    late: BTreeSet<Message>,
    epoch: Epoch,
    rebuild: Rebuild,
    /// The timers have just started and know no epoch: the first of them rebuilds.
    has_restarted: bool,
    replica: Option<Redis>,
}

type Step = (&'static str, World);

impl World {
    pub(crate) fn new(budget: Budget, guards: Guards) -> Self {
        Self {
            budget,
            guards,
            generation: 1,
            next_due: 1,
            armed: 0,
            relay: None,
            redis: Redis::empty(),
            timers: vec![Timer::Idle; budget.timers],
            late: BTreeSet::new(),
            epoch: Epoch::Known,
            rebuild: Rebuild::None,
            has_restarted: false,
            replica: None,
        }
    }

    /// The invariant.
    pub(crate) fn holds(&self) -> bool {
        let is_rebuilt = self.rebuild != Rebuild::None
            || self.has_restarted
            || match self.epoch {
                Epoch::Known => false,
                Epoch::Missing | Epoch::Rebuilding => true,
                Epoch::Foreign => self.guards.notices_other_server,
            };
        self.next_due == 0
            || self.armed != self.generation
            || is_rebuilt
            || self.redis.holds(self.generation, self.next_due)
    }

    /// All that may happen next.
    pub(crate) fn next(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        self.people(&mut steps);
        self.relay(&mut steps);
        self.arrivals(&mut steps);
        for timer in 0..self.timers.len() {
            self.timer(timer, &mut steps);
        }
        self.ends(&mut steps);
        self.faults(&mut steps);
        self.rebuild(&mut steps);
        steps
    }

    fn then(&self, steps: &mut Vec<Step>, what: &'static str, change: impl FnOnce(&mut Self)) {
        let mut after = self.clone();
        change(&mut after);
        steps.push((what, after));
    }

    fn may_be_late(&self) -> bool {
        self.late.len() < self.budget.late_messages
    }

    /// Customers and agents change the row.
    fn people(&self, steps: &mut Vec<Step>) {
        if self.next_due > 0 {
            self.then(steps, "the customer replies", |world| world.next_due = 0);
            if self.next_due < STAGES {
                self.then(steps, "the deadline is put off", |world| {
                    world.next_due += 1;
                });
            }
        }
        let is_lowered = self.next_due > 1;
        if (is_lowered || self.next_due == 0) && self.generation < self.budget.generations {
            self.then(steps, "a nearer deadline, or the first one anew", |world| {
                world.generation += 1;
                world.next_due = 1;
            });
        }
        if is_lowered && !self.guards.raises_generation_to_lower {
            self.then(steps, "a nearer deadline in the same generation", |world| {
                world.next_due = 1;
            });
        }
    }

    /// The relay of ticketing, and its sweep, which takes any row.
    fn relay(&self, steps: &mut Vec<Step>) {
        let Some(row) = self.relay else {
            if self.armed < self.generation {
                self.then(steps, "the relay reads the row", |world| {
                    world.relay = Some(Relayed {
                        generation: world.generation,
                        due: world.next_due,
                        removes: world.armed,
                        is_in_redis: false,
                    });
                });
            }
            return;
        };
        let (generation, due, removes) = (row.generation, row.due, row.removes);
        self.then(steps, "the relay gives up", |world| world.relay = None);
        if row.is_in_redis {
            self.then(steps, "the generation is marked as armed", |world| {
                world.relay = None;
                world.armed = world.armed.max(generation);
            });
            return;
        }
        let arm = Message::Arm {
            generation,
            due,
            removes,
        };
        self.then(steps, "the arm reaches Redis", |world| {
            world.arrive(arm);
            world.relay = Some(Relayed {
                is_in_redis: true,
                ..row
            });
        });
        if self.may_be_late() {
            self.then(steps, "the arm reaches Redis, and will again", |world| {
                world.arrive(arm);
                world.late.insert(arm);
                world.relay = Some(Relayed {
                    is_in_redis: true,
                    ..row
                });
            });
            self.then(steps, "the arm is late", |world| {
                world.late.insert(arm);
                world.relay = None;
            });
        }
    }

    fn arrivals(&self, steps: &mut Vec<Step>) {
        for message in &self.late {
            // A claim takes what there is.
            if let Message::Claim { claim } = *message {
                for generation in self.waiting() {
                    self.then(steps, "a claim takes an entry late", |world| {
                        world.late.remove(message);
                        let copy = u8::from(world.guards.names_leases_apart);
                        world.redis.claim(LeaseName { claim, copy }, generation);
                    });
                }
            } else {
                self.then(steps, "a late message reaches Redis", |world| {
                    world.late.remove(message);
                    world.arrive(*message);
                });
            }
        }
    }

    fn arrive(&mut self, message: Message) {
        match message {
            Message::Arm {
                generation,
                due,
                removes,
            } => {
                let removes_itself = !self.guards.leaves_added_generation;
                self.redis.arm(generation, due, removes, removes_itself);
            }
            Message::Ack {
                lease,
                generation,
                verdict,
            } => self.redis.ack(lease, generation, verdict),
            Message::GiveBack { claim } => {
                self.redis.give_back(claim, self.guards.gives_back_members);
            }
            Message::Repair { generation, due } => self.redis.repair(generation, due),
            Message::Claim { .. } => {}
        }
    }

    /// The generations that have an entry in `due`.
    fn waiting(&self) -> Vec<u8> {
        (1..=self.budget.generations)
            .filter(|generation| self.redis.due[usize::from(*generation)] > 0)
            .collect()
    }

    fn timer(&self, at: usize, steps: &mut Vec<Step>) {
        let set = |world: &mut Self, timer| world.timers[at] = timer;
        if self.timers[at] != Timer::Idle {
            self.then(steps, "a timer dies", |world| set(world, Timer::Idle));
        }
        match self.timers[at] {
            Timer::Idle => self.claim(at, steps),
            Timer::Lost { claim } => {
                let back = Message::GiveBack { claim };
                self.send(steps, at, back);
            }
            Timer::Claimed {
                lease,
                generation,
                score,
            } => {
                let back = Timer::Answered {
                    lease,
                    generation,
                    verdict: Verdict::Back(score),
                };
                self.then(steps, "the entry could not be handled", |world| {
                    set(world, back);
                });
                if self.budget.gives_up {
                    let given_up = Timer::Answered {
                        lease,
                        generation,
                        verdict: Verdict::GivenUp,
                    };
                    self.then(steps, "the entry failed too often", |world| {
                        set(world, given_up);
                    });
                }
                self.handle(at, lease, generation, steps);
            }
            Timer::Answered {
                lease,
                generation,
                verdict,
            } => {
                let ack = Message::Ack {
                    lease,
                    generation,
                    verdict,
                };
                self.send(steps, at, ack);
            }
        }
    }

    /// Whether nothing knows of a claim any more: then another one may have its id.
    fn is_forgotten(&self, claim: u8) -> bool {
        let in_leases = self
            .redis
            .leases
            .iter()
            .any(|(name, ..)| name.claim == claim);
        let in_timers = self.timers.iter().any(|timer| match timer {
            Timer::Idle => false,
            Timer::Lost { claim: lost } => *lost == claim,
            Timer::Claimed { lease, .. } | Timer::Answered { lease, .. } => lease.claim == claim,
        });
        let in_messages = self.late.iter().any(|message| match message {
            Message::Arm { .. } | Message::Repair { .. } => false,
            Message::Claim { claim: late } | Message::GiveBack { claim: late } => *late == claim,
            Message::Ack { lease, .. } => lease.claim == claim,
        });
        let in_copy = self.replica.iter().flat_map(|copy| &copy.leases);
        !(in_leases
            || in_timers
            || in_messages
            || in_copy.into_iter().any(|(name, ..)| name.claim == claim))
    }

    fn claim(&self, at: usize, steps: &mut Vec<Step>) {
        let Some(claim) = (1..=self.budget.claims).find(|claim| self.is_forgotten(*claim)) else {
            return;
        };
        let lease = LeaseName { claim, copy: 0 };
        for generation in self.waiting() {
            let claimed = |world: &mut Self| {
                let score = world.redis.claim(lease, generation);
                Timer::Claimed {
                    lease,
                    generation,
                    score,
                }
            };
            self.then(steps, "a timer claims", |world| {
                world.timers[at] = claimed(world);
            });
            self.then(steps, "a timer claims, the answer is lost", |world| {
                claimed(world);
                world.timers[at] = Timer::Lost { claim };
            });
            if self.may_be_late() {
                self.then(steps, "a timer claims, and will again", |world| {
                    world.timers[at] = claimed(world);
                    world.late.insert(Message::Claim { claim });
                });
            }
        }
        if self.may_be_late() {
            self.then(steps, "a timer claims, the claim is late", |world| {
                world.late.insert(Message::Claim { claim });
                world.timers[at] = Timer::Lost { claim };
            });
        }
    }

    /// Ticketing answers from the row as it is.
    fn handle(&self, at: usize, lease: LeaseName, generation: u8, steps: &mut Vec<Step>) {
        let mut answer = |what: &'static str, verdict, next_due: Option<u8>| {
            self.then(steps, what, |world| {
                if let Some(next_due) = next_due {
                    world.next_due = next_due;
                }
                world.timers[at] = Timer::Answered {
                    lease,
                    generation,
                    verdict,
                };
            });
        };
        if generation != self.generation {
            answer("answered: stale", Verdict::Done, None);
        } else if self.next_due == 0 {
            answer("answered: nothing more", Verdict::Done, None);
        } else {
            answer("answered: not due", Verdict::Again(self.next_due), None);
            if self.next_due < STAGES {
                let after = self.next_due + 1;
                answer("answered: fired", Verdict::Again(after), Some(after));
            } else {
                answer("answered: fired, the last", Verdict::Done, Some(0));
            }
        }
    }

    /// A timer's ack or give-back, which may also be late, or come twice.
    fn send(&self, steps: &mut Vec<Step>, at: usize, message: Message) {
        self.then(steps, "an ack or give-back reaches Redis", |world| {
            world.arrive(message);
            world.timers[at] = Timer::Idle;
        });
        if self.may_be_late() {
            self.then(
                steps,
                "an ack or give-back reaches Redis, and will again",
                |world| {
                    world.arrive(message);
                    world.late.insert(message);
                    world.timers[at] = Timer::Idle;
                },
            );
            self.then(steps, "an ack or give-back is late", |world| {
                world.late.insert(message);
                world.timers[at] = Timer::Idle;
            });
        }
    }

    /// Leases end, and quarantine does.
    fn ends(&self, steps: &mut Vec<Step>) {
        for (lease, ..) in self.redis.leases.clone() {
            for is_given_up in [false, true] {
                if is_given_up && !self.budget.gives_up {
                    continue;
                }
                self.then(
                    steps,
                    if is_given_up {
                        "a lease ends, the entry is given up"
                    } else {
                        "a lease ends"
                    },
                    |world| {
                        world.redis.end_lease(lease, is_given_up);
                    },
                );
            }
        }
        for generation in 1..=self.budget.generations {
            if self.redis.quarantine[usize::from(generation)] {
                self.then(steps, "quarantine ends", |world| {
                    world.redis.release(generation);
                });
            }
        }
    }
}
