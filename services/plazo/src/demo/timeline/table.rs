//! What was expected beside what was seen.

use super::{millis, seconds};
use crate::demo::scenarios::Effect;
use crate::demo::verdict::{Row, micros_between, scaled_us};
use crate::demo::{Lateness, Played, Report};
use crate::style::{Palette, Style};

/// Width of a column: seven of them and the names of the rows fit into 80 letters.
const WIDTH: usize = 9;

/// The tables of all conversations, the lateness and the outcome.
pub(super) fn of(report: &Report, palette: Palette) -> String {
    let mut lines = Vec::new();
    for played in &report.played {
        lines.push(String::new());
        lines.extend(conversation(
            played,
            played.scenario.speed(report.rules.speed),
            palette,
        ));
    }
    lines.push(String::new());
    lines.extend(report.lateness.map(lateness));
    for service in &report.unchecked {
        let text = format!("not looked at, since it does not answer: {service}");
        lines.push(palette.paint(Style::Yellow, &text));
    }
    lines.push(outcome(report, palette));
    lines.join("\n")
}

fn conversation(played: &Played, speed: u32, palette: Palette) -> Vec<String> {
    let verdict = &played.verdict;
    let (mark, style) = if verdict.problems.is_empty() {
        ("✔", Style::Green)
    } else {
        ("✘", Style::Red)
    };
    let scenario = &played.scenario;
    let title = format!(
        "{} {}: {} {}",
        palette.paint(style, mark),
        palette.paint(Style::Bold, scenario.customer),
        scenario.example,
        palette.paint(Style::Dim, &format!("(ticket {})", played.ticket_id)),
    );
    let row = |name: &str, cell: &dyn Fn(&Row) -> (Style, String)| {
        let cells = verdict.rows.iter().map(|row| {
            let (style, text) = cell(row);
            palette.paint(style, &format!("{text:>WIDTH$}"))
        });
        let name = palette.paint(Style::Dim, &format!("  {name:<10}"));
        format!("{name}{}", cells.collect::<String>())
    };
    let mut lines = vec![
        title,
        row("", &|row| {
            (
                style_of(row.expected.effect),
                row.expected.effect.to_string(),
            )
        }),
        row("expected", &|row| {
            (
                Style::Plain,
                seconds(scaled_us(row.expected.at_s, speed), 1),
            )
        }),
        row("seen", &|row| match row.seen_at {
            Some(at) => (Style::Plain, seconds(micros_between(played.zero_at, at), 3)),
            None => (Style::Red, "never".to_owned()),
        }),
        row("late, ms", &|row| {
            (Style::Dim, row.late_us.map(millis).unwrap_or_default())
        }),
    ];
    let problems = verdict.problems.iter();
    lines.extend(problems.map(|problem| palette.paint(Style::Red, &format!("  {problem}"))));
    lines
}

fn style_of(effect: Effect) -> Style {
    match effect {
        Effect::FirstAlert => Style::Yellow,
        Effect::SecondAlert => Style::Red,
        Effect::Warning => Style::Magenta,
        Effect::Cleared => Style::Green,
        Effect::Close => Style::Bold,
    }
}

fn lateness(lateness: Lateness) -> String {
    let Lateness {
        stages,
        min_us,
        median_us,
        max_us,
    } = lateness;
    let [min, median, max] = [min_us, median_us, max_us].map(millis);
    format!("lateness of {stages} stages: min {min} ms, median {median} ms, max {max} ms")
}

fn outcome(report: &Report, palette: Palette) -> String {
    if report.passed() {
        let text = "Everything happened as it must, each once, and nothing else.";
        return palette.paint(Style::Green, text);
    }
    let wrong = report
        .played
        .iter()
        .filter(|played| !played.verdict.problems.is_empty())
        .count();
    let text = format!(
        "{wrong} of {} conversations went wrong.",
        report.played.len()
    );
    palette.paint(Style::Red, &text)
}
