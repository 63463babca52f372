//! What figures are made of, column by column.

use std::collections::HashMap;

use super::durations::Durations;
use super::figures::METRICS;
use super::{BudgetError, ClosedPlace, mean_ms, span_ms};
use crate::model::UNIT_SEPARATOR;
use crate::reports::budget::{ReportBudget, Room};

/// What the groups of a report have in common. The numbers are those of `ReportGrouping`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Grouping {
    Bot = 1,
    Queue = 2,
    Agent = 3,
    Tag = 4,
    Category = 5,
    Source = 6,
}

/// Columns of some conversations, the first closed first, as the store reads them; the columns are of one length, but for
/// `group_keys`, which is empty without a grouping.
#[derive(Debug)]
pub(crate) struct FactChunk {
    /// Which table they come from.
    pub(crate) table_oid: i64,
    pub(crate) ticket_ids: Vec<i64>,
    pub(crate) closed_at: Vec<jiff_sqlx::Timestamp>,
    pub(crate) opened_at: Vec<jiff_sqlx::Timestamp>,
    pub(crate) first_closed_at: Vec<jiff_sqlx::Timestamp>,
    pub(crate) first_assigned_at: Vec<Option<jiff_sqlx::Timestamp>>,
    pub(crate) first_agent_message_at: Vec<Option<jiff_sqlx::Timestamp>>,
    pub(crate) close_sources: Vec<i32>,
    pub(crate) reopen_counts: Vec<i32>,
    pub(crate) customer_message_counts: Vec<i32>,
    pub(crate) agent_message_counts: Vec<i32>,
    pub(crate) later_response_counts: Vec<i32>,
    pub(crate) later_response_ms: Vec<i64>,
    pub(crate) handling_ms: Vec<i64>,
    pub(crate) business_wait_ms: Vec<Option<i64>>,
    pub(crate) business_first_response_ms: Vec<Option<i64>>,
    pub(crate) business_later_response_ms: Vec<Option<i64>>,
    pub(crate) business_first_resolution_ms: Vec<Option<i64>>,
    pub(crate) business_full_resolution_ms: Vec<Option<i64>>,
    pub(crate) business_handling_ms: Vec<Option<i64>>,
    /// Numbers in digits, or text. Tags are joined by [`UNIT_SEPARATOR`].
    pub(crate) group_keys: Vec<String>,
}

impl FactChunk {
    /// How many conversations it has.
    pub(crate) fn len(&self) -> usize {
        self.ticket_ids.len()
    }

    /// Where the next chunk goes on.
    pub(crate) fn last_place(&self) -> Option<ClosedPlace> {
        Some(ClosedPlace {
            closed_at: self.closed_at.last()?.to_jiff(),
            ticket_id: *self.ticket_ids.last()?,
        })
    }
}

/// The columns of all conversations of a report, and their groups.
#[derive(Debug)]
pub(crate) struct Facts {
    /// In microseconds since 1970; they rise.
    pub(super) closed_at_us: Vec<i64>,
    pub(super) sources: Vec<i32>,
    pub(super) is_reopened: Vec<bool>,
    pub(super) customer_message_counts: Vec<u32>,
    pub(super) agent_message_counts: Vec<u32>,
    pub(super) later_response_counts: Vec<u32>,
    pub(super) later_response_ms: Durations,
    /// In the order of [`METRICS`].
    pub(super) times: [Durations; METRICS.len()],
    pub(super) business_times: [Durations; METRICS.len()],
    /// The rows of each group, in rising order.
    pub(super) groups: HashMap<String, Vec<u32>>,
    grouping: Option<Grouping>,
    room: Room,
}

impl Facts {
    pub(crate) fn new(budget: &ReportBudget, grouping: Option<Grouping>) -> Self {
        Self {
            closed_at_us: Vec::new(),
            sources: Vec::new(),
            is_reopened: Vec::new(),
            customer_message_counts: Vec::new(),
            agent_message_counts: Vec::new(),
            later_response_counts: Vec::new(),
            later_response_ms: Durations::default(),
            times: Default::default(),
            business_times: Default::default(),
            groups: HashMap::new(),
            grouping,
            room: budget.room(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.closed_at_us.len()
    }

    /// Adds conversations that were closed after those before.
    pub(crate) fn push(&mut self, chunk: FactChunk) -> Result<(), BudgetError> {
        self.room.take(chunk.len())?;
        let first_row = self.len();
        self.closed_at_us.extend(
            chunk
                .closed_at
                .iter()
                .map(|at| at.to_jiff().as_microsecond()),
        );
        for row in 0..chunk.len() {
            self.push_times(&chunk, row);
        }
        self.is_reopened
            .extend(chunk.reopen_counts.iter().map(|count| *count > 0));
        let counts = |column: Vec<i32>| column.into_iter().map(i32::unsigned_abs);
        self.customer_message_counts
            .extend(counts(chunk.customer_message_counts));
        self.agent_message_counts
            .extend(counts(chunk.agent_message_counts));
        self.later_response_counts
            .extend(counts(chunk.later_response_counts));
        self.sources.extend(chunk.close_sources);
        for (row, key) in (first_row..).zip(chunk.group_keys) {
            self.push_to_groups(row, key);
        }
        Ok(())
    }

    fn push_times(&mut self, chunk: &FactChunk, row: usize) {
        let opened_at = chunk.opened_at[row].to_jiff();
        let since_opening = |until: jiff_sqlx::Timestamp| span_ms(opened_at, until.to_jiff());
        let responses = chunk.later_response_counts[row];
        let mean_response = |sum_ms: i64| mean_ms(sum_ms, responses);
        let plain = [
            chunk.first_assigned_at[row].map(since_opening),
            chunk.first_agent_message_at[row].map(since_opening),
            mean_response(chunk.later_response_ms[row]),
            Some(since_opening(chunk.first_closed_at[row])),
            Some(since_opening(chunk.closed_at[row])),
            Some(chunk.handling_ms[row]),
        ];
        let business = [
            chunk.business_wait_ms[row],
            chunk.business_first_response_ms[row],
            chunk.business_later_response_ms[row].and_then(mean_response),
            chunk.business_first_resolution_ms[row],
            chunk.business_full_resolution_ms[row],
            chunk.business_handling_ms[row],
        ];
        let columns = self.times.iter_mut().chain(&mut self.business_times);
        for (column, value) in columns.zip(plain.into_iter().chain(business)) {
            column.push(value);
        }
        self.later_response_ms
            .push(Some(chunk.later_response_ms[row]));
    }

    fn push_to_groups(&mut self, row: usize, key: String) {
        let Ok(row) = u32::try_from(row) else {
            return;
        };
        match self.grouping {
            None => {}
            Some(Grouping::Tag) => {
                for tag in key.split(UNIT_SEPARATOR).filter(|tag| !tag.is_empty()) {
                    self.push_to_group(row, tag.to_owned());
                }
            }
            Some(_) => self.push_to_group(row, key),
        }
    }

    fn push_to_group(&mut self, row: u32, key: String) {
        let rows = self.groups.entry(key).or_default();
        // A tag that a ticket carries twice makes it no two tickets.
        if rows.last() != Some(&row) {
            rows.push(row);
        }
    }
}
