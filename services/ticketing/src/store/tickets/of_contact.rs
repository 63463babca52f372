//! All tickets of a contact.

use sqlx::PgConnection;

use crate::error::Error;
use crate::store::clocks::TicketKey;

fn keys(tenant_id: i64, ticket_ids: Vec<i64>) -> Vec<TicketKey> {
    let keys = ticket_ids.into_iter().map(|ticket_id| TicketKey {
        tenant_id,
        ticket_id,
    });
    keys.collect()
}

/// Open tickets of a contact, by id, at most `limit`.
pub async fn open_ids_of_contact(
    connection: &mut PgConnection,
    tenant_id: i64,
    contact_id: i64,
    limit: i64,
) -> Result<Vec<TicketKey>, Error> {
    let ticket_ids = sqlx::query_scalar!(
        "SELECT ticket_id FROM tickets WHERE tenant_id = $1 AND contact_id = $2 AND is_open
         ORDER BY ticket_id LIMIT $3",
        tenant_id,
        contact_id,
        limit
    )
    .fetch_all(connection)
    .await?;
    Ok(keys(tenant_id, ticket_ids))
}

/// Tickets of a contact after `after_ticket_id`, by id, at most `limit`.
pub async fn ids_of_contact(
    connection: &mut PgConnection,
    tenant_id: i64,
    contact_id: i64,
    after_ticket_id: i64,
    limit: i64,
) -> Result<Vec<TicketKey>, Error> {
    // Open and closed ones apart, as they are in the index: of a contact with many tickets only a page is read.
    let ticket_ids = sqlx::query_scalar!(
        r#"SELECT ticket_id AS "ticket_id!"
           FROM (
               (
                   SELECT ticket_id FROM tickets
                   WHERE tenant_id = $1 AND contact_id = $2 AND is_open AND ticket_id > $3
                   ORDER BY ticket_id LIMIT $4
               )
               UNION ALL
               (
                   SELECT ticket_id FROM tickets
                   WHERE tenant_id = $1 AND contact_id = $2 AND NOT is_open AND ticket_id > $3
                   ORDER BY ticket_id LIMIT $4
               )
           ) AS page
           ORDER BY ticket_id LIMIT $4"#,
        tenant_id,
        contact_id,
        after_ticket_id,
        limit
    )
    .fetch_all(connection)
    .await?;
    Ok(keys(tenant_id, ticket_ids))
}

/// How many tickets a contact has.
pub async fn count_of_contact(
    connection: &mut PgConnection,
    tenant_id: i64,
    contact_id: i64,
) -> Result<i64, Error> {
    let count = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM tickets WHERE tenant_id = $1 AND contact_id = $2"#,
        tenant_id,
        contact_id
    )
    .fetch_one(connection)
    .await?;
    Ok(count)
}

/// Gives all tickets of a contact to another. They are locked, and go on being answered where they were.
pub async fn give_to_contact(
    connection: &mut PgConnection,
    tenant_id: i64,
    from_contact_id: i64,
    to_contact_id: i64,
) -> Result<(), Error> {
    sqlx::query!(
        "UPDATE tickets SET contact_id = $3, reached_contact_id = coalesce(reached_contact_id, contact_id)
         WHERE tenant_id = $1 AND contact_id = $2",
        tenant_id,
        from_contact_id,
        to_contact_id
    )
    .execute(connection)
    .await?;
    Ok(())
}
