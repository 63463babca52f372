//! What tenants set: bots whose history is on, agents with the permission, and the tenant's own settings.

use sqlx::PgConnection;

use crate::changes::ChangeError;

/// Something that is on since an instant: a bot, or an agent's permission. None when it is off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Switch {
    pub(crate) id: i64,
    pub(crate) since: Option<jiff::Timestamp>,
}

/// What a tenant has set. None: the installation's default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TenantSettings {
    pub(crate) time_zone: String,
    pub(crate) lookback_seconds: Option<i64>,
    pub(crate) show_delay_seconds: Option<i64>,
    pub(crate) retention_days: Option<i32>,
    /// Raised by each change; 0 before the first.
    pub(crate) revision: i64,
}

/// New values; none leaves what there is.
#[derive(Debug, Clone, Default)]
pub(crate) struct TenantChange {
    pub(crate) time_zone: Option<String>,
    pub(crate) lookback_seconds: Option<OrDefault<i64>>,
    pub(crate) show_delay_seconds: Option<OrDefault<i64>>,
    pub(crate) retention_days: Option<OrDefault<i32>>,
}

/// A value, or the installation's default.
#[derive(Debug, Clone, Copy)]
pub(crate) enum OrDefault<T> {
    Default,
    Value(T),
}

impl<T> OrDefault<T> {
    fn into_column(self) -> Option<T> {
        match self {
            Self::Default => None,
            Self::Value(value) => Some(value),
        }
    }
}

impl<T> From<Option<T>> for OrDefault<T> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Default, Self::Value)
    }
}

impl Default for TenantSettings {
    fn default() -> Self {
        Self {
            time_zone: "UTC".to_owned(),
            lookback_seconds: None,
            show_delay_seconds: None,
            retention_days: None,
            revision: 0,
        }
    }
}

struct SwitchRow {
    id: i64,
    since: jiff::Timestamp,
}

impl From<SwitchRow> for Switch {
    fn from(row: SwitchRow) -> Self {
        Self {
            id: row.id,
            since: Some(row.since),
        }
    }
}

/// Switches a bot's history on or off.
pub(crate) async fn set_bot(
    connection: &mut PgConnection,
    tenant_id: i64,
    bot_id: i64,
    enabled: bool,
) -> Result<Switch, ChangeError> {
    if !enabled {
        sqlx::query!(
            "DELETE FROM history_bots WHERE tenant_id = $1 AND bot_id = $2",
            tenant_id,
            bot_id
        )
        .execute(connection)
        .await?;
        return Ok(Switch {
            id: bot_id,
            since: None,
        });
    }
    // The update writes nothing new, but finds the row also when another transaction has just added it.
    let row = sqlx::query_as!(
        SwitchRow,
        "INSERT INTO history_bots AS known (tenant_id, bot_id) VALUES ($1, $2)
         ON CONFLICT (tenant_id, bot_id) DO UPDATE SET enabled_at = known.enabled_at
         RETURNING bot_id AS id, enabled_at AS since",
        tenant_id,
        bot_id
    )
    .fetch_one(connection)
    .await?;
    Ok(row.into())
}

/// The permitted bots whose history is on after `after_bot_id`, by id, at most `limit`.
pub(crate) async fn list_bots(
    connection: &mut PgConnection,
    tenant_id: i64,
    permitted: Option<&[i64]>,
    after_bot_id: i64,
    limit: i64,
) -> Result<Vec<Switch>, sqlx::Error> {
    let rows = sqlx::query_as!(
        SwitchRow,
        "SELECT bot_id AS id, enabled_at AS since FROM history_bots
         WHERE tenant_id = $1 AND bot_id > $2 AND ($3::bigint[] IS NULL OR bot_id = ANY ($3))
         ORDER BY bot_id LIMIT $4",
        tenant_id,
        after_bot_id,
        permitted,
        limit
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(Switch::from).collect())
}

/// Gives the permission to agents, whose ids are sorted and each there once, or takes it away. Each agent after the change,
/// and whether it changed anything for him.
pub(crate) async fn set_agents(
    connection: &mut PgConnection,
    tenant_id: i64,
    agent_ids: &[i64],
    granted: bool,
) -> Result<Vec<(Switch, bool)>, ChangeError> {
    let changed = if granted {
        sqlx::query_scalar!(
            "INSERT INTO history_agents (tenant_id, agent_id)
             SELECT $1, wanted.agent_id FROM unnest($2::bigint[]) AS wanted (agent_id) ORDER BY wanted.agent_id
             ON CONFLICT DO NOTHING
             RETURNING agent_id",
            tenant_id,
            agent_ids
        )
        .fetch_all(&mut *connection)
        .await?
    } else {
        sqlx::query_scalar!(
            "DELETE FROM history_agents WHERE tenant_id = $1 AND agent_id = ANY ($2) RETURNING agent_id",
            tenant_id,
            agent_ids
        )
        .fetch_all(&mut *connection)
        .await?
    };
    let known = sqlx::query_as!(
        SwitchRow,
        "SELECT agent_id AS id, granted_at AS since FROM history_agents
         WHERE tenant_id = $1 AND agent_id = ANY ($2) ORDER BY agent_id",
        tenant_id,
        agent_ids
    )
    .fetch_all(connection)
    .await?;
    let changed: std::collections::HashSet<i64> = changed.into_iter().collect();
    let since = |agent_id: i64| {
        let place = known.binary_search_by_key(&agent_id, |row| row.id);
        place.ok().map(|place| known[place].since)
    };
    Ok(agent_ids
        .iter()
        .map(|&id| {
            let since = since(id);
            (Switch { id, since }, changed.contains(&id))
        })
        .collect())
}

/// The agents with the permission after `after_agent_id`, by id, at most `limit`.
pub(crate) async fn list_agents(
    connection: &mut PgConnection,
    tenant_id: i64,
    after_agent_id: i64,
    limit: i64,
) -> Result<Vec<Switch>, sqlx::Error> {
    let rows = sqlx::query_as!(
        SwitchRow,
        "SELECT agent_id AS id, granted_at AS since FROM history_agents
         WHERE tenant_id = $1 AND agent_id > $2
         ORDER BY agent_id LIMIT $3",
        tenant_id,
        after_agent_id,
        limit
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(Switch::from).collect())
}

/// The tenant's settings.
pub(crate) async fn get(
    connection: &mut PgConnection,
    tenant_id: i64,
) -> Result<TenantSettings, sqlx::Error> {
    let found = sqlx::query_as!(
        TenantSettings,
        "SELECT time_zone, lookback_seconds, show_delay_seconds, retention_days, revision
         FROM tenant_settings WHERE tenant_id = $1",
        tenant_id
    )
    .fetch_optional(connection)
    .await?;
    Ok(found.unwrap_or_default())
}

/// Changes the tenant's settings. CHANGED when `etag` is neither empty nor the present one.
pub(crate) async fn update(
    connection: &mut PgConnection,
    tenant_id: i64,
    etag: &str,
    change: &TenantChange,
) -> Result<TenantSettings, ChangeError> {
    sqlx::query!(
        "INSERT INTO tenant_settings (tenant_id, revision) VALUES ($1, 0) ON CONFLICT DO NOTHING",
        tenant_id
    )
    .execute(&mut *connection)
    .await?;
    let mut settings = sqlx::query_as!(
        TenantSettings,
        "SELECT time_zone, lookback_seconds, show_delay_seconds, retention_days, revision
         FROM tenant_settings WHERE tenant_id = $1 FOR UPDATE",
        tenant_id
    )
    .fetch_one(&mut *connection)
    .await?;
    if !etag.is_empty() && etag != settings.etag() {
        return Err(ChangeError::Changed);
    }
    if let Some(time_zone) = &change.time_zone {
        settings.time_zone.clone_from(time_zone);
    }
    if let Some(seconds) = change.lookback_seconds {
        settings.lookback_seconds = seconds.into_column();
    }
    if let Some(seconds) = change.show_delay_seconds {
        settings.show_delay_seconds = seconds.into_column();
    }
    if let Some(days) = change.retention_days {
        settings.retention_days = days.into_column();
    }
    settings.revision += 1;
    sqlx::query!(
        "UPDATE tenant_settings
         SET time_zone = $2, lookback_seconds = $3, show_delay_seconds = $4, retention_days = $5, revision = $6
         WHERE tenant_id = $1",
        tenant_id,
        settings.time_zone,
        settings.lookback_seconds,
        settings.show_delay_seconds,
        settings.retention_days,
        settings.revision
    )
    .execute(connection)
    .await?;
    Ok(settings)
}

impl TenantSettings {
    /// The etag of these settings.
    pub(crate) fn etag(&self) -> String {
        self.revision.to_string()
    }
}
