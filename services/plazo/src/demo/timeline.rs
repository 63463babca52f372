//! The demo for people: a live timeline, then what was expected beside what was seen.

mod table;

use std::io::Write;

use jiff::Timestamp;

use super::scenarios::{
    Act, Alert, CLOSE_S, Effect, FIRST_ALERT_S, SCENARIOS, SECOND_ALERT_S, Scenario, WARNING_S,
};
use super::seen::{Happening, Seen};
use super::verdict::{micros_between, scaled_us};
use super::{DemoOptions, Happened, Observer, Report};
use crate::style::{Palette, Style};

/// Writes the timeline to standard output, or wherever it is told to.
#[derive(Debug)]
pub struct Timeline<W> {
    out: W,
    palette: Palette,
    /// Of the customers' first names.
    name_width: usize,
    /// A stage whose line is told to its end by the event that follows it.
    pending: Option<Line>,
    /// The last close that was shown: that the alert goes with it needs no line.
    closed: Option<(usize, Timestamp)>,
}

/// A line of the timeline.
#[derive(Debug, Clone)]
struct Line {
    index: usize,
    customer: &'static str,
    at: String,
    late: String,
    style: Style,
    text: String,
}

impl Timeline<std::io::Stdout> {
    /// To standard output, in colour when it is a terminal.
    pub fn of_stdout() -> Self {
        Self::new(std::io::stdout(), Palette::of_stdout())
    }
}

impl<W: Write> Timeline<W> {
    pub(crate) fn new(out: W, palette: Palette) -> Self {
        let width = |scenario: &Scenario| first_name(scenario.customer).chars().count();
        let name_width = SCENARIOS.iter().map(width).max().unwrap_or(0);
        Self {
            out,
            palette,
            name_width,
            pending: None,
            closed: None,
        }
    }

    /// Whoever closed the pipe doesn't want to see more; the demo goes on and has its exit code.
    fn say(&mut self, text: &str) {
        let _ = writeln!(self.out, "{}", text.trim_end());
        let _ = self.out.flush();
    }

    fn paint(&self, style: Style, text: &str) -> String {
        self.palette.paint(style, text)
    }

    fn show(&mut self, line: &Line) {
        let number = self.paint(Style::Dim, &format!("{:>2}", line.index + 1));
        let late = self.paint(Style::Dim, &format!("{:>9}", line.late));
        let text = self.paint(line.style, &line.text);
        let (at, customer, width) = (&line.at, line.customer, self.name_width);
        self.say(&format!(
            "{at:>7} s {late}  {number} {customer:<width$}  {text}"
        ));
    }

    fn show_pending(&mut self) {
        if let Some(line) = self.pending.take() {
            self.show(&line);
        }
    }

    /// The pending line of this conversation, if its last event has left one.
    fn take_pending(&mut self, index: usize) -> Option<Line> {
        self.pending.take_if(|line| line.index == index)
    }
}

impl<W: Write + Send> Observer for Timeline<W> {
    fn begins(&mut self, options: &DemoOptions, scenarios: &[Scenario]) {
        let speed = options.rules.speed;
        let stages = [FIRST_ALERT_S, SECOND_ALERT_S, WARNING_S, CLOSE_S];
        let [first, second, warning, close] = stages.map(|s| seconds(scaled_us(s, speed), 0));
        let at = &options.endpoints.ticketing;
        let title = format!("Plazo demo: {} conversations at {at}", scenarios.len());
        let title = self.paint(Style::Bold, &title);
        self.say(&title);
        self.say(&format!(
            "A silent customer: yellow after {first} s, red {second} s, warned {warning} s, closed {close} s."
        ));
        self.say("");
        for (index, scenario) in scenarios.iter().enumerate() {
            let number = self.paint(Style::Dim, &format!("{:>2}", index + 1));
            let example = in_demo_seconds(scenario, scenario.speed(speed));
            let example = self.paint(Style::Dim, &example);
            self.say(&format!("  {number} {:<16} {example}", scenario.customer));
        }
        self.say("");
        let head = format!("{:>9} {:>9}  ticket", "time", "late");
        let head = self.paint(Style::Dim, &head);
        self.say(&head);
    }

    fn happened(&mut self, happened: &Happened<'_>) {
        let Happened {
            scenario,
            index,
            seen,
            ..
        } = *happened;
        if let Some(told) = self.take_pending(index) {
            if let Some(line) = continued(&told, seen) {
                self.closed = Some((index, seen.at));
                self.show(&line);
                return;
            }
            self.show(&told);
        }
        self.show_pending();
        if seen.happening == Happening::Cleared && self.closed == Some((index, seen.at)) {
            return;
        }
        let Some((style, text)) = describe(scenario, seen) else {
            return;
        };
        let late = match &seen.happening {
            Happening::Fired { due_at, .. } => {
                format!("{} ms", millis(micros_between(*due_at, seen.at)))
            }
            _ => String::new(),
        };
        let at = seconds(micros_between(happened.zero_at, seen.at), 3);
        let customer = first_name(scenario.customer);
        let line = Line {
            index,
            customer,
            at,
            late,
            style,
            text,
        };
        if is_continued(&seen.happening) {
            self.pending = Some(line);
        } else {
            self.show(&line);
        }
    }

    fn ended(&mut self, report: &Report) {
        self.show_pending();
        let tables = table::of(report, self.palette);
        self.say(&tables);
    }
}

/// Whether the next event tells more of the same.
fn is_continued(happening: &Happening) -> bool {
    matches!(
        happening,
        Happening::Fired {
            effect: Effect::Warning | Effect::Close,
            ..
        }
    )
}

/// The line of a stage together with what follows it in the same transaction.
fn continued(told: &Line, seen: &Seen) -> Option<Line> {
    let text = match &seen.happening {
        Happening::WarningRequested { text } => format!("{} “{text}”", told.text),
        Happening::Closed {
            by_inactivity: true,
            exit_route,
        } => {
            format!("{}, to block {exit_route}", told.text)
        }
        _ => return None,
    };
    Some(Line {
        text,
        ..told.clone()
    })
}

/// What a line says; none for what nobody needs to see.
fn describe(scenario: &Scenario, seen: &Seen) -> Option<(Style, String)> {
    let agent = first_name(scenario.agent);
    let customer = first_name(scenario.customer);
    let described = match &seen.happening {
        // Before a message is delivered, it is accepted and sent.
        Happening::Opened
        | Happening::Aside
        | Happening::MessageReported {
            state: "accepted" | "sent",
        } => {
            return None;
        }
        Happening::Wrote { writer, text, .. } => match writer {
            Act::Agent => (Style::Plain, format!("{agent}: {text}")),
            Act::Customer => (Style::Cyan, format!("{customer}: {text}")),
            Act::System => (Style::Dim, format!("system: {text}")),
            Act::Note => (Style::Dim, format!("note by {agent}: {text}")),
            _ => return None,
        },
        Happening::Did { act, text, .. } => (Style::Plain, deed(*act, agent, text)),
        Happening::Fired { effect, alert, .. } => stage(*effect, *alert),
        Happening::WarningRequested { text } => (Style::Magenta, format!("✉ “{text}”")),
        Happening::Closed { .. } => (Style::Bold, "■ closed".to_owned()),
        Happening::Cleared => (Style::Green, "▽ alert removed".to_owned()),
        Happening::MessageReported { state } => (Style::Dim, format!("✉ {state}")),
        Happening::Other { name } => (Style::Red, format!("? {name}")),
    };
    Some(described)
}

fn deed(act: Act, agent: &str, text: &str) -> String {
    match act {
        Act::Hold => format!("{agent} puts it on hold: {text}"),
        Act::Resume => format!("{agent} resumes it"),
        Act::Transfer => format!("{agent} transfers it to its queue"),
        Act::AddTag => format!("{agent} adds the tag {text}"),
        Act::RemoveTag => format!("{agent} removes the tag {text}"),
        Act::DoubleSettings | Act::ApplyDoubledSettings => "the new settings apply".to_owned(),
        Act::Agent | Act::Customer | Act::System | Act::Note => text.to_owned(),
    }
}

fn stage(effect: Effect, alert: Alert) -> (Style, String) {
    match (effect, alert) {
        (Effect::FirstAlert, Alert::Yellow) => (Style::Yellow, "▲ yellow alert".to_owned()),
        (Effect::FirstAlert, _) => (Style::Red, "▲ first alert, red stays".to_owned()),
        (Effect::SecondAlert, _) => (Style::Red, "▲ red alert".to_owned()),
        (Effect::Warning, _) => (Style::Magenta, "✉".to_owned()),
        (Effect::Close | Effect::Cleared, _) => (Style::Bold, "■ closed for inactivity".to_owned()),
    }
}

/// The example with the seconds of the demo.
fn in_demo_seconds(scenario: &Scenario, speed: u32) -> String {
    let step = |step: &super::scenarios::Step| {
        let who = match step.act {
            Act::Agent => "agent",
            Act::Customer => "customer",
            Act::System => "system message",
            Act::Note => "note",
            Act::Hold => "hold",
            Act::Resume => "resume",
            Act::Transfer => "transfer",
            Act::AddTag => "tag that excludes",
            Act::RemoveTag => "tag removed",
            Act::DoubleSettings => "settings doubled",
            Act::ApplyDoubledSettings => "doubled settings applied",
        };
        let at = match step.at_s {
            0 => "0".to_owned(),
            at_s => seconds(scaled_us(at_s, speed), 1),
        };
        format!("{who} {at}")
    };
    let steps = scenario
        .steps
        .iter()
        .map(step)
        .collect::<Vec<_>>()
        .join(", ");
    if scenario.counts_from_first_message {
        format!("{steps} with FIRST_MESSAGE")
    } else {
        steps
    }
}

fn first_name(name: &'static str) -> &'static str {
    name.split(' ').next().unwrap_or(name)
}

/// Microseconds as seconds.
#[expect(clippy::cast_precision_loss, reason = "microseconds of a demo are few")]
fn seconds(us: i64, decimals: usize) -> String {
    format!("{:.decimals$}", us as f64 / 1e6)
}

/// Microseconds as milliseconds.
#[expect(clippy::cast_precision_loss, reason = "microseconds of a demo are few")]
fn millis(us: i64) -> String {
    format!("{:.1}", us as f64 / 1e3)
}
