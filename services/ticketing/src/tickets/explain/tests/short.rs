//! Explanations in short, to be compared.

use jiff::SignedDuration;
use plazo_proto::ticketing::v1::{CycleEnd, ExplainTicketResponse, ExplainedCycle, StageFate};

use super::desk::at;
use crate::instants::{from_proto, to_proto};

/// Cycles in short: `1 CustomerSilent v1 ended Answered at 12: FirstAlert 10 fired 10, …`.
pub(super) fn short(told: &ExplainTicketResponse) -> Vec<String> {
    told.cycles.iter().map(short_cycle).collect()
}

fn short_cycle(cycle: &ExplainedCycle) -> String {
    let second = |time: Option<prost_types::Timestamp>| {
        let time = time.and_then(|time| from_proto(&time)).expect("a time");
        let ms = time.as_millisecond() - at(0.0).as_millisecond();
        if ms % 1_000 == 0 {
            format!("{}", ms / 1_000)
        } else {
            format!("{}.{:03}", ms / 1_000, ms % 1_000)
        }
    };
    let start = cycle.start.expect("a start");
    let stages = cycle.stages.iter().map(|stage| {
        let name = format!("{:?}", stage.stage());
        let fate = match stage.fate() {
            StageFate::Fired => {
                let lateness = stage.lateness.expect("a lateness");
                let fired = second(stage.fire_time);
                let could_act = from_proto(&stage.fire_time.expect("a time")).expect("a time")
                    - SignedDuration::new(lateness.seconds, lateness.nanos);
                let due = from_proto(&stage.due_time.expect("a time")).expect("a time");
                assert!(could_act >= due, "{could_act} {due}");
                if could_act == due {
                    format!("fired {fired}")
                } else {
                    format!("fired {fired} since {}", second(Some(to_proto(could_act))))
                }
            }
            other => {
                assert!(stage.fire_time.is_none() && stage.lateness.is_none());
                format!("{other:?}")
            }
        };
        format!("{name} {} {fate}", second(stage.due_time))
    });
    let end = match cycle.end() {
        CycleEnd::Unspecified => "runs".to_owned(),
        end => format!("{end:?} {}", second(cycle.end_time)),
    };
    format!(
        "{} from {} v{} {end}: {}",
        start.cycle,
        second(start.anchor_time),
        cycle.policy_version,
        stages.collect::<Vec<_>>().join(", ")
    )
}

/// Checks cycles, closes and words of an explanation. A word is looked for in some line whose time is that second.
#[track_caller]
pub(super) fn check(told: &ExplainTicketResponse, cycles: &[&str], words: &[(f64, &str)]) {
    assert_eq!(short(told), cycles, "{}", told.text);
    for (when, word) in words {
        let time = super::super::words::instant(at(*when));
        assert!(
            told.text
                .lines()
                .any(|line| line.starts_with(&time) && line.contains(word)),
            "no line of {time} with {word:?} in\n{}",
            told.text
        );
    }
    assert!(told.text.is_ascii() || told.text.lines().all(|line| !line.is_empty()));
    assert!(
        told.text
            .lines()
            .is_sorted_by_key(|line| line[..24].to_owned())
            || told.truncated
    );
}
