//! Reports of closed conversations: what belongs to them, their figures, and their CSV.
//!
//! The definitions of all figures stand in `proto/plazo/history/v1/report_service.proto`.

mod buckets;
mod budget;
mod csv;
mod csv_report;
mod durations;
mod facts;
mod figures;
mod lateness;
mod report;

#[cfg(test)]
mod tests;

pub(crate) use buckets::{BucketError, Buckets, Interval, zone};
pub(crate) use budget::{BudgetError, ReportBudget};
pub(crate) use csv::ConversationLines;
pub(crate) use csv_report::report_lines;
pub(crate) use facts::{FactChunk, Facts, Grouping};
pub(crate) use figures::{Figures, METRICS, Statistics};
pub(crate) use lateness::{Lateness, LatenessFilter, StageLateness};
pub(crate) use report::{Group, GroupKey, Report, ReportPlan};

/// Which closed conversations. None: any will do.
#[derive(Debug, Clone)]
pub(crate) struct ConversationFilter {
    pub(crate) tenant_id: i64,
    /// Last closed at or after it.
    pub(crate) from: jiff::Timestamp,
    /// Last closed before it.
    pub(crate) until: jiff::Timestamp,
    /// The bots asked for, or those that the actor may use.
    pub(crate) bots: Option<Vec<i64>>,
    /// 0 stands for no queue.
    pub(crate) queues: Option<Vec<i64>>,
    /// 0 stands for no agent.
    pub(crate) agents: Option<Vec<i64>>,
    pub(crate) tags: Option<Vec<String>>,
    /// The empty text stands for no category.
    pub(crate) categories: Option<Vec<String>>,
    /// `CloseSource`s.
    pub(crate) sources: Option<Vec<i32>>,
}

impl ConversationFilter {
    /// Whether it may pass over many conversations for each that it lets through.
    pub(crate) fn asks_for_what_no_index_knows(&self) -> bool {
        self.queues.is_some()
            || self.tags.is_some()
            || self.categories.is_some()
            || self.sources.is_some()
    }
}

/// The place of a conversation in the order of closing times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ClosedPlace {
    pub(crate) closed_at: jiff::Timestamp,
    pub(crate) ticket_id: i64,
}

/// A closed conversation as the list and the CSV show it. Ids of 0 mean "none".
#[derive(Debug, Clone)]
pub(crate) struct Conversation {
    pub(crate) ticket_id: i64,
    pub(crate) bot_id: i64,
    pub(crate) queue_id: i64,
    pub(crate) agent_id: i64,
    pub(crate) contact_id: i64,
    pub(crate) opened_at: jiff::Timestamp,
    pub(crate) closed_at: jiff::Timestamp,
    pub(crate) first_closed_at: jiff::Timestamp,
    /// A `CloseSource`.
    pub(crate) source: i32,
    /// Empty for none, as the summary.
    pub(crate) category: String,
    pub(crate) summary: String,
    pub(crate) tags: Vec<String>,
    pub(crate) reopen_count: i32,
    pub(crate) customer_message_count: i32,
    pub(crate) agent_message_count: i32,
    pub(crate) later_response_count: i32,
    pub(crate) times: Times,
    /// None when the bot had no calendar at the opening.
    pub(crate) business_times: Option<Times>,
    pub(crate) is_unlinked: bool,
}

impl Conversation {
    pub(crate) fn place(&self) -> ClosedPlace {
        ClosedPlace {
            closed_at: self.closed_at,
            ticket_id: self.ticket_id,
        }
    }
}

/// The times of a conversation in milliseconds, in the order of [`METRICS`]; see `ConversationTimes`.
pub(crate) type Times = [Option<i64>; METRICS.len()];

/// From one instant to another in whole milliseconds, rounded down; never below zero.
pub(crate) fn span_ms(from: jiff::Timestamp, until: jiff::Timestamp) -> i64 {
    (until.as_microsecond() - from.as_microsecond()).max(0) / 1_000
}

/// The mean of some responses, rounded down; none of no response.
pub(crate) fn mean_ms(sum_ms: i64, count: i32) -> Option<i64> {
    (count > 0).then(|| sum_ms / i64::from(count))
}
