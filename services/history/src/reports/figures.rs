//! Counts, means and percentiles of some conversations.

use std::collections::BTreeMap;

use plazo_proto::ticketing::v1::CloseSource;

use super::facts::Facts;

/// The times of a conversation; `ConversationTimes` defines them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Metric {
    Wait,
    FirstResponse,
    AverageResponse,
    FirstResolution,
    FullResolution,
    Handling,
}

/// All times, in the order in which they are kept.
pub(crate) const METRICS: [Metric; 6] = [
    Metric::Wait,
    Metric::FirstResponse,
    Metric::AverageResponse,
    Metric::FirstResolution,
    Metric::FullResolution,
    Metric::Handling,
];

impl Metric {
    /// The field's term, as a part of names of columns.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Wait => "wait_time",
            Self::FirstResponse => "first_response_time",
            Self::AverageResponse => "average_response_time",
            Self::FirstResolution => "first_resolution_time",
            Self::FullResolution => "full_resolution_time",
            Self::Handling => "handling_time",
        }
    }
}

/// What is known of at least one value of a time, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Statistics {
    pub(crate) count: u64,
    pub(crate) mean: i64,
    pub(crate) p50: i64,
    pub(crate) p90: i64,
    pub(crate) p99: i64,
    pub(crate) max: i64,
}

impl Statistics {
    /// None of no value. The values are put into another order.
    pub(crate) fn of(values: &mut [i64]) -> Option<Self> {
        let count = values.len();
        let sum: i128 = values.iter().copied().map(i128::from).sum();
        let mean = sum.div_euclid(i128::try_from(count).ok().filter(|count| *count > 0)?);
        let max = values.iter().copied().max()?;
        // Each selection leaves all smaller values before it, so that the next one has fewer to look at.
        let p99 = select(values, nearest_rank(count, 99));
        let p90 = select(
            &mut values[..nearest_rank(count, 99)],
            nearest_rank(count, 90),
        );
        let p50 = select(
            &mut values[..nearest_rank(count, 90)],
            nearest_rank(count, 50),
        );
        Some(Self {
            count: count as u64,
            mean: i64::try_from(mean).unwrap_or(i64::MAX),
            p50,
            p90,
            p99,
            max,
        })
    }
}

/// The number of the `percent`-th percentile among `count` values, from 1.
fn nearest_rank(count: usize, percent: usize) -> usize {
    (count * percent).div_ceil(100)
}

/// The value with this number, from 1, in rising order.
fn select(values: &mut [i64], rank: usize) -> i64 {
    *values.select_nth_unstable(rank - 1).1
}

/// The figures of some conversations.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Figures {
    pub(crate) conversation_count: u64,
    pub(crate) reopened_count: u64,
    /// By `CloseSource`.
    pub(crate) sources: BTreeMap<i32, u64>,
    pub(crate) customer_message_count: u64,
    pub(crate) agent_message_count: u64,
    pub(crate) later_response_count: u64,
    /// Of all later responses; none when there is none.
    pub(crate) later_response_mean: Option<i64>,
    /// In the order of [`METRICS`]; none where no conversation has the time.
    pub(crate) times: [Option<Statistics>; METRICS.len()],
    pub(crate) business_times: [Option<Statistics>; METRICS.len()],
}

impl Figures {
    /// Of the conversations in these rows. `scratch` is room that is used again.
    pub(super) fn of(
        facts: &Facts,
        rows: &(impl Iterator<Item = usize> + Clone),
        scratch: &mut Vec<i64>,
    ) -> Self {
        let mut figures = Self::default();
        let mut later_response_ms: i128 = 0;
        for row in rows.clone() {
            figures.conversation_count += 1;
            figures.reopened_count += u64::from(facts.is_reopened[row]);
            *figures.sources.entry(facts.sources[row]).or_default() += 1;
            figures.customer_message_count += u64::from(facts.customer_message_counts[row]);
            figures.agent_message_count += u64::from(facts.agent_message_counts[row]);
            figures.later_response_count += u64::from(facts.later_response_counts[row]);
            later_response_ms += i128::from(facts.later_response_ms.get(row).unwrap_or_default());
        }
        let responses = i128::from(figures.later_response_count);
        figures.later_response_mean = (responses > 0)
            .then(|| i64::try_from(later_response_ms / responses).unwrap_or(i64::MAX));
        let mut statistics = |column: &super::durations::Durations| {
            scratch.clear();
            scratch.extend(rows.clone().filter_map(|row| column.get(row)));
            Statistics::of(scratch)
        };
        figures.times = facts.times.each_ref().map(&mut statistics);
        figures.business_times = facts.business_times.each_ref().map(statistics);
        figures
    }

    pub(crate) fn inactivity_count(&self) -> u64 {
        let inactivity = i32::from(CloseSource::CustomerInactivity);
        self.sources.get(&inactivity).copied().unwrap_or_default()
    }

    /// The part that was closed by inactivity; 0 of nothing.
    #[expect(
        clippy::cast_precision_loss,
        reason = "there are far fewer conversations than a double has exact numbers"
    )]
    pub(crate) fn inactivity_share(&self) -> f64 {
        match self.conversation_count {
            0 => 0.0,
            count => self.inactivity_count() as f64 / count as f64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        // Of ten values: numbers 5, 9 and 10. Of 200: 100, 180 and 198.
        for (count, expected) in [
            (1, (1, 1, 1)),
            (2, (1, 2, 2)),
            (3, (2, 3, 3)),
            (10, (5, 9, 10)),
            (100, (50, 90, 99)),
            (101, (51, 91, 100)),
            (200, (100, 180, 198)),
        ] {
            let mut values: Vec<i64> = (1..=count).rev().collect();
            let found = Statistics::of(&mut values).expect("there are values");
            assert_eq!((found.p50, found.p90, found.p99), expected, "{count}");
            assert_eq!(found.max, count);
            assert_eq!(found.count, count.unsigned_abs());
        }
    }

    #[test]
    fn means_are_rounded_down_and_nothing_has_none() {
        let found = Statistics::of(&mut [1, 2, 2]).expect("there are values");
        assert_eq!(found.mean, 1);
        assert_eq!(Statistics::of(&mut []), None);
    }
}
