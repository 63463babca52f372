//! Tickets and conversations as requests read them. What a viewer may not see is not read: each statement is made with the
//! functions of `migrations/0002_access.sql`.

use futures::StreamExt as _;
use jiff_sqlx::ToSqlx;
use plazo_database::TenantPool;

use super::page::{Page, collect_page};
use super::row::EntryRow;
use super::view::TicketView;
use super::viewer::Viewer;
use crate::config::SightConfig;
use crate::model::{Entry, TicketKey};

/// The tables as requests read them.
#[derive(Debug, Clone)]
pub(crate) struct ReadStore {
    pub(super) pool: TenantPool,
    /// Where a tenant has set nothing.
    pub(super) defaults: SightConfig,
}

/// Which closed tickets to list.
#[derive(Debug, Clone)]
pub(crate) struct ClosedFilter {
    /// Those of one bot; 0 for all.
    pub(crate) bot_id: i64,
    /// Those of one agent; 0 for all.
    pub(crate) agent_id: i64,
    /// Closed at or after it.
    pub(crate) from: Option<jiff::Timestamp>,
    /// Closed before it.
    pub(crate) until: Option<jiff::Timestamp>,
}

/// In which order to read a conversation, and the number of the last entry of the page before.
#[derive(Debug, Clone, Copy)]
pub(crate) enum EntryOrder {
    OldestFirst { after: i64 },
    NewestFirst { before: i64 },
}

impl ReadStore {
    pub(crate) fn new(pool: TenantPool, defaults: SightConfig) -> Self {
        Self { pool, defaults }
    }

    /// The ticket, if the viewer sees it.
    pub(crate) async fn find_ticket(
        &self,
        viewer: &Viewer,
        ticket_id: i64,
    ) -> Result<Option<TicketView>, sqlx::Error> {
        let mut reader = self.pool.read(viewer.tenant_id).await?;
        sqlx::query_file_as!(
            TicketView,
            "queries/get_ticket.sql",
            viewer.tenant_id,
            viewer.agent_id,
            viewer.bot_ids.as_deref(),
            self.defaults.lookback_seconds(),
            self.defaults.show_delay_seconds(),
            ticket_id
        )
        .fetch_optional(&mut *reader)
        .await
    }

    /// Whether the viewer sees the ticket.
    pub(crate) async fn is_ticket_visible(
        &self,
        viewer: &Viewer,
        ticket_id: i64,
    ) -> Result<bool, sqlx::Error> {
        let mut reader = self.pool.read(viewer.tenant_id).await?;
        let row = sqlx::query_file!(
            "queries/is_ticket_visible.sql",
            viewer.tenant_id,
            viewer.agent_id,
            viewer.bot_ids.as_deref(),
            self.defaults.lookback_seconds(),
            self.defaults.show_delay_seconds(),
            ticket_id
        )
        .fetch_one(&mut *reader)
        .await?;
        Ok(row.is_visible)
    }

    /// Closed tickets that the viewer sees, by (closing time, id) downwards, after the place of the last one of the page
    /// before. At most `page_size`, fewer when their texts are long.
    pub(crate) async fn list_closed(
        &self,
        viewer: &Viewer,
        filter: &ClosedFilter,
        after: Option<(jiff::Timestamp, i64)>,
        page_size: i64,
    ) -> Result<Page<TicketView>, sqlx::Error> {
        let mut reader = self.pool.read(viewer.tenant_id).await?;
        let from = filter.from.map(ToSqlx::to_sqlx);
        let until = filter.until.map(ToSqlx::to_sqlx);
        let after_at = after.map(|(at, _)| at.to_sqlx());
        let after_id = after.map(|(_, ticket_id)| ticket_id);
        // One more than wanted tells whether there is more.
        let limit = page_size + 1;
        let rows = match (viewer.agent_id, filter.agent_id) {
            (Some(viewing_agent_id), 0) => sqlx::query_file_as!(
                TicketView,
                "queries/list_closed_for_agent.sql",
                viewer.tenant_id,
                viewing_agent_id,
                viewer.bot_ids.as_deref(),
                self.defaults.lookback_seconds(),
                self.defaults.show_delay_seconds(),
                from as _,
                until as _,
                after_at as _,
                after_id,
                filter.bot_id,
                limit
            )
            .fetch(&mut *reader),
            (Some(viewing_agent_id), agent_id) => sqlx::query_file_as!(
                TicketView,
                "queries/list_closed_of_agent_for_agent.sql",
                viewer.tenant_id,
                viewing_agent_id,
                viewer.bot_ids.as_deref(),
                self.defaults.lookback_seconds(),
                self.defaults.show_delay_seconds(),
                from as _,
                until as _,
                after_at as _,
                after_id,
                filter.bot_id,
                limit,
                agent_id
            )
            .fetch(&mut *reader),
            (None, 0) => sqlx::query_file_as!(
                TicketView,
                "queries/list_closed_of_bots.sql",
                viewer.tenant_id,
                viewer.bot_ids.as_deref(),
                from as _,
                until as _,
                after_at as _,
                after_id,
                filter.bot_id,
                limit
            )
            .fetch(&mut *reader),
            (None, agent_id) => sqlx::query_file_as!(
                TicketView,
                "queries/list_closed_of_agent.sql",
                viewer.tenant_id,
                viewer.bot_ids.as_deref(),
                from as _,
                until as _,
                after_at as _,
                after_id,
                filter.bot_id,
                limit,
                agent_id
            )
            .fetch(&mut *reader),
        };
        collect_page(rows, page_size).await
    }

    /// The conversation of a ticket; none when the viewer does not see it. At most `page_size` entries, fewer when their texts
    /// are long.
    pub(crate) async fn find_entries(
        &self,
        viewer: &Viewer,
        ticket_id: i64,
        order: EntryOrder,
        page_size: i64,
    ) -> Result<Option<Page<Entry>>, sqlx::Error> {
        let mut reader = self.pool.read(viewer.tenant_id).await?;
        let rows = match order {
            EntryOrder::OldestFirst { after } => sqlx::query_file_as!(
                EntryRow,
                "queries/list_entries.sql",
                viewer.tenant_id,
                viewer.agent_id,
                viewer.bot_ids.as_deref(),
                self.defaults.lookback_seconds(),
                self.defaults.show_delay_seconds(),
                ticket_id,
                after,
                page_size + 1
            )
            .fetch(&mut *reader),
            EntryOrder::NewestFirst { before } => sqlx::query_file_as!(
                EntryRow,
                "queries/list_entries_newest_first.sql",
                viewer.tenant_id,
                viewer.agent_id,
                viewer.bot_ids.as_deref(),
                self.defaults.lookback_seconds(),
                self.defaults.show_delay_seconds(),
                ticket_id,
                before,
                page_size + 1
            )
            .fetch(&mut *reader),
        };
        let key = TicketKey {
            tenant_id: viewer.tenant_id,
            ticket_id,
        };
        let entries = rows.map(|row| row.map(|row| row.of_ticket(key)));
        let page = collect_page(entries, page_size).await?;
        drop(reader);
        if page.items.is_empty() && !self.is_ticket_visible(viewer, ticket_id).await? {
            return Ok(None);
        }
        Ok(Some(page))
    }
}
