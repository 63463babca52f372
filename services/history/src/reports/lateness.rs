//! How late stages took effect.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::figures::Statistics;

/// The most bots that are shown.
const MAX_BOTS: usize = 100;

/// Which firings. None: any will do.
#[derive(Debug, Clone)]
pub(crate) struct LatenessFilter {
    pub(crate) tenant_id: i64,
    /// At or after it.
    pub(crate) from: jiff::Timestamp,
    /// Before it.
    pub(crate) until: jiff::Timestamp,
    pub(crate) bots: Option<Vec<i64>>,
    /// 0 stands for no queue.
    pub(crate) queues: Option<Vec<i64>>,
}

/// The lateness of a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StageLateness {
    /// A `Stage`.
    pub(crate) stage: i32,
    /// A `CycleKind`.
    pub(crate) cycle_kind: i32,
    /// None for all bots together.
    pub(crate) bot_id: Option<i64>,
    pub(crate) lateness: Statistics,
}

/// The report of lateness.
#[derive(Debug)]
pub(crate) struct Lateness {
    pub(crate) stages: Vec<StageLateness>,
    pub(crate) stages_of_bots: Vec<StageLateness>,
    pub(crate) omitted_bot_count: usize,
}

impl Lateness {
    /// Leaves out the bots with the fewest firings, when there are many. The order of the rows is kept.
    pub(crate) fn of(rows: Vec<StageLateness>) -> Self {
        let (mut stages_of_bots, stages): (Vec<_>, Vec<_>) =
            rows.into_iter().partition(|row| row.bot_id.is_some());
        let mut firings: BTreeMap<i64, u64> = BTreeMap::new();
        for row in &stages_of_bots {
            *firings.entry(row.bot_id.unwrap_or_default()).or_default() += row.lateness.count;
        }
        let mut bots: Vec<_> = firings.into_iter().collect();
        bots.sort_by_key(|(bot_id, count)| (Reverse(*count), *bot_id));
        let shown: BTreeSet<_> = bots
            .iter()
            .take(MAX_BOTS)
            .map(|(bot_id, _)| *bot_id)
            .collect();
        stages_of_bots.retain(|row| row.bot_id.is_some_and(|bot_id| shown.contains(&bot_id)));
        Self {
            stages,
            stages_of_bots,
            omitted_bot_count: bots.len() - shown.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bots_with_most_firings_are_shown() {
        let row = |bot_id: Option<i64>, count| StageLateness {
            stage: 1,
            cycle_kind: 1,
            bot_id,
            lateness: Statistics {
                count,
                mean: 0,
                p50: 0,
                p90: 0,
                p99: 0,
                max: 0,
            },
        };
        let mut rows = vec![row(None, 5_000)];
        rows.extend((1..=103).map(|bot_id: i64| row(Some(bot_id), bot_id.unsigned_abs())));
        let lateness = Lateness::of(rows);
        assert_eq!((lateness.stages.len(), lateness.omitted_bot_count), (1, 3));
        let bots: Vec<_> = lateness
            .stages_of_bots
            .iter()
            .filter_map(|row| row.bot_id)
            .collect();
        assert_eq!(bots, (4..=103).collect::<Vec<_>>());
    }
}
