//! A picture of a load, in SVG: lateness above, throughput below, over the same time.

use std::fmt::Write as _;

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 640.0;
const LEFT: f64 = 78.0;
const RIGHT: f64 = 930.0;
/// Top and bottom of the two panels.
const LATENESS: (f64, f64) = (112.0, 340.0);
const THROUGHPUT: (f64, f64) = (412.0, 580.0);
/// About so many ticks on an axis.
const TICKS: f64 = 6.0;
/// The least of what is shown of lateness, in milliseconds.
const LEAST_MS: f64 = 0.1;

/// The time that is shown.
#[derive(Debug, Clone, Copy)]
pub(super) struct Axes {
    /// From 0 to here.
    pub(super) length_s: f64,
    /// The distance between neighbours of a line.
    pub(super) interval_s: f64,
}

/// A line of a panel.
#[derive(Debug)]
pub(super) struct Line {
    name: &'static str,
    colour: &'static str,
    /// Seconds, and the value there. Where an interval is missing, the line is broken.
    points: Vec<(f64, f64)>,
}

impl Line {
    pub(super) fn new(name: &'static str, colour: &'static str, points: Vec<(f64, f64)>) -> Self {
        Self {
            name,
            colour,
            points,
        }
    }
}

/// How values become heights.
#[derive(Debug, Clone, Copy)]
enum Scale {
    /// From zero up to the most; what is above stays at the top.
    Linear { most: f64 },
    /// From one power of ten to another.
    Logarithmic { least: f64, most: f64 },
}

/// Lateness in milliseconds above, counts a second below.
pub(super) fn draw(
    title: &str,
    subtitle: &str,
    axes: &Axes,
    lateness: &[Line],
    throughput: &[Line],
) -> String {
    let mut svg = Svg::default();
    svg.add(format_args!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" \
         font-family=\"system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif\" font-size=\"12\">"
    ));
    svg.add(format_args!(
        "<rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#ffffff\"/>"
    ));
    svg.text(24.0, 34.0, "start", "#1c2733", 17, title);
    svg.text(24.0, 56.0, "start", "#5b6875", 12, subtitle);

    let values = || {
        lateness
            .iter()
            .flat_map(|line| &line.points)
            .map(|point| point.1)
    };
    let most = values().fold(1.0, f64::max).log10().ceil();
    let least = values().fold(1.0, f64::min).max(LEAST_MS).log10().floor();
    let scale = Scale::Logarithmic {
        least,
        most: most.max(least + 1.0),
    };
    let ticks: Vec<_> = whole_numbers(least, most.max(least + 1.0))
        .map(|power| 10_f64.powf(power))
        .collect();
    let heading = "lateness: handled after it was due, ms (logarithmic)";
    svg.panel(heading, LATENESS, axes, scale, &ticks, lateness);

    let most_of = |line: &Line| line.points.iter().map(|point| point.1).fold(1.0, f64::max);
    // What is due at one instant would leave all else on the floor: then its line ends at the top.
    let highest = throughput.iter().map(most_of).fold(1.0, f64::max);
    let second = throughput
        .iter()
        .map(most_of)
        .filter(|most| *most < highest);
    let second = second.fold(1.0, f64::max);
    let shown = if highest > 4.0 * second {
        second * 1.2
    } else {
        highest
    };
    let step = nice_step(shown);
    let most = (shown / step).ceil();
    let ticks: Vec<_> = whole_numbers(0.0, most)
        .map(|number| number * step)
        .collect();
    let scale = Scale::Linear { most: most * step };
    svg.panel(
        "throughput: tickets a second",
        THROUGHPUT,
        axes,
        scale,
        &ticks,
        throughput,
    );
    let middle = f64::midpoint(LEFT, RIGHT);
    svg.text(
        middle,
        THROUGHPUT.1 + 44.0,
        "middle",
        "#5b6875",
        12,
        "seconds from the beginning",
    );
    svg.add(format_args!("</svg>"));
    svg.text
}

#[derive(Default)]
struct Svg {
    text: String,
}

impl Svg {
    fn add(&mut self, element: std::fmt::Arguments<'_>) {
        // Writing to a string can't fail.
        let _ = writeln!(self.text, "{element}");
    }

    fn text(&mut self, x: f64, y: f64, anchor: &str, colour: &str, size: u32, text: &str) {
        let text = text.replace('&', "&amp;").replace('<', "&lt;");
        let weight = if size > 13 { 600 } else { 400 };
        self.add(format_args!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"{colour}\" font-size=\"{size}\" \
             font-weight=\"{weight}\">{text}</text>"
        ));
    }

    fn rule(&mut self, from: (f64, f64), to: (f64, f64), colour: &str) {
        self.add(format_args!(
            "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" stroke=\"{colour}\"/>",
            from.0, from.1, to.0, to.1
        ));
    }

    fn panel(
        &mut self,
        heading: &str,
        (top, bottom): (f64, f64),
        axes: &Axes,
        scale: Scale,
        ticks: &[f64],
        lines: &[Line],
    ) {
        let x = |seconds: f64| LEFT + seconds / axes.length_s.max(1e-9) * (RIGHT - LEFT);
        let y = |value: f64| bottom - scale.place(value) * (bottom - top);
        self.text(24.0, top - 18.0, "start", "#1c2733", 13, heading);
        for tick in ticks {
            self.rule((LEFT, y(*tick)), (RIGHT, y(*tick)), "#e6eaee");
            self.text(
                LEFT - 8.0,
                y(*tick) + 4.0,
                "end",
                "#5b6875",
                12,
                &number(*tick),
            );
        }
        let step = nice_step(axes.length_s);
        for second in whole_numbers(0.0, (axes.length_s / step + 1e-9).floor()).map(|n| n * step) {
            self.rule((x(second), bottom), (x(second), bottom + 5.0), "#9aa5b1");
            self.text(
                x(second),
                bottom + 20.0,
                "middle",
                "#5b6875",
                12,
                &number(second),
            );
        }
        self.rule((LEFT, bottom), (RIGHT, bottom), "#9aa5b1");
        for line in lines {
            self.line(line, axes.interval_s, x, y);
        }
        self.legend(lines, top - 18.0);
    }

    /// From the right to the left. Widths of letters are a guess that leaves a little room.
    fn legend(&mut self, lines: &[Line], y: f64) {
        let mut end = RIGHT;
        for line in lines.iter().rev() {
            let length = f64::from(u8::try_from(line.name.len()).unwrap_or(u8::MAX));
            let text = end - 6.8 * length;
            self.text(text, y, "start", "#1c2733", 12, line.name);
            self.add(format_args!(
                "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" stroke=\"{}\" stroke-width=\"3\"/>",
                text - 24.0,
                y - 4.0,
                text - 6.0,
                y - 4.0,
                line.colour
            ));
            end = text - 38.0;
        }
    }

    fn line(
        &mut self,
        line: &Line,
        interval_s: f64,
        x: impl Fn(f64) -> f64,
        y: impl Fn(f64) -> f64,
    ) {
        let is_near = |a: &(f64, f64), b: &(f64, f64)| b.0 - a.0 < interval_s * 1.5;
        let mut path = String::new();
        for run in line.points.chunk_by(is_near) {
            if let [(seconds, value)] = run {
                // A line of one point would not be seen.
                self.add(format_args!(
                    "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"2.5\" fill=\"{}\"/>",
                    x(*seconds),
                    y(*value),
                    line.colour
                ));
                continue;
            }
            for (index, (seconds, value)) in run.iter().enumerate() {
                let command = if index == 0 { 'M' } else { 'L' };
                let _ = write!(path, "{command}{:.1} {:.1}", x(*seconds), y(*value));
            }
        }
        if !path.is_empty() {
            self.add(format_args!(
                "<path d=\"{path}\" fill=\"none\" stroke=\"{}\" stroke-width=\"1.8\" stroke-linejoin=\"round\"/>",
                line.colour
            ));
        }
    }
}

impl Scale {
    /// From 0 at the bottom to 1 at the top.
    fn place(self, value: f64) -> f64 {
        match self {
            Self::Linear { most } => (value / most).min(1.0),
            Self::Logarithmic { least, most } => {
                let power = value.max(1e-9).log10().max(least);
                (power - least) / (most - least)
            }
        }
    }
}

/// 1, 2 or 5 times a power of ten, so that a length has about [`TICKS`] of it.
fn nice_step(length: f64) -> f64 {
    let raw = (length / TICKS).max(1e-9);
    let power = 10_f64.powf(raw.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0];
    let factor = steps.into_iter().find(|step| step * power >= raw * 0.999);
    factor.unwrap_or(10.0) * power
}

fn whole_numbers(from: f64, to: f64) -> impl Iterator<Item = f64> {
    std::iter::successors(Some(from), |number| Some(number + 1.0))
        .take_while(move |number| *number <= to + 1e-9)
}

/// With as many digits as it needs, and its thousands apart.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "ticks are above zero, and far below 2^64"
)]
fn number(value: f64) -> String {
    if (value - value.round()).abs() < 1e-6 {
        return super::progress::grouped(value.round() as u64);
    }
    let text = format!("{value:.3}");
    text.trim_end_matches('0').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_nice() {
        for (length, step) in [
            (10.0, 2.0),
            (6.0, 1.0),
            (60.0, 10.0),
            (25_000.0, 5_000.0),
            (0.9, 0.2),
        ] {
            assert!((nice_step(length) - step).abs() < 1e-9, "{length}");
        }
        assert_eq!(number(0.1), "0.1");
        assert_eq!(number(25_000.0), "25,000");
    }

    #[test]
    fn a_picture_has_both_panels_and_stays_within_its_frame() {
        let lateness = [Line::new(
            "p99",
            "#111111",
            vec![(0.5, 3.0), (1.5, 250.0), (3.5, 0.04)],
        )];
        let counts = [Line::new(
            "fired",
            "#222222",
            vec![(0.5, 900.0), (1.5, 1_100.0)],
        )];
        let axes = Axes {
            length_s: 4.0,
            interval_s: 1.0,
        };
        let svg = draw("a & b", "c < d", &axes, &lateness, &counts);
        for part in [
            "a &amp; b",
            "c &lt; d",
            ">1,000<",
            ">0.1<",
            "<circle",
            "p99",
            "fired",
            "</svg>",
        ] {
            assert!(svg.contains(part), "{part} is missing: {svg}");
        }
        for y in svg.split(" y1=\"").skip(1) {
            let y: f64 = y
                .split('"')
                .next()
                .and_then(|y| y.parse().ok())
                .expect("a number");
            assert!((0.0..=HEIGHT).contains(&y), "{y}");
        }
    }
}
