//! What is known of the active messages that tickets asked for.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use plazo_proto::notification::v1::{ActiveMessage, ActiveMessageState};
use sqlx::PgConnection;

use crate::error::Error;
use crate::store::clocks::TicketKey;

/// Notes that messages were asked for, and when.
pub async fn insert(
    connection: &mut PgConnection,
    messages: &[(ActiveMessage, Timestamp)],
) -> Result<(), Error> {
    if messages.is_empty() {
        return Ok(());
    }
    let asked_for = messages.iter().map(|(message, _)| message);
    let tenant_ids: Vec<i64> = asked_for.clone().map(|it| it.tenant_id).collect();
    let ticket_ids: Vec<i64> = asked_for.clone().map(|it| it.ticket_id).collect();
    let keys: Vec<String> = asked_for.map(|it| it.idempotency_key.clone()).collect();
    let requested: Vec<_> = messages.iter().map(|(_, at)| at.to_sqlx()).collect();
    sqlx::query!(
        "INSERT INTO active_message_states (tenant_id, ticket_id, idempotency_key, requested_at)
         SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::timestamptz[])",
        &tenant_ids,
        &ticket_ids,
        &keys,
        &requested
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Whether a ticket has asked for a message with this key.
pub async fn is_known(
    connection: &mut PgConnection,
    key: TicketKey,
    idempotency_key: &str,
) -> Result<bool, Error> {
    let known = states(connection, &[(key, idempotency_key)]).await?;
    Ok(!known.is_empty())
}

/// What is known of a message.
#[derive(Debug, Clone, Copy)]
pub struct KnownState {
    /// When the ticket asked for it.
    pub requested_at: Timestamp,
    /// What became of it; unspecified before the first report.
    pub state: ActiveMessageState,
    /// When, by notification's clock.
    pub state_at: Option<Timestamp>,
}

/// What is known of messages; those that no ticket asked for are missing.
pub async fn states(
    connection: &mut PgConnection,
    messages: &[(TicketKey, &str)],
) -> Result<HashMap<(TicketKey, String), KnownState>, Error> {
    let (tenant_ids, ticket_ids) = columns_of(messages.iter().map(|(key, _)| *key));
    let keys: Vec<String> = messages.iter().map(|(_, key)| (*key).to_owned()).collect();
    let rows = sqlx::query!(
        "SELECT known.tenant_id, known.ticket_id, known.idempotency_key, known.requested_at, known.state,
             known.state_at
         FROM unnest($1::bigint[], $2::bigint[], $3::text[]) AS wanted (tenant_id, ticket_id, idempotency_key)
         JOIN active_message_states AS known
             ON known.tenant_id = wanted.tenant_id AND known.ticket_id = wanted.ticket_id
             AND known.idempotency_key = wanted.idempotency_key",
        &tenant_ids,
        &ticket_ids,
        &keys
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            let key = TicketKey {
                tenant_id: row.tenant_id,
                ticket_id: row.ticket_id,
            };
            let state = ActiveMessageState::try_from(i32::from(row.state))
                .map_err(|_| Error::OutOfRange("state"))?;
            let known = KnownState {
                requested_at: row.requested_at.to_jiff(),
                state,
                state_at: row.state_at.map(jiff_sqlx::Timestamp::to_jiff),
            };
            Ok(((key, row.idempotency_key), known))
        })
        .collect()
}

/// Writes what became of messages. The tickets' rows are locked.
pub async fn set_states(
    connection: &mut PgConnection,
    moved: &BTreeMap<(TicketKey, String), (ActiveMessageState, Timestamp)>,
) -> Result<(), Error> {
    if moved.is_empty() {
        return Ok(());
    }
    let (tenant_ids, ticket_ids) = columns_of(moved.keys().map(|(key, _)| *key));
    let keys: Vec<String> = moved.keys().map(|(_, key)| key.clone()).collect();
    let states: Vec<i16> = moved
        .values()
        .map(|(state, _)| i16::try_from(i32::from(*state)).unwrap_or_default())
        .collect();
    let instants: Vec<jiff_sqlx::Timestamp> = moved.values().map(|(_, at)| at.to_sqlx()).collect();
    sqlx::query!(
        "UPDATE active_message_states AS known
         SET state = moved.state, state_at = moved.state_at
         FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::smallint[], $5::timestamptz[])
             AS moved (tenant_id, ticket_id, idempotency_key, state, state_at)
         WHERE known.tenant_id = moved.tenant_id AND known.ticket_id = moved.ticket_id
             AND known.idempotency_key = moved.idempotency_key",
        &tenant_ids,
        &ticket_ids,
        &keys,
        &states,
        &instants
    )
    .execute(connection)
    .await?;
    Ok(())
}

fn columns_of(keys: impl Iterator<Item = TicketKey>) -> (Vec<i64>, Vec<i64>) {
    keys.map(|key| (key.tenant_id, key.ticket_id)).unzip()
}
