//! Applying batches of the feed.

use std::collections::BTreeMap;

use jiff_sqlx::ToSqlx;
use plazo_proto::ticketing::v1::TicketEvent;
use sqlx::PgConnection;
use sqlx::postgres::PgPool;

use super::row::TicketRow;
use crate::model::{Entry, Refusal, Ticket, TicketKey, UNIT_SEPARATOR, apply};

/// The tables as the projection writes them.
///
/// Invariant: the tables hold exactly the events up to `feed_position`, each applied once. A batch and the position
/// after it are written in one transaction, which holds the position's lock and has found there the position that
/// the batch follows.
#[derive(Debug, Clone)]
pub(crate) struct ProjectionStore {
    pool: PgPool,
}

/// What became of a batch.
#[derive(Debug, PartialEq)]
pub(crate) enum Applied {
    /// It is in the tables; so long ago, in seconds, was its last event. None when it was empty.
    Done { seconds_behind: Option<f64> },
    /// The position is no longer the one that the batch follows: somebody else was faster. Nothing was changed.
    Superseded,
}

/// Why a batch was not applied. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApplyError {
    /// An event does not fit.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The database failed. Where it is unknown whether the commit arrived, the position tells.
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
}

/// What a batch changes.
#[derive(Debug, Default)]
struct Changes {
    tickets: Vec<Ticket>,
    entries: Vec<Entry>,
}

impl ProjectionStore {
    pub(crate) fn new(pool: PgPool) -> Self {
        Self { pool }
    }

    /// How far the feed is applied; empty before the first batch.
    pub(crate) async fn position(&self) -> Result<String, sqlx::Error> {
        let row = sqlx::query!("SELECT position FROM feed_position")
            .fetch_one(&self.pool)
            .await?;
        Ok(row.position)
    }

    /// Applies the events that follow the position `before`, and stores the position `after`.
    pub(crate) async fn apply_batch(
        &self,
        before: &str,
        events: Vec<TicketEvent>,
        after: &str,
    ) -> Result<Applied, ApplyError> {
        let mut transaction = self.pool.begin().await?;
        let stored = sqlx::query_file!("queries/lock_position.sql")
            .fetch_one(&mut *transaction)
            .await?;
        if stored.position != before {
            transaction.rollback().await?;
            return Ok(Applied::Superseded);
        }
        let last_event_at = events
            .last()
            .and_then(|event| crate::model::from_proto(event.event_time));
        let known = load_tickets(&mut transaction, &events).await?;
        let changes = fold(known, events)?;
        save_tickets(&mut transaction, changes.tickets).await?;
        add_entries(&mut transaction, changes.entries).await?;
        let last_event_at = last_event_at.map(ToSqlx::to_sqlx);
        let advanced = sqlx::query_file!("queries/advance_position.sql", after, last_event_at as _)
            .fetch_one(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(Applied::Done {
            seconds_behind: advanced.seconds_behind,
        })
    }
}

/// The changes of a batch whose tickets are `known` as they are before it.
fn fold(
    mut known: BTreeMap<TicketKey, Ticket>,
    events: Vec<TicketEvent>,
) -> Result<Changes, Refusal> {
    let mut entries = Vec::new();
    for event in events {
        let key = key_of(&event);
        let (ticket, entry) = apply(known.remove(&key), event)?;
        known.insert(key, ticket);
        entries.extend(entry);
    }
    Ok(Changes {
        tickets: known.into_values().collect(),
        entries,
    })
}

fn key_of(event: &TicketEvent) -> TicketKey {
    TicketKey {
        tenant_id: event.tenant_id,
        ticket_id: event.ticket_id,
    }
}

async fn load_tickets(
    connection: &mut PgConnection,
    events: &[TicketEvent],
) -> Result<BTreeMap<TicketKey, Ticket>, sqlx::Error> {
    let mut keys: Vec<_> = events.iter().map(key_of).collect();
    keys.sort_unstable();
    keys.dedup();
    let (tenant_ids, ticket_ids): (Vec<_>, Vec<_>) = keys
        .iter()
        .map(|key| (key.tenant_id, key.ticket_id))
        .unzip();
    let rows = sqlx::query_file_as!(
        TicketRow,
        "queries/load_tickets.sql",
        &tenant_ids,
        &ticket_ids
    )
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(Ticket::from)
        .map(|ticket| (ticket.key, ticket))
        .collect())
}

/// One array a column, for `unnest`.
macro_rules! column {
    ($rows:expr, $row:ident => $value:expr) => {
        $rows.iter().map(|$row| $value).collect::<Vec<_>>()
    };
}

async fn save_tickets(
    connection: &mut PgConnection,
    tickets: Vec<Ticket>,
) -> Result<(), sqlx::Error> {
    if tickets.is_empty() {
        return Ok(());
    }
    let t = &tickets;
    let closures = column!(t, ticket => ticket.closure.as_ref());
    let identities =
        column!(t, ticket => ticket.contact.channel_identity.clone().unwrap_or_default());
    sqlx::query_file!(
        "queries/save_tickets.sql",
        &column!(t, ticket => ticket.key.tenant_id),
        &column!(t, ticket => ticket.key.ticket_id),
        &column!(t, ticket => ticket.bot_id),
        &column!(t, ticket => ticket.queue_id),
        &column!(t, ticket => ticket.agent_id),
        &column!(t, ticket => ticket.state),
        &column!(t, ticket => ticket.opened_at.to_sqlx()),
        &column!(t, ticket => ticket.previous_ticket_id),
        &column!(t, ticket => joined(&ticket.tags)),
        &column!(t, ticket => ticket.customer_message_count),
        &column!(t, ticket => ticket.agent_message_count),
        &column!(t, ticket => ticket.reopen_count),
        &column!(t, ticket => ticket.contact.contact_id),
        &column!(t, ticket => ticket.contact.name.clone()),
        &column!(t, ticket => ticket.contact.email.clone()),
        &column!(t, ticket => ticket.contact.phone.clone()),
        &column!(identities, identity => identity.channel),
        &column!(identities, identity => identity.address.clone()),
        &column!(closures, closure => closure.map(|c| c.closed_at.to_sqlx())) as _,
        &column!(closures, closure => closure.map(|c| c.source)) as _,
        &column!(closures, closure => closure.map(|c| c.author.kind)) as _,
        &column!(closures, closure => closure.map(|c| c.author.id)) as _,
        &column!(closures, closure => closure.map(|c| c.exit_route.clone())) as _,
        &column!(closures, closure => closure.and_then(|c| c.note.clone()).map(|note| note.0)) as _,
        &column!(closures, closure => closure.and_then(|c| c.note.clone()).map(|note| note.1)) as _,
        &column!(t, ticket => ticket.is_unlinked),
        &column!(t, ticket => ticket.ticket_seq),
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn add_entries(
    connection: &mut PgConnection,
    entries: Vec<Entry>,
) -> Result<(), sqlx::Error> {
    if entries.is_empty() {
        return Ok(());
    }
    let e = &entries;
    sqlx::query_file!(
        "queries/add_entries.sql",
        &column!(e, entry => entry.key.tenant_id),
        &column!(e, entry => entry.key.ticket_id),
        &column!(e, entry => entry.ticket_seq),
        &column!(e, entry => i32::from(entry.kind)),
        &column!(e, entry => entry.message_id),
        &column!(e, entry => entry.author.kind),
        &column!(e, entry => entry.author.id),
        &column!(e, entry => entry.text.clone()),
        &column!(e, entry => joined(&entry.attachment_urls)),
        &column!(e, entry => entry.recorded_at.to_sqlx()),
        &column!(e, entry => entry.channel_at.map(ToSqlx::to_sqlx)) as _,
    )
    .execute(connection)
    .await?;
    Ok(())
}

fn joined(items: &[String]) -> String {
    items.join(UNIT_SEPARATOR.encode_utf8(&mut [0; 4]))
}
