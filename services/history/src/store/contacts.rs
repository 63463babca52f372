//! Contacts, their tickets and the comments on them as requests read them.

use futures::{StreamExt as _, TryStreamExt as _};
use jiff_sqlx::ToSqlx;

use super::page::{Page, collect_page};
use super::read::ReadStore;
use super::view::{CommentRow, CommentView, ContactView, TicketView};
use super::viewer::Viewer;
use crate::search_query::SearchQuery;

/// So many contacts are read in their order first: the page of a query that finds many is full by then, and the index of texts
/// need not gather them all.
const NEAR_BY_NAME: i64 = 30_000;
const NEAR_BY_INTERACTION: i64 = 2_000;
/// By name all that a query finds are read, because those who share a first name may all stand at the end of that order; but
/// only so many of them are looked at closer. When they don't fill the page, contacts are read in their order until it is full.
const FIRST_BY_NAME: i64 = 1_000;
/// So many contacts that a query finds are read and sorted by their last interaction; where it finds more, contacts are read in
/// their order until the page is full.
const FEW_BY_INTERACTION: i64 = 8_000;
/// The same for a viewer who is told the last interaction of the tickets that he sees: all tickets of each are read.
const FEW_BY_SHOWN_INTERACTION: i64 = 3_000;

/// An agent for whom more contacts are found has many: the tenant's closed tickets are walked through then, from the place of the
/// page on.
const MANY_DEALT: i64 = 4_000;
/// So many of them, after which his contacts are looked at one by one.
const WALKED: i64 = 100_000;

/// What to look for.
#[derive(Debug, Clone)]
pub(crate) struct ContactFilter {
    pub(crate) query: SearchQuery,
    /// Only contacts with a ticket of this bot; 0 for all.
    pub(crate) bot_id: i64,
}

/// The order of contacts, and the place of the last one of the page before.
#[derive(Debug, Clone)]
pub(crate) enum ContactOrder {
    /// By name, then id; the first page begins after an empty name and 0.
    Name { after: (String, i64) },
    /// The last interaction first, then the highest id; the first page begins before no instant and the highest id.
    LastInteraction {
        before: (Option<jiff::Timestamp>, i64),
    },
}

/// Contacts can't be searched.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SearchError {
    /// The query finds too many contacts to order them by what this viewer may know.
    #[error("too many contacts are found")]
    TooBroad,
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
}

/// A row of a search among all contacts of a tenant. A query that finds many yields one row that says so.
struct FoundRow {
    contact_id: Option<i64>,
    name: Option<String>,
    email: Option<String>,
    phone: Option<String>,
    channel: Option<i32>,
    address: Option<String>,
    name_key: Option<String>,
    last_interaction_at: Option<jiff_sqlx::Timestamp>,
    is_too_many: bool,
}

impl FoundRow {
    fn into_contact(self) -> Option<ContactView> {
        Some(ContactView {
            contact_id: self.contact_id?,
            name: self.name?,
            email: self.email?,
            phone: self.phone?,
            channel: self.channel?,
            address: self.address?,
            name_key: self.name_key?,
            last_interaction_at: self.last_interaction_at,
        })
    }
}

impl ReadStore {
    /// The contact, if the viewer sees it.
    pub(crate) async fn find_contact(
        &self,
        viewer: &Viewer,
        contact_id: i64,
    ) -> Result<Option<ContactView>, sqlx::Error> {
        let mut reader = self.pool.read(viewer.tenant_id).await?;
        sqlx::query_file_as!(
            ContactView,
            "queries/get_contact.sql",
            viewer.tenant_id,
            viewer.agent_id,
            viewer.bot_ids.as_deref(),
            self.defaults.lookback_seconds(),
            self.defaults.show_delay_seconds(),
            contact_id,
            viewer.knows_all_interactions()
        )
        .fetch_optional(&mut *reader)
        .await
    }

    /// The comments in the visible tickets of a contact, the last written first, before the place (time, ticket, number) of
    /// the last one of the page before.
    pub(crate) async fn list_comments(
        &self,
        viewer: &Viewer,
        contact_id: i64,
        before: Option<(jiff::Timestamp, i64, i64)>,
        page_size: i64,
    ) -> Result<Page<CommentView>, sqlx::Error> {
        let mut reader = self.pool.read(viewer.tenant_id).await?;
        let rows = sqlx::query_file_as!(
            CommentRow,
            "queries/list_comments.sql",
            viewer.tenant_id,
            viewer.agent_id,
            viewer.bot_ids.as_deref(),
            self.defaults.lookback_seconds(),
            self.defaults.show_delay_seconds(),
            contact_id,
            before.map(|(at, ..)| at.to_sqlx()) as _,
            before.map(|(_, ticket_id, _)| ticket_id),
            before.map(|(.., ticket_seq)| ticket_seq),
            page_size + 1
        );
        let rows = rows.fetch(&mut *reader);
        let comments = rows.map(|row| row.map(|row| row.of_tenant(viewer.tenant_id)));
        collect_page(comments, page_size).await
    }

    /// The visible tickets of a contact, the last opened first, before the last one of the page before; none when the viewer
    /// does not see the contact.
    pub(crate) async fn find_contact_tickets(
        &self,
        viewer: &Viewer,
        contact_id: i64,
        bot_id: i64,
        before_ticket_id: i64,
        page_size: i64,
    ) -> Result<Option<Page<TicketView>>, sqlx::Error> {
        let mut reader = self.pool.read(viewer.tenant_id).await?;
        let rows = sqlx::query_file_as!(
            TicketView,
            "queries/list_contact_tickets.sql",
            viewer.tenant_id,
            viewer.agent_id,
            viewer.bot_ids.as_deref(),
            self.defaults.lookback_seconds(),
            self.defaults.show_delay_seconds(),
            contact_id,
            bot_id,
            before_ticket_id,
            page_size + 1
        );
        let page = collect_page(rows.fetch(&mut *reader), page_size).await?;
        drop(reader);
        if page.items.is_empty() && !self.is_contact_visible(viewer, contact_id).await? {
            return Ok(None);
        }
        Ok(Some(page))
    }

    async fn is_contact_visible(
        &self,
        viewer: &Viewer,
        contact_id: i64,
    ) -> Result<bool, sqlx::Error> {
        let mut reader = self.pool.read(viewer.tenant_id).await?;
        let row = sqlx::query_file!(
            "queries/is_contact_visible.sql",
            viewer.tenant_id,
            viewer.agent_id,
            viewer.bot_ids.as_deref(),
            self.defaults.lookback_seconds(),
            self.defaults.show_delay_seconds(),
            contact_id
        )
        .fetch_one(&mut *reader)
        .await?;
        Ok(row.is_visible)
    }

    /// The contacts that the viewer sees and that a query finds.
    pub(crate) async fn search_contacts(
        &self,
        viewer: &Viewer,
        filter: &ContactFilter,
        order: &ContactOrder,
        page_size: i64,
    ) -> Result<Page<ContactView>, SearchError> {
        if let Some(agent_id) = viewer.agent_id {
            let page = self.search_dealt(viewer, agent_id, filter, order, page_size);
            return Ok(page.await?);
        }
        if let Some(longest) = filter.query.longest() {
            if !filter.query.has_long_number() {
                let near = self.search_near(viewer, filter, order, page_size);
                if let Some(page) = near.await? {
                    return Ok(page);
                }
            }
            let few = self.search_few(viewer, filter, longest, order, page_size);
            if let Some(page) = few.await? {
                return Ok(page);
            }
        }
        self.search_many(viewer, filter, order, page_size).await
    }

    /// Among the contacts that an agent dealt with.
    async fn search_dealt(
        &self,
        viewer: &Viewer,
        agent_id: i64,
        filter: &ContactFilter,
        order: &ContactOrder,
        page_size: i64,
    ) -> Result<Page<ContactView>, sqlx::Error> {
        let mut reader = self.pool.read(viewer.tenant_id).await?;
        let rows = match order {
            ContactOrder::Name { after } => sqlx::query_file_as!(
                ContactView,
                "queries/search_dealt_by_name.sql",
                viewer.tenant_id,
                agent_id,
                viewer.bot_ids.as_deref(),
                self.defaults.lookback_seconds(),
                self.defaults.show_delay_seconds(),
                filter.query.patterns(),
                filter.bot_id,
                after.0,
                after.1,
                page_size + 1
            )
            .fetch(&mut *reader),
            ContactOrder::LastInteraction { before } => sqlx::query_file_as!(
                ContactView,
                "queries/search_dealt_by_interaction.sql",
                viewer.tenant_id,
                agent_id,
                viewer.bot_ids.as_deref(),
                self.defaults.lookback_seconds(),
                self.defaults.show_delay_seconds(),
                filter.query.patterns(),
                filter.bot_id,
                before.0.map(ToSqlx::to_sqlx) as _,
                before.1,
                page_size + 1,
                MANY_DEALT,
                WALKED
            )
            .fetch(&mut *reader),
        };
        collect_page(rows, page_size).await
    }

    /// Among all contacts, when the next ones in their order fill the page; none when they don't.
    async fn search_near(
        &self,
        viewer: &Viewer,
        filter: &ContactFilter,
        order: &ContactOrder,
        page_size: i64,
    ) -> Result<Option<Page<ContactView>>, sqlx::Error> {
        let mut reader = self.pool.read(viewer.tenant_id).await?;
        let rows = match order {
            ContactOrder::Name { after } => sqlx::query_file_as!(
                FoundRow,
                "queries/search_near_by_name.sql",
                viewer.tenant_id,
                viewer.bot_ids.as_deref(),
                viewer.knows_all_interactions(),
                filter.query.patterns(),
                after.0,
                after.1,
                page_size + 1,
                filter.bot_id,
                NEAR_BY_NAME
            )
            .fetch(&mut *reader),
            // Their order is not that of what he may know.
            ContactOrder::LastInteraction { .. } if !viewer.knows_all_interactions() => {
                return Ok(None);
            }
            ContactOrder::LastInteraction { before } => sqlx::query_file_as!(
                FoundRow,
                "queries/search_near_by_interaction.sql",
                viewer.tenant_id,
                viewer.bot_ids.as_deref(),
                filter.query.patterns(),
                before.0.map(ToSqlx::to_sqlx) as _,
                before.1,
                page_size + 1,
                filter.bot_id,
                NEAR_BY_INTERACTION
            )
            .fetch(&mut *reader),
        };
        let rows: Vec<_> = rows.try_collect().await?;
        if rows.iter().any(|row| row.is_too_many) {
            return Ok(None);
        }
        contacts_page(rows, page_size).await.map(Some)
    }

    /// Among all that the query finds; none when it finds many by last interaction, or when the first by name don't fill the page.
    async fn search_few(
        &self,
        viewer: &Viewer,
        filter: &ContactFilter,
        longest: &str,
        order: &ContactOrder,
        page_size: i64,
    ) -> Result<Option<Page<ContactView>>, sqlx::Error> {
        let mut reader = self.pool.read(viewer.tenant_id).await?;
        let rows = match order {
            ContactOrder::Name { after } => sqlx::query_file_as!(
                FoundRow,
                "queries/search_few_by_name.sql",
                viewer.tenant_id,
                viewer.bot_ids.as_deref(),
                viewer.knows_all_interactions(),
                filter.query.patterns(),
                after.0,
                after.1,
                page_size + 1,
                longest,
                FIRST_BY_NAME.max(2 * page_size),
                filter.bot_id
            )
            .fetch(&mut *reader),
            ContactOrder::LastInteraction { before } => sqlx::query_file_as!(
                FoundRow,
                "queries/search_few_by_interaction.sql",
                viewer.tenant_id,
                viewer.bot_ids.as_deref(),
                viewer.knows_all_interactions(),
                filter.query.patterns(),
                before.0.map(ToSqlx::to_sqlx) as _,
                before.1,
                page_size + 1,
                longest,
                if viewer.knows_all_interactions() {
                    FEW_BY_INTERACTION
                } else {
                    FEW_BY_SHOWN_INTERACTION
                },
                filter.bot_id
            )
            .fetch(&mut *reader),
        };
        let rows: Vec<_> = rows.try_collect().await?;
        if rows.iter().any(|row| row.is_too_many) {
            return Ok(None);
        }
        contacts_page(rows, page_size).await.map(Some)
    }

    /// Among all contacts in their order.
    async fn search_many(
        &self,
        viewer: &Viewer,
        filter: &ContactFilter,
        order: &ContactOrder,
        page_size: i64,
    ) -> Result<Page<ContactView>, SearchError> {
        let mut reader = self.pool.read(viewer.tenant_id).await?;
        let rows = match order {
            ContactOrder::Name { after } => sqlx::query_file_as!(
                FoundRow,
                "queries/search_many_by_name.sql",
                viewer.tenant_id,
                viewer.bot_ids.as_deref(),
                viewer.knows_all_interactions(),
                filter.query.patterns(),
                after.0,
                after.1,
                page_size + 1,
                filter.bot_id
            )
            .fetch(&mut *reader),
            ContactOrder::LastInteraction { .. } if !viewer.knows_all_interactions() => {
                return Err(SearchError::TooBroad);
            }
            ContactOrder::LastInteraction { before } => sqlx::query_file_as!(
                FoundRow,
                "queries/search_many_by_interaction.sql",
                viewer.tenant_id,
                viewer.bot_ids.as_deref(),
                filter.query.patterns(),
                before.0.map(ToSqlx::to_sqlx) as _,
                before.1,
                page_size + 1,
                filter.bot_id
            )
            .fetch(&mut *reader),
        };
        let rows = rows.try_collect().await?;
        Ok(contacts_page(rows, page_size).await?)
    }
}

async fn contacts_page(
    rows: Vec<FoundRow>,
    page_size: i64,
) -> Result<Page<ContactView>, sqlx::Error> {
    let contacts = rows.into_iter().filter_map(FoundRow::into_contact).map(Ok);
    collect_page(futures::stream::iter(contacts), page_size).await
}
