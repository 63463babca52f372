//! A report made of its facts.

use std::cmp::Reverse;
use std::ops::Range;

use super::buckets::Buckets;
use super::facts::{Facts, Grouping};
use super::figures::Figures;

/// What a report is to have.
#[derive(Debug, Clone)]
pub(crate) struct ReportPlan {
    /// The buckets of the series; none for no series.
    pub(crate) buckets: Option<Buckets>,
    pub(crate) grouping: Option<Grouping>,
    pub(crate) max_groups: usize,
    pub(crate) has_series_of_groups: bool,
}

/// A report.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) totals: Figures,
    /// One for each bucket; none where it is empty.
    pub(crate) series: Vec<Option<Figures>>,
    /// The largest first, then by their key.
    pub(crate) groups: Vec<Group>,
    pub(crate) omitted_group_count: usize,
}

/// A group of a report.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) key: GroupKey,
    pub(crate) figures: Figures,
    pub(crate) series: Vec<Option<Figures>>,
}

/// What a group has in common.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum GroupKey {
    /// An id or a number of a source.
    Number(i64),
    /// A tag or a category.
    Text(String),
}

impl GroupKey {
    fn read(grouping: Grouping, key: String) -> Self {
        match grouping {
            Grouping::Tag | Grouping::Category => Self::Text(key),
            Grouping::Bot | Grouping::Queue | Grouping::Agent | Grouping::Source => {
                Self::Number(key.parse().unwrap_or_default())
            }
        }
    }
}

impl Report {
    /// Makes the report. Takes some milliseconds for each hundred thousand conversations.
    pub(crate) fn make(mut facts: Facts, plan: &ReportPlan) -> Self {
        let mut scratch = Vec::new();
        let buckets = plan
            .buckets
            .as_ref()
            .map(|buckets| rows_of(&facts, buckets));
        let buckets = buckets.unwrap_or_default();
        let totals = Figures::of(&facts, &(0..facts.len()), &mut scratch);
        let series = buckets
            .iter()
            .map(|rows| (!rows.is_empty()).then(|| Figures::of(&facts, rows, &mut scratch)))
            .collect();

        let mut groups: Vec<_> = std::mem::take(&mut facts.groups)
            .into_iter()
            .zip(std::iter::repeat(plan.grouping))
            .filter_map(|((key, rows), grouping)| Some((GroupKey::read(grouping?, key), rows)))
            .collect();
        groups.sort_unstable_by(|(one_key, one), (other_key, other)| {
            (Reverse(one.len()), one_key).cmp(&(Reverse(other.len()), other_key))
        });
        let omitted_group_count = groups.len().saturating_sub(plan.max_groups);
        groups.truncate(plan.max_groups);
        let series_of_groups = if plan.has_series_of_groups {
            buckets
        } else {
            Vec::new()
        };
        let groups = groups
            .into_iter()
            .map(|(key, rows)| Group {
                key,
                figures: of_rows(&facts, &rows, &mut scratch),
                series: series_of_groups
                    .iter()
                    .map(|bucket| {
                        let rows = rows_within(&rows, bucket);
                        (!rows.is_empty()).then(|| of_rows(&facts, rows, &mut scratch))
                    })
                    .collect(),
            })
            .collect();
        Self {
            totals,
            series,
            groups,
            omitted_group_count,
        }
    }
}

/// The rows of each bucket: they are sorted by their closing times.
fn rows_of(facts: &Facts, buckets: &Buckets) -> Vec<Range<usize>> {
    let row_at = |at: jiff::Timestamp| {
        let at_us = at.as_microsecond();
        facts
            .closed_at_us
            .partition_point(|closed_at| *closed_at < at_us)
    };
    buckets
        .spans()
        .map(|span| row_at(span.start)..row_at(span.end))
        .collect()
}

/// Those of a group's rows that lie in a bucket.
fn rows_within<'a>(rows: &'a [u32], bucket: &Range<usize>) -> &'a [u32] {
    let place = |row: usize| rows.partition_point(|known| (*known as usize) < row);
    &rows[place(bucket.start)..place(bucket.end)]
}

fn of_rows(facts: &Facts, rows: &[u32], scratch: &mut Vec<i64>) -> Figures {
    let rows = rows.iter().map(|row| *row as usize);
    Figures::of(facts, &rows, scratch)
}
