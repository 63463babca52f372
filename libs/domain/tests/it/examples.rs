//! The examples of the product's description, with their results written out.

use jiff::Timestamp;
use plazo_domain::{Alert, Anchor, Stage};

use crate::support::{Desk, EXAMPLE, Times, at_s};
use Alert::{None as NoAlert, Red, Yellow};
use Event::{Agent, Customer, Doubled};

#[derive(Debug, Clone, Copy)]
enum Event {
    Agent,
    Customer,
    /// All times of the settings are doubled.
    Doubled,
}

/// Who is down, from and until, in seconds.
#[derive(Debug, Clone, Copy, Default)]
struct Outages {
    everything: Option<(i64, i64)>,
    notification: Option<(i64, i64)>,
}

/// What happened, when (seconds from the opening), and the alert that showed afterwards. A warning
/// happens when notification accepts it.
type Effect = (&'static str, i64, Alert);

fn name(stage: Stage) -> &'static str {
    match stage {
        Stage::FirstAlert => "first",
        Stage::SecondAlert => "second",
        Stage::Warning => "warning",
        Stage::Close => "closed",
    }
}

/// `at`, or the end of the outage that it falls into.
fn when_up(at: Timestamp, outage: Option<(i64, i64)>) -> Timestamp {
    match outage {
        Some((from, until)) if at >= at_s(from) && at < at_s(until) => at_s(until),
        _ => at,
    }
}

/// Plays the events, in order, and lets the timer look when it has a reason to. At one instant an event
/// comes before an acceptance, and that before a look.
fn play(times: Times, events: &[(i64, Event)], outages: Outages) -> Vec<Effect> {
    const MAX_STEPS: usize = 1_000;
    let mut desk = Desk::new(times.policy());
    let mut effects = Vec::new();
    let mut events = events.iter().copied().peekable();
    let mut acceptance: Option<(i32, Timestamp)> = None;
    for _ in 0..MAX_STEPS {
        let event_at = events.peek().map(|(at, _)| at_s(*at));
        let acceptance_at = acceptance.map(|(_, at)| at);
        let look_at = desk.reminder_at().map(|at| when_up(at, outages.everything));
        let Some(now) = [event_at, acceptance_at, look_at]
            .into_iter()
            .flatten()
            .min()
        else {
            return effects;
        };
        let second = now.as_second() - at_s(0).as_second();

        if event_at == Some(now) {
            match events.next().map(|(_, event)| event) {
                Some(Agent) => {
                    desk.agent_wrote(now);
                }
                Some(Customer) => {
                    let removed = desk.customer_wrote();
                    effects.extend(removed.map(|_| ("cleared", second, desk.clock.alert())));
                }
                Some(Doubled) => desk.set_policy(
                    Times {
                        alerts: Some((20, 40)),
                        close: Some(60),
                        warning: Some(50),
                        ..times
                    }
                    .policy(),
                ),
                None => {}
            }
        } else if let Some((cycle, at)) = acceptance.filter(|(_, at)| *at == now) {
            acceptance = None;
            if desk.warning_accepted(cycle, at, now) {
                effects.push(("warning", second, desk.clock.alert()));
            }
        } else if let Some((cycle, advance)) = desk.look(now) {
            for fired in advance.fired {
                if fired.stage == Stage::Warning {
                    acceptance = Some((cycle, when_up(now, outages.notification)));
                } else {
                    effects.push((name(fired.stage), second, desk.clock.alert()));
                }
            }
        }
    }
    panic!("it goes on for ever: {effects:?}");
}

const NO_OUTAGE: Outages = Outages {
    everything: None,
    notification: None,
};

const UNDISTURBED: [Effect; 4] = [
    ("first", 10, Yellow),
    ("second", 20, Red),
    ("warning", 25, Red),
    ("closed", 30, NoAlert),
];

#[test]
fn an_agent_writes_and_nobody_answers() {
    // System messages and notes change nothing: for them no function is called.
    assert_eq!(play(EXAMPLE, &[(0, Agent)], NO_OUTAGE), UNDISTURBED);
}

#[test]
fn the_customer_answers() {
    let effects = play(EXAMPLE, &[(0, Agent), (12, Customer)], NO_OUTAGE);
    assert_eq!(effects, [("first", 10, Yellow), ("cleared", 12, NoAlert)]);
}

#[test]
fn the_agent_writes_again_after_an_answer() {
    let events = [(0, Agent), (12, Customer), (15, Agent)];
    assert_eq!(
        play(EXAMPLE, &events, NO_OUTAGE),
        [
            ("first", 10, Yellow),
            ("cleared", 12, NoAlert),
            ("first", 25, Yellow),
            ("second", 35, Red),
            ("warning", 40, Red),
            ("closed", 45, NoAlert),
        ]
    );
}

#[test]
fn a_further_message_of_the_agent_starts_anew() {
    assert_eq!(
        play(EXAMPLE, &[(0, Agent), (8, Agent)], NO_OUTAGE),
        [
            ("first", 18, Yellow),
            ("second", 28, Red),
            ("warning", 33, Red),
            ("closed", 38, NoAlert),
        ]
    );
}

#[test]
fn with_first_message_a_further_message_changes_nothing() {
    let times = Times {
        anchor: Anchor::FirstMessage,
        ..EXAMPLE
    };
    let events = [(0, Agent), (8, Agent)];
    assert_eq!(play(times, &events, NO_OUTAGE), UNDISTURBED);
}

#[test]
fn an_alert_stays_into_the_next_cycle() {
    assert_eq!(
        play(EXAMPLE, &[(0, Agent), (27, Agent)], NO_OUTAGE),
        [
            ("first", 10, Yellow),
            ("second", 20, Red),
            ("warning", 25, Red),
            ("first", 37, Red),
            ("second", 47, Red),
            ("warning", 52, Red),
            ("closed", 57, NoAlert),
        ]
    );
}

#[test]
fn a_reply_that_commits_first_wins_against_the_close() {
    assert_eq!(
        play(EXAMPLE, &[(0, Agent), (30, Customer)], NO_OUTAGE),
        [
            ("first", 10, Yellow),
            ("second", 20, Red),
            ("warning", 25, Red),
            ("cleared", 30, NoAlert),
        ]
    );
}

#[test]
fn after_an_outage_past_the_close_the_customer_is_warned_first() {
    let outages = Outages {
        everything: Some((5, 40)),
        ..NO_OUTAGE
    };
    assert_eq!(
        play(EXAMPLE, &[(0, Agent)], outages),
        [
            ("second", 40, Red),
            ("warning", 40, Red),
            ("closed", 45, NoAlert),
        ]
    );
}

#[test]
fn after_an_outage_past_the_warning_the_close_moves() {
    let outages = Outages {
        everything: Some((5, 27)),
        ..NO_OUTAGE
    };
    assert_eq!(
        play(EXAMPLE, &[(0, Agent)], outages),
        [
            ("second", 27, Red),
            ("warning", 27, Red),
            ("closed", 32, NoAlert),
        ]
    );
}

#[test]
fn nobody_is_closed_while_notification_is_down() {
    let outages = Outages {
        notification: Some((20, 60)),
        ..NO_OUTAGE
    };
    assert_eq!(
        play(EXAMPLE, &[(0, Agent)], outages),
        [
            ("first", 10, Yellow),
            ("second", 20, Red),
            ("warning", 60, Red),
            ("closed", 65, NoAlert),
        ]
    );
}

#[test]
fn new_settings_leave_the_running_cycle_alone() {
    assert_eq!(
        play(EXAMPLE, &[(0, Agent), (5, Doubled)], NO_OUTAGE),
        UNDISTURBED
    );
}

#[test]
fn new_settings_apply_to_the_next_cycle() {
    let events = [(0, Agent), (5, Doubled), (7, Agent)];
    assert_eq!(
        play(EXAMPLE, &events, NO_OUTAGE),
        [
            ("first", 27, Yellow),
            ("second", 47, Red),
            ("warning", 57, Red),
            ("closed", 67, NoAlert),
        ]
    );
}

#[test]
fn a_red_alert_acts_at_the_time_of_a_close_that_has_moved() {
    let times = Times {
        alerts: Some((10, 30)),
        ..EXAMPLE
    };
    let outages = Outages {
        notification: Some((24, 27)),
        ..NO_OUTAGE
    };
    assert_eq!(
        play(times, &[(0, Agent)], outages),
        [
            ("first", 10, Yellow),
            ("warning", 27, Yellow),
            ("second", 30, Red),
            ("closed", 32, NoAlert),
        ]
    );
    assert_eq!(
        play(times, &[(0, Agent)], NO_OUTAGE),
        [
            ("first", 10, Yellow),
            ("warning", 25, Yellow),
            ("closed", 30, NoAlert),
        ]
    );
}

#[test]
fn alerts_alone_never_close() {
    let times = Times {
        close: None,
        warning: None,
        ..EXAMPLE
    };
    let events = [(0, Agent), (50, Agent)];
    assert_eq!(
        play(times, &events, NO_OUTAGE),
        [
            ("first", 10, Yellow),
            ("second", 20, Red),
            ("first", 60, Red),
            ("second", 70, Red),
        ]
    );
}
