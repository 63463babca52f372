//! What reports read. Tenant and permitted bots are part of each statement.

use futures::TryStreamExt as _;
use jiff_sqlx::ToSqlx as _;
use plazo_database::TenantPool;

use super::page::{Weighed, collect_page};
use crate::reports::{
    ClosedPlace, Conversation, ConversationFilter, LatenessFilter, StageLateness, Statistics,
    mean_ms, span_ms,
};

/// Conversations among which one page looks for those that have what no index knows.
const WINDOW_CONVERSATIONS: i64 = 20_000;

/// A part of a list.
#[derive(Debug)]
pub(crate) struct ConversationPage {
    pub(crate) conversations: Vec<Conversation>,
    /// After which place the next page goes on; none on the last.
    pub(crate) next_after: Option<ClosedPlace>,
}

/// The tables as reports read them. The pool's connections plan each statement for its values: there are few of them, and a
/// filter decides which index is the best.
#[derive(Debug, Clone)]
pub(crate) struct ReportStore {
    pub(super) pool: TenantPool,
}

impl ReportStore {
    pub(crate) fn new(pool: TenantPool) -> Self {
        Self { pool }
    }

    /// The name of the time zone of a tenant's reports; none before settings were made.
    pub(crate) async fn find_time_zone(
        &self,
        tenant_id: i64,
    ) -> Result<Option<String>, sqlx::Error> {
        let mut reader = self.pool.read(tenant_id).await?;
        let row = sqlx::query_file!("queries/report_time_zone.sql", tenant_id)
            .fetch_optional(&mut *reader)
            .await?;
        Ok(row.map(|row| row.time_zone))
    }

    /// Conversations by (closing time, ticket) downwards after a place. At most `page_size`, fewer when their texts are
    /// long, and fewer or none when what is looked for is rare.
    pub(crate) async fn list_conversations(
        &self,
        filter: &ConversationFilter,
        after: Option<ClosedPlace>,
        page_size: i64,
    ) -> Result<ConversationPage, sqlx::Error> {
        let window_end = self.find_window_end(filter, after).await?;
        let mut reader = self.pool.read(filter.tenant_id).await?;
        let rows = sqlx::query_file_as!(
            ConversationRow,
            "queries/report_page.sql",
            filter.tenant_id,
            filter.from.to_sqlx(),
            filter.until.to_sqlx(),
            filter.bots.as_deref(),
            filter.queues.as_deref(),
            filter.agents.as_deref(),
            filter.tags.as_deref(),
            filter.categories.as_deref(),
            filter.sources.as_deref(),
            after.map(|place| place.closed_at.to_sqlx()) as _,
            after.map(|place| place.ticket_id),
            // One more than wanted tells whether there is more.
            page_size + 1,
            window_end.map(|place| place.closed_at.to_sqlx()) as _,
            window_end.map(|place| place.ticket_id)
        );
        let rows = rows.fetch(&mut *reader).map_ok(Conversation::from);
        let page = collect_page(rows, page_size).await?;
        let last = page.items.last().filter(|_| page.has_more);
        Ok(ConversationPage {
            next_after: last.map(Conversation::place).or(window_end),
            conversations: page.items,
        })
    }

    /// Where a page stops to look, however few it has found; none where an index leads to what is looked for.
    async fn find_window_end(
        &self,
        filter: &ConversationFilter,
        after: Option<ClosedPlace>,
    ) -> Result<Option<ClosedPlace>, sqlx::Error> {
        if filter.agents.is_some() || !filter.asks_for_what_no_index_knows() {
            return Ok(None);
        }
        let mut reader = self.pool.read(filter.tenant_id).await?;
        let row = sqlx::query_file!(
            "queries/report_window.sql",
            filter.tenant_id,
            filter.from.to_sqlx(),
            filter.until.to_sqlx(),
            after.map(|place| place.closed_at.to_sqlx()) as _,
            after.map(|place| place.ticket_id),
            WINDOW_CONVERSATIONS
        )
        .fetch_optional(&mut *reader)
        .await?;
        Ok(row.map(|row| ClosedPlace {
            closed_at: row.closed_at.to_jiff(),
            ticket_id: row.ticket_id,
        }))
    }

    /// The lateness of stages: of all bots together first, then by bot.
    pub(crate) async fn list_lateness(
        &self,
        filter: &LatenessFilter,
    ) -> Result<Vec<StageLateness>, sqlx::Error> {
        let mut reader = self.pool.read(filter.tenant_id).await?;
        let rows = sqlx::query_file!(
            "queries/report_lateness.sql",
            filter.tenant_id,
            filter.from.to_sqlx(),
            filter.until.to_sqlx(),
            filter.bots.as_deref(),
            filter.queues.as_deref()
        )
        .fetch_all(&mut *reader)
        .await?;
        let stages = rows.into_iter().map(|row| {
            let percentile = |place: usize| row.percentiles.get(place).copied().unwrap_or_default();
            StageLateness {
                stage: row.stage,
                cycle_kind: row.cycle_kind,
                bot_id: row.bot_id,
                lateness: Statistics {
                    count: row.firing_count.unsigned_abs(),
                    mean: row.late_ms.div_euclid(row.firing_count.max(1)),
                    p50: percentile(0),
                    p90: percentile(1),
                    p99: percentile(2),
                    max: row.max_ms,
                },
            }
        });
        Ok(stages.collect())
    }
}

/// A row of `report_page.sql`.
struct ConversationRow {
    ticket_id: i64,
    bot_id: i64,
    queue_id: i64,
    agent_id: i64,
    contact_id: i64,
    opened_at: jiff::Timestamp,
    closed_at: jiff::Timestamp,
    first_closed_at: jiff::Timestamp,
    close_source: i32,
    close_category: Option<String>,
    close_summary: Option<String>,
    tags: Vec<String>,
    reopen_count: i32,
    customer_message_count: i32,
    agent_message_count: i32,
    later_response_count: i32,
    later_response_ms: i64,
    handling_ms: i64,
    first_assigned_at: Option<jiff_sqlx::Timestamp>,
    first_agent_message_at: Option<jiff_sqlx::Timestamp>,
    calendar_version: i64,
    business_wait_ms: Option<i64>,
    business_first_response_ms: Option<i64>,
    business_later_response_ms: Option<i64>,
    business_first_resolution_ms: Option<i64>,
    business_full_resolution_ms: Option<i64>,
    business_handling_ms: Option<i64>,
    is_unlinked: bool,
}

impl From<ConversationRow> for Conversation {
    fn from(row: ConversationRow) -> Self {
        let until = |at: jiff::Timestamp| span_ms(row.opened_at, at);
        let until_stored = |at: jiff_sqlx::Timestamp| until(at.to_jiff());
        let mean_response = |sum_ms: i64| mean_ms(sum_ms, row.later_response_count);
        let times = [
            row.first_assigned_at.map(until_stored),
            row.first_agent_message_at.map(until_stored),
            mean_response(row.later_response_ms),
            Some(until(row.first_closed_at)),
            Some(until(row.closed_at)),
            Some(row.handling_ms),
        ];
        let business_times = [
            row.business_wait_ms,
            row.business_first_response_ms,
            row.business_later_response_ms.and_then(mean_response),
            row.business_first_resolution_ms,
            row.business_full_resolution_ms,
            row.business_handling_ms,
        ];
        Self {
            ticket_id: row.ticket_id,
            bot_id: row.bot_id,
            queue_id: row.queue_id,
            agent_id: row.agent_id,
            contact_id: row.contact_id,
            opened_at: row.opened_at,
            closed_at: row.closed_at,
            first_closed_at: row.first_closed_at,
            source: row.close_source,
            category: row.close_category.unwrap_or_default(),
            summary: row.close_summary.unwrap_or_default(),
            tags: row.tags,
            reopen_count: row.reopen_count,
            customer_message_count: row.customer_message_count,
            agent_message_count: row.agent_message_count,
            later_response_count: row.later_response_count,
            times,
            business_times: (row.calendar_version != 0).then_some(business_times),
            is_unlinked: row.is_unlinked,
        }
    }
}

impl Weighed for Conversation {
    fn text_bytes(&self) -> usize {
        let tags = self.tags.iter().map(String::len).sum::<usize>();
        self.category.len() + self.summary.len() + tags
    }
}
