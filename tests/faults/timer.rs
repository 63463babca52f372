//! Faults of the timer and its Redis: timers as processes, an owner with an account of its own in the test, and one
//! file for each fault.

mod bed;
mod clocks;
mod dead_master;
mod dies_after_claim;
mod dies_before_ack;
mod evicting;
mod frozen_redis;
mod frozen_replica;
mod killed_redis;
mod lossy_failover;
mod lost_replies;
mod masters;
mod old_redis;
mod one_tenant;
mod out_of_memory;
mod poison;
mod resharded;
mod rolling;
mod scripts;
mod slow_handler;
mod soak;
mod timers_down;
mod wiped_redis;

use futures::FutureExt as _;

use crate::Fault;

pub(crate) use soak::soak;

/// All of them, by their numbers.
pub(crate) const FAULTS: [Fault; 20] = [
    Fault {
        number: 1,
        name: "timer dies after the claim, before dispatch",
        run: |size| dies_after_claim::run(size).boxed_local(),
    },
    Fault {
        number: 2,
        name: "timer dies after dispatch, before ack",
        run: |size| dies_before_ack::run(size).boxed_local(),
    },
    Fault {
        number: 3,
        name: "reply of Redis lost after the script ran",
        run: |size| lost_replies::run(size).boxed_local(),
    },
    Fault {
        number: 4,
        name: "timer replica frozen for 3 leases, then goes on",
        run: |size| frozen_replica::run(size).boxed_local(),
    },
    Fault {
        number: 5,
        name: "all timers down",
        run: |size| timers_down::run(size).boxed_local(),
    },
    Fault {
        number: 6,
        name: "rolling restart of every service under load",
        run: |size| rolling::run(size).boxed_local(),
    },
    Fault {
        number: 7,
        name: "Redis killed, AOF everysec",
        run: |size| killed_redis::run(size).boxed_local(),
    },
    Fault {
        number: 8,
        name: "Redis comes back empty",
        run: |size| wiped_redis::run(size).boxed_local(),
    },
    Fault {
        number: 9,
        name: "Redis comes back old",
        run: |size| old_redis::run(size).boxed_local(),
    },
    Fault {
        number: 10,
        name: "failover that loses writes, old primary still answering",
        run: |size| lossy_failover::run(size).boxed_local(),
    },
    Fault {
        number: 11,
        name: "Redis frozen",
        run: |size| frozen_redis::run(size).boxed_local(),
    },
    Fault {
        number: 12,
        name: "Redis out of memory",
        run: |size| out_of_memory::run(size).boxed_local(),
    },
    Fault {
        number: 13,
        name: "eviction policy wrong",
        run: |size| evicting::run(size).boxed_local(),
    },
    Fault {
        number: 14,
        name: "script cache flushed, script BUSY",
        run: |size| scripts::run(size).boxed_local(),
    },
    Fault {
        number: 15,
        name: "Redis Cluster resharded under load",
        run: |size| resharded::run(size).boxed_local(),
    },
    Fault {
        number: 16,
        name: "one Redis master of three gone",
        run: |size| dead_master::run(size).boxed_local(),
    },
    Fault {
        number: 21,
        name: "ticketing slow",
        run: |size| slow_handler::run(size).boxed_local(),
    },
    Fault {
        number: 24,
        name: "clocks off",
        run: |size| clocks::run(size).boxed_local(),
    },
    Fault {
        number: 25,
        name: "poison tickets, handler down",
        run: |size| poison::run(size).boxed_local(),
    },
    Fault {
        number: 26,
        name: "a million tickets of one tenant due in one second",
        run: |size| one_tenant::run(size).boxed_local(),
    },
];
