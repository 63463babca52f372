//! The verdict on hand-made conversations.

use jiff::{SignedDuration, Timestamp};

use super::scenarios::{Act, Alert, Effect, SCENARIOS, Scenario};
use super::seen::{Happening, Seen};
use super::timeline::Timeline;
use super::verdict::{FinalTicket, Problem, Rules, Verdict, judge};
use super::{DemoOptions, Endpoints, Happened, Lateness, Observer, Played, Report};
use crate::style::Palette;

const RULES: Rules = Rules {
    speed: 5,
    tolerance_ms: 250,
};

/// The instant that many milliseconds after the opening.
fn at(ms: i64) -> Timestamp {
    let opened: Timestamp = "2026-03-01T12:00:00Z".parse().expect("an instant");
    opened + SignedDuration::from_millis(ms)
}

fn seen(ms: i64, happening: Happening) -> Seen {
    Seen {
        at: at(ms),
        happening,
    }
}

fn wrote(ms: i64, scenario: &Scenario, step: usize, started_cycle: i32) -> Seen {
    let step = scenario.steps[step];
    let text = step.text.to_owned();
    seen(
        ms,
        Happening::Wrote {
            writer: step.act,
            text,
            started_cycle,
        },
    )
}

fn fired(ms: i64, effect: Effect, cycle: i32, due_ms: i64, alert: Alert) -> Seen {
    seen(
        ms,
        Happening::Fired {
            effect,
            cycle,
            due_at: at(due_ms),
            alert,
        },
    )
}

fn warned(ms: i64, cycle: i32, due_ms: i64) -> [Seen; 2] {
    let text = "still there?".to_owned();
    [
        fired(ms, Effect::Warning, cycle, due_ms, Alert::Red),
        seen(ms, Happening::WarningRequested { text }),
    ]
}

fn closed(ms: i64, cycle: i32, due_ms: i64) -> [Seen; 3] {
    [
        fired(ms, Effect::Close, cycle, due_ms, Alert::None),
        seen(
            ms,
            Happening::Closed {
                by_inactivity: true,
                exit_route: "x".to_owned(),
            },
        ),
        seen(ms, Happening::Cleared),
    ]
}

const CLOSED: FinalTicket = FinalTicket {
    is_closed: true,
    alert: Alert::None,
    is_pending: false,
};
const OPEN: FinalTicket = FinalTicket {
    is_closed: false,
    ..CLOSED
};

/// "agent 0", where the agent wrote 10 ms after the opening and everything is 5 ms late.
fn silence() -> Vec<Seen> {
    let mut events = vec![
        seen(0, Happening::Opened),
        wrote(10, &SCENARIOS[0], 0, 1),
        fired(2015, Effect::FirstAlert, 1, 2010, Alert::Yellow),
        fired(4015, Effect::SecondAlert, 1, 4010, Alert::Red),
    ];
    events.extend(warned(5015, 1, 5010));
    events.push(seen(5020, Happening::MessageReported { state: "accepted" }));
    events.push(seen(
        5030,
        Happening::MessageReported { state: "delivered" },
    ));
    events.extend(closed(6015, 1, 6010));
    events
}

fn judge_silence(events: &[Seen]) -> Verdict {
    judge(&SCENARIOS[0], RULES, events, CLOSED)
}

/// The problems after a change to what was seen.
fn problems_after(change: impl FnOnce(&mut Vec<Seen>)) -> Vec<Problem> {
    let mut events = silence();
    change(&mut events);
    judge_silence(&events).problems
}

fn place(events: &[Seen], wanted: Effect) -> usize {
    let is_it =
        |seen: &Seen| matches!(seen.happening, Happening::Fired { effect, .. } if effect == wanted);
    events.iter().position(is_it).expect("it is there")
}

#[test]
fn what_is_right_is_right() {
    let verdict = judge_silence(&silence());
    assert_eq!(verdict.problems, []);
    let late: Vec<_> = verdict.rows.iter().map(|row| row.late_us).collect();
    assert_eq!(late, [Some(5_000); 4]);
}

#[test]
fn an_answer_and_a_second_cycle_are_right() {
    let scenario = &SCENARIOS[2];
    let mut events = vec![
        seen(0, Happening::Opened),
        wrote(0, scenario, 0, 1),
        fired(2001, Effect::FirstAlert, 1, 2000, Alert::Yellow),
        wrote(2400, scenario, 1, 0),
        seen(2400, Happening::Cleared),
        wrote(3000, scenario, 2, 2),
        fired(5001, Effect::FirstAlert, 2, 5000, Alert::Yellow),
        fired(7001, Effect::SecondAlert, 2, 7000, Alert::Red),
    ];
    events.extend(warned(8001, 2, 8000));
    events.extend(closed(9001, 2, 9000));
    assert_eq!(judge(scenario, RULES, &events, CLOSED).problems, []);

    // The stage of a cycle that was stopped.
    if let Happening::Fired { cycle, .. } = &mut events[6].happening {
        *cycle = 1;
    }
    let problems = judge(scenario, RULES, &events, CLOSED).problems;
    assert_eq!(
        problems,
        [Problem::WrongCycle {
            effect: Effect::FirstAlert,
            cycle: 1
        }]
    );
}

fn scenario(name: &str) -> &'static Scenario {
    let found = SCENARIOS.iter().find(|scenario| scenario.name == name);
    found.expect("it is there")
}

fn did(ms: i64, act: Act, started_cycle: i32) -> Seen {
    let text = String::new();
    seen(
        ms,
        Happening::Did {
            act,
            text,
            started_cycle,
        },
    )
}

#[test]
fn a_hold_that_the_customer_ends_is_right_and_so_is_the_pause_of_the_automation() {
    let scenario = scenario("hold-then-answer");
    let mut events = vec![
        seen(0, Happening::Opened),
        seen(0, Happening::Aside),
        wrote(0, scenario, 0, 1),
        fired(2001, Effect::FirstAlert, 1, 2000, Alert::Yellow),
        did(3000, Act::Hold, 0),
        seen(3000, Happening::Cleared),
        seen(3600, Happening::Aside),
        wrote(3600, scenario, 2, 0),
        wrote(4000, scenario, 3, 2),
        fired(6001, Effect::FirstAlert, 2, 6000, Alert::Yellow),
        fired(8001, Effect::SecondAlert, 2, 8000, Alert::Red),
    ];
    events.extend(warned(9001, 2, 9000));
    events.extend(closed(10_001, 2, 10_000));
    events.push(seen(10_001, Happening::Aside));
    assert_eq!(judge(scenario, RULES, &events, CLOSED).problems, []);
    events.remove(5);
    // What is then found is the removal of the close.
    let problems = judge(scenario, RULES, &events, CLOSED).problems;
    let late = Problem::Late {
        effect: Effect::Cleared,
        late_ms: 7001,
    };
    assert_eq!(problems, [late]);
}

#[test]
fn a_tag_delays_the_warning_and_the_close_counts_from_it() {
    let scenario = scenario("excluded-tag");
    let warned_at = |ms: i64| {
        let mut events = vec![
            seen(0, Happening::Opened),
            wrote(0, scenario, 0, 1),
            fired(10_001, Effect::FirstAlert, 1, 10_000, Alert::Yellow),
            fired(20_001, Effect::SecondAlert, 1, 20_000, Alert::Red),
            did(22_000, Act::AddTag, 0),
            did(28_000, Act::RemoveTag, 0),
        ];
        events.extend(warned(ms, 1, 25_000));
        events.extend(closed(ms + 5_010, 1, ms + 5_005));
        judge(scenario, RULES, &events, CLOSED).problems
    };
    assert_eq!(warned_at(28_003), []);
    assert!(!warned_at(25_003).is_empty(), "the tag is still there");
}

#[test]
fn settings_that_are_doubled_leave_a_trace_where_they_apply() {
    let scenario = scenario("settings-applied-late");
    let mut events = vec![
        seen(0, Happening::Opened),
        wrote(0, scenario, 0, 1),
        fired(2001, Effect::FirstAlert, 1, 2000, Alert::Yellow),
        did(2410, Act::ApplyDoubledSettings, 0),
        fired(8001, Effect::SecondAlert, 1, 8000, Alert::Red),
    ];
    events.extend(warned(10_001, 1, 10_000));
    events.extend(closed(12_001, 1, 12_000));
    assert_eq!(judge(scenario, RULES, &events, CLOSED).problems, []);
    events.remove(3);
    let problems = judge(scenario, RULES, &events, CLOSED).problems;
    assert_eq!(problems, [Problem::NotWritten { at_s: 12 }]);
}

#[test]
fn what_is_missing_is_found() {
    for effect in [Effect::FirstAlert, Effect::SecondAlert] {
        let problems = problems_after(|events| {
            events.remove(place(events, effect));
        });
        assert_eq!(problems, [Problem::Missing(effect)]);
    }
    let problems = problems_after(|events| {
        events.remove(place(events, Effect::Warning));
    });
    assert_eq!(
        problems,
        [
            Problem::Missing(Effect::Warning),
            Problem::Extra("the message of a warning".to_owned()),
        ]
    );
    let problems = problems_after(|events| {
        events.retain(|seen| !matches!(seen.happening, Happening::WarningRequested { .. }));
    });
    assert_eq!(problems.len(), 1, "{problems:?}");
    let problems = problems_after(|events| {
        events.retain(|seen| !matches!(seen.happening, Happening::Closed { .. }));
    });
    assert_eq!(problems.len(), 1, "{problems:?}");
    let problems = problems_after(|events| {
        events.remove(1);
    });
    assert_eq!(problems, [Problem::NotWritten { at_s: 0 }]);
    // The opening, the message, and four effects.
    assert_eq!(problems_after(Vec::clear).len(), 6);
}

#[test]
fn what_is_early_is_found_by_the_microsecond() {
    let problems = problems_after(|events| {
        let i = place(events, Effect::SecondAlert);
        events[i].at = at(4010) - SignedDuration::from_micros(1);
    });
    assert_eq!(
        problems,
        [Problem::Early {
            effect: Effect::SecondAlert,
            early_us: 1
        }]
    );
}

#[test]
fn what_is_early_is_found_although_ticketing_says_it_was_due() {
    let problems = problems_after(|events| {
        let i = place(events, Effect::SecondAlert);
        events[i] = fired(3910, Effect::SecondAlert, 1, 3900, Alert::Red);
    });
    assert_eq!(
        problems,
        [
            Problem::Early {
                effect: Effect::SecondAlert,
                early_us: 100_000
            },
            Problem::WrongDueTime {
                effect: Effect::SecondAlert,
                off_us: -110_000
            },
        ]
    );
}

#[test]
fn what_is_late_is_found() {
    let late_by = |ms: i64| {
        problems_after(|events| {
            let i = place(events, Effect::FirstAlert);
            events[i].at = at(2010 + ms);
        })
    };
    assert_eq!(late_by(250), []);
    assert_eq!(
        late_by(251),
        [Problem::Late {
            effect: Effect::FirstAlert,
            late_ms: 251
        }]
    );
}

#[test]
fn deadlines_are_rounded_up_to_milliseconds_and_no_further() {
    let due_us_later = |us: i64| {
        problems_after(|events| {
            let i = place(events, Effect::FirstAlert);
            if let Happening::Fired { due_at, .. } = &mut events[i].happening {
                *due_at = at(2010) + SignedDuration::from_micros(us);
            }
        })
    };
    assert_eq!(due_us_later(999), []);
    let wrong = |off_us| {
        [Problem::WrongDueTime {
            effect: Effect::FirstAlert,
            off_us,
        }]
    };
    assert_eq!(due_us_later(1_000), wrong(1_000));
    assert_eq!(due_us_later(-1), wrong(-1));
}

#[test]
fn what_is_doubled_is_found() {
    for effect in [
        Effect::FirstAlert,
        Effect::SecondAlert,
        Effect::Warning,
        Effect::Close,
    ] {
        let problems = problems_after(|events| {
            let twice = events[place(events, effect)].clone();
            events.push(twice);
        });
        assert_eq!(problems, [Problem::Extra(effect.to_string())]);
    }
}

#[test]
fn what_is_too_much_is_found() {
    for happening in [
        Happening::Opened,
        Happening::Cleared,
        Happening::Wrote {
            writer: Act::Agent,
            text: "again".to_owned(),
            started_cycle: 0,
        },
        Happening::WarningRequested {
            text: "again".to_owned(),
        },
        Happening::Closed {
            by_inactivity: false,
            exit_route: String::new(),
        },
        Happening::Other {
            name: "a reopening",
        },
    ] {
        let problems = problems_after(|events| events.push(seen(6500, happening.clone())));
        assert!(
            matches!(problems[..], [Problem::Extra(_)]),
            "{happening:?}: {problems:?}"
        );
    }
    let answer = &SCENARIOS[1];
    let mut events = vec![
        seen(0, Happening::Opened),
        wrote(0, answer, 0, 1),
        fired(2000, Effect::FirstAlert, 1, 2000, Alert::Yellow),
        wrote(2400, answer, 1, 0),
        seen(2400, Happening::Cleared),
    ];
    assert_eq!(judge(answer, RULES, &events, OPEN).problems, []);
    events.push(fired(4000, Effect::SecondAlert, 1, 4000, Alert::Red));
    let problems = judge(answer, RULES, &events, OPEN).problems;
    assert_eq!(problems, [Problem::Extra("red".to_owned())]);
}

#[test]
fn the_wrong_alert_is_found() {
    let problems = problems_after(|events| {
        let i = place(events, Effect::Warning);
        events[i] = fired(5015, Effect::Warning, 1, 5010, Alert::Yellow);
    });
    let wrong = Problem::WrongAlert {
        effect: Effect::Warning,
        alert: Alert::Yellow,
    };
    assert_eq!(problems, [wrong]);
}

#[test]
fn a_close_of_another_kind_is_found() {
    let problems = problems_after(|events| {
        for seen in events {
            if let Happening::Closed { by_inactivity, .. } = &mut seen.happening {
                *by_inactivity = false;
            }
        }
    });
    assert!(
        matches!(problems[..], [Problem::WrongEnd(_)]),
        "{problems:?}"
    );
}

#[test]
fn the_wrong_end_is_found() {
    for end in [
        OPEN,
        FinalTicket {
            alert: Alert::Red,
            ..CLOSED
        },
        FinalTicket {
            is_pending: true,
            ..CLOSED
        },
    ] {
        let problems = judge(&SCENARIOS[0], RULES, &silence(), end).problems;
        assert!(
            matches!(problems[..], [Problem::WrongEnd(_)]),
            "{end:?}: {problems:?}"
        );
    }
}

#[test]
fn a_late_step_is_no_fault_and_explains_one() {
    let scenario = &SCENARIOS[1];
    let judge_answer_at = |ms: i64, removed: bool| {
        let mut events = vec![
            seen(0, Happening::Opened),
            wrote(500, scenario, 0, 1),
            fired(2500, Effect::FirstAlert, 1, 2500, Alert::Yellow),
            wrote(ms, scenario, 1, 0),
        ];
        if removed {
            events.push(seen(ms, Happening::Cleared));
        }
        judge(scenario, RULES, &events, OPEN).problems
    };
    assert_eq!(judge_answer_at(3151, true), []);
    let late = Problem::WrittenLate {
        at_s: 12,
        late_ms: 251,
    };
    let missing = Problem::Missing(Effect::Cleared);
    assert_eq!(judge_answer_at(3150, false), std::slice::from_ref(&missing));
    assert_eq!(judge_answer_at(3151, false), [missing, late]);
}

fn report_of(events: &[Seen]) -> Report {
    let played = vec![Played {
        scenario: SCENARIOS[0],
        index: 0,
        bot_id: 3,
        ticket_id: 7,
        zero_at: at(10),
        verdict: judge_silence(events),
    }];
    let lateness = Lateness::of(&played);
    Report {
        rules: RULES,
        played,
        lateness,
        unchecked: Vec::new(),
    }
}

fn endpoints() -> Endpoints {
    Endpoints {
        ticketing: "http://127.0.0.1:5001".to_owned(),
        notification: "http://127.0.0.1:5003".to_owned(),
        history: "http://127.0.0.1:5004".to_owned(),
    }
}

#[test]
fn people_see_a_table() {
    let mut out = Vec::new();
    let mut timeline = Timeline::new(&mut out, Palette::plain());
    timeline.begins(&DemoOptions::new(endpoints()), &SCENARIOS[..1]);
    for seen in &silence() {
        let (scenario, zero_at) = (&SCENARIOS[0], at(10));
        timeline.happened(&Happened {
            scenario,
            index: 0,
            ticket_id: 7,
            zero_at,
            seen,
        });
    }
    timeline.ended(&report_of(&silence()));
    let text = String::from_utf8(out).expect("text");
    for line in [
        "  2.005 s    5.0 ms   1 João    ▲ yellow alert",
        "  5.005 s    5.0 ms   1 João    ✉ “still there?”",
        "  5.020 s             1 João    ✉ delivered",
        "  6.005 s    5.0 ms   1 João    ■ closed for inactivity, to block x",
        "               yellow      red  warning   closed",
        "  expected        2.0      4.0      5.0      6.0",
        "  seen          2.005    4.005    5.005    6.005",
        "  late, ms        5.0      5.0      5.0      5.0",
        "lateness of 4 stages: min 5.0 ms, median 5.0 ms, max 5.0 ms",
        "Everything happened as it must, each once, and nothing else.",
    ] {
        assert!(
            text.lines().any(|found| found == line),
            "{line:?} is missing:\n{text}"
        );
    }
}

#[test]
fn programs_get_one_object_a_line() {
    let mut out = Vec::new();
    let mut lines = super::json::JsonLines::new(&mut out);
    let events = &silence()[..3];
    for seen in events {
        let (scenario, zero_at) = (&SCENARIOS[0], at(10));
        lines.happened(&Happened {
            scenario,
            index: 0,
            ticket_id: 7,
            zero_at,
            seen,
        });
    }
    lines.ended(&report_of(events));
    let text = String::from_utf8(out).expect("text");
    let values: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect(line))
        .collect();
    assert_eq!(values.len(), 4);
    assert_eq!(values[2]["stage"], "yellow");
    assert_eq!(values[2]["late_ms"], 5.0);
    let result = &values[3];
    assert_eq!(result["type"], "result");
    assert_eq!(result["passed"], false);
    assert_eq!(result["lateness_ms"]["max"], 5.0);
    assert_eq!(result["conversations"][0]["problems"][0]["kind"], "missing");
    assert_eq!(result["conversations"][0]["effects"][0]["seen_s"], 2.005);
}
