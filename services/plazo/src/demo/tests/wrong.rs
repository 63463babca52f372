//! What must not be is found, each by its name.

use super::*;
use crate::demo::scenarios::Act;
use crate::demo::verdict::Problem;

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
