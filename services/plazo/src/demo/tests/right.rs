//! What happened as it must.

use super::*;
use crate::demo::scenarios::Act;
use crate::demo::verdict::Problem;

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
