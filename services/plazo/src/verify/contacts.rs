//! History's contacts against its tickets, which were compared with the truth before.

use std::collections::BTreeSet;

use futures::TryStreamExt as _;
use plazo_history::{phone_digits, search_key};
use sqlx::Row as _;
use sqlx::postgres::PgPool;
use tokio::time::{Instant, sleep};

use super::shown::with_instants;
use super::{Key, LOOK_AGAIN, VerifyError, VerifyReport};

/// Each contact that has a row, a text to be searched in, or a ticket: the row, and what its tickets say. A ticket that told of the contact last may be
/// forgotten; then nothing is known of what it told.
const CONTACTS: &str = "
    SELECT tenant_id, contact_id,
        contact.name IS NOT NULL AS is_there,
        ticket.contact_id IS NOT NULL AS is_wanted,
        us(contact.last_interaction_at) AS last_interaction_at,
        us(ticket.last_interaction_at) AS last_of_tickets,
        coalesce(contact.name, '') AS name, coalesce(contact.email, '') AS email,
        coalesce(contact.phone, '') AS phone,
        contact.name_key, contact.email_key, contact.phone_digits,
        (text.name_key, text.search_text) = (contact.name_key, contact.search_text) AS is_searched,
        teller.contact_name, teller.contact_email, teller.contact_phone
    FROM (SELECT * FROM contacts WHERE $1::bigint[] IS NULL OR contact_id = ANY ($1)) AS contact
    FULL JOIN (SELECT * FROM contact_texts WHERE $1::bigint[] IS NULL OR contact_id = ANY ($1)) AS text
        USING (tenant_id, contact_id)
    FULL JOIN (
        SELECT tenant_id, contact_id, max(last_interaction_at) AS last_interaction_at
        FROM tickets
        WHERE contact_id <> 0 AND ($1::bigint[] IS NULL OR contact_id = ANY ($1))
        GROUP BY tenant_id, contact_id
    ) AS ticket USING (tenant_id, contact_id)
    LEFT JOIN LATERAL (
        SELECT contact_name, contact_email, contact_phone FROM tickets
        WHERE tickets.tenant_id = contact.tenant_id AND tickets.ticket_id = contact.told_ticket_id
    ) AS teller ON true";

/// Compares all contacts, and those that differ again until the deadline.
pub(super) async fn compare(
    history: &PgPool,
    deadline: Instant,
    report: &mut VerifyReport,
) -> Result<(), VerifyError> {
    let failed = |source| VerifyError::Database {
        service: "history",
        source,
    };
    let mut only: Option<Vec<i64>> = None;
    loop {
        let is_last = Instant::now() >= deadline;
        let open = round(history, only.as_deref(), is_last, report)
            .await
            .map_err(failed)?;
        if open.is_empty() {
            return Ok(());
        }
        only = Some(open.into_iter().map(|(_, contact_id)| contact_id).collect());
        sleep(LOOK_AGAIN).await;
    }
}

async fn round(
    history: &PgPool,
    only: Option<&[i64]>,
    is_last: bool,
    report: &mut VerifyReport,
) -> Result<BTreeSet<Key>, sqlx::Error> {
    let mut open = BTreeSet::new();
    let sql = with_instants(CONTACTS);
    let mut rows = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(only)
        .fetch(history);
    while let Some(row) = rows.try_next().await? {
        let key: Key = (row.try_get("tenant_id")?, row.try_get("contact_id")?);
        let sides = (row.try_get("is_wanted")?, row.try_get("is_there")?);
        let what = match sides {
            (true, true) => differing(&row)?,
            (true, false) => "missing".to_owned(),
            _ => "extra".to_owned(),
        };
        if what.is_empty() || is_last {
            report.add("contacts", (key.0, key.1, 0), sides, what);
        } else {
            open.insert(key);
        }
    }
    Ok(open)
}

/// The columns that are not as the tickets say.
fn differing(row: &sqlx::postgres::PgRow) -> Result<String, sqlx::Error> {
    let text = |column: &str| row.try_get::<String, _>(column);
    let mut columns = Vec::new();
    if text("last_interaction_at")? != text("last_of_tickets")? {
        columns.push("last_interaction_at");
    }
    for (column, told, key, expected) in [
        (
            "name",
            "contact_name",
            "name_key",
            search_key(&text("name")?),
        ),
        (
            "email",
            "contact_email",
            "email_key",
            search_key(&text("email")?),
        ),
        (
            "phone",
            "contact_phone",
            "phone_digits",
            phone_digits(&text("phone")?),
        ),
    ] {
        let told: Option<String> = row.try_get(told)?;
        if told.is_some_and(|told| text(column).is_ok_and(|known| known != told)) {
            columns.push(column);
        }
        if text(key)? != expected {
            columns.push(key);
        }
    }
    if row.try_get::<Option<bool>, _>("is_searched")? != Some(true) {
        columns.push("search_text");
    }
    Ok(columns.join(", "))
}
