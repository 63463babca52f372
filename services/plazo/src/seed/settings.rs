//! What a tenant needs besides tickets, so that calls can be tried at once.

use prost::Message as _;
use sqlx::postgres::PgPool;

use super::business::calendar;
use super::error::SeedError;
use super::world::World;

/// Of so many agents one has no permission for the history.
const WITHOUT_PERMISSION: i64 = 10;
/// Reports count their days here.
const TIME_ZONE: &str = "America/Sao_Paulo";
/// Longer than any seeding goes back.
const RETENTION_DAYS: i32 = 5_000;

/// Whether an agent is granted the history.
pub(super) fn is_granted(agent_id: i64) -> bool {
    agent_id % WITHOUT_PERMISSION != 0
}

/// Enables the history of all bots, grants it to agents, and makes the calendars known. What is there stays as it is.
pub(super) async fn write(pool: &PgPool, tenant_id: i64, world: &World) -> Result<(), SeedError> {
    let options = world.options();
    let ids = |count: u64| 1..=i64::try_from(count).expect("counts are small");
    let bots: Vec<i64> = ids(options.bots).collect();
    let agents: Vec<i64> = ids(options.agents)
        .filter(|agent_id| is_granted(*agent_id))
        .collect();
    let with_calendar: Vec<i64> = bots
        .iter()
        .copied()
        .filter(|bot_id| World::has_calendar(*bot_id))
        .collect();
    let versions: Vec<i64> = with_calendar
        .iter()
        .map(|bot_id| World::calendar_version(*bot_id))
        .collect();
    let calendars: Vec<Vec<u8>> = with_calendar
        .iter()
        .map(|bot_id| calendar(*bot_id).encode_to_vec())
        .collect();

    let mut transaction = pool.begin().await?;
    sqlx::query(
        "INSERT INTO history_bots (tenant_id, bot_id)
         SELECT $1, bot_id FROM unnest($2::bigint[]) AS bot (bot_id) ON CONFLICT DO NOTHING",
    )
    .bind(tenant_id)
    .bind(bots)
    .execute(&mut *transaction)
    .await?;
    sqlx::query(
        "INSERT INTO history_agents (tenant_id, agent_id)
         SELECT $1, agent_id FROM unnest($2::bigint[]) AS agent (agent_id) ON CONFLICT DO NOTHING",
    )
    .bind(tenant_id)
    .bind(agents)
    .execute(&mut *transaction)
    .await?;
    sqlx::query(
        "INSERT INTO calendar_versions (tenant_id, calendar_version, settings)
         SELECT $1, version, settings FROM unnest($2::bigint[], $3::bytea[]) AS calendar (version, settings)
         ON CONFLICT DO NOTHING",
    )
    .bind(tenant_id)
    .bind(versions)
    .bind(calendars)
    .execute(&mut *transaction)
    .await?;
    sqlx::query(
        "INSERT INTO tenant_settings (tenant_id, time_zone, retention_days) VALUES ($1, $2, $3)
         ON CONFLICT DO NOTHING",
    )
    .bind(tenant_id)
    .bind(TIME_ZONE)
    .bind(RETENTION_DAYS)
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(())
}
