//! What people and programs are told.

use super::*;
use crate::demo::json::JsonLines;
use crate::demo::timeline::Timeline;
use crate::demo::{DemoOptions, Endpoints, Happened, Lateness, Observer, Played, Report};
use crate::style::Palette;

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
    let mut lines = JsonLines::new(&mut out);
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
