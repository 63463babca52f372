//! Erasing personal data that ticketing has erased.

use std::collections::BTreeMap;

use jiff_sqlx::ToSqlx;
use sqlx::PgConnection;

use crate::model::Erasure;

/// What is to be erased of one contact.
struct Order {
    contact_id: i64,
    ticket_ids: Vec<i64>,
    is_last: bool,
    asked_at: jiff::Timestamp,
}

/// Erases in the transaction that applies the events, and notes what is to be reported: once the last of the erasure's
/// events is here, since texts of other tickets may come until then.
pub(super) async fn erase(
    connection: &mut PgConnection,
    erasures: Vec<Erasure>,
) -> Result<(), sqlx::Error> {
    let mut orders: BTreeMap<(i64, i64), Order> = BTreeMap::new();
    for erasure in erasures {
        let order = orders
            .entry((erasure.key.tenant_id, erasure.erasure_id))
            .or_insert(Order {
                contact_id: erasure.contact_id,
                ticket_ids: Vec::new(),
                is_last: false,
                asked_at: erasure.asked_at,
            });
        order.ticket_ids.push(erasure.key.ticket_id);
        order.is_last |= erasure.is_last;
        order.asked_at = order.asked_at.max(erasure.asked_at);
    }
    for ((tenant_id, erasure_id), order) in orders {
        erase_one(connection, tenant_id, erasure_id, &order).await?;
    }
    Ok(())
}

async fn erase_one(
    connection: &mut PgConnection,
    tenant_id: i64,
    erasure_id: i64,
    order: &Order,
) -> Result<(), sqlx::Error> {
    let contact_id = order.contact_id;
    let tickets = sqlx::query_file!(
        "queries/erase_tickets.sql",
        tenant_id,
        contact_id,
        &order.ticket_ids,
        order.asked_at.to_sqlx() as _
    )
    .execute(&mut *connection)
    .await?;
    let entries = sqlx::query_file!(
        "queries/erase_entries.sql",
        tenant_id,
        contact_id,
        &order.ticket_ids,
        order.asked_at.to_sqlx() as _
    )
    .execute(&mut *connection)
    .await?;
    let contacts = sqlx::query_file!(
        "queries/erase_contact.sql",
        tenant_id,
        contact_id,
        order.asked_at.to_sqlx() as _
    )
    .execute(&mut *connection)
    .await?;
    let rows = tickets.rows_affected() + entries.rows_affected() + contacts.rows_affected();
    let row_count = i64::try_from(rows).unwrap_or(i64::MAX);
    sqlx::query_file!(
        "queries/note_erasure.sql",
        tenant_id,
        erasure_id,
        contact_id,
        row_count,
        order.is_last
    )
    .execute(connection)
    .await?;
    Ok(())
}
