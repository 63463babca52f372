//! What a batch adds besides the tickets: entries, firings, dealings and contacts.

use std::collections::BTreeMap;

use jiff_sqlx::ToSqlx;
use sqlx::PgConnection;

use super::{Folded, joined};
use crate::model::{Changes, ContactTold, Entry, Firing, Record, TicketKey};
use crate::search_key::{phone_digits, search_key};

/// Writes all that a batch changes besides the tickets, which are written before. Erasures are not among it.
pub(super) async fn save(
    connection: &mut PgConnection,
    folded: &Folded,
) -> Result<(), sqlx::Error> {
    let changes = &folded.changes;
    add_entries(connection, &changes.entries).await?;
    add_firings(connection, &changes.firings).await?;
    save_contacts(connection, changes).await?;
    move_dealings(connection, &folded.records, &changes.moved).await?;
    save_dealings(connection, &folded.records, changes).await?;
    close_dealings(connection, &folded.records, &folded.closed_otherwise).await
}

async fn add_entries(connection: &mut PgConnection, entries: &[Entry]) -> Result<(), sqlx::Error> {
    if entries.is_empty() {
        return Ok(());
    }
    sqlx::query_file!(
        "queries/add_entries.sql",
        &column!(entries, entry => entry.key.tenant_id),
        &column!(entries, entry => entry.key.ticket_id),
        &column!(entries, entry => entry.ticket_seq),
        &column!(entries, entry => i32::from(entry.kind)),
        &column!(entries, entry => entry.message_id),
        &column!(entries, entry => entry.author.kind),
        &column!(entries, entry => entry.author.id),
        &column!(entries, entry => entry.text.clone()),
        &column!(entries, entry => joined(&entry.attachment_urls)),
        &column!(entries, entry => entry.recorded_at.to_sqlx()),
        &column!(entries, entry => entry.channel_at.map(ToSqlx::to_sqlx)) as _,
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn add_firings(connection: &mut PgConnection, firings: &[Firing]) -> Result<(), sqlx::Error> {
    if firings.is_empty() {
        return Ok(());
    }
    sqlx::query_file!(
        "queries/add_firings.sql",
        &column!(firings, firing => firing.key.tenant_id),
        &column!(firings, firing => firing.key.ticket_id),
        &column!(firings, firing => firing.ticket_seq),
        &column!(firings, firing => firing.bot_id),
        &column!(firings, firing => firing.queue_id),
        &column!(firings, firing => firing.stage),
        &column!(firings, firing => firing.cycle_kind),
        &column!(firings, firing => firing.fired_at.to_sqlx()),
        &column!(firings, firing => firing.late_ms),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Before dealings are saved, which are found by the contact as it is now, and after contacts, whose keys they get.
async fn move_dealings(
    connection: &mut PgConnection,
    records: &BTreeMap<TicketKey, Record>,
    moved: &[TicketKey],
) -> Result<(), sqlx::Error> {
    let moved: Vec<_> = moved
        .iter()
        .filter_map(|key| records.get(key))
        .map(|record| (record.ticket.key, record.ticket.contact.contact_id))
        .collect();
    if moved.is_empty() {
        return Ok(());
    }
    sqlx::query_file!(
        "queries/move_dealings.sql",
        &column!(moved, it => it.0.tenant_id),
        &column!(moved, it => it.0.ticket_id),
        &column!(moved, it => it.1),
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn save_dealings(
    connection: &mut PgConnection,
    records: &BTreeMap<TicketKey, Record>,
    changes: &Changes,
) -> Result<(), sqlx::Error> {
    let dealt: Vec<_> = changes
        .dealings
        .iter()
        .filter_map(|((key, agent_id), last_dealt_at)| {
            Some((records.get(key)?, *agent_id, *last_dealt_at))
        })
        .collect();
    if dealt.is_empty() {
        return Ok(());
    }
    sqlx::query_file!(
        "queries/save_dealings.sql",
        &column!(dealt, it => it.0.ticket.key.tenant_id),
        &column!(dealt, it => it.1),
        &column!(dealt, it => it.0.ticket.contact.contact_id),
        &column!(dealt, it => it.0.ticket.key.ticket_id),
        &column!(dealt, it => it.0.ticket.bot_id),
        &column!(dealt, it => it.2.to_sqlx()),
        &column!(dealt, it => closed_at(it.0)) as _,
        &column!(dealt, it => closed_interaction_at(it.0)) as _,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Also dealings of agents who have nothing to do with what closed or opened the ticket.
async fn close_dealings(
    connection: &mut PgConnection,
    records: &BTreeMap<TicketKey, Record>,
    changed: &[TicketKey],
) -> Result<(), sqlx::Error> {
    if changed.is_empty() {
        return Ok(());
    }
    let changed: Vec<_> = changed.iter().filter_map(|key| records.get(key)).collect();
    sqlx::query_file!(
        "queries/close_dealings.sql",
        &column!(changed, record => record.ticket.key.tenant_id),
        &column!(changed, record => record.ticket.key.ticket_id),
        &column!(changed, record => closed_at(record)) as _,
        &column!(changed, record => closed_interaction_at(record)) as _,
    )
    .execute(connection)
    .await?;
    Ok(())
}

fn closed_at(record: &Record) -> Option<jiff_sqlx::Timestamp> {
    record.closed_and_interaction().map(|(at, _)| at.to_sqlx())
}

fn closed_interaction_at(record: &Record) -> Option<jiff_sqlx::Timestamp> {
    record.closed_and_interaction().map(|(_, at)| at.to_sqlx())
}

/// A contact with the last interaction that goes with what was told of it.
type Told<'a> = (i64, &'a ContactTold, jiff::Timestamp);

async fn save_contacts(
    connection: &mut PgConnection,
    changes: &Changes,
) -> Result<(), sqlx::Error> {
    let contacts = &changes.contacts;
    let merged: Vec<_> = contacts
        .iter()
        .filter_map(|(key, change)| change.is_merged_away.then_some(*key))
        .collect();
    if !merged.is_empty() {
        sqlx::query_file!(
            "queries/drop_merged_contacts.sql",
            &column!(merged, key => key.0),
            &column!(merged, key => key.1),
        )
        .execute(&mut *connection)
        .await?;
    }
    let told: Vec<Told<'_>> = contacts
        .iter()
        .filter_map(|((tenant_id, _), change)| {
            let told = change.told.as_ref()?;
            Some((
                *tenant_id,
                told,
                change.last_interaction_at.unwrap_or(told.told_at),
            ))
        })
        .collect();
    write_told(connection, &told).await?;
    let seen: Vec<_> = contacts
        .iter()
        .filter_map(|(key, change)| Some((*key, change.last_interaction_at?)))
        .collect();
    if seen.is_empty() {
        return Ok(());
    }
    sqlx::query_file!(
        "queries/touch_contacts.sql",
        &column!(seen, it => it.0.0),
        &column!(seen, it => it.0.1),
        &column!(seen, it => it.1.to_sqlx()),
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn write_told(connection: &mut PgConnection, told: &[Told<'_>]) -> Result<(), sqlx::Error> {
    if told.is_empty() {
        return Ok(());
    }
    let contacts = column!(told, it => &it.1.contact);
    let identities =
        column!(contacts, contact => contact.channel_identity.clone().unwrap_or_default());
    sqlx::query_file!(
        "queries/save_contacts.sql",
        &column!(told, it => it.0),
        &column!(contacts, contact => contact.contact_id),
        &column!(contacts, contact => contact.name.clone()),
        &column!(contacts, contact => contact.email.clone()),
        &column!(contacts, contact => contact.phone.clone()),
        &column!(identities, identity => identity.channel),
        &column!(identities, identity => identity.address.clone()),
        &column!(told, it => it.2.to_sqlx()),
        &column!(told, it => it.1.told_at.to_sqlx()),
        &column!(told, it => it.1.ticket_id),
        &column!(contacts, contact => search_key(&contact.name)),
        &column!(contacts, contact => search_key(&contact.email)),
        &column!(contacts, contact => phone_digits(&contact.phone)),
    )
    .execute(connection)
    .await?;
    Ok(())
}
