//! A model of the protocol between a ticket's row and the sorted set, checked exhaustively: every order of arms, claims,
//! answers, acks, messages that are late or doubled, crashes, wipes, fail-overs and rebuilds, for one ticket and a few
//! generations.
//!
//! It holds [`INVARIANT`] in each state that can be reached. What each guard is for is shown by leaving it out: then
//! there must be a state that breaks it. The steps are those of `services/timer/src/lua` and of ticketing's relay; when
//! these change, the model changes with them. `make model` looks at all of them, `make test` at the small ones. The scripts themselves are tested on a real Redis in the timer.

mod explore;
mod redis;
mod steps;

use explore::{Outcome, explore};
use steps::{Budget, Guards, World};

/// What never breaks, in words.
const INVARIANT: &str = "a ticket with a deadline whose generation is armed has its entry in `due` at or before the \
    deadline, in a lease, or in quarantine, unless a rebuild is on its way";

/// The most states that are looked at; far more than any of these worlds has.
const STATES_MAX: usize = 5_000_000;

/// All guards there are.
const ALL: Guards = Guards {
    raises_generation_to_lower: true,
    leaves_added_generation: true,
    names_leases_apart: true,
    gives_back_members: true,
    rebuilds_dirty_rows: true,
    ends_rebuild_by_nonce: true,
    notices_other_server: true,
};

const NOTHING: Budget = Budget {
    generations: 2,
    timers: 1,
    claims: 1,
    gives_up: false,
    late_messages: 0,
    wipes: 0,
    fail_overs: 0,
    restarts: 0,
};

fn outcome(budget: Budget, guards: Guards) -> Outcome<World> {
    explore(
        World::new(budget, guards),
        STATES_MAX,
        World::next,
        World::holds,
    )
}

#[track_caller]
fn holds(budget: Budget) {
    match outcome(budget, ALL) {
        Outcome::Exhausted { states } => println!("{states} states"),
        Outcome::Broken { trace, world } => {
            panic!("{INVARIANT}: broken by\n{}\nin {world:?}", trace.join("\n"))
        }
        Outcome::TooMany => panic!("more than {STATES_MAX} states"),
    }
}

#[track_caller]
fn breaks(budget: Budget, guards: Guards) {
    match outcome(budget, guards) {
        Outcome::Broken { trace, .. } => println!("{}", trace.join("\n")),
        Outcome::Exhausted { states } => panic!("{states} states, and nothing broke"),
        Outcome::TooMany => panic!("more than {STATES_MAX} states, and nothing broke"),
    }
}

#[test]
fn every_order_of_steps_loses_nothing() {
    holds(NOTHING);
}

#[test]
fn late_and_doubled_messages_lose_nothing() {
    holds(Budget {
        generations: 1,
        claims: 2,
        late_messages: 1,
        ..NOTHING
    });
}

#[test]
#[ignore = "too many states for a debug build: make model"]
fn three_generations_lose_nothing() {
    holds(Budget {
        generations: 3,
        late_messages: 1,
        ..NOTHING
    });
}

#[test]
#[ignore = "too many states for a debug build: make model"]
fn two_timers_lose_nothing() {
    holds(Budget {
        timers: 2,
        claims: 2,
        ..NOTHING
    });
}

#[test]
#[ignore = "too many states for a debug build: make model"]
fn quarantine_loses_nothing() {
    holds(Budget {
        gives_up: true,
        late_messages: 1,
        ..NOTHING
    });
}

#[test]
#[ignore = "too many states for a debug build: make model"]
fn a_wiped_redis_loses_nothing() {
    holds(Budget {
        late_messages: 1,
        wipes: 1,
        ..NOTHING
    });
}

#[test]
#[ignore = "too many states for a debug build: make model"]
fn a_redis_that_is_wiped_again_during_the_rebuild_loses_nothing() {
    holds(Budget {
        wipes: 2,
        ..NOTHING
    });
}

#[test]
#[ignore = "too many states for a debug build: make model"]
fn a_fail_over_to_an_old_copy_and_a_restart_of_all_timers_lose_nothing() {
    holds(Budget {
        fail_overs: 1,
        restarts: 1,
        ..NOTHING
    });
}

#[test]
fn a_deadline_that_falls_within_a_generation_is_missed() {
    let guards = Guards {
        raises_generation_to_lower: false,
        ..ALL
    };
    breaks(NOTHING, guards);
}

#[test]
fn an_arm_that_removes_what_it_adds_loses_the_entry() {
    let guards = Guards {
        leaves_added_generation: false,
        ..ALL
    };
    breaks(NOTHING, guards);
}

#[test]
fn a_doubled_claim_under_the_same_name_loses_the_entry() {
    let budget = Budget {
        late_messages: 1,
        ..NOTHING
    };
    let guards = Guards {
        names_leases_apart: false,
        ..ALL
    };
    breaks(budget, guards);
}

#[test]
fn a_lease_that_goes_without_its_members_loses_the_entry() {
    let guards = Guards {
        gives_back_members: false,
        ..ALL
    };
    breaks(NOTHING, guards);
}

#[test]
fn a_rebuild_without_the_dirty_rows_loses_the_entry() {
    let budget = Budget {
        wipes: 1,
        ..NOTHING
    };
    let guards = Guards {
        rebuilds_dirty_rows: false,
        ..ALL
    };
    breaks(budget, guards);
}

#[test]
fn a_rebuild_that_ends_blindly_loses_the_entry() {
    let budget = Budget {
        wipes: 2,
        ..NOTHING
    };
    let guards = Guards {
        ends_rebuild_by_nonce: false,
        ..ALL
    };
    breaks(budget, guards);
}

#[test]
fn a_fail_over_that_nobody_notices_loses_the_entry() {
    let budget = Budget {
        fail_overs: 1,
        ..NOTHING
    };
    let guards = Guards {
        notices_other_server: false,
        ..ALL
    };
    breaks(budget, guards);
}
