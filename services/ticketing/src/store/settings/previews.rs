//! The clocks of open tickets, read for a preview.

use jiff::Timestamp;
use jiff_sqlx::Timestamp as SqlTimestamp;
use plazo_domain::Clock;
use sqlx::PgConnection;

use crate::error::Error;
use crate::store::clocks::{TicketKey, clock_of_row, columns_of};

/// An open ticket as committed.
#[derive(Debug, Clone)]
pub struct OpenTicket {
    /// Its clock.
    pub clock: Clock,
    /// Its tags.
    pub tags: Vec<String>,
    /// The database's time when it was read.
    pub now: Timestamp,
}

/// Those of the tickets that are open, in no order. Takes no lock.
pub async fn open(
    connection: &mut PgConnection,
    keys: &[TicketKey],
) -> Result<Vec<OpenTicket>, Error> {
    let (tenant_ids, ticket_ids) = columns_of(keys);
    let rows = sqlx::query!(
        r#"SELECT tickets.tags AS "tags!", clocks.generation AS "generation!", clocks.next_due_at,
               clocks.last_cycle AS "last_cycle!", clocks.cycle, clocks.cycle_kind, clocks.anchor_at,
               clocks.policy_version, clocks.stages_done AS "stages_done!", clocks.is_excluded AS "is_excluded!",
               clocks.warning_accepted_at, clocks.warning_settled_at, clocks.changed_at, clocks.cycle_due_at,
               clocks.alert AS "alert!",
               clocks.agent_cycle, clocks.agent_anchor_at, clocks.agent_policy_version,
               clocks.agent_stages_done AS "agent_stages_done!", clocks.agent_changed_at, clocks.agent_due_at,
               clocks.agent_alert AS "agent_alert!", clocks.turn AS "turn!", clocks.turn_since_at, clocks.turn_last_at,
               clocks.agent_has_written AS "agent_has_written!", clocks.hold_until,
               clocks.automation AS "automation!", clocks.automation_until, clock_timestamp() AS "now!"
           FROM unnest($1::bigint[], $2::bigint[]) AS wanted (tenant_id, ticket_id)
           JOIN tickets ON tickets.tenant_id = wanted.tenant_id AND tickets.ticket_id = wanted.ticket_id
           JOIN ticket_clocks AS clocks
               ON clocks.tenant_id = wanted.tenant_id AND clocks.ticket_id = wanted.ticket_id
           WHERE tickets.is_open"#,
        &tenant_ids,
        &ticket_ids
    )
    .fetch_all(connection)
    .await?;
    let tickets = rows.into_iter().map(|row| {
        Ok(OpenTicket {
            clock: clock_of_row!(row)?,
            tags: row.tags,
            now: SqlTimestamp::to_jiff(row.now),
        })
    });
    tickets.collect()
}
