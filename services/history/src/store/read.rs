//! What requests read. Tenant and permitted bots are part of each statement: what an actor may not see is not read.

use futures::{Stream, StreamExt as _};
use jiff_sqlx::ToSqlx;
use sqlx::postgres::PgPool;

use super::row::{EntryRow, TicketRow};
use crate::model::{Entry, Ticket, TicketKey};

/// A page ends when its texts reach this size, so that it fits into a message whatever they are.
const MAX_PAGE_BYTES: usize = 1 << 20;

/// The tables as requests read them.
#[derive(Debug, Clone)]
pub(crate) struct ReadStore {
    pool: PgPool,
}

/// Whose tickets an actor may see.
#[derive(Debug, Clone)]
pub(crate) enum BotFilter {
    /// Those of all bots of the tenant.
    All,
    /// Those of these bots.
    Only(Vec<i64>),
}

/// Which closed tickets to list.
#[derive(Debug, Clone)]
pub(crate) struct ClosedFilter {
    pub(crate) tenant_id: i64,
    pub(crate) bots: BotFilter,
    /// Those of one agent; none for all.
    pub(crate) agent_id: Option<i64>,
    /// Closed at or after it.
    pub(crate) from: Option<jiff::Timestamp>,
    /// Closed before it.
    pub(crate) until: Option<jiff::Timestamp>,
}

/// A part of a list.
#[derive(Debug)]
pub(crate) struct Page<T> {
    pub(crate) items: Vec<T>,
    pub(crate) has_more: bool,
}

impl BotFilter {
    fn ids(&self) -> Option<&[i64]> {
        match self {
            Self::All => None,
            Self::Only(ids) => Some(ids),
        }
    }
}

impl ReadStore {
    pub(crate) fn new(pool: PgPool) -> Self {
        Self { pool }
    }

    /// The ticket, if it exists for an actor with these bots.
    pub(crate) async fn find_ticket(
        &self,
        key: TicketKey,
        bots: &BotFilter,
    ) -> Result<Option<Ticket>, sqlx::Error> {
        let row = sqlx::query_file_as!(
            TicketRow,
            "queries/get_ticket.sql",
            key.tenant_id,
            key.ticket_id,
            bots.ids()
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(row.map(Ticket::from))
    }

    /// Closed tickets by (closing time, id) downwards, after the place of the last one of the page before. At most
    /// `page_size`, fewer when their texts are long.
    pub(crate) async fn list_closed(
        &self,
        filter: &ClosedFilter,
        after: Option<(jiff::Timestamp, i64)>,
        page_size: i64,
    ) -> Result<Page<Ticket>, sqlx::Error> {
        let from = filter.from.map(ToSqlx::to_sqlx);
        let until = filter.until.map(ToSqlx::to_sqlx);
        let after_at = after.map(|(at, _)| at.to_sqlx());
        let after_id = after.map(|(_, ticket_id)| ticket_id);
        // One more than wanted tells whether there is more.
        let limit = page_size + 1;
        match (filter.agent_id, filter.bots.ids()) {
            (Some(agent_id), bots) => {
                let rows = sqlx::query_file_as!(
                    TicketRow,
                    "queries/list_closed_of_agent.sql",
                    filter.tenant_id,
                    from as _,
                    until as _,
                    after_at as _,
                    after_id,
                    limit,
                    agent_id,
                    bots
                );
                collect_page(rows.fetch(&self.pool), page_size).await
            }
            (None, Some(bots)) => {
                let rows = sqlx::query_file_as!(
                    TicketRow,
                    "queries/list_closed_of_bots.sql",
                    filter.tenant_id,
                    from as _,
                    until as _,
                    after_at as _,
                    after_id,
                    limit,
                    bots
                );
                collect_page(rows.fetch(&self.pool), page_size).await
            }
            (None, None) => {
                let rows = sqlx::query_file_as!(
                    TicketRow,
                    "queries/list_closed.sql",
                    filter.tenant_id,
                    from as _,
                    until as _,
                    after_at as _,
                    after_id,
                    limit
                );
                collect_page(rows.fetch(&self.pool), page_size).await
            }
        }
    }

    /// A ticket's conversation after the event `after_seq`, the first written first; none when the ticket does not
    /// exist for an actor with these bots. At most `page_size` entries, fewer when their texts are long.
    pub(crate) async fn find_entries(
        &self,
        key: TicketKey,
        bots: &BotFilter,
        after_seq: i64,
        page_size: i64,
    ) -> Result<Option<Page<Entry>>, sqlx::Error> {
        let rows = sqlx::query_file_as!(
            EntryRow,
            "queries/list_entries.sql",
            key.tenant_id,
            key.ticket_id,
            bots.ids(),
            after_seq,
            page_size + 1
        );
        let rows = rows
            .fetch(&self.pool)
            .map(|row| row.map(|row| row.of_ticket(key)));
        let page = collect_page::<Entry, Entry>(rows, page_size).await?;
        if page.items.is_empty() && !self.is_visible(key, bots).await? {
            return Ok(None);
        }
        Ok(Some(page))
    }

    async fn is_visible(&self, key: TicketKey, bots: &BotFilter) -> Result<bool, sqlx::Error> {
        let row = sqlx::query_file!(
            "queries/is_visible.sql",
            key.tenant_id,
            key.ticket_id,
            bots.ids()
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(row.is_visible)
    }
}

/// Something whose texts may be long.
trait Weighed {
    fn text_bytes(&self) -> usize;
}

impl Weighed for Ticket {
    fn text_bytes(&self) -> usize {
        let note = self
            .closure
            .as_ref()
            .and_then(|closure| closure.note.as_ref());
        let note = note.map_or(0, |(category, summary)| category.len() + summary.len());
        note + self.tags.iter().map(String::len).sum::<usize>()
    }
}

impl Weighed for Entry {
    fn text_bytes(&self) -> usize {
        self.text.len() + self.attachment_urls.iter().map(String::len).sum::<usize>()
    }
}

/// Takes rows until the page is full by number or by bytes; at least one, so that each page goes on.
async fn collect_page<R: Into<T>, T: Weighed>(
    rows: impl Stream<Item = Result<R, sqlx::Error>>,
    page_size: i64,
) -> Result<Page<T>, sqlx::Error> {
    let page_size = usize::try_from(page_size).unwrap_or(1);
    let mut rows = std::pin::pin!(rows);
    let mut items: Vec<T> = Vec::new();
    let mut bytes = 0;
    while let Some(row) = rows.next().await {
        if items.len() >= page_size || bytes >= MAX_PAGE_BYTES {
            return Ok(Page {
                items,
                has_more: true,
            });
        }
        let item: T = row?.into();
        bytes += item.text_bytes();
        items.push(item);
    }
    Ok(Page {
        items,
        has_more: false,
    })
}
