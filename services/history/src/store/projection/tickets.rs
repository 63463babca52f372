//! Tickets as the projection reads and writes them.

use std::collections::BTreeMap;

use jiff_sqlx::ToSqlx;
use plazo_proto::common::v1::{Author, ChannelIdentity};
use plazo_proto::ticketing::v1::Contact;
use sqlx::PgConnection;

use super::joined;
use crate::model::{BusinessTimes, Facts, Record, Ticket, TicketClosure, TicketKey};

/// All columns of `tickets`.
struct RecordRow {
    tenant_id: i64,
    ticket_id: i64,
    bot_id: i64,
    queue_id: i64,
    agent_id: i64,
    state: i32,
    opened_at: jiff::Timestamp,
    previous_ticket_id: i64,
    first_queue_id: i64,
    opened_by_kind: i32,
    opened_by_id: i64,
    tags: Vec<String>,
    customer_message_count: i32,
    agent_message_count: i32,
    reopen_count: i32,
    contact_id: i64,
    contact_name: String,
    contact_email: String,
    contact_phone: String,
    contact_channel: i32,
    contact_address: String,
    closed_at: Option<jiff_sqlx::Timestamp>,
    close_source: Option<i32>,
    close_author_kind: Option<i32>,
    close_author_id: Option<i64>,
    close_exit_route: Option<String>,
    close_category: Option<String>,
    close_summary: Option<String>,
    is_unlinked: bool,
    first_assigned_at: Option<jiff_sqlx::Timestamp>,
    first_agent_message_at: Option<jiff_sqlx::Timestamp>,
    first_closed_at: Option<jiff_sqlx::Timestamp>,
    later_response_count: i32,
    later_response_ms: i64,
    handling_ms: i64,
    calendar_version: i64,
    business_wait_ms: Option<i64>,
    business_first_response_ms: Option<i64>,
    business_later_response_ms: Option<i64>,
    business_first_resolution_ms: Option<i64>,
    business_full_resolution_ms: Option<i64>,
    business_handling_ms: Option<i64>,
    assigned_agent_id: i64,
    customer_waits_since: Option<jiff_sqlx::Timestamp>,
    handled_since: Option<jiff_sqlx::Timestamp>,
    is_held: bool,
    last_interaction_at: jiff::Timestamp,
    ticket_seq: i64,
    snapshot_seq: i64,
}

/// The known ones of these tickets.
pub(super) async fn load(
    connection: &mut PgConnection,
    keys: &[TicketKey],
) -> Result<BTreeMap<TicketKey, Record>, sqlx::Error> {
    // Planned anew each time. A plan that is kept may be of the moment when the newest partition was empty and all of its indexes
    // looked alike: then it goes on reading all of the wrong one for each ticket.
    sqlx::query("SET LOCAL plan_cache_mode = force_custom_plan")
        .execute(&mut *connection)
        .await?;
    let rows = sqlx::query_file_as!(
        RecordRow,
        "queries/load_tickets.sql",
        &column!(keys, key => key.tenant_id),
        &column!(keys, key => key.ticket_id)
    )
    .fetch_all(&mut *connection)
    .await?;
    sqlx::query("SET LOCAL plan_cache_mode = auto")
        .execute(connection)
        .await?;
    let records = rows.into_iter().map(Record::from);
    Ok(records.map(|record| (record.ticket.key, record)).collect())
}

/// Writes new and known tickets.
pub(super) async fn save<'a>(
    connection: &mut PgConnection,
    records: impl IntoIterator<Item = &'a Record>,
) -> Result<(), sqlx::Error> {
    let records: Vec<&Record> = records.into_iter().collect();
    if records.is_empty() {
        return Ok(());
    }
    sqlx::query_file!(
        "queries/save_tickets.sql",
        &column!(records, r => r.ticket.key.tenant_id),
        &column!(records, r => r.ticket.key.ticket_id),
        &column!(records, r => r.ticket.bot_id),
        &column!(records, r => r.ticket.queue_id),
        &column!(records, r => r.ticket.agent_id),
        &column!(records, r => r.ticket.state),
        &column!(records, r => r.ticket.opened_at.to_sqlx()),
        &column!(records, r => r.ticket.previous_ticket_id),
        &column!(records, r => r.facts.first_queue_id),
        &column!(records, r => r.facts.opened_by.kind),
        &column!(records, r => r.facts.opened_by.id),
        &column!(records, r => joined(&r.ticket.tags)),
        &column!(records, r => r.ticket.customer_message_count),
        &column!(records, r => r.ticket.agent_message_count),
        &column!(records, r => r.ticket.reopen_count),
        &column!(records, r => r.ticket.contact.contact_id),
        &column!(records, r => r.ticket.contact.name.clone()),
        &column!(records, r => r.ticket.contact.email.clone()),
        &column!(records, r => r.ticket.contact.phone.clone()),
        &column!(records, r => identity(&r.ticket.contact).channel),
        &column!(records, r => identity(&r.ticket.contact).address),
        &column!(records, r => closure(r).map(|c| c.closed_at.to_sqlx())) as _,
        &column!(records, r => closure(r).map(|c| c.source)) as _,
        &column!(records, r => closure(r).map(|c| c.author.kind)) as _,
        &column!(records, r => closure(r).map(|c| c.author.id)) as _,
        &column!(records, r => closure(r).map(|c| c.exit_route.clone())) as _,
        &column!(records, r => note(r).map(|note| note.0.clone())) as _,
        &column!(records, r => note(r).map(|note| note.1.clone())) as _,
        &column!(records, r => r.ticket.is_unlinked),
        &column!(records, r => sql(r.facts.first_assigned_at)) as _,
        &column!(records, r => sql(r.facts.first_agent_message_at)) as _,
        &column!(records, r => sql(r.facts.first_closed_at)) as _,
        &column!(records, r => r.facts.later_response_count),
        &column!(records, r => r.facts.later_response_ms),
        &column!(records, r => r.facts.handling_ms),
        &column!(records, r => r.facts.calendar_version),
        &column!(records, r => r.facts.business.wait_ms) as _,
        &column!(records, r => r.facts.business.first_response_ms) as _,
        &column!(records, r => r.facts.business.later_response_ms) as _,
        &column!(records, r => r.facts.business.first_resolution_ms) as _,
        &column!(records, r => r.facts.business.full_resolution_ms) as _,
        &column!(records, r => r.facts.business.handling_ms) as _,
        &column!(records, r => r.facts.assigned_agent_id),
        &column!(records, r => sql(r.facts.customer_waits_since)) as _,
        &column!(records, r => sql(r.facts.handled_since)) as _,
        &column!(records, r => r.facts.is_held),
        &column!(records, r => r.facts.last_interaction_at.to_sqlx()),
        &column!(records, r => r.ticket.ticket_seq),
        &column!(records, r => r.facts.snapshot_seq),
    )
    .execute(connection)
    .await?;
    Ok(())
}

fn identity(contact: &Contact) -> ChannelIdentity {
    contact.channel_identity.clone().unwrap_or_default()
}

fn closure(record: &Record) -> Option<&TicketClosure> {
    record.ticket.closure.as_ref()
}

fn note(record: &Record) -> Option<&(String, String)> {
    closure(record)?.note.as_ref()
}

fn sql(at: Option<jiff::Timestamp>) -> Option<jiff_sqlx::Timestamp> {
    at.map(ToSqlx::to_sqlx)
}

impl From<RecordRow> for Record {
    fn from(row: RecordRow) -> Self {
        // The table's constraints say that the columns of a closure are there together.
        let closure = row.closed_at.map(|closed_at| TicketClosure {
            closed_at: closed_at.to_jiff(),
            source: row.close_source.unwrap_or_default(),
            author: Author {
                kind: row.close_author_kind.unwrap_or_default(),
                id: row.close_author_id.unwrap_or_default(),
            },
            exit_route: row.close_exit_route.unwrap_or_default(),
            note: row.close_category.zip(row.close_summary),
        });
        let identity = ChannelIdentity {
            channel: row.contact_channel,
            address: row.contact_address,
        };
        let ticket = Ticket {
            key: TicketKey {
                tenant_id: row.tenant_id,
                ticket_id: row.ticket_id,
            },
            bot_id: row.bot_id,
            queue_id: row.queue_id,
            agent_id: row.agent_id,
            state: row.state,
            opened_at: row.opened_at,
            previous_ticket_id: row.previous_ticket_id,
            tags: row.tags,
            customer_message_count: row.customer_message_count,
            agent_message_count: row.agent_message_count,
            reopen_count: row.reopen_count,
            contact: Contact {
                contact_id: row.contact_id,
                name: row.contact_name,
                email: row.contact_email,
                phone: row.contact_phone,
                channel_identity: Some(identity),
                etag: String::new(),
            },
            closure,
            is_unlinked: row.is_unlinked,
            ticket_seq: row.ticket_seq,
        };
        let instant = |at: Option<jiff_sqlx::Timestamp>| at.map(jiff_sqlx::Timestamp::to_jiff);
        let facts = Facts {
            first_queue_id: row.first_queue_id,
            opened_by: Author {
                kind: row.opened_by_kind,
                id: row.opened_by_id,
            },
            first_assigned_at: instant(row.first_assigned_at),
            first_agent_message_at: instant(row.first_agent_message_at),
            first_closed_at: instant(row.first_closed_at),
            later_response_count: row.later_response_count,
            later_response_ms: row.later_response_ms,
            handling_ms: row.handling_ms,
            calendar_version: row.calendar_version,
            business: BusinessTimes {
                wait_ms: row.business_wait_ms,
                first_response_ms: row.business_first_response_ms,
                later_response_ms: row.business_later_response_ms,
                first_resolution_ms: row.business_first_resolution_ms,
                full_resolution_ms: row.business_full_resolution_ms,
                handling_ms: row.business_handling_ms,
            },
            assigned_agent_id: row.assigned_agent_id,
            customer_waits_since: instant(row.customer_waits_since),
            handled_since: instant(row.handled_since),
            is_held: row.is_held,
            last_interaction_at: row.last_interaction_at,
            snapshot_seq: row.snapshot_seq,
        };
        Self { ticket, facts }
    }
}
