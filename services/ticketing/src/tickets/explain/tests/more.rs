//! What the examples don't show.

use plazo_domain::{Alerts, AutoClose, InactivityPolicy};
use plazo_proto::notification::v1::ActiveMessageState;

use super::desk::{Desk, policy, seconds};
use super::short::{check, short};

#[test]
fn a_superseded_close_says_so() {
    let mut desk = Desk::open(policy(1));
    desk.agent(0.0);
    desk.late_answer(29.0, 33.0);
    let told = desk.told(100.0);
    let words = "the close was superseded: the customer had answered before it (channel time 2026-11-22T10:00:29.000Z), and the answer arrived 3 s after it";
    check(
        &told,
        &[
            "1 from 0 v1 ClosedByInactivity 30: FirstAlert 10 fired 10, SecondAlert 20 fired 20, Warning 25 fired 25, Close 30 fired 30",
        ],
        &[(33.0, words)],
    );
    let [close] = &told.closes[..] else {
        panic!("{:?}", told.closes)
    };
    assert!(close.superseded && close.text.contains(words) && close.cycle == 1);
    assert!(close.text.contains("closed by customer inactivity: "));
}

#[test]
fn each_stage_tells_how_late_it_was() {
    let mut desk = Desk::open(policy(1));
    desk.lag = 0.004;
    desk.agent(0.0);
    let told = desk.told(100.0);
    assert_eq!(
        short(&told),
        [
            "1 from 0 v1 ClosedByInactivity 30.004: FirstAlert 10 fired 10.004, SecondAlert 20 fired 20.004, Warning 25 fired 25.004, Close 30 fired 30.004"
        ]
    );
    assert!(told.text.contains(
        "\n2026-11-22T10:00:10.004Z  yellow alert: the customer has been silent for 10 s since the agent's message of 2026-11-22T10:00:00.000Z (4 ms late)\n"
    ), "{}", told.text);
}

#[test]
fn what_is_to_come_is_told() {
    let mut desk = Desk::open(policy(1));
    desk.agent(0.0);
    desk.notification_down(20.0, 60.0);
    let told = desk.told(12.0);
    check(
        &told,
        &[
            "1 from 0 v1 runs: FirstAlert 10 fired 10, SecondAlert 20 Pending, Warning 25 Pending, Close 30 Pending",
        ],
        &[(
            12.0,
            "now cycle 1 runs; to come: the red alert at 2026-11-22T10:00:20.000Z (in 8 s), the warning at 2026-11-22T10:00:25.000Z (in 13 s) and the close at 2026-11-22T10:00:30.000Z (in 18 s)",
        )],
    );
    let told = desk.told(40.0);
    check(
        &told,
        &[
            "1 from 0 v1 runs: FirstAlert 10 fired 10, SecondAlert 20 fired 20, Warning 25 fired 25, Close 45 Pending",
        ],
        &[(
            40.0,
            "nobody is closed unwarned, and the warning is not accepted yet",
        )],
    );
}

#[test]
fn a_tag_that_stays_keeps_the_ticket_open() {
    let mut desk = Desk::open(policy(1));
    desk.tag(0.0, "vip", true);
    desk.agent(0.0);
    let told = desk.told(100.0);
    check(
        &told,
        &[
            "1 from 0 v1 runs: FirstAlert 10 fired 10, SecondAlert 20 fired 20, Warning 25 Excluded, Close 30 Excluded",
        ],
        &[
            (
                0.0,
                "the ticket carries the excluded tag \"vip\", so it is neither warned nor closed",
            ),
            (
                100.0,
                "nothing of it is to come; the ticket carries the excluded tag \"vip\"",
            ),
        ],
    );
    desk.customer(101.0);
    let told = desk.told(102.0);
    assert!(
        told.text
            .contains("kept from acting by a tag: the warning and the close"),
        "{}",
        told.text
    );
}

fn with_delivery() -> InactivityPolicy {
    let close = policy(1).auto_close.expect("a close");
    InactivityPolicy {
        auto_close: Some(AutoClose {
            max_delivery_wait: Some(seconds(60)),
            ..close
        }),
        ..policy(1)
    }
}

#[test]
fn a_close_that_waits_for_the_delivery_says_why() {
    for (then, closed, why) in [
        (
            Some((ActiveMessageState::Delivered, 20.0)),
            50.0,
            "the warning was delivered at 2026-11-22T10:00:45.000Z, 20 s after it was due, and 5 s must lie",
        ),
        (
            Some((ActiveMessageState::Failed, 20.0)),
            50.0,
            "the warning failed at 2026-11-22T10:00:45.000Z, 20 s after it was due",
        ),
        (
            None,
            90.0,
            "the warning's delivery is waited for at most until 2026-11-22T10:01:25.000Z",
        ),
    ] {
        let mut desk = Desk::open(with_delivery());
        desk.then = then;
        desk.agent(0.0);
        let told = desk.told(200.0);
        let stages = format!(
            "1 from 0 v1 ClosedByInactivity {closed}: FirstAlert 10 fired 10, SecondAlert 20 fired 20, Warning 25 fired 25, Close {closed} fired {closed}"
        );
        check(&told, &[&stages], &[(closed, why)]);
        assert_eq!(told.cycles[0].warning_settle_time.is_some(), then.is_some());
        assert!(told.cycles[0].warning_accept_time.is_some());
    }
}

#[test]
fn the_agents_side_has_alerts_of_its_own() {
    let alerts = Alerts {
        first: seconds(10),
        second: seconds(20),
    };
    let mut desk = Desk::open(InactivityPolicy {
        agent_alerts: Some(alerts),
        ..policy(1)
    });
    desk.customer(1.0);
    desk.customer(3.0);
    desk.agent(15.0);
    desk.close(17.0);
    let told = desk.told(100.0);
    check(
        &told,
        &[
            "1 from 1 v1 Answered 15: FirstAlert 11 fired 11, SecondAlert 21 NotReached",
            "2 from 15 v1 Closed 17: FirstAlert 25 NotReached, SecondAlert 35 NotReached, Warning 40 NotReached, Close 45 NotReached",
        ],
        &[
            (
                11.0,
                "yellow alert of the agent's side: the customer has been waiting for an agent for 10 s since the customer's message of 2026-11-22T10:00:01.000Z",
            ),
            (15.0, "cycle 1 ended: the agent answered"),
            (
                15.0,
                "the yellow alert of the agent's side went away: an agent answered",
            ),
            (17.0, "closed by agent 5"),
        ],
    );
}

#[test]
fn a_ticket_that_nobody_answers_counts_from_its_opening() {
    let close = policy(1).auto_close.expect("a close");
    let mut desk = Desk::open(InactivityPolicy {
        auto_close: Some(AutoClose {
            only_after_first_agent_message: false,
            ..close
        }),
        ..policy(1)
    });
    desk.customer(5.0);
    let told = desk.told(100.0);
    check(
        &told,
        &[
            "1 from 0 v1 Restarted 5: Warning 25 NotReached, Close 30 NotReached",
            "2 from 5 v1 ClosedByInactivity 35: Warning 30 fired 30, Close 35 fired 35",
        ],
        &[
            (0.0, "since the opening of 2026-11-22T10:00:00.000Z"),
            (5.0, "cycle 1 ended: the customer wrote again"),
            (
                35.0,
                "closed by customer inactivity: nobody has written for 30 s since the customer's message of",
            ),
        ],
    );
}

#[test]
fn a_hold_that_ends_by_itself_and_stages_on_one_instant() {
    let alerts = Alerts {
        first: seconds(10),
        second: seconds(25),
    };
    let mut desk = Desk::open(InactivityPolicy {
        alerts: Some(alerts),
        ..policy(1)
    });
    desk.agent(0.0);
    desk.hold(5.0, 15.0);
    desk.lag = 0.25;
    let told = desk.told(100.0);
    check(
        &told,
        &[
            "1 from 0 v1 Held 5: FirstAlert 10 NotReached, SecondAlert 25 NotReached, Warning 25 NotReached, Close 30 NotReached",
            "2 from 20 v1 ClosedByInactivity 50.250: FirstAlert 30 fired 30.250, SecondAlert 45 PassedOver, Warning 45 fired 45.250, Close 50 fired 50.250",
        ],
        &[
            (
                20.25,
                "the hold ended: it reached its maximum length (250 ms late)",
            ),
            (
                45.25,
                "the red alert (due at 2026-11-22T10:00:45.000Z) was passed over, since the higher stage acts alone",
            ),
        ],
    );
}

#[test]
fn a_message_that_finds_a_hold_over_is_told_apart_from_its_end() {
    let mut desk = Desk::open(policy(1));
    desk.agent(0.0);
    desk.down(18.0, 24.0);
    desk.hold(5.0, 15.0);
    desk.agent(22.0);
    let told = desk.told(30.0);
    check(
        &told,
        &[
            "1 from 0 v1 Held 5: FirstAlert 10 NotReached, SecondAlert 20 NotReached, Warning 25 NotReached, Close 30 NotReached",
            "2 from 20 v1 Restarted 22: FirstAlert 30 NotReached, SecondAlert 40 NotReached, Warning 45 NotReached, Close 50 NotReached",
            "3 from 22 v1 runs: FirstAlert 32 Pending, SecondAlert 42 Pending, Warning 47 Pending, Close 52 Pending",
        ],
        &[(
            22.0,
            "the hold ended: it reached its maximum length (2 s late)",
        )],
    );
    let begun = "since the end of the hold of 2026-11-22T10:00:20.000Z";
    assert!(told.text.contains(begun), "{}", told.text);
}

#[test]
fn settings_without_stages_end_the_cycle() {
    let mut desk = Desk::open(policy(1));
    desk.agent(0.0);
    desk.apply(5.0, InactivityPolicy::default());
    let told = desk.told(100.0);
    assert!(
        short(&told)[0].starts_with("1 from 0 v1 PolicyApplied 5: "),
        "{:?}",
        short(&told)
    );
    assert!(
        told.text
            .contains("the settings that were applied have nothing to count")
    );
}

#[test]
fn a_long_history_is_told_from_its_end() {
    let mut desk = Desk::open(policy(1));
    for second in 0..3_000 {
        desk.agent(f64::from(second));
    }
    let whole = desk.told(3_100.0);
    assert!(whole.truncated && whole.cycles.len() == 100);
    assert!(whole.text.len() < 600_000, "{}", whole.text.len());
    assert!(whole.text.contains("closed by customer inactivity"));
    // The first events are those of a cycle that nobody saw begin.
    let mut desk = Desk::open(policy(1));
    desk.agent(0.0);
    desk.pass(12.0);
    desk.agent(13.0);
    desk.pass(100.0);
    let told = desk.told_of(3);
    assert!(told.truncated);
    assert_eq!(told.cycles.len(), 1);
    assert!(!told.text.contains("cycle 1 began"), "{}", told.text);
    assert!(
        told.text.starts_with("What happened before"),
        "{}",
        told.text
    );
    assert!(
        told.text.contains("yellow alert of cycle 1, due at"),
        "{}",
        told.text
    );
}

/// With `FIRST_MESSAGE` a cycle can run for longer than its ticket's last events tell.
#[test]
fn a_running_cycle_is_told_even_when_it_began_before_the_first_event() {
    let mut desk = Desk::open(InactivityPolicy {
        anchor: plazo_domain::Anchor::FirstMessage,
        ..policy(1)
    });
    desk.agent(0.0);
    desk.pass(12.0);
    desk.agent(13.0);
    desk.pass(22.0);
    let told = desk.told_of(4);
    assert_eq!(
        short(&told),
        ["1 from 0 v1 runs: SecondAlert 20 fired 20, Warning 25 Pending, Close 30 Pending"],
        "{}",
        told.text
    );
}

#[test]
fn a_pause_that_was_extended_says_by_whom() {
    let mut desk = Desk::open(InactivityPolicy::default());
    desk.pause(60.0, 90);
    let told = desk.told(5_500.0);
    check(
        &told,
        &[],
        &[
            (
                0.0,
                "the bot's automation pauses, until 2026-11-22T11:00:00.000Z if nothing extends it",
            ),
            (
                60.0,
                "the pause of the bot's automation was extended by agent 5: it pauses, until 2026-11-22T11:31:00.000Z",
            ),
            (
                5_460.0,
                "the bot's automation resumed: its pause was over (on time)",
            ),
        ],
    );
}

#[test]
fn a_cycle_that_settings_began_late_is_not_late_as_after_an_outage() {
    let mut desk = Desk::open(InactivityPolicy::default());
    desk.agent(0.0);
    desk.apply(22.0, policy(1));
    let told = desk.told(23.0);
    check(
        &told,
        &[
            "1 from 0 v2 runs: FirstAlert 10 PassedOver, SecondAlert 20 fired 22 since 22, Warning 25 Pending, Close 30 Pending",
        ],
        &[(
            22.0,
            "on time: due at 2026-11-22T10:00:20.000Z, but the settings with which its cycle began were applied only at 2026-11-22T10:00:22.000Z",
        )],
    );
    assert!(!told.text.contains("outage"), "{}", told.text);
    let lateness = told.cycles[0].stages[1].lateness.expect("it fired");
    assert_eq!((lateness.seconds, lateness.nanos), (0, 0));

    // Nobody looked for a while after that: this is late.
    let mut desk = Desk::open(policy(9));
    desk.agent(0.0);
    desk.down(20.0, 26.0);
    desk.apply(22.0, policy(1));
    let told = desk.told(26.5);
    assert!(
        told.text.contains(
            "4 s late: due at 2026-11-22T10:00:20.000Z, but the settings were applied only at 2026-11-22T10:00:22.000Z, and Plazo acted only now, as after an outage"
        ),
        "{}",
        told.text
    );
}
