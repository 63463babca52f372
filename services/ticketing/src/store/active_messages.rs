//! What is known of the active messages that tickets asked for.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use plazo_proto::notification::v1::{ActiveMessage, ActiveMessageState};
use sqlx::PgConnection;

use crate::error::Error;
use crate::store::clocks::TicketKey;

/// Notes that messages were asked for.
pub async fn insert(
    connection: &mut PgConnection,
    messages: &[&ActiveMessage],
) -> Result<(), Error> {
    if messages.is_empty() {
        return Ok(());
    }
    let tenant_ids: Vec<i64> = messages.iter().map(|message| message.tenant_id).collect();
    let ticket_ids: Vec<i64> = messages.iter().map(|message| message.ticket_id).collect();
    let keys: Vec<String> = messages
        .iter()
        .map(|message| message.idempotency_key.clone())
        .collect();
    sqlx::query!(
        "INSERT INTO active_message_states (tenant_id, ticket_id, idempotency_key)
         SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::text[])",
        &tenant_ids,
        &ticket_ids,
        &keys
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// What is known of a message; none when the ticket never asked for it.
pub async fn state(
    connection: &mut PgConnection,
    key: TicketKey,
    idempotency_key: &str,
) -> Result<Option<ActiveMessageState>, Error> {
    let code = sqlx::query_scalar!(
        "SELECT state FROM active_message_states WHERE tenant_id = $1 AND ticket_id = $2 AND idempotency_key = $3",
        key.tenant_id,
        key.ticket_id,
        idempotency_key
    )
    .fetch_optional(connection)
    .await?;
    code.map(|code| {
        ActiveMessageState::try_from(i32::from(code)).map_err(|_| Error::OutOfRange("state"))
    })
    .transpose()
}

/// Writes what became of a message. The ticket's row is locked.
pub async fn set_state(
    connection: &mut PgConnection,
    key: TicketKey,
    idempotency_key: &str,
    state: ActiveMessageState,
    state_at: Timestamp,
) -> Result<(), Error> {
    sqlx::query!(
        "UPDATE active_message_states SET state = $4, state_at = $5
         WHERE tenant_id = $1 AND ticket_id = $2 AND idempotency_key = $3",
        key.tenant_id,
        key.ticket_id,
        idempotency_key,
        i16::try_from(i32::from(state)).unwrap_or_default(),
        state_at.to_sqlx()
    )
    .execute(connection)
    .await?;
    Ok(())
}
