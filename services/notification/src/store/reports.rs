//! What must be told to ticketing.

use jiff::Timestamp;
use sqlx::PgConnection;

/// A state of a message that ticketing has not answered for.
#[derive(Debug, Clone)]
#[expect(
    clippy::struct_field_names,
    reason = "they are named as the columns are"
)]
pub(crate) struct Report {
    pub(crate) report_id: i64,
    pub(crate) tenant_id: i64,
    pub(crate) ticket_id: i64,
    pub(crate) idempotency_key: String,
    pub(crate) state: i16,
    pub(crate) state_at: Timestamp,
    pub(crate) failure_reason: String,
}

/// The oldest reports that no other replica has at this moment. They stay locked until the transaction ends:
/// unlike a lease, the lock of a process that dies is gone at once, and a close may be waiting.
pub(crate) async fn lock_oldest(
    transaction: &mut PgConnection,
    limit: u32,
) -> Result<Vec<Report>, sqlx::Error> {
    sqlx::query_as!(
        Report,
        "SELECT report_id, tenant_id, ticket_id, idempotency_key, state, state_at, failure_reason
         FROM state_reports ORDER BY report_id LIMIT $1 FOR UPDATE SKIP LOCKED",
        i64::from(limit)
    )
    .fetch_all(transaction)
    .await
}

/// Forgets reports that were answered.
pub(crate) async fn remove(
    transaction: &mut PgConnection,
    report_ids: &[i64],
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "DELETE FROM state_reports WHERE report_id = ANY ($1)",
        report_ids
    )
    .execute(transaction)
    .await?;
    Ok(())
}

/// Notes that messages which the feed asks for can't be stored, by (tenant, ticket, key).
pub(crate) async fn add_refused(
    transaction: &mut PgConnection,
    refused: &[(i64, i64, String)],
    reason: &str,
) -> Result<(), sqlx::Error> {
    let tenant_ids: Vec<i64> = refused.iter().map(|(tenant_id, ..)| *tenant_id).collect();
    let ticket_ids: Vec<i64> = refused.iter().map(|(_, ticket_id, _)| *ticket_id).collect();
    let keys: Vec<String> = refused.iter().map(|(.., key)| key.clone()).collect();
    sqlx::query!(
        "INSERT INTO state_reports (tenant_id, ticket_id, idempotency_key, state, state_at, failure_reason)
         SELECT u.tenant_id, u.ticket_id, u.idempotency_key, 5, clock_timestamp(), $4
         FROM unnest($1::bigint[], $2::bigint[], $3::text[]) AS u (tenant_id, ticket_id, idempotency_key)",
        &tenant_ids,
        &ticket_ids,
        &keys,
        reason
    )
    .execute(transaction)
    .await?;
    Ok(())
}
