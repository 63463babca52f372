//! The demo for programs: one JSON object a line.
//!
//! For each event `{"type":"event", …}`, and at the end one `{"type":"result", …}`:
//!
//! | field of an event | meaning |
//! |---|---|
//! | `conversation` | the conversation's name |
//! | `ticket_id` | the ticket |
//! | `time_s` | seconds since the first message, which follows the opening at once |
//! | `event` | `opened`, `wrote`, `did`, `aside`, `fired`, `cleared`, `closed`, `warning_requested`, `message_reported`, `other` |
//! | `writer`, `text` | for `wrote`; `text` for `warning_requested`, too |
//! | `act`, `text` | for `did`: `hold`, `resume`, `transfer`, `add_tag`, `remove_tag` or `apply_settings`; the reason or tag |
//! | `stage`, `cycle`, `alert`, `late_ms` | for `fired`: `yellow`, `red`, `warning` or `closed`; the cycle; the alert that shows; the event's time less the due time that it names |
//! | `state` | for `message_reported` |
//! | `name` | for `other` |
//!
//! | field of the result | meaning |
//! |---|---|
//! | `passed` | whether everything was as it must be |
//! | `speed`, `tolerance_ms` | as played |
//! | `lateness_ms` | `stages`, `min`, `median`, `max`; null when no stage was seen |
//! | `unchecked` | services that did not answer |
//! | `conversations` | for each: `conversation`, `example`, `ticket_id`, `passed`, `problems` (`kind`, `text`), `effects` (`effect`, `expected_s`, `seen_s`, `late_ms`; null when it never came) |

use std::io::Write;

use serde_json::{Value, json};

use super::scenarios::{Act, Scenario};
use super::seen::Happening;
use super::verdict::{Row, micros_between, scaled_us};
use super::{DemoOptions, Happened, Observer, Played, Report};

/// Writes JSON lines.
#[derive(Debug)]
pub struct JsonLines<W> {
    out: W,
}

impl<W: Write> JsonLines<W> {
    /// To this writer.
    pub fn new(out: W) -> Self {
        Self { out }
    }

    /// Whoever closed the pipe doesn't want to see more; the demo goes on and has its exit code.
    fn line(&mut self, value: &Value) {
        let _ = writeln!(self.out, "{value}");
        let _ = self.out.flush();
    }
}

impl<W: Write + Send> Observer for JsonLines<W> {
    fn begins(&mut self, _options: &DemoOptions, _scenarios: &[Scenario]) {}

    fn happened(&mut self, happened: &Happened<'_>) {
        let seen = happened.seen;
        let mut line = json!({
            "type": "event",
            "conversation": happened.scenario.name,
            "ticket_id": happened.ticket_id,
            "time_s": seconds(micros_between(happened.zero_at, seen.at)),
        });
        let details = match &seen.happening {
            Happening::Opened => json!({"event": "opened"}),
            Happening::Wrote { writer, text, .. } => {
                json!({"event": "wrote", "writer": act_name(*writer), "text": text})
            }
            Happening::Fired {
                effect,
                cycle,
                due_at,
                alert,
            } => json!({
                "event": "fired",
                "stage": effect.word(),
                "cycle": cycle,
                "alert": alert.to_string(),
                "late_ms": millis(micros_between(*due_at, seen.at)),
            }),
            Happening::Did { act, text, .. } => {
                json!({"event": "did", "act": act_name(*act), "text": text})
            }
            Happening::Aside => json!({"event": "aside"}),
            Happening::Cleared => json!({"event": "cleared"}),
            Happening::Closed { .. } => json!({"event": "closed"}),
            Happening::WarningRequested { text } => {
                json!({"event": "warning_requested", "text": text})
            }
            Happening::MessageReported { state } => {
                json!({"event": "message_reported", "state": state})
            }
            Happening::Other { name } => json!({"event": "other", "name": name}),
        };
        if let (Some(line), Value::Object(details)) = (line.as_object_mut(), details) {
            line.extend(details);
        }
        self.line(&line);
    }

    fn ended(&mut self, report: &Report) {
        let lateness = report.lateness.map(|lateness| {
            json!({
                "stages": lateness.stages,
                "min": millis(lateness.min_us),
                "median": millis(lateness.median_us),
                "max": millis(lateness.max_us),
            })
        });
        let speed = report.rules.speed;
        let conversations: Vec<Value> = report
            .played
            .iter()
            .map(|played| conversation(played, played.scenario.speed(speed)))
            .collect();
        self.line(&json!({
            "type": "result",
            "passed": report.passed(),
            "speed": speed,
            "tolerance_ms": report.rules.tolerance_ms,
            "lateness_ms": lateness,
            "unchecked": report.unchecked,
            "conversations": conversations,
        }));
    }
}

fn conversation(played: &Played, speed: u32) -> Value {
    let problems: Vec<Value> = played
        .verdict
        .problems
        .iter()
        .map(|problem| json!({"kind": problem.kind(), "text": problem.to_string()}))
        .collect();
    let effect = |row: &Row| {
        json!({
            "effect": row.expected.effect.word(),
            "expected_s": seconds(scaled_us(row.expected.at_s, speed)),
            "seen_s": row.seen_at.map(|at| seconds(micros_between(played.zero_at, at))),
            "late_ms": row.late_us.map(millis),
        })
    };
    json!({
        "conversation": played.scenario.name,
        "example": played.scenario.example,
        "ticket_id": played.ticket_id,
        "passed": problems.is_empty(),
        "problems": problems,
        "effects": played.verdict.rows.iter().map(effect).collect::<Vec<_>>(),
    })
}

const fn act_name(act: Act) -> &'static str {
    match act {
        Act::Agent => "agent",
        Act::Customer => "customer",
        Act::System => "system",
        Act::Note => "note",
        Act::Hold => "hold",
        Act::Resume => "resume",
        Act::Transfer => "transfer",
        Act::AddTag => "add_tag",
        Act::RemoveTag => "remove_tag",
        Act::DoubleSettings => "change_settings",
        Act::ApplyDoubledSettings => "apply_settings",
    }
}

#[expect(clippy::cast_precision_loss, reason = "microseconds of a demo are few")]
fn seconds(us: i64) -> f64 {
    us as f64 / 1e6
}

#[expect(clippy::cast_precision_loss, reason = "microseconds of a demo are few")]
fn millis(us: i64) -> f64 {
    us as f64 / 1e3
}
