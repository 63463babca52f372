//! Holds, how they end, and who notices that; and transfers.

use plazo_proto::ticketing::v1::{HoldEnd, TicketHeld, TicketTransferred};

use super::events::*;
use super::sides::both_sides;
use super::*;

fn transferred(ms: i64) -> At {
    (ms, Payload::Transferred(TicketTransferred::default()))
}

#[test]
fn a_hold_stops_the_stages_and_a_resume_counts_from_zero() {
    let resumed = |cycles| {
        vec![
            opened(),
            agent(0, 1),
            yellow(10_005, 1, 10_000),
            held(15_000, 900_000),
            cleared(15_000, 1, 0),
            hold_ended(25_000, HoldEnd::Resumed, 900_000, cycles),
            yellow(35_005, 2, 35_000),
        ]
    };
    assert_eq!(violations(resumed(silent_from(2, 25_000))), "");
    assert_seen(resumed(silent_from(2, 0)), "counts from 0, not 25000000");
    assert_seen(resumed(silent_from(1, 25_000)), "cycle 1 began, not 2");
    assert_seen(resumed(Vec::new()), "no cycle of CustomerSilent began");

    let mut not_cleared = resumed(silent_from(2, 25_000));
    not_cleared.remove(4);
    assert_seen(not_cleared, "is not Clearing(1, 0)");
    let mut fires_while_held = resumed(silent_from(2, 25_000));
    fires_while_held.insert(5, stage(20_005, 1, Stage::SecondAlert, 20_000, 2));
    assert_seen(fires_while_held, "SecondAlert fired without a cycle");
    let mut lost = resumed(silent_from(2, 25_000));
    lost.remove(2);
    lost.remove(3);
    assert_seen(lost, "FirstAlert of cycle 1 is lost");
}

#[test]
fn a_hold_ends_by_itself_in_time() {
    let expired = |at_ms, anchor_ms| {
        let cycles = silent_from(2, anchor_ms);
        vec![
            opened(),
            agent(0, 1),
            held(5_000, 20_000),
            hold_ended(at_ms, HoldEnd::Expired, 20_000, cycles),
            yellow(30_005, 2, 30_000),
        ]
    };
    assert_eq!(violations(expired(20_003, 20_000)), "");
    assert_seen(expired(20_003, 20_003), "counts from 20003000");
    assert_seen(expired(19_999, 20_000), "1000 µs early");
    assert_seen(expired(21_001, 20_000), "1001000 µs late");
    let mut endless = expired(20_003, 20_000);
    endless.truncate(3);
    assert_seen(endless, "the end of a hold is lost");
}

#[test]
fn an_agents_message_does_not_end_a_hold_and_a_customers_does() {
    let mut run = vec![
        opened(),
        agent(0, 1),
        held(5_000, 900_000),
        written(8_000, AuthorKind::Agent, Vec::new()),
        hold_ended(18_000, HoldEnd::CustomerWrote, 900_000, Vec::new()),
        customer(18_000),
    ];
    assert_eq!(violations(run.clone()), "");
    let mut apart = run.clone();
    apart[5].0 += 1;
    assert_seen(apart, "CustomerMessage followed 1000 µs later");
    let mut counted = run.clone();
    counted[4] = hold_ended(
        18_000,
        HoldEnd::CustomerWrote,
        900_000,
        silent_from(2, 18_000),
    );
    assert_seen(counted, "began for nothing");
    run.remove(4);
    assert_seen(run.clone(), "did not end the hold");
    run[3] = agent(8_000, 2);
    assert_seen(run, "began for nothing");
}

/// A hold from 5 s to 20 s, which this message finds over at this instant: it ends the cycle that began with the end.
fn found_over(ms: i64, message: At) -> Vec<At> {
    vec![
        opened(),
        agent(0, 1),
        held(5_000, 20_000),
        hold_ended(ms, HoldEnd::Expired, 20_000, silent_from(2, 20_000)),
        message,
    ]
}
/// The place of the hold's end.
const END: usize = 3;

#[test]
fn a_message_may_find_a_hold_over() {
    for message in [customer(20_400), agent(20_400, 3)] {
        let by_agent = message == agent(20_400, 3);
        let mut right = found_over(20_400, message.clone());
        right.push(closed(25_000));
        assert_eq!(violations(right), "");

        let mut unnoticed = found_over(20_400, message.clone());
        unnoticed.remove(END);
        let violation = if by_agent {
            "did not notice that the hold was over"
        } else {
            "did not end the hold"
        };
        assert_seen(unnoticed, violation);

        let ended_by = |cause, cycles| {
            let mut run = found_over(20_400, message.clone());
            run[END] = hold_ended(20_400, cause, 20_000, cycles);
            run
        };
        assert_seen(
            ended_by(HoldEnd::Expired, Vec::new()),
            "no cycle of CustomerSilent began",
        );
        assert_seen(
            ended_by(HoldEnd::Expired, silent_from(2, 20_400)),
            "counts from 20400000, not 20000000",
        );
        assert_seen(
            ended_by(HoldEnd::Expired, silent_from(1, 20_000)),
            "cycle 1 began, not 2",
        );
        let not_by_him = ended_by(HoldEnd::CustomerWrote, Vec::new());
        assert_seen(not_by_him, "ended a hold that was over");
        let mut too_late = found_over(21_001, message.clone());
        too_late[END + 1].0 = 21_001;
        assert_seen(too_late, "the end of a hold was 1001000 µs late");
    }
    assert_seen(found_over(20_400, agent(20_400, 2)), "cycle 2 began, not 3");

    // The cycle that began with the hold's end is none of the message's.
    let mut told_with_the_message = found_over(
        20_400,
        written(20_400, AuthorKind::Customer, silent_from(2, 20_000)),
    );
    told_with_the_message[END] = hold_ended(20_400, HoldEnd::Expired, 20_000, Vec::new());
    assert_seen(
        told_with_the_message.clone(),
        "no cycle of CustomerSilent began",
    );
    assert_seen(told_with_the_message, "CustomerSilent began for nothing");
}

#[test]
fn a_stage_after_a_hold_that_is_lost_early_or_there_twice_is_seen() {
    // Found over by an agent, and noticed in time.
    let by_agent = || {
        let mut run = found_over(20_400, agent(20_400, 3));
        run.push(yellow(30_405, 3, 30_400));
        run
    };
    let in_time = || {
        let mut run = found_over(20_003, yellow(30_005, 2, 30_000));
        run.push(customer(33_000));
        run.push(cleared(33_000, 1, 0));
        run
    };
    assert_eq!(violations(by_agent()), "");
    assert_eq!(violations(in_time()), "");

    let mut lost = by_agent();
    lost.remove(END + 2);
    assert_seen(lost, "FirstAlert of cycle 3 is lost");
    let mut lost = in_time();
    lost.remove(END + 1);
    assert_seen(lost, "FirstAlert of cycle 2 is lost");

    let mut early = by_agent();
    early[END + 2].0 = 30_399;
    assert_seen(early, "FirstAlert was 1000 µs early");
    // As if the time before the hold counted.
    let mut early = in_time();
    early[END + 1] = yellow(25_005, 2, 25_000);
    assert_seen(early, "was due at 25000000, not Some(30000000)");

    let mut twice = by_agent();
    twice.push(yellow(30_405, 3, 30_400));
    assert_seen(twice, "FirstAlert fired twice");

    // Of the cycle that the message ended, of the one before the hold, and while the ticket was on hold.
    let mut ended = by_agent();
    ended.insert(END + 2, yellow(30_005, 2, 30_000));
    assert_seen(ended, "FirstAlert fired in cycle 2");
    let mut before = in_time();
    before.insert(END + 1, yellow(20_005, 1, 10_000));
    assert_seen(before, "FirstAlert fired in cycle 1");
    let mut on_hold = in_time();
    on_hold.insert(END, yellow(10_005, 1, 10_000));
    assert_seen(on_hold, "FirstAlert fired without a cycle");
}

#[test]
fn a_customers_message_after_the_end_is_not_his_first_unanswered_one() {
    let opening = TicketOpened {
        cycles: vec![start(1, CycleKind::CustomerWaits, 0)],
        ..TicketOpened::default()
    };
    let waits = |cycle, ms| start(cycle, CycleKind::CustomerWaits, ms);
    let agents = |cycle, ms| start(cycle, CycleKind::AgentSilent, ms);
    let both = |cycle, ms| vec![waits(cycle, ms), agents(cycle + 1, ms)];
    let wrote = |ms, cycles| written(ms, AuthorKind::Customer, cycles);
    let run = |end: At, message: At, alert: At| {
        vec![
            (0, Payload::Opened(opening.clone())),
            wrote(1_000, both(2, 1_000)),
            held(3_000, 5_000),
            end,
            message,
            kind_of(alert, CycleKind::AgentSilent),
            closed(12_000),
            cleared(12_000, 0, 1),
        ]
    };
    let over = |message| {
        let end = hold_ended(5_400, HoldEnd::Expired, 5_000, both(4, 5_000));
        run(end, message, yellow(10_005, 5, 10_000))
    };
    let right = over(wrote(5_400, vec![waits(6, 5_400)]));
    assert_eq!(violations_under(&both_sides(), right.clone()), "");
    let found = violations_under(&both_sides(), over(wrote(5_400, both(6, 5_400))));
    assert!(found.contains("AgentSilent began for nothing"), "{found}");
    let mut lost = right;
    lost.remove(END + 2);
    let found = violations_under(&both_sides(), lost);
    assert!(found.contains("FirstAlert of cycle 5 is lost"), "{found}");

    // One that ends the hold is.
    let by_him = |message| {
        let end = hold_ended(4_000, HoldEnd::CustomerWrote, 5_000, Vec::new());
        run(end, message, yellow(9_005, 5, 9_000))
    };
    let right = by_him(wrote(4_000, both(4, 4_000)));
    assert_eq!(violations_under(&both_sides(), right), "");
    let found = violations_under(&both_sides(), by_him(wrote(4_000, vec![waits(4, 4_000)])));
    assert!(found.contains("no cycle of AgentSilent began"), "{found}");
}

#[test]
fn a_hold_that_is_over_may_be_resumed_or_replaced_in_time() {
    let resumed = |ms, anchor_ms| {
        let cycles = silent_from(2, anchor_ms);
        let mut run = found_over(ms, yellow(30_005, 2, 30_000));
        run[END] = hold_ended(ms, HoldEnd::Resumed, 20_000, cycles);
        run
    };
    assert_eq!(violations(resumed(20_400, 20_000)), "");
    assert_seen(
        resumed(20_400, 20_400),
        "counts from 20400000, not 20000000",
    );
    assert_seen(resumed(21_001, 20_000), "the end of a hold is lost");

    let replaced = |ms, due_ms| {
        let cycles = silent_from(2, 25_000);
        let mut run = found_over(25_003, yellow(35_005, 2, 35_000));
        run[END] = hold_ended(25_003, HoldEnd::Expired, due_ms, cycles);
        let mut longer = held(ms, 25_000);
        if let Payload::Held(TicketHeld { hold: Some(hold) }) = &mut longer.1 {
            hold.start_time = Some(instant(5_000));
        }
        run.insert(END, longer);
        run
    };
    assert_eq!(violations(replaced(12_000, 25_000)), "");
    assert_seen(
        replaced(12_000, 20_000),
        "a hold ended that was due at 20000000",
    );
    assert_seen(replaced(20_400, 25_000), "did not notice that it was over");
}

#[test]
fn a_close_or_a_transfer_ends_a_hold_that_is_over_in_time() {
    for (cause, end) in [
        (HoldEnd::Closed, closed as fn(i64) -> At),
        (HoldEnd::Transferred, transferred),
    ] {
        let at = |ms| {
            let mut run = found_over(ms, hold_ended(ms, cause, 20_000, Vec::new()));
            run[END] = end(ms);
            run
        };
        assert_eq!(violations(at(8_000)), "");
        assert_eq!(violations(at(20_400)), "");
        assert_seen(at(21_001), "the end of a hold is lost");
        let mut for_nothing = at(8_000);
        for_nothing.remove(END);
        assert_seen(for_nothing, "for nothing");
    }
}

#[test]
fn a_transfer_disarms() {
    let mut run = vec![
        opened(),
        agent(0, 1),
        yellow(10_005, 1, 10_000),
        held(12_000, 900_000),
        cleared(12_000, 1, 0),
        transferred(15_000),
        hold_ended(15_000, HoldEnd::Transferred, 900_000, Vec::new()),
        agent(25_000, 2),
        yellow(35_005, 2, 35_000),
    ];
    assert_eq!(violations(run.clone()), "");
    run[7] = stage(20_005, 1, Stage::SecondAlert, 20_000, 2);
    run.truncate(8);
    assert_seen(run.clone(), "SecondAlert fired without a cycle");
    run.remove(6);
    assert_seen(run, "is not HoldEnd(Transferred)");
}
