//! Rows of `policy_applications`: policies that are being applied to open tickets.
//!
//! Who works on one holds its bot's row in share mode, so that what is in force in its scope cannot change meanwhile,
//! and then the application's own row, so that no other replica works on it. The order is the same everywhere.

use sqlx::{PgConnection, PgPool};

use super::policies::PolicyScope;
use crate::error::Error;
use crate::store::clocks::TicketKey;

/// A policy that is being applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Application {
    /// The tenant.
    pub tenant_id: i64,
    /// The version.
    pub policy_version: i64,
    /// Where it is in force.
    pub scope: PolicyScope,
    /// The tickets up to this one are done.
    pub after_ticket_id: i64,
}

/// Asks for a version to be applied to the open tickets of its scope, from the first one on.
pub async fn insert(
    connection: &mut PgConnection,
    tenant_id: i64,
    policy_version: i64,
    scope: PolicyScope,
) -> Result<(), Error> {
    sqlx::query!(
        "INSERT INTO policy_applications (tenant_id, policy_version, bot_id, queue_id) VALUES ($1, $2, $3, $4)",
        tenant_id,
        policy_version,
        scope.bot_id,
        scope.queue_id
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Whether a version is still being applied.
pub async fn exists(
    connection: &mut PgConnection,
    tenant_id: i64,
    policy_version: i64,
) -> Result<bool, Error> {
    let exists = sqlx::query_scalar!(
        r#"SELECT EXISTS (
               SELECT FROM policy_applications WHERE tenant_id = $1 AND policy_version = $2
           ) AS "exists!""#,
        tenant_id,
        policy_version
    )
    .fetch_one(connection)
    .await?;
    Ok(exists)
}

/// An application that nobody works on: the first after this version, else the first of all. It may be taken by
/// somebody else in the next moment.
pub async fn find_free(pool: &PgPool, after_version: i64) -> Result<Option<Application>, Error> {
    let row = sqlx::query!(
        "SELECT tenant_id, policy_version, bot_id, queue_id, after_ticket_id FROM policy_applications
         ORDER BY policy_version <= $1, policy_version LIMIT 1 FOR UPDATE SKIP LOCKED",
        after_version
    )
    .fetch_optional(pool)
    .await?;
    Ok(row.map(|row| Application {
        tenant_id: row.tenant_id,
        policy_version: row.policy_version,
        scope: PolicyScope {
            bot_id: row.bot_id,
            queue_id: row.queue_id,
        },
        after_ticket_id: row.after_ticket_id,
    }))
}

/// Waits for the transactions that have inserted tickets of the bot and are not over: they may have read what was in
/// force before. Those that insert tickets from now on read what is in force now.
pub async fn wait_for_openings(pool: &PgPool, tenant_id: i64, bot_id: i64) -> Result<(), Error> {
    // A new ticket's row holds its bot's row in key share mode. This lock is let go as soon as it is held.
    sqlx::query!(
        "SELECT FROM bots WHERE tenant_id = $1 AND bot_id = $2 FOR UPDATE",
        tenant_id,
        bot_id
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// Takes the application for this transaction, and returns it as it is now; none when somebody else works on it, or it
/// is done.
pub async fn take(
    connection: &mut PgConnection,
    application: &Application,
) -> Result<Option<Application>, Error> {
    sqlx::query!(
        "SELECT FROM bots WHERE tenant_id = $1 AND bot_id = $2 FOR SHARE",
        application.tenant_id,
        application.scope.bot_id
    )
    .execute(&mut *connection)
    .await?;
    let after_ticket_id = sqlx::query_scalar!(
        "SELECT after_ticket_id FROM policy_applications
         WHERE tenant_id = $1 AND policy_version = $2 FOR UPDATE SKIP LOCKED",
        application.tenant_id,
        application.policy_version
    )
    .fetch_optional(connection)
    .await?;
    Ok(after_ticket_id.map(|after_ticket_id| Application {
        after_ticket_id,
        ..*application
    }))
}

/// Notes that the tickets up to this one are done.
pub async fn advance(
    connection: &mut PgConnection,
    application: &Application,
    after_ticket_id: i64,
) -> Result<(), Error> {
    sqlx::query!(
        "UPDATE policy_applications SET after_ticket_id = $3 WHERE tenant_id = $1 AND policy_version = $2",
        application.tenant_id,
        application.policy_version,
        after_ticket_id
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Forgets an application.
pub async fn remove(connection: &mut PgConnection, application: &Application) -> Result<(), Error> {
    sqlx::query!(
        "DELETE FROM policy_applications WHERE tenant_id = $1 AND policy_version = $2",
        application.tenant_id,
        application.policy_version
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The version in force in a scope for new cycles.
pub async fn version_in_force(
    connection: &mut PgConnection,
    tenant_id: i64,
    scope: PolicyScope,
) -> Result<Option<i64>, Error> {
    let version = sqlx::query_scalar!(
        r#"SELECT coalesce(queues.policy_version, bots.policy_version) AS "policy_version?"
           FROM bots
           LEFT JOIN queues ON queues.tenant_id = bots.tenant_id AND queues.queue_id = $3
           WHERE bots.tenant_id = $1 AND bots.bot_id = $2"#,
        tenant_id,
        scope.bot_id,
        scope.queue_id
    )
    .fetch_optional(connection)
    .await?;
    Ok(version.flatten())
}

/// Open tickets of a scope after `after_ticket_id`, by id, at most `limit`: those of the queue, or those of the bot that
/// are in no queue with a policy of its own.
pub async fn open_tickets(
    connection: &mut PgConnection,
    tenant_id: i64,
    scope: PolicyScope,
    after_ticket_id: i64,
    limit: i64,
) -> Result<Vec<TicketKey>, Error> {
    let ticket_ids = match scope.queue_id {
        Some(queue_id) => {
            sqlx::query_scalar!(
                "SELECT ticket_id FROM tickets
                 WHERE tenant_id = $1 AND queue_id = $2 AND is_open AND NOT is_unlinked AND ticket_id > $3
                 ORDER BY ticket_id LIMIT $4",
                tenant_id,
                queue_id,
                after_ticket_id,
                limit
            )
            .fetch_all(connection)
            .await?
        }
        None => {
            sqlx::query_scalar!(
                "SELECT ticket_id FROM tickets
                 WHERE tenant_id = $1 AND bot_id = $2 AND is_open AND NOT is_unlinked AND ticket_id > $3
                     AND NOT EXISTS (
                         SELECT FROM queues
                         WHERE queues.tenant_id = tickets.tenant_id AND queues.queue_id = tickets.queue_id
                             AND queues.policy_version IS NOT NULL
                     )
                 ORDER BY ticket_id LIMIT $4",
                tenant_id,
                scope.bot_id,
                after_ticket_id,
                limit
            )
            .fetch_all(connection)
            .await?
        }
    };
    Ok(ticket_ids
        .into_iter()
        .map(|ticket_id| TicketKey {
            tenant_id,
            ticket_id,
        })
        .collect())
}
