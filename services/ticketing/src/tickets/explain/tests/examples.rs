//! The examples of the rules: alerts 10/20, warning 25, close 30.

use plazo_domain::{Anchor, InactivityPolicy};
use plazo_proto::common::v1::AuthorKind;
use plazo_proto::ticketing::v1::MessageKind;

use super::desk::{Desk, policy};
use super::short::check;

/// What happens, the cycles with their stages, and what is said at which second.
struct Example {
    name: &'static str,
    policy: fn() -> InactivityPolicy,
    happens: fn(&mut Desk),
    cycles: &'static [&'static str],
    words: &'static [(f64, &'static str)],
    closes: usize,
}

const WHOLE: &str = "1 from 0 v1 ClosedByInactivity 30: FirstAlert 10 fired 10, SecondAlert 20 fired 20, Warning 25 fired 25, Close 30 fired 30";

const WHOLE_WORDS: &[(f64, &str)] = &[
    (
        0.0,
        "cycle 1 began: it counts the customer's silence since the agent's message of 2026-11-22T10:00:00.000Z, by policy version 1, then in force: yellow alert after 10 s (at 2026-11-22T10:00:10.000Z), red alert after 20 s",
    ),
    (
        10.0,
        "yellow alert: the customer has been silent for 10 s since the agent's message of 2026-11-22T10:00:00.000Z (on time)",
    ),
    (20.0, "red alert: the customer has been silent for 20 s"),
    (25.0, "warning: the customer has been silent for 25 s"),
    (25.0, "the customer is told that the ticket closes in 5 s"),
    (
        25.0,
        "the warning of cycle 1 was accepted at 2026-11-22T10:00:25.000Z; the close is due at 2026-11-22T10:00:30.000Z, as it was set",
    ),
    (
        30.0,
        "closed by customer inactivity: the customer has been silent for 30 s since the agent's message of 2026-11-22T10:00:00.000Z (on time); the warning went out at 2026-11-22T10:00:25.000Z, 5 s before",
    ),
    (30.0, "the red alert went away: the ticket was closed"),
    (
        30.0,
        "the bot's automation resumed: the ticket was completed",
    ),
];

static FIRST: &[Example] = &[
    Example {
        name: "agent 0",
        policy: || policy(1),
        happens: |desk| desk.agent(0.0),
        cycles: &[WHOLE],
        words: WHOLE_WORDS,
        closes: 1,
    },
    Example {
        name: "agent 0, customer 12",
        policy: || policy(1),
        happens: |desk| {
            desk.agent(0.0);
            desk.customer(12.0);
        },
        cycles: &[
            "1 from 0 v1 Answered 12: FirstAlert 10 fired 10, SecondAlert 20 NotReached, Warning 25 NotReached, Close 30 NotReached",
        ],
        words: &[
            (
                12.0,
                "cycle 1 ended: the customer answered; not reached: the red alert (due at 2026-11-22T10:00:20.000Z, 8 s later), the warning",
            ),
            (12.0, "the yellow alert went away: the customer answered"),
        ],
        closes: 0,
    },
    Example {
        name: "agent 0, customer 12, agent 15",
        policy: || policy(1),
        happens: |desk| {
            desk.agent(0.0);
            desk.customer(12.0);
            desk.agent(15.0);
        },
        cycles: &[
            "1 from 0 v1 Answered 12: FirstAlert 10 fired 10, SecondAlert 20 NotReached, Warning 25 NotReached, Close 30 NotReached",
            "2 from 15 v1 ClosedByInactivity 45: FirstAlert 25 fired 25, SecondAlert 35 fired 35, Warning 40 fired 40, Close 45 fired 45",
        ],
        words: &[(
            45.0,
            "since the agent's message of 2026-11-22T10:00:15.000Z",
        )],
        closes: 1,
    },
    Example {
        name: "agent 0, agent 8",
        policy: || policy(1),
        happens: |desk| {
            desk.agent(0.0);
            desk.agent(8.0);
        },
        cycles: &[
            "1 from 0 v1 Restarted 8: FirstAlert 10 NotReached, SecondAlert 20 NotReached, Warning 25 NotReached, Close 30 NotReached",
            "2 from 8 v1 ClosedByInactivity 38: FirstAlert 18 fired 18, SecondAlert 28 fired 28, Warning 33 fired 33, Close 38 fired 38",
        ],
        words: &[(
            8.0,
            "cycle 1 ended: the agent wrote again, which begins a new one",
        )],
        closes: 1,
    },
    Example {
        name: "agent 0, agent 8 with FIRST_MESSAGE",
        policy: || InactivityPolicy {
            anchor: Anchor::FirstMessage,
            ..policy(1)
        },
        happens: |desk| {
            desk.agent(0.0);
            desk.agent(8.0);
        },
        cycles: &[WHOLE],
        words: &[(
            8.0,
            "cycle 1 counts on, since the settings count from the first message",
        )],
        closes: 1,
    },
    Example {
        name: "agent 0, agent 27",
        policy: || policy(1),
        happens: |desk| {
            desk.agent(0.0);
            desk.agent(27.0);
        },
        cycles: &[
            "1 from 0 v1 Restarted 27: FirstAlert 10 fired 10, SecondAlert 20 fired 20, Warning 25 fired 25, Close 30 NotReached",
            "2 from 27 v1 ClosedByInactivity 57: FirstAlert 37 fired 37, SecondAlert 47 fired 47, Warning 52 fired 52, Close 57 fired 57",
        ],
        words: &[
            (27.0, "the red alert stays until the customer answers"),
            (37.0, "the red alert shows already, and stays"),
        ],
        closes: 1,
    },
    Example {
        name: "agent 0, hold 5, resume 50",
        policy: || policy(1),
        happens: |desk| {
            desk.agent(0.0);
            desk.hold(5.0, 3_600.0);
            desk.resume(50.0);
        },
        cycles: &[
            "1 from 0 v1 Held 5: FirstAlert 10 NotReached, SecondAlert 20 NotReached, Warning 25 NotReached, Close 30 NotReached",
            "2 from 50 v1 ClosedByInactivity 80: FirstAlert 60 fired 60, SecondAlert 70 fired 70, Warning 75 fired 75, Close 80 fired 80",
        ],
        words: &[
            (
                5.0,
                "put on hold by agent 5 (\"asks the workshop\"), at the latest until 2026-11-22T11:00:05.000Z: the inactivity clocks stop",
            ),
            (50.0, "the hold ended: agent 5 resumed the ticket"),
            (
                60.0,
                "silent for 10 s since the end of the hold of 2026-11-22T10:00:50.000Z",
            ),
        ],
        closes: 1,
    },
    Example {
        name: "agent 0, hold 15, customer 18, agent 20",
        policy: || policy(1),
        happens: |desk| {
            desk.agent(0.0);
            desk.hold(15.0, 3_600.0);
            desk.customer(18.0);
            desk.agent(20.0);
        },
        cycles: &[
            "1 from 0 v1 Held 15: FirstAlert 10 fired 10, SecondAlert 20 NotReached, Warning 25 NotReached, Close 30 NotReached",
            "2 from 20 v1 ClosedByInactivity 50: FirstAlert 30 fired 30, SecondAlert 40 fired 40, Warning 45 fired 45, Close 50 fired 50",
        ],
        words: &[
            (
                15.0,
                "the yellow alert went away: the ticket was put on hold",
            ),
            (18.0, "the hold ended: the customer wrote"),
        ],
        closes: 1,
    },
];

static LATER: &[Example] = &[
    Example {
        name: "agent 0, everything down 5-40",
        policy: || policy(1),
        happens: |desk| {
            desk.down(5.0, 40.0);
            desk.agent(0.0);
        },
        cycles: &[
            "1 from 0 v1 ClosedByInactivity 45: FirstAlert 10 PassedOver, SecondAlert 20 fired 40, Warning 25 fired 40, Close 45 fired 45",
        ],
        words: &[
            (
                40.0,
                "red alert: the customer has been silent for 20 s since the agent's message of 2026-11-22T10:00:00.000Z (20 s late: due at 2026-11-22T10:00:20.000Z, and Plazo acted only now, as after an outage); the yellow alert (due at 2026-11-22T10:00:10.000Z) was passed over",
            ),
            (40.0, "(15 s late"),
            (
                45.0,
                "the close moved from 2026-11-22T10:00:30.000Z to 2026-11-22T10:00:45.000Z: the warning was accepted at 2026-11-22T10:00:40.000Z, 15 s after it was due, and 5 s must lie between it and the close",
            ),
        ],
        closes: 1,
    },
    Example {
        name: "agent 0, everything down 5-27",
        policy: || policy(1),
        happens: |desk| {
            desk.down(5.0, 27.0);
            desk.agent(0.0);
        },
        cycles: &[
            "1 from 0 v1 ClosedByInactivity 32: FirstAlert 10 PassedOver, SecondAlert 20 fired 27, Warning 25 fired 27, Close 32 fired 32",
        ],
        words: &[
            (27.0, "(7 s late"),
            (32.0, "the close moved from 2026-11-22T10:00:30.000Z"),
        ],
        closes: 1,
    },
    Example {
        name: "agent 0, notification down 20-60",
        policy: || policy(1),
        happens: |desk| {
            desk.notification_down(20.0, 60.0);
            desk.agent(0.0);
        },
        cycles: &[
            "1 from 0 v1 ClosedByInactivity 65: FirstAlert 10 fired 10, SecondAlert 20 fired 20, Warning 25 fired 25, Close 65 fired 65",
        ],
        words: &[
            (
                60.0,
                "the warning of cycle 1 was accepted at 2026-11-22T10:01:00.000Z; the close is due at 2026-11-22T10:01:05.000Z: the warning was accepted at 2026-11-22T10:01:00.000Z, 35 s after it was due",
            ),
            (
                65.0,
                "closed by customer inactivity: the customer has been silent for 1 min 5 s",
            ),
        ],
        closes: 1,
    },
    Example {
        name: "agent 0, system message 9, note 9",
        policy: || policy(1),
        happens: |desk| {
            desk.agent(0.0);
            desk.other(9.0, AuthorKind::System, MessageKind::Chat);
            desk.other(9.0, AuthorKind::Agent, MessageKind::Note);
        },
        cycles: &[WHOLE],
        words: &[
            (
                9.0,
                "a message of the system: that changes nothing about who waits",
            ),
            (
                9.0,
                "agent 5 left a note: that changes nothing about who waits",
            ),
        ],
        closes: 1,
    },
    Example {
        name: "agent 0, transfer to queue 15",
        policy: || policy(1),
        happens: |desk| {
            desk.agent(0.0);
            desk.transfer(15.0);
        },
        cycles: &[
            "1 from 0 v1 Transferred 15: FirstAlert 10 fired 10, SecondAlert 20 NotReached, Warning 25 NotReached, Close 30 NotReached",
        ],
        words: &[
            (
                15.0,
                "transferred to queue 8 by agent 5: the inactivity clocks are disarmed until somebody writes",
            ),
            (
                15.0,
                "the yellow alert went away: the ticket was transferred",
            ),
        ],
        closes: 0,
    },
    Example {
        name: "agent 0, excluded tag added 22, removed 28",
        policy: || policy(1),
        happens: |desk| {
            desk.agent(0.0);
            desk.tag(22.0, "vip", true);
            desk.tag(28.0, "vip", false);
        },
        cycles: &[
            "1 from 0 v1 ClosedByInactivity 33: FirstAlert 10 fired 10, SecondAlert 20 fired 20, Warning 25 fired 28 since 28, Close 33 fired 33",
        ],
        words: &[
            (
                22.0,
                "the ticket carries the excluded tag \"vip\", so cycle 1 neither warns nor closes it",
            ),
            (
                28.0,
                "on time: due at 2026-11-22T10:00:25.000Z, but an excluded tag kept it from acting until 2026-11-22T10:00:28.000Z",
            ),
            (
                33.0,
                "the close moved from 2026-11-22T10:00:30.000Z to 2026-11-22T10:00:33.000Z",
            ),
        ],
        closes: 1,
    },
    Example {
        name: "agent 0, settings doubled at 5",
        policy: || policy(1),
        happens: |desk| {
            desk.agent(0.0);
            desk.pass(5.0);
            desk.set(policy(2));
        },
        cycles: &[WHOLE],
        words: WHOLE_WORDS,
        closes: 1,
    },
    Example {
        name: "agent 0, settings doubled at 5 and applied",
        policy: || policy(1),
        happens: |desk| {
            desk.agent(0.0);
            desk.apply(5.0, policy(2));
        },
        cycles: &[
            "1 from 0 v2 ClosedByInactivity 60: FirstAlert 20 fired 20, SecondAlert 40 fired 40, Warning 50 fired 50, Close 60 fired 60",
        ],
        words: &[
            (
                5.0,
                "changed settings were applied to the open ticket: policy version 2 is in force",
            ),
            (
                5.0,
                "cycle 1 counts on from the same anchor by policy version 2; what has acted stays: yellow alert after 20 s",
            ),
        ],
        closes: 1,
    },
    Example {
        name: "agent 0, settings doubled at 12 and applied",
        policy: || policy(1),
        happens: |desk| {
            desk.agent(0.0);
            desk.apply(12.0, policy(2));
        },
        cycles: &[
            "1 from 0 v2 ClosedByInactivity 60: FirstAlert 10 fired 10, SecondAlert 40 fired 40, Warning 50 fired 50, Close 60 fired 60",
        ],
        words: &[(
            12.0,
            "what has acted stays: red alert after 40 s (at 2026-11-22T10:00:40.000Z)",
        )],
        closes: 1,
    },
];

#[test]
fn every_example_is_explained() {
    for example in FIRST.iter().chain(LATER) {
        let mut desk = Desk::open((example.policy)());
        (example.happens)(&mut desk);
        let told = desk.told(200.0);
        println!("{}\n{}", example.name, told.text);
        check(&told, example.cycles, example.words);
        assert_eq!(told.closes.len(), example.closes, "{}", example.name);
        assert!(!told.truncated && !told.policies.is_empty());
    }
}

/// The tie: the customer's message is committed when the close is due, and before it.
#[test]
fn an_answer_that_is_committed_first_wins() {
    let mut desk = Desk::open(policy(1));
    desk.agent(0.0);
    desk.pass(29.0);
    desk.lag = 0.5;
    desk.customer(30.2);
    desk.lag = 0.0;
    let told = desk.told(100.0);
    check(
        &told,
        &[
            "1 from 0 v1 Answered 30.200: FirstAlert 10 fired 10, SecondAlert 20 fired 20, Warning 25 fired 25, Close 30 NotReached",
        ],
        &[(
            30.2,
            "not reached: the close (due at 2026-11-22T10:00:30.000Z, 200 ms earlier, but it had not acted when this was committed, and what is committed first wins)",
        )],
    );
    assert!(told.closes.is_empty());
}
