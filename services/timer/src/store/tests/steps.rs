//! What may happen, in any order.

use proptest::prelude::*;

/// What becomes of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Delivery {
    /// It arrives, and its sender knows.
    Once,
    /// It arrives, and a copy arrives at some later time.
    Twice,
    /// It arrives at some later time; its sender gives up waiting.
    Late,
    /// It never arrives.
    Never,
}

/// What becomes of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ClaimFate {
    /// The claimer has it.
    Held,
    /// The answer is lost, or the claimer dies.
    Lost,
    /// It reaches Redis twice; the claimer has the second answer.
    Doubled,
}

/// What the handler makes of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Handling {
    /// It answers for all.
    Whole,
    /// Every second ticket is locked by somebody.
    Busy,
    /// Every second ticket is an error.
    Errors,
    /// The call fails, and counts against all.
    Fails,
    /// The handler is down.
    Down,
    /// The claimer dies before the handler has committed.
    Dies,
}

/// One step. Numbers are taken modulo what there is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Step {
    /// The agent writes: the tickets of a group are due so many ticks and milliseconds from now.
    Write { group: u8, ticks: i64, ms: i64 },
    /// The customer replies: nothing is due, and the generation stays.
    Reply { group: u8 },
    /// The relay hands a group over, if it is dirty.
    Relay { group: u8, delivery: Delivery },
    /// Somebody claims.
    Claim {
        shard: u8,
        limit: u8,
        fate: ClaimFate,
    },
    /// What a claim took whose answer was lost is given back.
    GiveBack { claim: u8 },
    /// A claimed batch is handled; what fires is due again after so many ticks, or never if none.
    Handle {
        batch: u8,
        handling: Handling,
        ticks: i64,
        delivery: Delivery,
    },
    /// A message that was on its way arrives; it may arrive again.
    Arrive { message: u8, again: bool },
    /// Ticks pass.
    Pass { ticks: i64 },
    /// The owner has tickets checked, those in the mask.
    Repair { mask: u8, delivery: Delivery },
    /// Somebody releases tickets of a group from quarantine.
    Release { group: u8 },
    /// Quarantine is tried again.
    Retry { limit: u8 },
    /// A lone replica starts, and ends all leases.
    EndLeases,
    /// A replica or a dump is made.
    Copy,
    /// Redis goes back to it, and is rebuilt.
    GoBack,
    /// Redis is wiped, and rebuilt.
    Wipe,
}

fn delivery() -> impl Strategy<Value = Delivery> {
    prop_oneof![
        4 => Just(Delivery::Once),
        3 => Just(Delivery::Twice),
        3 => Just(Delivery::Late),
        1 => Just(Delivery::Never),
    ]
}

fn handling() -> impl Strategy<Value = Handling> {
    prop_oneof![
        6 => Just(Handling::Whole),
        1 => Just(Handling::Busy),
        2 => Just(Handling::Errors),
        2 => Just(Handling::Fails),
        1 => Just(Handling::Down),
        1 => Just(Handling::Dies),
    ]
}

fn fate() -> impl Strategy<Value = ClaimFate> {
    prop_oneof![
        6 => Just(ClaimFate::Held),
        1 => Just(ClaimFate::Lost),
        1 => Just(ClaimFate::Doubled),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let small = any::<u8>;
    prop_oneof![
        4 => (small(), 0_i64..4, -2_i64..=2)
            .prop_map(|(group, ticks, ms)| Step::Write { group, ticks, ms }),
        1 => small().prop_map(|group| Step::Reply { group }),
        5 => (small(), delivery()).prop_map(|(group, delivery)| Step::Relay { group, delivery }),
        6 => (small(), small(), fate())
            .prop_map(|(shard, limit, fate)| Step::Claim { shard, limit, fate }),
        2 => small().prop_map(|claim| Step::GiveBack { claim }),
        6 => (small(), handling(), 0_i64..4, delivery()).prop_map(
            |(batch, handling, ticks, delivery)| Step::Handle { batch, handling, ticks, delivery }
        ),
        5 => (small(), any::<bool>())
            .prop_map(|(message, again)| Step::Arrive { message, again }),
        4 => (1_i64..4).prop_map(|ticks| Step::Pass { ticks }),
        2 => (small(), delivery()).prop_map(|(mask, delivery)| Step::Repair { mask, delivery }),
        1 => small().prop_map(|group| Step::Release { group }),
        1 => small().prop_map(|limit| Step::Retry { limit }),
        1 => prop_oneof![
            Just(Step::EndLeases),
            Just(Step::Copy),
            Just(Step::GoBack),
            Just(Step::Wipe),
        ],
    ]
}

/// Sequences of steps.
pub(super) fn sequences(longest: usize) -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(step(), longest / 2..=longest)
}
