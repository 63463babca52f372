//! Rows of `inactivity_policies`: versions that are written once and never changed.

use plazo_domain::InactivityPolicy;
use prost::Message as _;
use sqlx::PgConnection;

use crate::error::Error;
use crate::policy_proto::{policy_from_proto, policy_to_proto};

/// Stores a new version of a bot's policy and puts it in force for new cycles. The bot's row is locked
/// ([`bots::lock`](super::bots::lock)). Returns the version.
pub async fn put_in_force(
    connection: &mut PgConnection,
    tenant_id: i64,
    bot_id: i64,
    policy: &InactivityPolicy,
) -> Result<i64, Error> {
    let version = sqlx::query_scalar!(
        r#"WITH stored AS (
             INSERT INTO inactivity_policies (tenant_id, bot_id, settings) VALUES ($1, $2, $3)
             RETURNING policy_version
           )
           UPDATE bots SET policy_version = stored.policy_version FROM stored
           WHERE tenant_id = $1 AND bot_id = $2
           RETURNING stored.policy_version"#,
        tenant_id,
        bot_id,
        policy_to_proto(0, policy).encode_to_vec()
    )
    .fetch_one(connection)
    .await?;
    Ok(version)
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
    let proto = plazo_proto::ticketing::v1::InactivityPolicy::decode(settings)?;
    let read = policy_from_proto(&proto);
    if read.violations.is_empty() {
        Ok(read.policy)
    } else {
        Err(Error::OutOfRange("inactivity_policies.settings"))
    }
}
