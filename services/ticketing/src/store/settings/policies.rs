//! Rows of `inactivity_policies`: versions that are written once and never changed.

use plazo_domain::InactivityPolicy;
use plazo_proto::ticketing::v1 as proto;
use prost::Message as _;
use sqlx::PgConnection;

use crate::error::Error;
use crate::policy_proto::policy_from_stored;

/// Where a policy is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PolicyScope {
    /// The bot.
    pub bot_id: i64,
    /// The queue whose override it is; none for the bot itself.
    pub queue_id: Option<i64>,
}

/// A policy that is in force for new cycles.
#[derive(Debug, Clone, PartialEq)]
pub struct PolicyOfScope {
    /// Where.
    pub scope: PolicyScope,
    /// Its version.
    pub policy_version: i64,
    /// The policy as it was stored, without its version.
    pub settings: proto::InactivityPolicy,
}

/// Stores a new version of a policy and puts it in force for new cycles. The bot's row is locked
/// ([`bots::lock`](super::bots::lock)), so the versions of a bot and its queues rise in the order of commits. Returns
/// the version.
pub async fn put_in_force(
    connection: &mut PgConnection,
    tenant_id: i64,
    scope: PolicyScope,
    settings: &proto::InactivityPolicy,
) -> Result<i64, Error> {
    let version = sqlx::query_scalar!(
        "INSERT INTO inactivity_policies (tenant_id, bot_id, queue_id, settings) VALUES ($1, $2, $3, $4)
         RETURNING policy_version",
        tenant_id,
        scope.bot_id,
        scope.queue_id,
        settings.encode_to_vec()
    )
    .fetch_one(&mut *connection)
    .await?;
    match scope.queue_id {
        None => {
            sqlx::query!(
                "UPDATE bots SET policy_version = $3 WHERE tenant_id = $1 AND bot_id = $2",
                tenant_id,
                scope.bot_id,
                version
            )
            .execute(connection)
            .await?;
        }
        Some(queue_id) => {
            super::queues::set_policy(connection, tenant_id, queue_id, Some(version)).await?;
        }
    }
    Ok(version)
}

/// The policies in force of bots and of their queues, those of a bot together.
pub async fn in_force(
    connection: &mut PgConnection,
    tenant_id: i64,
    bot_ids: &[i64],
) -> Result<Vec<PolicyOfScope>, Error> {
    let rows = sqlx::query!(
        r#"SELECT scopes.bot_id AS "bot_id!", scopes.queue_id, stored.policy_version, stored.settings
           FROM (
               SELECT bot_id, NULL::bigint AS queue_id, policy_version FROM bots
               WHERE tenant_id = $1 AND bot_id = ANY ($2) AND policy_version IS NOT NULL
               UNION ALL
               SELECT bot_id, queue_id, policy_version FROM queues
               WHERE tenant_id = $1 AND bot_id = ANY ($2) AND policy_version IS NOT NULL
           ) AS scopes
           JOIN inactivity_policies AS stored
               ON stored.tenant_id = $1 AND stored.policy_version = scopes.policy_version
           ORDER BY scopes.bot_id, scopes.queue_id NULLS FIRST"#,
        tenant_id,
        bot_ids
    )
    .fetch_all(connection)
    .await?;
    let policies = rows.into_iter().map(|row| {
        Ok(PolicyOfScope {
            scope: PolicyScope {
                bot_id: row.bot_id,
                queue_id: row.queue_id,
            },
            policy_version: row.policy_version,
            settings: proto::InactivityPolicy::decode(row.settings.as_slice())?,
        })
    });
    policies.collect()
}

/// A version as it was stored, without its number. [`Error::OutOfRange`] when there is none: versions are kept for
/// ever, and only those that exist are written down anywhere.
pub async fn get(
    connection: &mut PgConnection,
    tenant_id: i64,
    policy_version: i64,
) -> Result<proto::InactivityPolicy, Error> {
    let settings = sqlx::query_scalar!(
        "SELECT settings FROM inactivity_policies WHERE tenant_id = $1 AND policy_version = $2",
        tenant_id,
        policy_version
    )
    .fetch_optional(connection)
    .await?
    .ok_or(Error::OutOfRange("policy_version"))?;
    Ok(proto::InactivityPolicy::decode(settings.as_slice())?)
}

/// One stored version.
#[derive(Debug)]
pub struct StoredPolicy {
    /// The tenant.
    pub tenant_id: i64,
    /// The version.
    pub policy_version: i64,
    /// The policy, or why it can't be read.
    pub policy: Result<InactivityPolicy, Error>,
}

/// The versions that exist among the pairs of a tenant and a version, in no order.
pub async fn load(
    connection: &mut PgConnection,
    tenant_ids: &[i64],
    policy_versions: &[i64],
) -> Result<Vec<StoredPolicy>, Error> {
    let rows = sqlx::query!(
        "SELECT stored.tenant_id, stored.policy_version, stored.settings
         FROM unnest($1::bigint[], $2::bigint[]) AS wanted (tenant_id, policy_version)
         JOIN inactivity_policies AS stored USING (tenant_id, policy_version)",
        tenant_ids,
        policy_versions
    )
    .fetch_all(connection)
    .await?;
    let stored = rows.into_iter().map(|row| StoredPolicy {
        tenant_id: row.tenant_id,
        policy_version: row.policy_version,
        policy: decode(&row.settings),
    });
    Ok(stored.collect())
}

fn decode(settings: &[u8]) -> Result<InactivityPolicy, Error> {
    let proto = proto::InactivityPolicy::decode(settings)?;
    policy_from_stored(&proto).ok_or(Error::OutOfRange("inactivity_policies.settings"))
}
