//! The figures of a report as CSV.

use jiff::Timestamp;

use super::buckets::Buckets;
use super::csv::{Csv, source_name};
use super::facts::Grouping;
use super::figures::{Figures, METRICS, Statistics};
use super::report::{GroupKey, Report, ReportPlan};
use plazo_proto::ticketing::v1::CloseSource;

/// The sources that have a column.
const SOURCES: [CloseSource; 5] = [
    CloseSource::Agent,
    CloseSource::Customer,
    CloseSource::CustomerInactivity,
    CloseSource::Workflow,
    CloseSource::Api,
];

/// The header; the totals; the buckets of the series; the groups, each before its buckets.
pub(crate) fn report_lines(
    report: &Report,
    plan: &ReportPlan,
    has_byte_order_mark: bool,
) -> Vec<u8> {
    let mut csv = Csv::new(has_byte_order_mark);
    write_header(&mut csv);
    write_line(&mut csv, plan, (None, None), Some(&report.totals));
    write_series(&mut csv, plan, None, &report.series);
    for group in &report.groups {
        write_line(
            &mut csv,
            plan,
            (Some(&group.key), None),
            Some(&group.figures),
        );
        write_series(&mut csv, plan, Some(&group.key), &group.series);
    }
    csv.take()
}

fn write_header(csv: &mut Csv) {
    for column in [
        "grouping",
        "group",
        "start_time",
        "end_time",
        "conversation_count",
        "reopened_count",
        "inactivity_share",
    ] {
        csv.cell(column);
    }
    for source in SOURCES {
        let name = source_name(source.into()).to_lowercase();
        csv.cell(&format!("closed_by_{name}_count"));
    }
    for column in [
        "customer_message_count",
        "agent_message_count",
        "later_response_count",
        "later_response_mean_seconds",
    ] {
        csv.cell(column);
    }
    for prefix in ["", "business_"] {
        for metric in METRICS {
            let name = metric.name();
            csv.cell(&format!("{prefix}{name}_count"));
            for figure in ["mean", "p50", "p90", "p99", "max"] {
                csv.cell(&format!("{prefix}{name}_{figure}_seconds"));
            }
        }
    }
    csv.end_line();
}

fn write_series(
    csv: &mut Csv,
    plan: &ReportPlan,
    group: Option<&GroupKey>,
    series: &[Option<Figures>],
) {
    let spans = plan.buckets.iter().flat_map(Buckets::spans);
    for (span, figures) in spans.zip(series) {
        write_line(
            csv,
            plan,
            (group, Some((span.start, span.end))),
            figures.as_ref(),
        );
    }
}

/// A line: of which group, of which bucket, and what is known of it; figures of nothing are zeros and empty cells.
fn write_line(
    csv: &mut Csv,
    plan: &ReportPlan,
    (group, span): (Option<&GroupKey>, Option<(Timestamp, Timestamp)>),
    figures: Option<&Figures>,
) {
    let is_of_sources = plan.grouping == Some(Grouping::Source);
    csv.cell(match plan.grouping.filter(|_| group.is_some()) {
        None => "",
        Some(Grouping::Bot) => "bot",
        Some(Grouping::Queue) => "queue",
        Some(Grouping::Agent) => "agent",
        Some(Grouping::Tag) => "tag",
        Some(Grouping::Category) => "category",
        Some(Grouping::Source) => "source",
    });
    match group {
        None => csv.cell(""),
        Some(GroupKey::Text(text)) => csv.foreign(text),
        Some(GroupKey::Number(number)) if is_of_sources => {
            csv.cell(&source_name(i32::try_from(*number).unwrap_or_default()));
        }
        Some(GroupKey::Number(number)) => csv.number(number),
    }
    let local = |at: Timestamp| plan.buckets.as_ref().map(|buckets| buckets.local(at));
    let (start, end) = span.unzip();
    for at in [start, end] {
        csv.cell(&at.and_then(local).unwrap_or_default());
    }
    let none = Figures::default();
    write_figures(csv, figures.unwrap_or(&none));
    csv.end_line();
}

fn write_figures(csv: &mut Csv, figures: &Figures) {
    csv.number(figures.conversation_count);
    csv.number(figures.reopened_count);
    csv.cell(&format!("{:.6}", figures.inactivity_share()));
    for source in SOURCES {
        let count = figures.sources.get(&i32::from(source));
        csv.number(count.copied().unwrap_or_default());
    }
    csv.number(figures.customer_message_count);
    csv.number(figures.agent_message_count);
    csv.number(figures.later_response_count);
    csv.seconds(figures.later_response_mean);
    for statistics in figures.times.iter().chain(&figures.business_times) {
        csv.number(statistics.map_or(0, |known| known.count));
        let values: [fn(Statistics) -> i64; 5] = [
            |known| known.mean,
            |known| known.p50,
            |known| known.p90,
            |known| known.p99,
            |known| known.max,
        ];
        for value in values {
            csv.seconds(statistics.map(value));
        }
    }
}
