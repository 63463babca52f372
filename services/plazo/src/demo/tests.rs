//! Hand-made conversations: the verdict on them, and how they are told.

mod right;
mod told;
mod wrong;

use jiff::{SignedDuration, Timestamp};

use super::scenarios::{Alert, Effect, SCENARIOS, Scenario};
use super::seen::{Happening, Seen};
use super::verdict::{FinalTicket, Rules, Verdict, judge};

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
