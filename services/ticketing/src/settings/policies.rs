//! The inactivity policies of bots.

use std::sync::Arc;

use plazo_domain::InactivityPolicy;
use plazo_service::Actor;
use sqlx::PgConnection;

use super::bots;
use crate::error::Error;
use crate::policy_proto::ReadPolicy;
use crate::store::settings::{PolicyCache, policies as rows};

/// The policy in force for new cycles of a bot, with its version; none when none was ever set.
pub async fn get(
    connection: &mut PgConnection,
    actor: &Actor,
    policies: &PolicyCache,
    bot_id: i64,
) -> Result<Option<(i64, Arc<InactivityPolicy>)>, Error> {
    let bot = bots::get(connection, actor, bot_id).await?;
    let Some(version) = bot.policy_version else {
        return Ok(None);
    };
    let policy = policies
        .policy(connection, actor.tenant_id, version)
        .await?;
    Ok(Some((version, policy)))
}

/// Puts a policy in force for new cycles, in the place of the version `replaces_version` (0: of any).
/// INVALID with all that is wrong with it, CHANGED when another version is in force. The bot's lock keeps
/// another call from removing the exit route meanwhile. Returns the new version.
pub async fn replace(
    connection: &mut PgConnection,
    actor: &Actor,
    bot_id: i64,
    read: &ReadPolicy,
    replaces_version: i64,
) -> Result<i64, Error> {
    let bot = bots::lock(connection, actor, bot_id).await?;
    let mut violations = read.violations.clone();
    let has_exit_route = !bot.exit_route.is_empty();
    violations.extend(read.policy.check(has_exit_route).err().unwrap_or_default());
    if !violations.is_empty() {
        return Err(Error::Invalid(violations));
    }
    if replaces_version != 0 && bot.policy_version != Some(replaces_version) {
        return Err(Error::Changed);
    }
    rows::put_in_force(connection, actor.tenant_id, bot_id, &read.policy).await
}
